//! A piece of an upload: bytes into its file, and into its row once they are on disk.

use std::io::ErrorKind;
use std::sync::Arc;

use sha2::digest::DynDigest;

use super::{Failure, Turn, finish, forget, number};
use crate::blobs::{Digest, Resumed, WriteError};
use crate::server::App;
use crate::server::error::ApiError;
use crate::server::request::Body;
use crate::server::tasks::Pulse;
use crate::store::Error;
use crate::store::outputs::Adder;
use crate::store::uploads::Upload;

/// How many bytes of a long piece are taken before they are acknowledged in the row: what a crash can cost.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// What a piece must hash to.
pub(crate) struct Checksum {
    pub(crate) hasher: Box<dyn DynDigest + Send>,
    pub(crate) expected: Vec<u8>,
}

/// A piece that is coming.
pub(crate) struct Piece {
    pub(crate) body: Body,
    /// Bytes that are not counted before all of the piece is there and right, if it has a checksum.
    pub(crate) checksum: Option<Checksum>,
    pub(crate) by: Adder,
    pub(crate) turn: Turn,
}

/// Takes a piece, as far as it comes; gives the upload as it then is, and the body, for the rest of it to be read.
///
/// What comes before a connection breaks off is kept, unless the piece has a checksum. Whoever calls this lets it run
/// to its end, even if nobody waits for the answer any more.
///
/// # Errors
/// 460 for a piece that is not what its checksum says: nothing of it counts. 413 for more bytes than were announced,
/// 507, 404 when the upload is gone, and what adding its output would be refused with.
pub(crate) async fn append(app: Arc<App>, upload: Upload, mut piece: Piece) -> (Body, Result<Upload, ApiError>) {
    let result = take(&app, &upload, &mut piece).await;
    if let Err(failure) = &result
        && failure.is_final()
        && let Err(error) = forget(&app, upload.shown.pk).await
    {
        tracing::warn!(%error, upload = %upload.shown.pk, "an upload that came to nothing stays until it expires");
    }
    // The file is settled; another may write to it.
    drop(piece.turn);
    (piece.body, result.map_err(ApiError::from))
}

async fn take(app: &Arc<App>, upload: &Upload, piece: &mut Piece) -> Result<Upload, Failure> {
    let (pk, size) = (upload.shown.pk, upload.shown.size);
    let mut file = match app.blobs.resume(number(pk), upload.shown.received, size).await {
        Err(WriteError::Io(error)) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => {
            tracing::error!(%error, upload = %pk, "the bytes of an upload are gone; its client has to begin anew");
            return Err(Error::NotFound.into());
        }
        file => file?,
    };
    match receive(app, upload, piece, &mut file).await {
        Ok(()) if file.came_bytes() == size => {
            let expected = upload.shown.sha256.as_ref().and_then(|hex| hex.parse::<Digest>().ok());
            let sealed = file.seal(expected).await?;
            note_sign(app, piece.by);
            finish(app, pk, Some(sealed), piece.by).await
        }
        Ok(()) => {
            let kept = acknowledge(app, upload, piece.by, &mut file).await;
            file.close().await;
            kept?;
            app.store.upload(pk)?.ok_or(Failure::Store(Error::NotFound))
        }
        Err(failure) => {
            file.close().await;
            Err(failure)
        }
    }
}

/// Writes what comes, to the end of the body or as far as it comes.
async fn receive(app: &Arc<App>, upload: &Upload, piece: &mut Piece, file: &mut Resumed) -> Result<(), Failure> {
    let mut acknowledged = upload.shown.received;
    let mut pulse = Pulse::of(piece.by.node);
    loop {
        let next = tokio::select! {
            next = piece.body.next() => next,
            () = piece.turn.wanted() => Err(ApiError::bad_request("incomplete_body", "Another call goes on with it.")),
        };
        let bytes = match next {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break,
            // Half a piece can't be checked.
            Err(error) if piece.checksum.is_some() => return Err(error.into()),
            Err(error) => {
                if file.came_bytes() < upload.shown.size {
                    acknowledge(app, upload, piece.by, file).await?;
                    return Err(error.into());
                }
                break;
            }
        };
        piece.turn.heard();
        pulse.beat(app);
        if let Some(checksum) = &mut piece.checksum {
            checksum.hasher.update(&bytes);
        }
        file.write(bytes).await?;
        let waiting = file.came_bytes() - acknowledged;
        if piece.checksum.is_none() && waiting >= CHECKPOINT_BYTES && file.came_bytes() < upload.shown.size {
            acknowledged = acknowledge(app, upload, piece.by, file).await?;
        }
    }
    let Some(Checksum { hasher, expected }) = piece.checksum.take() else { return Ok(()) };
    if *hasher.finalize() == *expected { Ok(()) } else { Err(checksum_mismatch().into()) }
}

/// Makes what came durable and writes down that it counts; gives how many bytes that is.
async fn acknowledge(app: &Arc<App>, upload: &Upload, by: Adder, file: &mut Resumed) -> Result<u64, Failure> {
    let received = file.checkpoint().await?;
    note_sign(app, by);
    app.store.note_received(upload.shown.pk, received, by, app.upload_bounds).await?;
    Ok(received)
}

/// Notes that the node is alive on whose behalf the bytes were sent.
fn note_sign(app: &App, by: Adder) {
    if let Some(node) = by.node {
        app.signs.note(node, app.clock.now());
    }
}

/// 460, which tus has for this alone.
fn checksum_mismatch() -> ApiError {
    let status = warp::http::StatusCode::from_u16(460).unwrap_or(warp::http::StatusCode::BAD_REQUEST);
    ApiError::new(
        status,
        "checksum_mismatch",
        "The bytes that came are not those of the checksum; none of them counts.",
    )
}
