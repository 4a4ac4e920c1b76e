//! Content-addressed bytes in a directory; knows nothing of jobs, HTTP or SQL.
//!
//! ```text
//! blobs/ab/cdef…    bytes whose SHA-256 is abcdef…, complete and synced, never changed
//! blobs/incoming/   uploads on their way; whatever a crash leaves here is deleted at the next start
//! blobs/partial/    uploads that come in pieces, by a number; they stay until somebody ends them
//! ```
//!
//! The order that keeps every promise is *bytes before row, row before bytes gone*: [`Writer::finish`] returns when
//! the bytes are durable, and gives a [`Held`] that keeps the sweep away until the row that names them is committed;
//! [`Blobs::remove_unreferenced`] unlinks only what no row names and nobody holds.

mod digest;
mod faults;
mod holds;
pub mod offline;
mod partial;
mod piece;
mod read;
mod resume;
mod sweep;
mod write;

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use digest::{BadDigest, Digest};
pub use read::{Pieces, Reader};
pub use resume::{Resumed, Sealed};
pub use sweep::Listing;
pub use write::{WriteError, Writer};

use holds::{Hold, Holds};

/// The store of bytes. Clones share one.
#[derive(Debug, Clone)]
pub struct Blobs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    headroom_bytes: u64,
    uploads: AtomicU64,
    holds: Arc<Holds>,
    parked: resume::Parked,
    faults: faults::Faults,
}

/// Bytes that are on disk and can't be swept until this is dropped: keep it until the row that names them is
/// committed.
#[derive(Debug)]
#[must_use = "dropped, it no longer keeps the bytes from being swept"]
pub struct Held {
    digest: Digest,
    size_bytes: u64,
    /// Held for its `Drop` alone.
    _hold: Hold,
}

