//! Taking away bytes that nothing refers to.
//!
//! Bytes that lose their last name to a hard delete go at once ([`reclaim`]). Bytes that came without a name, or
//! whose upload or removal a crash cut off, are noted when the sweep first meets them and go a day later. Either way
//! `Blobs::remove_unreferenced` asks the database once more while no upload can take the same bytes up.

use std::sync::Arc;

use crate::blobs::Digest;
use crate::server::App;
use crate::store::blobs::Standing;

/// How long bytes that nothing refers to are kept, in seconds (contract §11).
const GRACE_S: i64 = 24 * 60 * 60;
/// Digests that one command of the writer takes.
const BATCH: usize = 256;

/// Removes bytes (SHA-256 in hex) that a hard delete or a refused upload left without a row, in the background. What
/// a crash keeps it from removing, the sweep does.
pub(crate) fn reclaim(app: &Arc<App>, digests: Vec<String>) {
    if digests.is_empty() {
        return;
    }
    let app = app.clone();
    tokio::task::spawn_blocking(move || {
        for hex in digests {
            remove(&app, &hex);
        }
    });
}

/// Removes what has waited for a day, and notes what it meets for the first time. Gives how many it removed.
pub(super) async fn sweep_once(app: &Arc<App>) -> Result<usize, crate::store::Error> {
    let mut removed = 0;
    let before = app.clock.now().plus_seconds(-GRACE_S);
    loop {
        let expired = app.store.take_expired(before, BATCH as u32).await?;
        let last = expired.len() < BATCH;
        let app = app.clone();
        let work = move || expired.iter().filter(|hex| remove(&app, hex)).count();
        removed += tokio::task::spawn_blocking(work).await.unwrap_or_default();
        if last {
            break;
        }
    }
    let mut listing = app.blobs.list();
    loop {
        let looking = app.clone();
        let found = tokio::task::spawn_blocking(move || {
            let met = unknown(&looking, &mut listing);
            (met, listing)
        });
        let Ok((met, rest)) = found.await else { return Ok(removed) };
        listing = rest;
        if met.is_empty() {
            return Ok(removed);
        }
        app.store.note_unreferenced(met).await?;
    }
}

/// Lists on until a batch of digests is together that the database does not know; none when the end is reached.
fn unknown(app: &App, listing: &mut crate::blobs::Listing) -> Vec<String> {
    let mut met = Vec::new();
    while met.len() < BATCH && !*app.stopping.borrow() {
        match listing.next() {
            None => break,
            Some(Err(error)) => tracing::warn!(%error, "a part of the blob directory could not be listed"),
            Some(Ok(digest)) => {
                let hex = digest.to_string();
                match app.store.standing_of_bytes(&hex) {
                    Ok(Standing::Unknown) => met.push(hex),
                    Ok(Standing::Named | Standing::Waiting) => {}
                    Err(error) => tracing::warn!(%error, "the sweep could not ask about bytes"),
                }
            }
        }
    }
    met
}

/// Removes bytes if no row refers to them and no upload holds them; says whether it did.
fn remove(app: &App, hex: &str) -> bool {
    let Ok(digest) = hex.parse::<Digest>() else {
        tracing::error!(hex, "a row's digest can't be read");
        return false;
    };
    let is_wanted = || {
        let standing = app.store.standing_of_bytes(hex).map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(standing != Standing::Unknown)
    };
    app.blobs.remove_unreferenced(digest, is_wanted).unwrap_or_else(|error| {
        tracing::warn!(%error, %digest, "bytes that nothing refers to could not be removed");
        false
    })
}
