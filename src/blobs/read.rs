//! Downloads: bytes in pieces, one read ahead, never silently short.

use std::fs::File;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use rustix::buffer::spare_capacity;
use tokio::task::{JoinHandle, spawn_blocking};

/// How much is read at a time. A stream has two pieces at most: the one given out and the one read ahead.
const PIECE_BYTES: usize = 512 * 1024;

/// How far ahead of the bytes that are read the disk is asked for more, in bytes. An upload leaves most of a large file out
/// of the page cache, and what the system reads ahead by itself is too little for a quick disk.
const ASKED_AHEAD_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes that are open for reading; they outlive their being swept.
#[derive(Debug)]
pub struct Reader {
    file: Arc<File>,
    size_bytes: u64,
}

impl Reader {
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let size_bytes = file.metadata()?.len();
        Ok(Some(Self { file: Arc::new(file), size_bytes }))
    }

    /// Gives how many bytes are on disk, which is fewer than were put there if the file was damaged.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Streams `length` bytes from the `first` one on.
    ///
    /// If the file ends before, the stream ends with `UnexpectedEof`, so that a body of an announced length is cut
    /// off and its receiver can tell.
    pub fn stream(&self, first: u64, length: u64) -> Pieces {
        let mut pieces =
            Pieces { file: Arc::clone(&self.file), offset: first, asked_bytes: first, left: length, ahead: None };
        pieces.read_ahead();
        pieces
    }
}

/// A range of bytes as a stream. Must be made and polled inside a tokio runtime.
#[derive(Debug)]
pub struct Pieces {
    file: Arc<File>,
    /// Where the bytes begin that are not being read yet, and how many they are.
    offset: u64,
    left: u64,
    /// Up to where the disk was asked for bytes.
    asked_bytes: u64,
    ahead: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Pieces {
    /// Starts reading the next piece, if there is one.
    fn read_ahead(&mut self) {
        if self.left == 0 {
            return;
        }
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        let asked_bytes = self.asked_bytes;
        self.asked_bytes = offset.saturating_add(self.left.min(ASKED_AHEAD_BYTES + length as u64));
        let to_ask = self.asked_bytes.saturating_sub(asked_bytes);
        self.offset = self.offset.saturating_add(length as u64);
        self.left -= length as u64;
        self.ahead = Some(spawn_blocking(move || {
            ask_for(&file, asked_bytes, to_ask);
            read_whole(&file, offset, length)
        }));
    }
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(ahead) = &mut self.ahead else { return Poll::Ready(None) };
        let piece = ready!(Pin::new(ahead).poll(context)).unwrap_or_else(|error| Err(io::Error::other(error)));
        self.ahead = None;
        if piece.is_ok() {
            self.read_ahead();
        }
        Poll::Ready(Some(piece))
    }
}

/// Asks the disk for bytes that are wanted soon, and does not wait for them. A hint: without it they come later.
#[cfg(target_os = "linux")]
fn ask_for(file: &File, offset: u64, length: u64) {
    if let Some(length) = std::num::NonZeroU64::new(length)
        && let Err(error) = rustix::fs::fadvise(file, offset, Some(length), rustix::fs::Advice::WillNeed)
    {
        tracing::debug!(%error, "the disk can't be asked ahead");
    }
}

/// Elsewhere there is no such call.
#[cfg(not(target_os = "linux"))]
fn ask_for(_file: &File, _offset: u64, _length: u64) {}

/// Reads exactly so many bytes.
fn read_whole(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(length);
    while piece.len() < length {
        let position = offset.saturating_add(piece.len() as u64);
        // The room behind the vector's end is read into as it is: clearing it first costs as much as the reading.
        match rustix::io::pread(file, spare_capacity(&mut piece), position) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The vector may have been given more room than was asked for, and read more.
    piece.truncate(length);
    Ok(piece.into())
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, TryStreamExt};

    use super::*;

    /// Three pieces and a bit, no two of which look alike.
    fn sample() -> Vec<u8> {
        (0..3 * PIECE_BYTES as u32 / 4 + 10).flat_map(u32::to_le_bytes).collect()
    }

    fn file_of(bytes: &[u8]) -> (tempfile::NamedTempFile, Reader) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let reader = Reader::open(file.path()).unwrap().unwrap();
        (file, reader)
    }

    #[tokio::test]
    async fn every_range_comes_as_it_was_put() {
        let bytes = sample();
        let (_file, reader) = file_of(&bytes);
        assert_eq!(reader.size_bytes(), bytes.len() as u64);
        let (size, piece) = (bytes.len(), PIECE_BYTES);
        for (first, length) in [
            (0, size),
            (0, 0),
            (size, 0),
            (0, 1),
            (size - 1, 1),
            (piece - 1, 2),
            (piece, piece),
            (5, 2 * piece),
            (7, size - 7),
        ] {
            let pieces: Vec<Bytes> = reader.stream(first as u64, length as u64).try_collect().await.unwrap();
            assert!(pieces.iter().all(|p| !p.is_empty() && p.len() <= PIECE_BYTES));
            assert!(pieces.concat() == bytes[first..first + length], "{first} {length}");
        }
    }

    #[tokio::test]
    async fn a_short_file_ends_with_an_error_and_nothing_after() {
        let (file, reader) = file_of(&sample());
        file.as_file().set_len(PIECE_BYTES as u64 + 10).unwrap();
        let results: Vec<_> = reader.stream(0, reader.size_bytes()).collect().await;
        assert_eq!(results.len(), 2);
        assert_eq!(results[0].as_ref().unwrap().len(), PIECE_BYTES);
        assert_eq!(results[1].as_ref().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(reader.stream(u64::MAX, u64::MAX).next().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn bytes_stay_readable_when_their_file_is_unlinked() {
        let (file, reader) = file_of(b"still here");
        file.close().unwrap();
        let pieces: Vec<Bytes> = reader.stream(0, 10).try_collect().await.unwrap();
        assert_eq!(pieces.concat(), b"still here");
    }
}
