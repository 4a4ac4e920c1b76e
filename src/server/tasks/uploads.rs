//! Forgetting uploads that nobody goes on with.

use std::sync::Arc;

use crate::domain::ids::UploadId;
use crate::server::App;
use crate::store::Error;

/// Uploads that one command of the writer takes.
const BATCH: u32 = 256;

/// Forgets the uploads whose time is over, and removes their files and those that a crash or a hard delete left behind.
/// Gives how many uploads it forgot.
pub(super) async fn expire_once(app: &Arc<App>) -> Result<usize, Error> {
    let mut gone = 0;
    loop {
        let expired = app.store.take_expired_uploads(BATCH).await?;
        gone += expired.len();
        if expired.len() < BATCH as usize {
            break;
        }
    }
    let looking = app.clone();
    let removed = tokio::task::spawn_blocking(move || remove_orphans(&looking)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(%error, "files of uploads that are gone could not be looked for");
    }
    Ok(gone)
}

fn remove_orphans(app: &App) -> std::io::Result<()> {
    for number in app.blobs.partials()? {
        let open = app.store.is_open_upload(UploadId(number.try_into().unwrap_or(0)));
        if let Ok(false) = open {
            app.blobs.discard(number)?;
        }
    }
    Ok(())
}