impl Held {
    /// Gives the SHA-256 of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Gives how many bytes there are.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

impl Blobs {
    /// Opens the store in a directory, making what is missing, with rights for the owner alone.
    ///
    /// The caller must be the only one who uses the directory: leftovers of earlier uploads are deleted. An upload
    /// is refused when it would leave less than `headroom_bytes` free on the file system.
    pub fn open(dir: impl Into<PathBuf>, headroom_bytes: u64) -> io::Result<Self> {
        let dir = dir.into();
        if !dir.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_dir(parent)?;
            }
        }
        // All the directories are made and synced here, so that an upload has only its own entry to sync.
        let shards = (0..=u8::MAX).map(|byte| format!("{byte:02x}"));
        for name in shards.chain(["incoming".to_owned(), resume::PARTIAL.to_owned()]) {
            match DirBuilder::new().mode(0o700).create(dir.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        sync_dir(&dir)?;
        for leftover in dir.join("incoming").read_dir()? {
            let leftover = leftover?;
            if !leftover.file_type()?.is_dir() {
                std::fs::remove_file(leftover.path())?;
            }
        }
        Ok(Self(Arc::new(Inner {
            dir,
            headroom_bytes,
            uploads: AtomicU64::new(0),
            holds: Arc::default(),
            parked: Default::default(),
            faults: Default::default(),
        })))
    }

    /// Begins an upload of at most `limit_bytes`.
    pub fn writer(&self, limit_bytes: Option<u64>) -> Writer {
        Writer::new(self.clone(), limit_bytes)
    }

    /// Takes a hold on bytes that are already there, to attach them without sending them again.
    pub async fn hold(&self, digest: Digest) -> io::Result<Option<Held>> {
        let blobs = self.clone();
        blocking(move || blobs.hold_existing(digest)).await
    }

    /// Gives how many bytes have this digest; `None` if they are not here.
    pub async fn size_of(&self, digest: Digest) -> io::Result<Option<u64>> {
        let blobs = self.clone();
        blocking(move || blobs.size_on_disk(digest)).await
    }

    /// Opens bytes for reading; `None` if they are not here.
    ///
    /// They stay readable through the `Reader` even if they are swept meanwhile.
    pub async fn open_read(&self, digest: Digest) -> io::Result<Option<Reader>> {
        let path = self.path(digest);
        blocking(move || Reader::open(&path)).await
    }

    /// Gives how many bytes the file system has left for this process.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.0.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Gives how many bytes uploads must leave free.
    pub fn headroom_bytes(&self) -> u64 {
        self.0.headroom_bytes
    }

    /// Refuses when `coming_bytes` more would leave less than the headroom free.
    pub fn check_headroom(&self, coming_bytes: u64) -> Result<(), WriteError> {
        let headroom_bytes = self.0.headroom_bytes;
        if headroom_bytes > 0 && self.free_bytes()?.saturating_sub(coming_bytes) < headroom_bytes {
            return Err(WriteError::NoHeadroom { headroom_bytes });
        }
        Ok(())
    }

    /// Takes a hold first and looks for the bytes then, in that order, since they could be swept between.
    fn hold_existing(&self, digest: Digest) -> io::Result<Option<Held>> {
        let hold = self.0.holds.hold(digest);
        let Some(size_bytes) = self.size_on_disk(digest)? else { return Ok(None) };
        self.sync_name(digest)?;
        Ok(Some(Held { digest, size_bytes, _hold: hold }))
    }

    /// Opens bytes for plain reading, by code that may block; `None` when they are not here.
    pub fn open_file(&self, digest: Digest) -> io::Result<Option<File>> {
        match File::open(self.path(digest)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says whether bytes are here. Whoever goes on to name them holds them, with [`Blobs::hold`]. Blocks for a moment.
    pub fn contains(&self, digest: Digest) -> bool {
        self.size_on_disk(digest).is_ok_and(|size| size.is_some())
    }

    /// Gives the size of the bytes, if they are here.
    fn size_on_disk(&self, digest: Digest) -> io::Result<Option<u64>> {
        match std::fs::symlink_metadata(self.path(digest)) {
            Ok(found) => Ok(found.is_file().then_some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says where bytes have their place.
    fn path(&self, digest: Digest) -> PathBuf {
        let mut shard = digest.to_string();
        let name = shard.split_off(2);
        self.0.dir.join(shard).join(name)
    }

    /// Makes the name of bytes durable. Whoever finds bytes in their place needs this too: the upload that named them
    /// may have done so a moment ago, and not have synced yet.
    fn sync_name(&self, digest: Digest) -> io::Result<()> {
        self.0.faults.meet(faults::Point::SyncDir)?;
        self.path(digest).parent().map_or(Ok(()), sync_dir)
    }

    /// Gives a path for an upload that no other has had since the store was opened.
    fn incoming_path(&self) -> PathBuf {
        let number = self.0.uploads.fetch_add(1, Ordering::Relaxed);
        self.0.dir.join("incoming").join(number.to_string())
    }
}

/// Makes the entries of a directory durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Runs what waits for the disk on a thread meant for waiting.
async fn blocking<T: Send + 'static, E: From<io::Error> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    // The task fails only by a panic or at the end of the runtime.
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error).into()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn opens_with_rights_for_the_owner_alone_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data").join("blobs");
        for _ in 0..2 {
            let blobs = Blobs::open(&root, 0).unwrap();
            assert!(blobs.free_bytes().unwrap() > 0);
        }
        for path in [root.clone(), root.join("incoming"), root.join("00"), root.join("ff")] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{path:?}");
        }
        assert_eq!(root.read_dir().unwrap().count(), 258);
    }

    #[test]
    fn leftovers_of_a_crash_are_gone_after_opening_and_the_rest_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), 0).unwrap();
        let digest = Digest::of(b"kept");
        std::fs::write(blobs.path(digest), b"kept").unwrap();
        std::fs::write(dir.path().join("incoming/0"), b"half").unwrap();
        std::fs::write(dir.path().join("partial/1"), b"half").unwrap();
        let blobs = Blobs::open(dir.path(), 0).unwrap();
        assert_eq!(dir.path().join("incoming").read_dir().unwrap().count(), 0);
        assert_eq!(dir.path().join("partial").read_dir().unwrap().count(), 1);
        assert_eq!(blobs.size_on_disk(digest).unwrap(), Some(4));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Blobs::open(file.path(), 0).is_err());
        assert!(Blobs::open(file.path().join("below"), 0).is_err());
    }

    #[tokio::test]
    async fn only_bytes_that_are_there_can_be_held() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), 0).unwrap();
        let digest = Digest::of(b"bytes");
        assert!(blobs.hold(digest).await.unwrap().is_none());
        assert!(blobs.0.holds.removal(digest).is_some(), "a hold that failed must not stay");
        std::fs::write(blobs.path(digest), b"bytes").unwrap();
        let held = blobs.hold(digest).await.unwrap().unwrap();
        assert_eq!((held.digest(), held.size_bytes()), (digest, 5));
        assert!(blobs.0.holds.removal(digest).is_none());
    }

    #[test]
    fn headroom_counts_what_is_coming() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), 1).unwrap();
        assert!(blobs.check_headroom(0).is_ok());
        assert!(matches!(blobs.check_headroom(u64::MAX), Err(WriteError::NoHeadroom { headroom_bytes: 1 })));
        let blobs = Blobs::open(dir.path(), u64::MAX).unwrap();
        assert!(matches!(blobs.check_headroom(0), Err(WriteError::NoHeadroom { .. })));
    }
}
