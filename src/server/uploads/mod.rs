//! Resumable uploads beneath their HTTP: one at a time writes to each, bytes count once they are on disk, and what a
//! crash cut off at the end is finished at the next start.
//!
//! ```text
//! append: bytes → file … sync → row (received)      again and again, every 64 MiB and at the end of a piece
//! finish: all bytes → sync, digest → row (sealed) → the bytes' place, synced → row (finished) with the output's
//! ```

mod append;
mod busy;
mod finish;

pub(crate) use append::{Checksum, Piece, append};
pub(crate) use busy::{Busy, Turn};
pub(crate) use finish::{finish, tidy_up};

use std::sync::Arc;

use super::App;
use crate::blobs::WriteError;
use crate::domain::ids::UploadId;
use crate::server::error::ApiError;
use crate::store;

/// Forgets an upload, and removes its file; says whether it was there.
pub(crate) async fn forget(app: &Arc<App>, upload: UploadId) -> Result<bool, store::Error> {
    let was_there = app.store.forget_upload(upload).await?;
    // Also when somebody else has forgotten it meanwhile: the file may have been written anew.
    discard(app, upload);
    Ok(was_there)
}

/// Removes the file of an upload that is forgotten, in the background. What a crash keeps it from removing, the sweep
/// does.
fn discard(app: &Arc<App>, upload: UploadId) {
    let app = app.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = app.blobs.discard(number(upload)) {
            tracing::warn!(%error, %upload, "the file of an upload could not be removed");
        }
    });
}

/// Gives the number under which an upload has its file.
pub(crate) fn number(upload: UploadId) -> u64 {
    // Keys are positive.
    upload.0.unsigned_abs()
}

/// What can stop an upload, on its way to an answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database says no.
    Store(store::Error),
    /// The bytes can't be taken.
    Write(WriteError),
    /// Anything else that has an answer of its own.
    Api(ApiError),
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Write(error.into())
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error.into(),
            Failure::Write(error) => super::handlers::outputs::write_error(error),
            Failure::Api(error) => error,
        }
    }
}

impl Failure {
    /// Says whether the upload can come to nothing any more, so that it is forgotten: what it is for is refused for
    /// good, or its bytes are not those that were announced. A job that was reset or cancelled does not come back to
    /// the attempt that the upload is part of.
    pub(crate) fn is_final(&self) -> bool {
        use store::Error as E;
        match self {
            Self::Store(E::Refused(_) | E::DuplicateOutput | E::StaleAttempt { .. } | E::NodeGone | E::NotFound) => {
                true
            }
            Self::Write(WriteError::Mismatch { .. }) => true,
            Self::Store(_) | Self::Write(_) | Self::Api(_) => false,
        }
    }
}
