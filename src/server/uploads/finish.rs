//! The end of an upload: its bytes get their place and their name.

use std::sync::Arc;

use super::{Failure, forget, number};
use crate::blobs::{Digest, Held, Sealed};
use crate::domain::ids::UploadId;
use crate::server::App;
use crate::server::tasks::reclaim;
use crate::store::Error;
use crate::store::outputs::Adder;
use crate::store::uploads::Upload;

/// Uploads that are looked at together at a start.
const BATCH: u32 = 256;

/// Finishes an upload: the bytes that are `sealed` just now, or were before a crash or a database that could not be
/// written. Gives the upload as it then is.
///
/// # Errors
/// What adding its output is refused with: then the upload is to be forgotten, and its bytes go.
pub(crate) async fn finish(
    app: &Arc<App>,
    upload: UploadId,
    sealed: Option<Sealed>,
    by: Adder,
) -> Result<Upload, Failure> {
    let held = match sealed {
        Some(sealed) => {
            app.store.seal_upload(upload, sealed.digest().to_string()).await?;
            sealed.place().await?
        }
        None => take_up(app, upload).await?,
    };
    let finished = app.store.finish_upload(upload, by).await;
    let sha256 = held.digest().to_string();
    drop(held);
    let finished = finished.map_err(Failure::from);
    if finished.as_ref().is_err_and(Failure::is_final) {
        reclaim(app, vec![sha256]);
    }
    finished
}

/// Takes up the bytes of an upload that was sealed earlier, wherever it was cut off.
async fn take_up(app: &Arc<App>, upload: UploadId) -> Result<Held, Failure> {
    let row = app.store.upload(upload)?.filter(|row| row.sealed).ok_or(Error::NotFound)?;
    let digest = row.shown.sha256.as_ref().and_then(|hex| hex.parse::<Digest>().ok());
    let digest = digest.ok_or_else(|| Error::Broken(format!("the upload {upload} is sealed without its digest")))?;
    if let Some(sealed) = app.blobs.take_sealed(number(upload), digest).await? {
        return Ok(sealed.place().await?);
    }
    match app.blobs.hold(digest).await? {
        Some(held) => Ok(held),
        None => {
            tracing::error!(%upload, %digest, "the bytes of an upload are gone; its client has to begin anew");
            Err(Error::NotFound.into())
        }
    }
}

/// Sees to the uploads that nobody writes to: finishes what was sealed, with the rights of those who sent it; forgets
/// what has lost its bytes; removes the files of uploads that are gone. At a start this is what a crash left undone.
///
/// # Errors
/// When the database can't be used.
pub(crate) async fn tidy_up(app: &Arc<App>) -> Result<(), Error> {
    let mut after = UploadId(0);
    loop {
        let open = app.store.open_uploads(after, BATCH).await?;
        let Some(last) = open.last() else { break };
        after = last.shown.pk;
        for upload in open {
            if let Some(_turn) = app.uploads.take(upload.shown.pk) {
                look_at(app, upload.shown.pk).await?;
            }
        }
    }
    let looking = app.clone();
    if let Ok(Err(error)) = tokio::task::spawn_blocking(move || remove_orphans(&looking)).await {
        tracing::warn!(%error, "files of uploads that are gone could not be looked for");
    }
    Ok(())
}

async fn look_at(app: &Arc<App>, pk: UploadId) -> Result<(), Error> {
    let Some(upload) = app.store.upload(pk)?.filter(|upload| upload.shown.finished_time.is_none()) else {
        return Ok(());
    };
    let shown = &upload.shown;
    let failure = if upload.sealed {
        let is_staff = app.store.user_access(shown.creator)?.is_some_and(|user| user.is_active && user.is_staff);
        let by = Adder { user: shown.creator, is_staff, node: upload.node, attempt: upload.attempt };
        finish(app, pk, None, by).await.err()
    } else if shown.received > 0 && !app.blobs.has_partial(number(pk)) {
        Some(Error::NotFound.into())
    } else {
        None
    };
    match failure {
        Some(failure) if failure.is_final() => {
            tracing::warn!(upload = %pk, ?failure, "an upload can't go on, and is forgotten");
            forget(app, pk).await?;
        }
        // It is tried again.
        Some(failure) => tracing::warn!(upload = %pk, ?failure, "an upload could not be finished yet"),
        None => {}
    }
    Ok(())
}

/// Removes files whose upload is not open any more. Their rows come first and go first, so none is needed.
fn remove_orphans(app: &App) -> std::io::Result<()> {
    for number in app.blobs.partials()? {
        let open = app.store.is_open_upload(UploadId(number.try_into().unwrap_or(0)));
        if let Ok(false) = open {
            app.blobs.discard(number)?;
        }
    }
    Ok(())
}
