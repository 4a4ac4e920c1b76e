//! Uploads: bytes come in pieces, are hashed and written as they come, and are named once they are safe.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::task::{JoinHandle, spawn_blocking};

use super::partial::Partial;
use super::piece::Piece;
use super::{Blobs, Digest, Held, blocking};

/// How much is gathered before it goes to the disk. A body no larger is written whole by `finish`, in one go.
const PIECE_BYTES: usize = 512 * 1024;

/// How much may wait in the page cache. Without this an upload's end would wait for all of it, and, on file systems
/// with an ordered journal, so would every commit of the database beside it.
const FLUSH_EVERY_BYTES: u64 = 32 * 1024 * 1024;

/// Why bytes were not taken. Nothing of the upload is kept then.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There are more bytes than are allowed (contract §8: 413).
    #[error("the bytes exceed the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The limit that was given to `Blobs::writer`.
        limit_bytes: u64,
    },
    /// The bytes are not those that were announced (contract §8: 400).
    #[error("the bytes have the SHA-256 {actual}, not the one announced")]
    Mismatch {
        /// What the bytes that came hash to.
        actual: Digest,
    },
    /// The disk or the owner's quota is full (contract §8: 507).
    #[error("no space left for the bytes")]
    NoSpace,
    /// Less than the configured headroom would stay free (contract §8: 507).
    #[error("less than {headroom_bytes} bytes would stay free")]
    NoHeadroom {
        /// What must stay free.
        headroom_bytes: u64,
    },
    /// The file system failed in another way.
    #[error("the bytes could not be written")]
    Io(#[source] io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::NoSpace,
            _ => Self::Io(error),
        }
    }
}

/// An upload on its way. Dropped before it is finished, it leaves nothing.
///
/// One piece is written and hashed, both at once, while the next one is received. Each goes to blocking threads of its own
/// instead of one thread for the whole upload, so that many slow senders can't use up the threads that everything else needs.
#[derive(Debug)]
pub struct Writer {
    blobs: Blobs,
    limit_bytes: Option<u64>,
    expected: Option<Digest>,
    received_bytes: u64,
    /// How many of the bytes in the page cache were sent on to the disk.
    flushed_bytes: u64,
    buffer: Piece,
    /// The file, while no piece of it is being written.
    idle: Option<Partial>,
    /// The piece that is being written.
    at_work: Option<JoinHandle<Result<Written, WriteError>>>,
    flush: Option<JoinHandle<io::Result<()>>>,
    /// Set while a call runs, and left set by one that failed or was abandoned: bytes may be missing from then on.
    broken: bool,
}

/// What writing a piece gives back: the file, and the piece's emptied buffer for the piece after the next.
type Written = (Partial, Piece);

impl Writer {
    pub(super) fn new(blobs: Blobs, limit_bytes: Option<u64>) -> Self {
        Self {
            blobs,
            limit_bytes,
            expected: None,
            received_bytes: 0,
            flushed_bytes: 0,
            buffer: Piece::default(),
            idle: None,
            at_work: None,
            flush: None,
            broken: false,
        }
    }

    /// Goes on with an upload, of at most `limit_bytes` in all.
    pub(super) fn over(blobs: Blobs, partial: Partial, limit_bytes: u64) -> Self {
        let size_bytes = partial.size_bytes();
        Self { received_bytes: size_bytes, idle: Some(partial), ..Self::new(blobs, Some(limit_bytes)) }
    }

    /// Refuses an upload of a known size that is over the limit or the headroom, before a byte of it came.
    pub fn announce(&self, size_bytes: u64) -> Result<(), WriteError> {
        self.check_limit(size_bytes)?;
        self.blobs.check_headroom(size_bytes)
    }

    /// Demands that the bytes have this SHA-256; `finish` keeps nothing if they have not.
    pub fn expect(&mut self, digest: Digest) {
        self.expected = Some(digest);
    }

