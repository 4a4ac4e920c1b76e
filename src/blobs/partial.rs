//! The file of an upload, from its creation under a passing name to its place under the name of its bytes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::faults::Point;
use super::piece::{Piece, suits_disk};
use super::{Blobs, Digest, Held, WriteError, sync_dir};

/// From here on the disk fetches the bytes of an upload by itself, where the file system lets it: they would displace in
/// the page cache what is read more than once, and the copy into it took more than half of the time of a large upload
/// (`benches/RESULTS.md`). What comes before is most likely read again soon.
const CACHED_BYTES: u64 = 4 * 1024 * 1024;
/// How often the headroom is looked at during an upload.
const HEADROOM_EVERY_BYTES: u64 = 64 * 1024 * 1024;
/// How much is read at a time to be hashed again.
const READ_BYTES: usize = 1024 * 1024;

/// The file of an upload: deleted when dropped unless it was moved to its place, or is one that may be gone on with.
#[derive(Debug)]
pub(super) struct Partial {
    file: Arc<File>,
    past_cache: PastCache,
    path: TempPath,
    hasher: Sha256,
    size_bytes: u64,
    /// How many bytes went through the page cache and not past it.
    cached_bytes: u64,
    headroom_checked_bytes: u64,
}

/// The file once more, opened for writing past the page cache.
#[derive(Debug)]
enum PastCache {
    NotTried,
    Works(File),
    /// The file system, or its disk, can't.
    Fails,
}

