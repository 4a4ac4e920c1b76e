//! The worker's folder: a folder for each run, and the results of runs until the server has them.
//!
//! ```text
//! DIR/lock        held while a worker runs
//! DIR/nodes.json  which nodes this worker was
//! DIR/jobs/       a folder for each run that goes on; what lies here at a start was cut off
//! DIR/spool/      the folder of each run that ended and that the server has not heard of
//! DIR/kept/       the folders of runs that failed, for people to look at
//! DIR/refused/    results that the server would not take any more
//! ```
//!
//! A run's folder goes from one to the next by a rename, and only after all that is in it was synced. So a folder in
//! `spool/` is always whole.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{JobId, NodeId};

/// The version of the files that this program writes; it reads no other.
const VERSION: u32 = 1;
/// The file of a run that says whose it is.
const RUN: &str = "run.json";
/// The file of a run that ended, which says how.
const RESULT: &str = "result.json";
/// What is written to find out whether there is room, in bytes.
const PROBE_BYTES: usize = 64 << 10;
/// How many folders of failed runs are kept; the oldest go.
const KEPT_MAX: usize = 50;

/// What a run belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    version: u32,
    /// Address of the server.
    pub(crate) server: String,
    /// The node that the job was given to.
    pub(crate) node: NodeId,
    /// The job.
    pub(crate) job: JobId,
    /// Which attempt of it.
    pub(crate) attempt: i64,
    /// What the environment of every process of the run holds, so that it can be told from all others.
    pub(crate) mark: String,
}

impl Run {
    /// Describes a run of which nothing is known here but that it was begun.
    pub(crate) fn unknown(server: &str, node: NodeId, job: JobId, attempt: i64) -> Self {
        Self { version: VERSION, server: server.to_owned(), node, job, attempt, mark: String::new() }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Well, with everything that the template promises.
    Finished,
    /// With an error.
    Failed(String),
    /// The worker stopped it for reasons of its own; another may do the job.
    GivenBack {
        /// Why.
        why: String,
        /// Whether it counts as one of the attempts that the job may take: the job may be what brought the worker down.
        counts: bool,
    },
    /// It was not this worker's any more: cancelled, aborted, timed out.
    Gone(String),
}

/// A file that is to be an output of the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload {
    /// Its name.
    pub(crate) name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub(crate) type_name: String,
    /// Where it lies, from the folder of the run.
    pub(crate) file: PathBuf,
}

/// The end of a run, to be told to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    version: u32,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// What is to be uploaded, the log included.
    pub(crate) uploads: Vec<Upload>,
}

impl Report {
    /// Makes one.
    pub(crate) fn new(outcome: Outcome, uploads: Vec<Upload>) -> Self {
        Self { version: VERSION, outcome, uploads }
    }
}

/// A run that ended, in its folder.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The folder.
    pub(crate) dir: PathBuf,
    /// What it belongs to.
    pub(crate) run: Run,
    /// How it ended.
    pub(crate) report: Report,
}

/// The worker's folder.
#[derive(Debug)]
pub(crate) struct WorkDir {
    root: PathBuf,
    // The system lets go of it when the process ends, however it ends.
    _lock: File,
}

/// Which nodes this worker was.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Nodes {
    version: u32,
    nodes: Vec<(String, NodeId)>,
}

