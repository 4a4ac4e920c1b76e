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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::domain::time::{Clock, Timestamp};
    use crate::server::{Running, Settings};

    /// A clock that stands until it is set.
    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::SeqCst))
        }
    }

    const START: i64 = 1_700_000_000_000_000;
    const HOUR: i64 = 3_600_000_000;

    async fn start() -> (tempfile::TempDir, Arc<Hand>, Running) {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hand(AtomicI64::new(START)));
        let settings = Settings {
            admin_password: Some("a password of tests".to_owned()),
            headroom_bytes: 0,
            clock: clock.clone(),
            ..Settings::new(dir.path())
        };
        let running = Running::start(settings).await.unwrap();
        (dir, clock, running)
    }

    async fn put(app: &App, bytes: &'static [u8]) -> Digest {
        let mut writer = app.blobs.writer(None);
        writer.write(bytes::Bytes::from_static(bytes)).await.unwrap();
        writer.finish().await.unwrap().digest()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bytes_without_a_name_go_after_a_day_and_not_before() {
        let (_dir, clock, running) = start().await;
        let app = &running.app;
        let (stray, asked_for) = (put(app, b"left by a crash").await, put(app, b"sent by PUT").await);
        app.store.await_name(asked_for.to_string()).await.unwrap();
        sweep_once(app).await.unwrap();
        clock.0.store(START + 23 * HOUR, Ordering::SeqCst);
        assert_eq!(sweep_once(app).await.unwrap(), 0);
        // Asked for again an hour before the end of the day: another day begins.
        app.store.await_name(asked_for.to_string()).await.unwrap();
        clock.0.store(START + 24 * HOUR, Ordering::SeqCst);
        assert_eq!(sweep_once(app).await.unwrap(), 1);
        assert!(!app.blobs.contains(stray) && app.blobs.contains(asked_for));
        clock.0.store(START + 47 * HOUR, Ordering::SeqCst);
        assert_eq!(sweep_once(app).await.unwrap(), 1);
        assert!(!app.blobs.contains(asked_for));
        running.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_clock_that_was_set_back_neither_loses_bytes_nor_keeps_them_for_ever() {
        let (_dir, clock, running) = start().await;
        let app = &running.app;
        clock.0.store(START + 1_000 * HOUR, Ordering::SeqCst);
        let stray = put(app, b"from the future").await;
        sweep_once(app).await.unwrap();
        clock.0.store(START, Ordering::SeqCst);
        assert_eq!(sweep_once(app).await.unwrap(), 0);
        assert_eq!(app.store.standing_of_bytes(&stray.to_string()).unwrap(), Standing::Waiting);
        clock.0.store(START + 25 * HOUR, Ordering::SeqCst);
        assert_eq!(sweep_once(app).await.unwrap(), 1);
        running.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bytes_that_an_upload_holds_outlive_the_end_of_their_day() {
        let (_dir, clock, running) = start().await;
        let app = &running.app;
        let digest = put(app, b"taken up at the last moment").await;
        app.store.await_name(digest.to_string()).await.unwrap();
        clock.0.store(START + 25 * HOUR, Ordering::SeqCst);
        let held = app.blobs.hold(digest).await.unwrap().unwrap();
        assert_eq!(sweep_once(app).await.unwrap(), 0);
        drop(held);
        assert!(app.blobs.contains(digest));
        running.stop().await;
    }
}
