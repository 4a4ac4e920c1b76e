//! What runs in the background: each loop stands over a step that tests can call by itself.

mod due;

use std::sync::Arc;
use std::time::Duration;

use super::App;
use crate::blobs::Digest;
use crate::store;

pub(super) use due::SignsOfLife;

/// How long soft state (last seen, last login) may stay in memory only.
const FLUSH_EVERY: Duration = Duration::from_secs(3);

/// Runs until the server stops.
pub(super) async fn run(app: Arc<App>) {
    let sweep = tokio::task::spawn_blocking({
        let app = app.clone();
        move || sweep_leftovers(&app)
    });
    let due = tokio::spawn(due::run(app.clone()));
    let claims = tokio::spawn(super::claims::run(app.clone()));
    let hub = tokio::spawn(super::watch::hub::run(app.clone()));
    flush_again_and_again(&app).await;
    drop(sweep.await);
    for ended in [due.await, claims.await, hub.await] {
        if let Err(error) = ended {
            tracing::error!(%error, "a background task ended with a panic");
        }
    }
}

/// Writes the soft state down every few seconds, until the server stops.
async fn flush_again_and_again(app: &App) {
    let mut stopping = app.stopping.clone();
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(FLUSH_EVERY) => {}
        }
        if let Err(error) = flush_soft_state(app).await {
            tracing::warn!(%error, "the last-seen times could not be written; they are tried again");
        }
    }
}

/// Writes the soft state down.
pub(super) async fn flush_soft_state(app: &App) -> Result<(), store::Error> {
    let (nodes, users) = app.soft.take_dirty();
    let written = async {
        if !nodes.is_empty() {
            app.store.set_last_seen(nodes.clone()).await?;
        }
        if !users.is_empty() {
            app.store.set_last_logins(users.clone()).await?;
        }
        Ok(())
    };
    let result: Result<(), store::Error> = written.await;
    if result.is_err() {
        app.soft.put_back(nodes, users);
    }
    result
}

/// Removes bytes (SHA-256 in hex) that a hard delete or a refused upload left without a row, in the background. What a
/// crash keeps it from removing, the sweep at the next start does.
pub(super) fn reclaim(app: &Arc<App>, digests: Vec<String>) {
    if digests.is_empty() {
        return;
    }
    let app = app.clone();
    tokio::task::spawn_blocking(move || {
        for hex in digests {
            match hex.parse::<Digest>() {
                Ok(digest) => remove_unnamed(&app, digest),
                Err(_) => tracing::error!(hex, "a row's digest can't be read"),
            }
        }
    });
}

/// Removes what a crash left: bytes that were safe already, but whose row was not.
fn sweep_leftovers(app: &App) {
    for digest in app.blobs.list() {
        if *app.stopping.borrow() {
            return;
        }
        match digest {
            Ok(digest) => remove_unnamed(app, digest),
            Err(error) => tracing::warn!(%error, "the blob directory could not be listed"),
        }
    }
}

/// Removes bytes if no row names them and no upload holds them.
fn remove_unnamed(app: &App, digest: Digest) {
    let is_named = || app.store.names_bytes(&digest.to_string()).map_err(std::io::Error::other);
    if let Err(error) = app.blobs.remove_unreferenced(digest, is_named) {
        tracing::warn!(%error, %digest, "bytes that nothing names could not be removed");
    }
}
