//! The lock on a data directory: one process changes it at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::domain::time::Timestamp;

/// Why a data directory can't be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process uses it.
    #[error("the data directory {dir} is in use by {holder}: stop that one first, or choose another directory")]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// Who holds it, as it wrote itself down.
        holder: String,
    },
    /// It can't be used.
    #[error("the data directory {dir} can't be used: {source}")]
    Unusable {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Makes the data directory if need be and locks it until the file is closed; the system lets go of it even after a
/// crash. The lock file says who holds it.
pub fn lock(dir: &Path, now: Timestamp) -> Result<File, LockError> {
    let unusable = |source| LockError::Unusable { dir: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(dir.join("lock")).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            drop(file.read_to_string(&mut holder));
            let holder = if holder.trim().is_empty() { "another process".to_owned() } else { holder.trim().to_owned() };
            return Err(LockError::InUse { dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(unusable(source)),
    }
    let holder = format!("process {} since {now}\n", std::process::id());
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes())).map_err(unusable)?;
    Ok(file)
}