/// Why the folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Another worker uses it.
    #[error("another worker uses the folder {}: give this one a folder of its own with --dir", .0.display())]
    Locked(PathBuf),
    /// It can't be made or written.
    #[error("the worker's folder {} can't be used: {source}; name another one with --dir", .dir.display())]
    Unusable {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl WorkDir {
    /// Opens the folder, and makes it if it is missing, readable by its owner only.
    pub(crate) fn open(root: &Path) -> Result<Self, DirError> {
        let unusable = |source| DirError::Unusable { dir: root.to_owned(), source };
        let lock = Self::make(root).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => Err(DirError::Locked(root.to_owned())),
            Err(std::fs::TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    fn make(root: &Path) -> io::Result<File> {
        for dir in [root.to_owned(), root.join("jobs"), root.join("spool"), root.join("kept"), root.join("refused")] {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(root.join("lock"))
    }

    /// Gives where it is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Says which nodes this worker was at a server.
    pub(crate) fn nodes(&self, server: &str) -> Vec<NodeId> {
        let nodes: Option<Nodes> = read(&self.root.join("nodes.json")).ok();
        let known = nodes.filter(|nodes| nodes.version == VERSION).unwrap_or_default().nodes;
        known.into_iter().filter(|(of, _)| of == server).map(|(_, node)| node).collect()
    }

    /// Notes that this worker is a node of a server.
    pub(crate) fn note_node(&self, server: &str, node: NodeId) -> io::Result<()> {
        let path = self.root.join("nodes.json");
        let mut nodes = read::<Nodes>(&path).unwrap_or_default();
        nodes.version = VERSION;
        let this = (server.to_owned(), node);
        if !nodes.nodes.contains(&this) {
            nodes.nodes.push(this);
            write(&path, &nodes)?;
        }
        Ok(())
    }

    /// Says whether there is room for a run to begin, and leave to write.
    pub(crate) fn check(&self) -> io::Result<()> {
        let probe = tempfile::NamedTempFile::new_in(self.root.join("jobs"))?;
        probe.as_file().write_all(&[0; PROBE_BYTES])
    }

    /// Makes the folder of a run.
    pub(crate) fn begin(&self, server: &str, node: NodeId, job: JobId, attempt: i64) -> io::Result<(PathBuf, Run)> {
        let mark = mark()?;
        let dir = self.root.join("jobs").join(format!("{job}-{attempt}-{}", &mark[..8]));
        DirBuilder::new().mode(0o700).create(&dir)?;
        let run = Run { version: VERSION, server: server.to_owned(), node, job, attempt, mark };
        match write(&dir.join(RUN), &run) {
            Ok(()) => Ok((dir, run)),
            Err(error) => {
                // Half of a folder would be taken for a run that was cut off.
                drop(std::fs::remove_dir_all(&dir));
                Err(error)
            }
        }
    }

    /// Puts a run that ended into the spool; when this returns, it outlives this process.
    pub(crate) fn spool(&self, dir: &Path, run: Run, report: Report) -> io::Result<Entry> {
        for upload in &report.uploads {
            File::open(dir.join(&upload.file))?.sync_all()?;
        }
        write(&dir.join(RESULT), &report)?;
        sync_tree(dir)?;
        let dir = self.move_to(dir, "spool")?;
        Ok(Entry { dir, run, report })
    }

    /// Writes a changed report of an entry.
    pub(crate) fn rewrite(&self, entry: &Entry) -> io::Result<()> {
        write(&entry.dir.join(RESULT), &entry.report)
    }

    /// Lists the runs in the spool, the oldest first. What can't be read stays where it is, and the log tells of it.
    pub(crate) fn spooled(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for dir in folders(&self.root.join("spool")) {
            let read = read::<Run>(&dir.join(RUN)).and_then(|run| Ok((run, read::<Report>(&dir.join(RESULT))?)));
            match read {
                Ok((run, report)) if run.version == VERSION && report.version == VERSION => {
                    entries.push(Entry { dir, run, report });
                }
                Ok(_) => tracing::error!(
                    "the result in {} was written by another version of labrun: it stays there; deliver it with that one",
                    dir.display()
                ),
                // It was delivered by another slot meanwhile, and is being removed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::error!("the result in {} can't be read ({error}): it stays there", dir.display())
                }
            }
        }
        entries
    }

    /// Lists the runs that were cut off with an earlier process. Folders that do not say whose they are are removed:
    /// nothing ran in them yet.
    pub(crate) fn cut_off(&self) -> Vec<(PathBuf, Run)> {
        let mut runs = Vec::new();
        for dir in folders(&self.root.join("jobs")) {
            match read::<Run>(&dir.join(RUN)) {
                Ok(run) => runs.push((dir, run)),
                Err(_) => self.remove(&dir),
            }
        }
        runs
    }

    /// Sets a result aside that the server would not take, and gives where it lies now.
    pub(crate) fn set_aside(&self, entry: &Entry, why: &str) -> PathBuf {
        if let Err(error) = write_text(&entry.dir.join("refused.txt"), &format!("{why}\n")) {
            tracing::warn!("why it was refused can't be written to {}: {error}", entry.dir.display());
        }
        self.move_to(&entry.dir, "refused").unwrap_or_else(|error| {
            tracing::error!("{} can't be set aside: {error}", entry.dir.display());
            entry.dir.clone()
        })
    }

    /// Keeps the folder of a run for people to look at, and gives where it lies now. The oldest make room.
    pub(crate) fn keep(&self, dir: &Path) -> PathBuf {
        let kept = self.move_to(dir, "kept").unwrap_or_else(|error| {
            tracing::error!("{} can't be kept: {error}", dir.display());
            dir.to_owned()
        });
        let all = folders(&self.root.join("kept"));
        for old in &all[..all.len().saturating_sub(KEPT_MAX)] {
            self.remove(old);
        }
        kept
    }

    /// Removes the folder of a run.
    pub(crate) fn remove(&self, dir: &Path) {
        if let Err(error) = std::fs::remove_dir_all(dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("the folder {} can't be removed: {error}", dir.display());
        }
    }

    /// Moves a run's folder, durably.
    fn move_to(&self, dir: &Path, part: &str) -> io::Result<PathBuf> {
        let name = dir.file_name().ok_or_else(|| io::Error::other("a folder without a name"))?;
        let to = self.root.join(part).join(name);
        std::fs::rename(dir, &to)?;
        sync(&self.root.join(part))?;
        if let Some(from) = dir.parent() {
            sync(from)?;
        }
        Ok(to)
    }
}

/// Lists the folders in a folder, the one that was changed first coming first.
fn folders(of: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(of) else { return Vec::new() };
    let mut folders: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            entry.metadata().ok().filter(std::fs::Metadata::is_dir).map(|m| (m.modified().ok(), entry.path()))
        })
        .collect();
    folders.sort();
    folders.into_iter().map(|(_, path)| path).collect()
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&std::fs::read(path)?).map_err(io::Error::other)
}