    /// Takes the next bytes. After an error, or if the future is dropped, the upload can't go on.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), WriteError> {
        self.enter()?;
        self.received_bytes = self.received_bytes.saturating_add(bytes.len() as u64);
        self.check_limit(self.received_bytes)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PIECE_BYTES.saturating_sub(self.buffer.len())));
            self.buffer.extend(now);
            rest = later;
            if self.buffer.len() >= PIECE_BYTES {
                self.hand_over().await?;
            }
        }
        self.broken = false;
        Ok(())
    }

    /// Gives how many bytes came.
    pub(super) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Ends the upload; returns when the bytes are in their place and durable.
    pub async fn finish(mut self) -> Result<Held, WriteError> {
        let (partial, buffer) = self.take_all().await?;
        let (blobs, expected) = (self.blobs.clone(), self.expected);
        blocking(move || written(&blobs, partial, &buffer)?.seal(&blobs, expected)).await
    }

    /// Writes all that came, and gives the file.
    pub(super) async fn into_partial(mut self) -> Result<Partial, WriteError> {
        let (partial, buffer) = self.take_all().await?;
        let blobs = self.blobs.clone();
        blocking(move || written(&blobs, partial, &buffer)).await
    }

    /// Makes all that came durable; gives the file for a look at it. The upload can go on.
    pub(super) async fn checkpoint(&mut self) -> Result<Option<&Partial>, WriteError> {
        let (partial, buffer) = self.take_all().await?;
        let blobs = self.blobs.clone();
        let synced = blocking(move || {
            let partial = written(&blobs, partial, &buffer)?;
            partial.sync(&blobs)?;
            Ok::<_, WriteError>(partial)
        });
        let partial = synced.await?;
        self.flushed_bytes = partial.cached_bytes();
        self.idle = Some(partial);
        self.broken = false;
        Ok(self.idle.as_ref())
    }

    /// Waits until nothing writes to the file any more, and gives it with what is still to be written.
    async fn take_all(&mut self) -> Result<(Option<Partial>, Piece), WriteError> {
        self.enter()?;
        let (partial, _) = self.take_partial().await?;
        // A failed sync is reported once for a file, so its result must not be lost: the last sync would succeed.
        if let Some(flush) = self.flush.take() {
            flush.await.map_err(io::Error::other)??;
        }
        Ok((partial, std::mem::take(&mut self.buffer)))
    }

    /// Waits until nothing writes to the file any more.
    pub(super) async fn settle(&mut self) {
        self.broken = true;
        drop(self.take_partial().await);
        if let Some(flush) = self.flush.take() {
            drop(flush.await);
        }
    }

    /// Marks the beginning of a call; the caller takes the mark away when all went well.
    fn enter(&mut self) -> Result<(), WriteError> {
        if std::mem::replace(&mut self.broken, true) {
            return Err(WriteError::Io(io::Error::other("the upload has failed before")));
        }
        Ok(())
    }

    /// Refuses a size that is over the limit.
    pub fn check_limit(&self, size_bytes: u64) -> Result<(), WriteError> {
        match self.limit_bytes {
            Some(limit_bytes) if size_bytes > limit_bytes => Err(WriteError::TooLarge { limit_bytes }),
            _ => Ok(()),
        }
    }

    /// Waits for the piece at work, and gives the file and an empty buffer.
    async fn take_partial(&mut self) -> Result<(Option<Partial>, Piece), WriteError> {
        let Some(task) = &mut self.at_work else { return Ok((self.idle.take(), Piece::with_room(PIECE_BYTES))) };
        // Taken away only when it has ended, so that a call that is abandoned here leaves it to be waited for.
        let ended = task.await;
        self.at_work = None;
        ended.map_err(io::Error::other)?.map(|(partial, buffer)| (Some(partial), buffer))
    }

    /// Sends the gathered piece to be written.
    async fn hand_over(&mut self) -> Result<(), WriteError> {
        let (partial, spare) = self.take_partial().await?;
        self.start_flush(partial.as_ref()).await?;
        let piece = std::mem::replace(&mut self.buffer, spare);
        self.at_work = Some(tokio::spawn(write_and_hash(self.blobs.clone(), partial, piece)));
        Ok(())
    }

    /// Starts bringing what waits in the page cache to the disk, when enough has gathered; at most one such task at a time.
    async fn start_flush(&mut self, partial: Option<&Partial>) -> Result<(), WriteError> {
        let Some(partial) = partial.filter(|partial| partial.cached_bytes() - self.flushed_bytes >= FLUSH_EVERY_BYTES)
        else {
            return Ok(());
        };
        self.flushed_bytes = partial.cached_bytes();
        if let Some(flush) = self.flush.take() {
            flush.await.map_err(io::Error::other)??;
        }
        let file = partial.file();
        self.flush = Some(spawn_blocking(move || file.sync_data()));
        Ok(())
    }
}

/// Writes a piece and hashes it meanwhile. Ends when both have ended, well or not.
async fn write_and_hash(blobs: Blobs, mut partial: Option<Partial>, piece: Piece) -> Result<Written, WriteError> {
    let mut hasher = partial.as_mut().map_or_else(Sha256::new, Partial::take_hasher);
    let piece = Arc::new(piece);
    let hashing = spawn_blocking({
        let piece = piece.clone();
        move || {
            hasher.update(piece.bytes());
            hasher
        }
    });
    let writing = spawn_blocking(move || {
        let mut partial = partial.map_or_else(|| Partial::create(&blobs), Ok)?;
        partial.write(&blobs, &piece)?;
        Ok::<_, WriteError>((partial, piece))
    });
    let (hashed, written) = (hashing.await, writing.await);
    let (mut partial, piece) = written.map_err(io::Error::other)??;
    partial.put_hasher(hashed.map_err(io::Error::other)?);
    Ok((partial, Arc::into_inner(piece).unwrap_or_default().emptied(PIECE_BYTES)))
}

