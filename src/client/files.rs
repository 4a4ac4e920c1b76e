//! Files on their way up and down: read in pieces, hashed, and told of as they go.

use std::io::{Read as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::Response;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::watch;

use super::ClientError;
use super::call::{MakeBody, hex};

/// How much of a file is read at a time, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// A part of a file as the body of a call.
pub(super) struct FilePart {
    path: PathBuf,
    first: u64,
    length: u64,
    hash: Arc<Mutex<Sha256>>,
    sent: watch::Sender<u64>,
}

impl FilePart {
    /// Takes `length` bytes of a file, from its byte `first` on.
    pub(super) fn new(path: &Path, first: u64, length: u64) -> Self {
        Self { path: path.to_owned(), first, length, hash: Arc::default(), sent: watch::Sender::new(0) }
    }

    /// Gives the SHA-256 of all that was sent last, in hex.
    pub(super) fn hex(&self) -> String {
        hex(&self.hash.lock().unwrap_or_else(PoisonError::into_inner).clone().finalize())
    }

    /// Waits for a call that sends this, and tells meanwhile how many bytes of it have gone.
    pub(super) async fn told<T>(&self, call: impl Future<Output = T>, mut tell: impl FnMut(u64)) -> T {
        let mut sent = self.sent.subscribe();
        let mut call = std::pin::pin!(call);
        loop {
            tokio::select! {
                biased;
                answer = &mut call => return answer,
                // The sender lives as long as `self`.
                Ok(()) = sent.changed() => {
                    let sent = *sent.borrow_and_update();
                    tell(sent);
                }
            }
        }
    }
}

impl MakeBody for FilePart {
    fn make(&self) -> BoxFuture<'_, Result<(u64, reqwest::Body), ClientError>> {
        async {
            let opened = async {
                let mut file = tokio::fs::File::open(&self.path).await?;
                file.seek(SeekFrom::Start(self.first)).await?;
                Ok(file)
            };
            let file = opened.await.map_err(ClientError::file(&self.path))?;
            self.hash.lock().unwrap_or_else(PoisonError::into_inner).reset();
            self.sent.send_replace(0);
            // No more than was announced is read, in case the file grows meanwhile.
            let state = (file.take(self.length), self.hash.clone(), self.sent.clone());
            let chunks = futures_util::stream::try_unfold(state, |(mut file, hash, sent)| async move {
                let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
                if file.read_buf(&mut chunk).await? == 0 {
                    return Ok::<_, std::io::Error>(None);
                }
                hash.lock().unwrap_or_else(PoisonError::into_inner).update(&chunk);
                sent.send_modify(|sent| *sent += chunk.len() as u64);
                Ok(Some((chunk.freeze(), (file, hash, sent))))
            });
            Ok((self.length, reqwest::Body::wrap_stream(chunks)))
        }
        .boxed()
    }
}

/// Gives the length of a file, in bytes.
pub(super) async fn length_of(path: &Path) -> Result<u64, ClientError> {
    Ok(tokio::fs::metadata(path).await.map_err(ClientError::file(path))?.len())
}

/// Gives the SHA-256 of a file in hex, and its length in bytes.
pub(super) async fn hash_of(path: &Path) -> Result<(String, u64), ClientError> {
    let owned = path.to_owned();
    let hashed = tokio::task::spawn_blocking(move || {
        let (mut file, mut hash, mut length) = (std::fs::File::open(owned)?, Sha256::new(), 0);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok((hex(&hash.finalize()), length)),
                count => {
                    hash.update(chunk.get(..count).unwrap_or_default());
                    length += count as u64;
                }
            }
        }
    });
    hashed.await.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(ClientError::file(path))
}

/// Writes an answer's body into a file, in constant memory, and checks its SHA-256. The file appears under its name only
/// when all of it is there and right; it replaces one that is there. Gives its length in bytes.
pub(super) async fn write_checked(
    answer: Response,
    expected: String,
    file: &Path,
    progress: impl FnMut(u64, u64) + Send,
) -> Result<u64, ClientError> {
    let mut partial = file.as_os_str().to_owned();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    match write_partial(answer, expected, &partial, progress).await {
        Ok(length) => {
            tokio::fs::rename(&partial, file).await.map_err(ClientError::file(file))?;
            Ok(length)
        }
        Err(error) => {
            // The first error is the one to tell; a file that can't be removed either adds nothing to it.
            tokio::fs::remove_file(&partial).await.ok();
            Err(error)
        }
    }
}

async fn write_partial(
    mut answer: Response,
    expected: String,
    path: &Path,
    mut progress: impl FnMut(u64, u64) + Send,
) -> Result<u64, ClientError> {
    let total = answer.content_length().unwrap_or_default();
    let mut file = tokio::fs::File::create(path).await.map_err(ClientError::file(path))?;
    let mut hash = Sha256::new();
    let mut length = 0;
    while let Some(chunk) = answer.chunk().await? {
        hash.update(&chunk);
        length += chunk.len() as u64;
        file.write_all(&chunk).await.map_err(ClientError::file(path))?;
        progress(length, total.max(length));
    }
    compare(expected, hex(&hash.finalize()))?;
    file.sync_all().await.map_err(ClientError::file(path))?;
    Ok(length)
}

/// Fails unless the two digests are the same.
pub(super) fn compare(expected: String, actual: String) -> Result<(), ClientError> {
    if expected.eq_ignore_ascii_case(&actual) { Ok(()) } else { Err(ClientError::Damaged { expected, actual }) }
}