/// Writes a file durably: beside its place, synced, renamed, its folder synced.
fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    write_text(path, &serde_json::to_string_pretty(value).map_err(io::Error::other)?)
}

fn write_text(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), sync)
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Syncs a folder and those in it that files of a result may lie in.
fn sync_tree(dir: &Path) -> io::Result<()> {
    for inner in folders(dir) {
        sync(&inner)?;
    }
    sync(dir)
}

/// Makes up a text that no other run has.
fn mark() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SERVER: &str = "http://127.0.0.1:1";

    fn spooled(root: &Path) -> PathBuf {
        let work = WorkDir::open(root).unwrap();
        let (dir, run) = work.begin(SERVER, NodeId(2), JobId(3), 4).unwrap();
        std::fs::create_dir(dir.join("outputs")).unwrap();
        std::fs::write(dir.join("outputs/peaks"), "1,2\n").unwrap();
        let upload = Upload { name: "peaks".to_owned(), type_name: "str".to_owned(), file: "outputs/peaks".into() };
        work.spool(&dir, run, Report::new(Outcome::Finished, vec![upload])).unwrap().dir
    }

    #[test]
    fn a_result_is_there_after_a_restart_whole_and_private() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("work");
        let dir = spooled(&root);
        let work = WorkDir::open(&root).unwrap();
        assert!(work.cut_off().is_empty());
        let [entry] = &work.spooled()[..] else { panic!("there is one") };
        assert_eq!((&entry.dir, entry.run.job, entry.run.attempt, entry.run.node), (&dir, JobId(3), 4, NodeId(2)));
        assert_eq!(entry.report.outcome, Outcome::Finished);
        assert_eq!(std::fs::read_to_string(entry.dir.join(&entry.report.uploads[0].file)).unwrap(), "1,2\n");
        for (path, mode) in
            [(root.clone(), 0o700), (dir.clone(), 0o700), (dir.join(RESULT), 0o600), (dir.join(RUN), 0o600)]
        {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        }
        let aside = work.set_aside(entry, "it came too late");
        assert!(work.spooled().is_empty() && aside.starts_with(root.join("refused")));
        assert_eq!(std::fs::read_to_string(aside.join("refused.txt")).unwrap(), "it came too late\n");
    }

    #[test]
    fn one_worker_at_a_time_uses_a_folder() {
        let temp = tempfile::tempdir().unwrap();
        let first = WorkDir::open(temp.path()).unwrap();
        assert!(matches!(WorkDir::open(temp.path()), Err(DirError::Locked(_))));
        drop(first);
        WorkDir::open(temp.path()).unwrap();
    }

    #[test]
    fn what_can_not_be_read_stays_where_it_is() {
        let temp = tempfile::tempdir().unwrap();
        let dir = spooled(temp.path());
        let work = WorkDir::open(temp.path()).unwrap();
        let text = std::fs::read_to_string(dir.join(RESULT)).unwrap();
        for broken in [text.replace("\"version\": 1", "\"version\": 2"), "{".to_owned()] {
            std::fs::write(dir.join(RESULT), broken).unwrap();
            assert!(work.spooled().is_empty() && dir.is_dir());
        }
        std::fs::write(dir.join(RESULT), text).unwrap();
        assert_eq!(work.spooled().len(), 1);
    }

    #[test]
    fn a_run_that_was_cut_off_is_found_and_one_that_never_began_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let work = WorkDir::open(temp.path()).unwrap();
        let (dir, run) = work.begin(SERVER, NodeId(1), JobId(1), 1).unwrap();
        let empty = temp.path().join("jobs/5-1-0");
        std::fs::create_dir(&empty).unwrap();
        assert_eq!(work.cut_off(), [(dir, run)]);
        assert!(!empty.exists());
    }

    #[test]
    fn nodes_are_remembered_by_server() {
        let temp = tempfile::tempdir().unwrap();
        let work = WorkDir::open(temp.path()).unwrap();
        for node in [1, 2, 1] {
            work.note_node(SERVER, NodeId(node)).unwrap();
        }
        work.note_node("http://other", NodeId(9)).unwrap();
        assert_eq!(work.nodes(SERVER), [NodeId(1), NodeId(2)]);
    }
}
