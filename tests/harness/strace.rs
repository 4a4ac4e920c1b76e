//! The system calls of a server, recorded with strace.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::process::until;

/// Says whether every thread of a process is traced; `None` while that can't be told.
fn are_all_traced(pid: u32) -> Option<bool> {
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let status = std::fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        if status.lines().any(|line| line == "TracerPid:\t0") {
            return Some(false);
        }
    }
    Some(true)
}

/// The recorder, stopped when its record is taken.
pub(crate) struct Recorder {
    strace: Child,
    file: PathBuf,
    _temp: tempfile::TempDir,
}

impl Recorder {
    /// Records all threads of a process, with paths beside file descriptors. `None`, with a line that says so, where
    /// there is no strace or no right to use it.
    pub(crate) fn attach(pid: u32, arguments: &[&str]) -> Option<Self> {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let file = temp.path().join("calls");
        let mut command = Command::new("strace");
        command.args(["-f", "-y"]).args(arguments).arg("-o").arg(&file).args(["-p", &pid.to_string()]);
        let recorder = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().ok().and_then(|mut strace| {
            // It takes hold of one thread after the other; what those do that it has not come to is not recorded.
            let attached = until("strace", || match strace.try_wait().expect("a child can be asked") {
                Some(_) => Some(false),
                None => are_all_traced(pid)?.then_some(true),
            });
            attached.then_some(Self { strace, file, _temp: temp })
        });
        if recorder.is_none() {
            println!("SKIPPED: no strace, or no right to use it");
        }
        recorder
    }

    /// Stops, and gives what was recorded: a line for each call, or two when another came in between.
    pub(crate) fn record(mut self) -> String {
        let pid = self.strace.id().to_string();
        drop(Command::new("sh").args(["-c", r#"kill -s INT "$1""#, "sh", &pid]).stderr(Stdio::null()).status());
        drop(self.strace.wait());
        std::fs::read_to_string(&self.file).expect("the record can be read")
    }
}
