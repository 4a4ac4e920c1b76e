//! Looking after a data directory from outside the server: check, verify, back up, restore.
//!
//! ```text
//! DIR/labrun.db   the database          DIR/token.key   the key of the tokens
//! DIR/blobs/      bytes by SHA-256      DIR/damaged/    bytes that `verify --repair` set aside
//! DIR/lock        locked by the process that uses the directory
//! DIR/labrun.reserve   room that is given up for deletes when the disk is full
//! DIR/server.json where the running server can be called from this machine
//! ```

mod address;
mod backup;
mod lock;
mod verify;

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use address::{Announced, Announcement, announce, announced, read_private};
pub use backup::{backup, restore};
pub use lock::{LockError, lock};
pub use verify::{Report, repair, verify};

use crate::store::offline::Offline;

/// The database's name in a data directory.
const DATABASE: &str = "labrun.db";
/// The name of the folder of bytes.
const BLOBS: &str = "blobs";
/// The key of the tokens.
const TOKEN_KEY: &str = "token.key";

/// Why a data directory can't be looked after. Damage is no error: it is what a report tells.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory is not what it should be; a sentence for people.
    #[error("{0}")]
    Directory(String),
    /// Another process uses it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database can't be opened.
    #[error(transparent)]
    Open(#[from] crate::store::OpenError),
    /// The database can't be read.
    #[error("the database can't be read: {0}")]
    Store(#[from] crate::store::Error),
    /// A file can't be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Names the file with what the system said of it.
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// Hears how far a long piece of work is.
pub trait Progress {
    /// A part of the work begins; it has so many units (bytes, unless its name says otherwise).
    fn begin(&self, what: &'static str, total: u64);
    /// So many more units are done.
    fn advance(&self, units: u64);
    /// The part is over.
    fn end(&self);
}

/// Looks for a short while at whether a server could serve from a directory: `None` when all is well, else what is
/// wrong, a sentence for people. The flag says whether the time sufficed for all of the database.
pub fn check(dir: &Path, at_most: Duration) -> Result<(bool, Option<String>), Error> {
    let database = open_database(dir)?;
    let found = database.quick_check(at_most)?;
    let whole = found.is_some();
    if let Some(problem) = found.and_then(|problems| problems.into_iter().next()) {
        return Ok((whole, Some(format!("the database is damaged: {problem}; restore a backup"))));
    }
    if !dir.join(BLOBS).is_dir() && database.count_named()? > 0 {
        return Ok((whole, Some("the folder blobs is missing: put it back, or restore a backup".to_owned())));
    }
    Ok((whole, None))
}

/// Opens the database of a data directory for reading.
fn open_database(dir: &Path) -> Result<Offline, Error> {
    let path = dir.join(DATABASE);
    // Whoever may not look is told so, and not that there is nothing.
    if !path.try_exists().map_err(Error::file(&path))? {
        return Err(Error::Directory(format!("{} is no data directory: it has no file {DATABASE}", dir.display())));
    }
    Ok(Offline::open(&path)?)
}

/// Makes a directory for its owner alone, or takes one that is empty.
fn make_empty(dir: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::file(dir))?;
    check_empty(dir)
}

/// Refuses a directory that holds anything; one that is not there will do.
fn check_empty(dir: &Path) -> Result<(), Error> {
    let entries = match dir.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::file(dir))?,
    };
    if entries.count() > 0 {
        return Err(Error::Directory(format!("{} is not empty: name a directory that is new or empty", dir.display())));
    }
    Ok(())
}

/// Makes the entries of a directory durable.
fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::file(dir))
}
