//! The file of an upload, from its creation under a passing name to its place under the name of its bytes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::faults::Point;
use super::{Blobs, Digest, Held, WriteError};

/// How often the headroom is looked at during an upload.
const HEADROOM_EVERY_BYTES: u64 = 64 * 1024 * 1024;

/// The file of an upload, deleted when dropped unless it was moved to its place.
#[derive(Debug)]
pub(super) struct Partial {
    file: Arc<File>,
    path: TempPath,
    hasher: Sha256,
    size_bytes: u64,
    headroom_checked_bytes: u64,
}

impl Partial {
    /// Begins one, if there is room for it.
    pub(super) fn create(blobs: &Blobs) -> Result<Self, WriteError> {
        blobs.check_headroom(0)?;
        blobs.0.faults.meet(Point::Create)?;
        let path = blobs.incoming_path();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self {
            file: Arc::new(file),
            path: TempPath(Some(path)),
            hasher: Sha256::new(),
            size_bytes: 0,
            headroom_checked_bytes: 0,
        })
    }

    /// Writes and hashes the next bytes.
    pub(super) fn append(&mut self, blobs: &Blobs, piece: &[u8]) -> Result<(), WriteError> {
        if self.size_bytes - self.headroom_checked_bytes >= HEADROOM_EVERY_BYTES {
            blobs.check_headroom(0)?;
            self.headroom_checked_bytes = self.size_bytes;
        }
        blobs.0.faults.meet(Point::Write)?;
        (&*self.file).write_all(piece)?;
        self.hasher.update(piece);
        self.size_bytes += piece.len() as u64;
        Ok(())
    }

    /// Gives how many bytes were written.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Gives the file, to sync it from elsewhere.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Makes the bytes durable and gives them their name.
    pub(super) fn seal(self, blobs: &Blobs, expected: Option<Digest>) -> Result<Held, WriteError> {
        let Self { file, path: temp, hasher, size_bytes, headroom_checked_bytes: _ } = self;
        let digest = Digest(hasher.finalize().into());
        if expected.is_some_and(|expected| expected != digest) {
            return Err(WriteError::Mismatch { actual: digest });
        }
        // The hold comes before the look at the place: a sweep between the two would take what was seen.
        let hold = blobs.0.holds.hold(digest);
        if blobs.size_on_disk(digest)? != Some(size_bytes) {
            // Synced before it is named, so that what stands under a name is whole even after a loss of power.
            blobs.0.faults.meet(Point::Sync)?;
            file.sync_all()?;
            blobs.0.faults.meet(Point::Rename)?;
            temp.rename(&blobs.path(digest))?;
        }
        blobs.sync_name(digest)?;
        Ok(Held { digest, size_bytes, _hold: hold })
    }
}

/// A path whose file is deleted when this is dropped, on a panic as well.
#[derive(Debug)]
struct TempPath(Option<PathBuf>);

impl TempPath {
    fn rename(mut self, place: &Path) -> io::Result<()> {
        if let Some(path) = &self.0 {
            std::fs::rename(path, place)?;
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        // What can't be deleted now is deleted when the store is opened next.
        if let Some(path) = &self.0
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(%error, "could not delete the file of an abandoned upload");
        }
    }
}