/// Writes the rest of what came to the file, which is made if there was none yet.
fn written(blobs: &Blobs, partial: Option<Partial>, rest: &Piece) -> Result<Partial, WriteError> {
    let mut partial = partial.map_or_else(|| Partial::create(blobs), Ok)?;
    partial.append(blobs, rest)?;
    Ok(partial)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn store() -> (TempDir, Blobs) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), 0).unwrap();
        (dir, blobs)
    }

    /// Gives the bytes of every file below the store, those of uploads on their way included.
    fn files(dir: &TempDir) -> Vec<Vec<u8>> {
        let shards = dir.path().read_dir().unwrap().map(|shard| shard.unwrap().path());
        let files = shards.flat_map(|shard| shard.read_dir().unwrap().map(|file| file.unwrap().path()));
        files.map(|file| std::fs::read(file).unwrap()).collect()
    }

    async fn put(mut writer: Writer, bytes: &[u8], step: usize) -> Result<Held, WriteError> {
        for piece in bytes.chunks(step) {
            writer.write(Bytes::copy_from_slice(piece)).await?;
        }
        writer.finish().await
    }

    /// Runs a test to the end of its runtime, so that what it left running is over when the directory is looked at.
    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(test)
    }

    #[test]
    fn bytes_of_every_size_arrive_whole_whatever_their_pieces() {
        let bytes: Vec<u8> = (0..3 * MIB as u32 / 4 + 1).flat_map(u32::to_le_bytes).collect();
        for (size, step) in [
            (0, 1),
            (1, 1),
            (5_000, 7),
            (PIECE_BYTES - 1, 1_000),
            (PIECE_BYTES, PIECE_BYTES),
            (PIECE_BYTES + 1, PIECE_BYTES),
            (2 * PIECE_BYTES, 3 * MIB),
            (bytes.len(), 100_001),
        ] {
            let (dir, blobs) = store();
            let bytes = &bytes[..size];
            let held = run(put(blobs.writer(None), bytes, step)).unwrap();
            assert_eq!((held.digest(), held.size_bytes()), (Digest::of(bytes), size as u64));
            assert!(files(&dir) == [bytes], "{size} by {step}");
            let rights = blobs.path(held.digest()).metadata().unwrap().permissions().mode();
            assert_eq!(rights & 0o777, 0o600);
        }
    }

    /// Writes 80 MiB in pieces that are not those of the writer, after some bytes that were made durable before.
    fn put_much(begin: &[u8]) -> u64 {
        let (dir, blobs) = store();
        let bytes: Vec<u8> = (0..20 * MIB as u32).flat_map(u32::to_le_bytes).collect();
        let (held, cached_bytes, flushed_bytes) = run(async {
            let mut writer = blobs.writer(None);
            writer.write(Bytes::copy_from_slice(begin)).await.unwrap();
            writer.checkpoint().await.unwrap();
            for piece in bytes.chunks(700_001) {
                writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
                assert!(writer.buffer.len() <= PIECE_BYTES);
            }
            writer.checkpoint().await.unwrap();
            let cached_bytes = writer.idle.as_ref().unwrap().cached_bytes();
            let flushed_bytes = writer.flushed_bytes;
            (writer.finish().await.unwrap(), cached_bytes, flushed_bytes)
        });
        let whole = [begin, &bytes].concat();
        assert_eq!((held.size_bytes(), held.digest()), (whole.len() as u64, Digest::of(&whole)));
        assert!(files(&dir) == [whole]);
        assert_eq!(flushed_bytes, cached_bytes);
        cached_bytes
    }

    #[test]
    fn a_big_body_that_does_not_suit_the_disk_passes_through_flushes() {
        assert_eq!(put_much(b"x"), 80 * MIB as u64 + 1);
    }

    #[test]
    fn a_big_body_goes_past_the_page_cache_where_that_is_possible() {
        let probe = tempfile::NamedTempFile::new().unwrap();
        let is_possible = crate::blobs::partial::open_past_cache(probe.path()).is_ok();
        assert_eq!(put_much(b""), if is_possible { 4 * MIB as u64 } else { 80 * MIB as u64 });
    }

    #[test]
    fn the_limit_is_the_last_size_that_passes() {
        for limit in [0, 5, PIECE_BYTES + 5] {
            let (dir, blobs) = store();
            let bytes = vec![1; limit + 1];
            let writer = || blobs.writer(Some(limit as u64));
            let refused = run(put(writer(), &bytes, 1_000));
            assert!(matches!(refused, Err(WriteError::TooLarge { limit_bytes }) if limit_bytes == limit as u64));
            assert!(files(&dir).is_empty());
            assert!(writer().announce(limit as u64).is_ok());
            assert!(matches!(writer().announce(limit as u64 + 1), Err(WriteError::TooLarge { .. })));
            assert!(run(put(writer(), &bytes[1..], 1_000)).is_ok());
        }
    }

    #[test]
    fn an_upload_dropped_anywhere_leaves_nothing() {
        for size in [0, 10, PIECE_BYTES, 5 * PIECE_BYTES + 1] {
            let (dir, blobs) = store();
            run(async {
                let mut writer = blobs.writer(None);
                writer.write(vec![1; size].into()).await.unwrap();
            });
            assert!(files(&dir).is_empty(), "dropped after {size} bytes");
            run(async {
                let mut writer = blobs.writer(None);
                writer.write(vec![1; size].into()).await.unwrap();
                // Polled once at most: the end is under way when the future is dropped.
                let finish = tokio::spawn(writer.finish());
                tokio::task::yield_now().await;
                finish.abort();
            });
            let left = files(&dir);
            assert!(left.is_empty() || left == [vec![1; size]], "a half of {size} bytes was left");
        }
    }

    #[test]
    fn after_an_error_the_upload_is_over() {
        let (dir, blobs) = store();
        run(async {
            let mut writer = blobs.writer(Some(3));
            assert!(writer.write(Bytes::from_static(b"four")).await.is_err());
            assert!(matches!(writer.write(Bytes::from_static(b"x")).await, Err(WriteError::Io(_))));
            assert!(writer.finish().await.is_err());
        });
        assert!(files(&dir).is_empty());
    }

    #[test]
    fn equal_bytes_are_kept_once_and_damaged_ones_replaced() {
        let (dir, blobs) = store();
        let first = run(put(blobs.writer(None), b"same", 4)).unwrap();
        let inode = || std::os::unix::fs::MetadataExt::ino(&blobs.path(first.digest()).metadata().unwrap());
        let before = inode();
        let second = run(put(blobs.writer(None), b"same", 1)).unwrap();
        assert_eq!((second.digest(), inode()), (first.digest(), before));
        assert_eq!(files(&dir), [b"same"]);
        std::fs::write(blobs.path(first.digest()), b"sa").unwrap();
        let third = run(put(blobs.writer(None), b"same", 4)).unwrap();
        assert_eq!((third.size_bytes(), files(&dir)), (4, vec![b"same".to_vec()]));
    }

    #[test]
    fn other_bytes_than_announced_are_not_kept() {
        let (dir, blobs) = store();
        let mut writer = blobs.writer(None);
        writer.expect(Digest::of(b"announced"));
        let refused = run(put(writer, b"came", 4));
        assert!(matches!(refused, Err(WriteError::Mismatch { actual }) if actual == Digest::of(b"came")));
        assert!(files(&dir).is_empty());
        assert!(blobs.0.holds.removal(Digest::of(b"came")).is_some(), "no hold is left");
        let mut writer = blobs.writer(None);
        writer.expect(Digest::of(b"came"));
        assert!(run(put(writer, b"came", 4)).is_ok());
    }

    #[test]
    fn without_headroom_nothing_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), u64::MAX).unwrap();
        for size in [0, 3 * PIECE_BYTES] {
            let refused = run(put(blobs.writer(None), &vec![1; size], MIB));
            assert!(matches!(refused, Err(WriteError::NoHeadroom { headroom_bytes: u64::MAX })));
        }
        assert!(matches!(blobs.writer(None).announce(0), Err(WriteError::NoHeadroom { .. })));
        assert!(files(&dir).is_empty());
    }

    #[test]
    fn a_full_disk_is_told_from_other_errors() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge] {
            assert!(matches!(WriteError::from(io::Error::from(kind)), WriteError::NoSpace));
        }
        assert!(matches!(WriteError::from(io::Error::from(io::ErrorKind::PermissionDenied)), WriteError::Io(_)));
        // A store whose directory for uploads is gone fails without a panic.
        let (dir, blobs) = store();
        std::fs::remove_dir(dir.path().join("incoming")).unwrap();
        assert!(matches!(run(put(blobs.writer(None), b"x", 1)), Err(WriteError::Io(_))));
    }
}
