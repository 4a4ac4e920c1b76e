//! A file that does nothing but take up room. On a disk that is full to the last byte it is given up, so that what frees
//! room can be written; until it is there again, nothing else is written, which would only fill the disk anew.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, fallocate};

/// How much it takes up, in bytes: the pages that the removal of a job with thousands of events changes.
const RESERVE_BYTES: u64 = 4 << 20;

/// The reserve of a database.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    given_up: AtomicBool,
}

impl Reserve {
    /// Makes the file if it is not there. Where that fails, there is no reserve, and the disk is filled to the end.
    pub(super) fn keep(path: PathBuf) -> Self {
        let reserve = Self { path, given_up: AtomicBool::new(false) };
        if let Err(error) = reserve.make() {
            tracing::warn!(%error, "no room is kept for deletes on a full disk");
        }
        reserve
    }

    /// Gives the room up; says whether there was any.
    pub(super) fn give_up(&self) -> bool {
        if std::fs::remove_file(&self.path).is_err() {
            return false;
        }
        tracing::warn!("the disk is full: only what frees room is written until there is more of it");
        self.given_up.store(true, Ordering::SeqCst);
        true
    }

    /// Says whether the room is kept; takes it back if it was given up and can be had.
    pub(super) fn is_kept(&self) -> bool {
        if !self.given_up.load(Ordering::Relaxed) {
            return true;
        }
        let is_back = self.make().is_ok();
        if is_back && self.given_up.swap(false, Ordering::SeqCst) {
            tracing::info!("the disk has room again");
        }
        is_back
    }

    fn make(&self) -> io::Result<()> {
        // Other threads may be about it as well; the file is whole or not there all the same.
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&self.path)?;
        take_room(&file).inspect_err(|_| drop(std::fs::remove_file(&self.path)))
    }
}

/// Has the file system set room aside; one that can't is given zeros.
fn take_room(mut file: &File) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, RESERVE_BYTES) {
        Err(rustix::io::Errno::OPNOTSUPP) => {
            io::copy(&mut io::Read::take(io::repeat(0), RESERVE_BYTES), &mut file)?;
            file.sync_all()
        }
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_kept_given_up_once_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reserve");
        let length = || path.metadata().map(|found| found.len()).ok();
        let reserve = Reserve::keep(path.clone());
        assert_eq!((reserve.is_kept(), length()), (true, Some(RESERVE_BYTES)));
        assert!(reserve.give_up() && !reserve.give_up());
        assert_eq!(length(), None);
        assert_eq!((reserve.is_kept(), length()), (true, Some(RESERVE_BYTES)));
        // Where it can't be had, it is not kept.
        assert!(reserve.give_up());
        std::fs::create_dir(&path).unwrap();
        assert!(!reserve.is_kept());
        std::fs::remove_dir(&path).unwrap();
        assert!(reserve.is_kept());
    }
}
