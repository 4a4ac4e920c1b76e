//! What a run may use: time, memory, disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;

use super::process::in_group;

/// How often memory and disk are looked at; a folder that takes long to add up is looked at more rarely.
const LOOK: Duration = Duration::from_secs(1);
/// The share of the time that looking may take, as one of so many parts.
const LOOK_SHARE: u32 = 20;

/// What every run may use at most.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Seconds from start to end; a job's own `timeout` counts too.
    pub wall_s: Option<f64>,
    /// Bytes of memory: what each process may allocate, and what all of them together may occupy.
    pub memory_bytes: Option<u64>,
    /// Bytes on disk in the folder of the run, its inputs and outputs included.
    pub disk_bytes: Option<u64>,
}

impl Limits {
    /// Waits until a run has used too much, and says what of. Never returns when nothing is limited.
    pub(crate) async fn exceeded(&self, timeout_s: Option<f64>, dir: &Path, group: Pid) -> String {
        tokio::select! {
            why = self.time(timeout_s) => why,
            why = self.room(dir, group) => why,
        }
    }

    async fn time(&self, timeout_s: Option<f64>) -> String {
        let limits = [timeout_s, self.wall_s];
        let Some(seconds) = limits.into_iter().flatten().reduce(f64::min) else { return std::future::pending().await };
        match Duration::try_from_secs_f64(seconds) {
            Ok(time) => tokio::time::sleep(time).await,
            // So long that nobody will see its end.
            Err(_) => std::future::pending().await,
        }
        // The server says the same of a run that takes too long.
        format!("Timed out after {seconds} s")
    }

    async fn room(&self, dir: &Path, group: Pid) -> String {
        if self.memory_bytes.is_none() && self.disk_bytes.is_none() {
            return std::future::pending().await;
        }
        let (limits, dir) = (*self, dir.to_owned());
        loop {
            let (dir, began) = (dir.clone(), tokio::time::Instant::now());
            // A panic while looking says nothing about the run.
            if let Ok(Some(why)) = tokio::task::spawn_blocking(move || limits.look(dir, group)).await {
                return why;
            }
            tokio::time::sleep(LOOK.max(began.elapsed() * LOOK_SHARE)).await;
        }
    }

    fn look(&self, dir: PathBuf, group: Pid) -> Option<String> {
        if let Some(limit) = self.disk_bytes {
            let used = size_of(&dir);
            if used > limit {
                return Some(format!("Used too much disk: its folder holds {used} bytes, and {limit} are allowed"));
            }
        }
        if let Some(limit) = self.memory_bytes {
            let used: u64 = in_group(group).into_iter().map(resident_bytes).sum();
            if used > limit {
                return Some(format!("Used too much memory: it occupies {used} bytes, and {limit} are allowed"));
            }
        }
        None
    }
}

/// Adds up what the files below a folder occupy, links not followed.
fn size_of(dir: &Path) -> u64 {
    let mut folders = vec![dir.to_owned()];
    let mut bytes = 0_u64;
    while let Some(folder) = folders.pop() {
        // What comes and goes meanwhile does not count.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                // What is really taken: a file with holes takes less than its length.
                Ok(metadata) => bytes = bytes.saturating_add(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512),
                Err(_) => {}
            }
        }
    }
    bytes
}

/// Gives how much memory a process occupies; 0 when that is not known.
fn resident_bytes(pid: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_added_up_with_all_below_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("below")).unwrap();
        std::fs::write(dir.path().join("below/one"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("link")).unwrap();
        let bytes = size_of(dir.path());
        assert!((100_000..200_000).contains(&bytes), "{bytes}");
        let limits = Limits { disk_bytes: Some(50_000), ..Limits::default() };
        let own = rustix::process::getpid();
        assert!(limits.look(dir.path().to_owned(), own).is_some_and(|why| why.contains("disk")));
        assert_eq!(Limits { disk_bytes: Some(1 << 20), ..limits }.look(dir.path().to_owned(), own), None);
    }

    #[test]
    fn memory_is_known_of_this_process() {
        assert!(resident_bytes(rustix::process::getpid()) > 1 << 20);
    }
}
