//! Uploads that come in pieces, over days and restarts: a file under a number that the caller gives, which stays until
//! all of its bytes are there or somebody ends it.
//!
//! How many bytes count is the caller's to remember: what a file has beyond them is cut off when it is gone on with. So
//! bytes count once they are synced and written down, in this order, and a crash between the two costs their sending.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use sha2::Sha256;

use super::partial::Partial;
use super::write::Writer;
use super::{Blobs, Digest, Held, WriteError, blocking};

/// The folder of these files, within that of the bytes.
pub(super) const PARTIAL: &str = "partial";

/// The hashes of uploads that rest, with how many bytes went in: so that what is there need not be read again. After a
/// restart it is, once.
pub(super) type Parked = Mutex<HashMap<u64, (u64, Sha256)>>;

/// An upload that is being gone on with. The caller sees to it that there is one at a time of each number.
#[derive(Debug)]
pub struct Resumed {
    number: u64,
    blobs: Blobs,
    writer: Writer,
    /// Up to where its bytes count, with their hash.
    safe: (u64, Sha256),
}

/// An upload whose bytes are all there, durable, and known by their digest.
#[derive(Debug)]
pub struct Sealed {
    blobs: Blobs,
    partial: Partial,
    digest: Digest,
}

impl Blobs {
    /// Goes on with the upload of a number at `received_bytes`; it will have `size_bytes` in all.
    ///
    /// # Errors
    /// `Io` of the kind `NotFound` or `UnexpectedEof` when its file is not there or shorter than that; those of writing.
    pub async fn resume(&self, number: u64, received_bytes: u64, size_bytes: u64) -> Result<Resumed, WriteError> {
        let (blobs, parked) = (self.clone(), self.parked().remove(&number));
        let hasher = parked.filter(|(hashed_bytes, _)| *hashed_bytes == received_bytes).map(|(_, hasher)| hasher);
        let path = self.partial_path(number);
        let partial = blocking(move || Partial::go_on(&blobs, path, received_bytes, hasher)).await?;
        let safe = (received_bytes, partial.hasher().clone());
        let writer = Writer::over(self.clone(), partial, size_bytes);
        Ok(Resumed { number, blobs: self.clone(), writer, safe })
    }

    /// Takes up an upload that was sealed, for its bytes to be placed; `None` when they were placed already.
    pub async fn take_sealed(&self, number: u64, digest: Digest) -> io::Result<Option<Sealed>> {
        let (blobs, path) = (self.clone(), self.partial_path(number));
        let taken = blocking(move || match Partial::whole(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            partial => partial.map(Some),
        });
        Ok(taken.await?.map(|partial| Sealed { blobs, partial, digest }))
    }

    /// Ends an upload: its file goes, if it is there. Blocks for a moment.
    pub fn discard(&self, number: u64) -> io::Result<()> {
        self.parked().remove(&number);
        match std::fs::remove_file(self.partial_path(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Says whether an upload has a file. Blocks for a moment.
    pub fn has_partial(&self, number: u64) -> bool {
        self.partial_path(number).exists()
    }

    /// Lists the numbers of all uploads that have a file. Blocks.
    pub fn partials(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in self.0.dir.join(PARTIAL).read_dir()? {
            numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        Ok(numbers)
    }

    fn partial_path(&self, number: u64) -> PathBuf {
        partial_place(&self.0.dir, number)
    }

    /// Locks what is parked; a panic elsewhere can't leave it half changed, so a poisoned lock is as good.
    fn parked(&self) -> std::sync::MutexGuard<'_, HashMap<u64, (u64, Sha256)>> {
        self.0.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says where in a blob directory the upload of a number has its file.
pub(super) fn partial_place(dir: &Path, number: u64) -> PathBuf {
    dir.join(PARTIAL).join(number.to_string())
}

impl Resumed {
    /// Takes the next bytes. After an error the upload can only be closed.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), WriteError> {
        self.writer.write(bytes).await
    }

    /// Gives how many bytes came in all, durable or not.
    pub fn came_bytes(&self) -> u64 {
        self.writer.received_bytes()
    }

    /// Makes all that came durable, so that it may be acknowledged; gives how many bytes that is.
    pub async fn checkpoint(&mut self) -> Result<u64, WriteError> {
        if let Some(partial) = self.writer.checkpoint().await? {
            self.safe = (partial.size_bytes(), partial.hasher().clone());
        }
        Ok(self.safe.0)
    }

    /// Lets the upload rest where its bytes last counted; returns when nothing writes to its file any more.
    pub async fn close(mut self) {
        self.writer.settle().await;
        self.blobs.parked().insert(self.number, self.safe.clone());
    }

    /// Makes all bytes durable and checks their digest against the expected one, if any. The upload stays where it is
    /// until it is placed.
    ///
    /// # Errors
    /// `Mismatch`, and those of writing.
    pub async fn seal(self, expected: Option<Digest>) -> Result<Sealed, WriteError> {
        let Self { number: _, blobs, writer, safe: _ } = self;
        let partial = writer.into_partial().await?;
        let syncing = blobs.clone();
        let (partial, digest) = blocking(move || {
            let digest = partial.digest(expected)?;
            partial.sync(&syncing)?;
            Ok::<_, WriteError>((partial, digest))
        })
        .await?;
        Ok(Sealed { blobs, partial, digest })
    }
}

impl Sealed {
    /// Gives the SHA-256 of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Gives the bytes their place; returns when that is durable.
    pub async fn place(self) -> Result<Held, WriteError> {
        let Self { blobs, partial, digest } = self;
        blocking(move || partial.place(&blobs, digest, true)).await
    }
}