impl Partial {
    /// Begins one, if there is room for it.
    pub(super) fn create(blobs: &Blobs) -> Result<Self, WriteError> {
        blobs.check_headroom(0)?;
        blobs.0.faults.meet(Point::Create)?;
        let path = blobs.incoming_path();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self::over(file, TempPath { path, keep: false }, Sha256::new(), 0))
    }

    /// Goes on with one that was left at `size_bytes`; what its file has beyond that is cut off. Without the `hasher` of
    /// what is there, that is read again. At 0 bytes the file is made.
    pub(super) fn go_on(
        blobs: &Blobs,
        path: PathBuf,
        size_bytes: u64,
        hasher: Option<Sha256>,
    ) -> Result<Self, WriteError> {
        blobs.check_headroom(0)?;
        blobs.0.faults.meet(Point::Create)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(size_bytes == 0).truncate(false).mode(0o600);
        let mut file = options.open(&path)?;
        if file.metadata()?.len() < size_bytes {
            let sentence = "the file of an upload is shorter than it was";
            return Err(WriteError::Io(io::Error::new(io::ErrorKind::UnexpectedEof, sentence)));
        }
        file.set_len(size_bytes)?;
        if size_bytes == 0 {
            // The name is durable before anything is acknowledged.
            blobs.0.faults.meet(Point::SyncDir)?;
            path.parent().map_or(Ok(()), sync_dir)?;
        }
        let hasher = match hasher {
            Some(hasher) => hasher,
            None => hash_again(&mut file)?,
        };
        Ok(Self::over(file, TempPath { path, keep: true }, hasher, size_bytes))
    }

    /// Takes up one whose bytes are all there and synced, and are known to have the digest that it is then placed by.
    pub(super) fn whole(path: PathBuf) -> io::Result<Self> {
        let file = File::open(&path)?;
        let size_bytes = file.metadata()?.len();
        Ok(Self::over(file, TempPath { path, keep: true }, Sha256::new(), size_bytes))
    }

    fn over(file: File, path: TempPath, hasher: Sha256, size_bytes: u64) -> Self {
        Self {
            file: Arc::new(file),
            past_cache: PastCache::NotTried,
            path,
            hasher,
            size_bytes,
            cached_bytes: 0,
            headroom_checked_bytes: size_bytes,
        }
    }

    /// Writes and hashes the next bytes.
    pub(super) fn append(&mut self, blobs: &Blobs, piece: &Piece) -> Result<(), WriteError> {
        self.write(blobs, piece)?;
        self.hasher.update(piece.bytes());
        Ok(())
    }

    /// Writes the next bytes; they are still to be hashed.
    pub(super) fn write(&mut self, blobs: &Blobs, piece: &Piece) -> Result<(), WriteError> {
        if self.size_bytes - self.headroom_checked_bytes >= HEADROOM_EVERY_BYTES {
            blobs.check_headroom(0)?;
            self.headroom_checked_bytes = self.size_bytes;
        }
        blobs.0.faults.meet(Point::Write)?;
        if !self.write_past_cache(piece)? {
            self.file.write_all_at(piece.bytes(), self.size_bytes)?;
            self.cached_bytes += piece.len() as u64;
        }
        self.size_bytes += piece.len() as u64;
        Ok(())
    }

    /// Writes the next bytes past the page cache if they, their place and the file system are such that this is possible,
    /// and says whether they were.
    fn write_past_cache(&mut self, piece: &Piece) -> io::Result<bool> {
        if self.size_bytes < CACHED_BYTES || !suits_disk(self.size_bytes) || !piece.suits_disk() {
            return Ok(false);
        }
        if let PastCache::NotTried = self.past_cache {
            self.past_cache = open_past_cache(&self.path.path).map_or(PastCache::Fails, PastCache::Works);
        }
        let PastCache::Works(file) = &self.past_cache else { return Ok(false) };
        match file.write_all_at(piece.bytes(), self.size_bytes) {
            // A disk with larger blocks than the usual.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.past_cache = PastCache::Fails;
                Ok(false)
            }
            written => written.map(|()| true),
        }
    }

    /// Gives the state of the hash away, for bytes to be added elsewhere while they are written.
    pub(super) fn take_hasher(&mut self) -> Sha256 {
        std::mem::take(&mut self.hasher)
    }

    /// Takes the state of the hash back.
    pub(super) fn put_hasher(&mut self, hasher: Sha256) {
        self.hasher = hasher;
    }

    /// Gives how many bytes went through the page cache, from where they reach the disk some time later.
    pub(super) fn cached_bytes(&self) -> u64 {
        self.cached_bytes
    }

    /// Gives how many bytes were written.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Gives the file, to sync it from elsewhere.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Gives the state of the hash over all bytes written.
    pub(super) fn hasher(&self) -> &Sha256 {
        &self.hasher
    }

    /// Makes the bytes written so far durable.
    pub(super) fn sync(&self, blobs: &Blobs) -> io::Result<()> {
        blobs.0.faults.meet(Point::Sync)?;
        self.file.sync_data()
    }

    /// Gives the SHA-256 of all bytes.
    ///
    /// # Errors
    /// `Mismatch` when another one is expected.
    pub(super) fn digest(&self, expected: Option<Digest>) -> Result<Digest, WriteError> {
        let digest = Digest(self.hasher.clone().finalize().into());
        match expected {
            Some(expected) if expected != digest => Err(WriteError::Mismatch { actual: digest }),
            _ => Ok(digest),
        }
    }

    /// Makes the bytes durable and gives them their name.
    pub(super) fn seal(self, blobs: &Blobs, expected: Option<Digest>) -> Result<Held, WriteError> {
        let digest = self.digest(expected)?;
        self.place(blobs, digest, false)
    }

    /// Makes the bytes durable and gives them the name of their digest; where that is taken, they are not needed.
    pub(super) fn place(mut self, blobs: &Blobs, digest: Digest, is_acknowledged: bool) -> Result<Held, WriteError> {
        // The hold comes before the look at the place: a sweep between the two would take what was seen.
        let hold = blobs.0.holds.hold(digest);
        let is_beside = if blobs.size_on_disk(digest)? == Some(self.size_bytes) {
            true
        } else {
            // Synced before it is named, so that what stands under a name is whole even after a loss of power.
            blobs.0.faults.meet(Point::Sync)?;
            self.file.sync_all()?;
            blobs.0.faults.meet(Point::Rename)?;
            let place = blobs.path(digest);
            // Bytes that were acknowledged piece by piece keep their old name until the new one is durable: not every file
            // system loses both ends of a rename or none. One without links has to do with the rename.
            let is_linked = is_acknowledged && std::fs::hard_link(&self.path.path, &place).is_ok();
            if !is_linked {
                self.path.rename(&place)?;
            }
            is_linked
        };
        blobs.sync_name(digest)?;
        if is_beside {
            self.path.keep = false;
        }
        Ok(Held { digest, size_bytes: self.size_bytes, _hold: hold })
    }
}

/// Opens a file for writing past the page cache.
#[cfg(target_os = "linux")]
pub(super) fn open_past_cache(path: &Path) -> io::Result<File> {
    let flag = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).map_err(io::Error::other)?;
    OpenOptions::new().write(true).custom_flags(flag).open(path)
}

/// Elsewhere there is no such flag.
#[cfg(not(target_os = "linux"))]
pub(super) fn open_past_cache(_path: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Hashes a file from its beginning to its end.
fn hash_again(file: &mut File) -> io::Result<Sha256> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; READ_BYTES];
    file.seek(SeekFrom::Start(0))?;
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(hasher),
            Ok(count) => hasher.update(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A path whose file is deleted when this is dropped, on a panic as well, unless it is to be kept.
#[derive(Debug)]
struct TempPath {
    path: PathBuf,
    keep: bool,
}

impl TempPath {
    fn rename(&mut self, place: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, place)?;
        self.keep = true;
        Ok(())
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        // What can't be deleted now is deleted when the store is opened next.
        if !self.keep
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, "could not delete the file of an abandoned upload");
        }
    }
}
