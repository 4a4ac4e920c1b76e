//! Forgetting uploads that nobody goes on with.

use std::sync::Arc;

use crate::server::{App, uploads};
use crate::store::Error;

/// Uploads that one command of the writer takes.
const BATCH: u32 = 256;

/// Forgets the uploads whose time is over, and sees to the others. Gives how many it forgot.
pub(super) async fn expire_once(app: &Arc<App>) -> Result<usize, Error> {
    let mut gone = 0;
    loop {
        let expired = app.store.take_expired_uploads(BATCH).await?;
        gone += expired.len();
        if expired.len() < BATCH as usize {
            break;
        }
    }
    uploads::tidy_up(app).await?;
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::domain::ids::UserId;
    use crate::domain::time::{Clock, Timestamp};
    use crate::server::{Running, Settings};
    use crate::store::outputs::Adder;
    use crate::store::uploads::{NewUpload, Upload};

    /// A clock that stands until it is set.
    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::SeqCst))
        }
    }

    const START: i64 = 1_700_000_000_000_000;
    const HOUR: i64 = 3_600_000_000;
    const ADMIN: Adder = Adder { user: UserId(1), is_staff: true, node: None, attempt: None };

    async fn start(dir: &tempfile::TempDir, clock: &Arc<Hand>) -> Running {
        let settings = Settings {
            admin_password: Some("a password of tests".to_owned()),
            headroom_bytes: 0,
            clock: clock.clone(),
            ..Settings::new(dir.path())
        };
        Running::start(settings).await.unwrap()
    }

    async fn begin(app: &App, size: i64) -> Upload {
        let new = NewUpload { output: None, size, sha256: None, metadata: String::new() };
        app.store.begin_upload(new, ADMIN, app.upload_bounds, false).await.unwrap()
    }

    async fn send(app: &App, upload: &Upload, bytes: &'static [u8]) {
        let pk = upload.shown.pk;
        let received = app.store.upload(pk).unwrap().unwrap().shown.received;
        let mut file = app.blobs.resume(uploads::number(pk), received, upload.shown.size).await.unwrap();
        file.write(bytes::Bytes::from_static(bytes)).await.unwrap();
        let received = file.checkpoint().await.unwrap();
        file.close().await;
        app.store.note_received(pk, received, ADMIN, app.upload_bounds).await.unwrap();
    }

    fn is_there(app: &App, upload: &Upload) -> (bool, bool) {
        let pk = upload.shown.pk;
        let files = app.blobs.partials().unwrap();
        (app.store.upload(pk).unwrap().is_some(), files.contains(&uploads::number(pk)))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_upload_goes_a_day_after_its_last_piece_with_its_file() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Hand(AtomicI64::new(START))));
        let running = start(&dir, &clock).await;
        let app = &running.app;
        let (left, gone_on_with) = (begin(app, 10).await, begin(app, 10).await);
        send(app, &left, b"1234").await;
        send(app, &gone_on_with, b"1234").await;
        assert_eq!(app.store.upload_bytes_to_come().unwrap(), 12);
        clock.0.store(START + 23 * HOUR, Ordering::SeqCst);
        send(app, &gone_on_with, b"56").await;
        assert_eq!(expire_once(app).await.unwrap(), 0);
        clock.0.store(START + 24 * HOUR, Ordering::SeqCst);
        assert_eq!(expire_once(app).await.unwrap(), 1);
        assert_eq!((is_there(app, &left), is_there(app, &gone_on_with)), ((false, false), (true, true)));
        clock.0.store(START + 47 * HOUR, Ordering::SeqCst);
        assert_eq!(expire_once(app).await.unwrap(), 1);
        assert_eq!(is_there(app, &gone_on_with), (false, false));
        running.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_start_finishes_what_was_sealed_and_forgets_what_lost_its_bytes() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Hand(AtomicI64::new(START))));
        let running = start(&dir, &clock).await;
        let app = &running.app;
        // Cut off before its bytes were moved, after, and with its bytes removed by somebody; one that goes on; a file
        // without an upload.
        let [before, after, lost, open] =
            [begin(app, 4).await, begin(app, 5).await, begin(app, 9).await, begin(app, 9).await];
        for (upload, bytes, is_placed) in [(&before, b"1234".as_slice(), false), (&after, b"56789", true)] {
            let number = uploads::number(upload.shown.pk);
            let mut file = app.blobs.resume(number, 0, upload.shown.size).await.unwrap();
            file.write(bytes::Bytes::from_static(bytes)).await.unwrap();
            let sealed = file.seal(None).await.unwrap();
            app.store.seal_upload(upload.shown.pk, sealed.digest().to_string()).await.unwrap();
            if is_placed {
                drop(sealed.place().await.unwrap());
            }
        }
        send(app, &lost, b"1234").await;
        send(app, &open, b"1234").await;
        app.blobs.discard(uploads::number(lost.shown.pk)).unwrap();
        std::fs::write(dir.path().join("blobs/partial/77"), b"orphan").unwrap();
        running.stop().await;

        let running = start(&dir, &clock).await;
        let app = &running.app;
        for (upload, bytes) in [(&before, b"1234".as_slice()), (&after, b"56789")] {
            let shown = app.store.upload(upload.shown.pk).unwrap().unwrap().shown;
            assert_eq!((shown.received, shown.finished_time.is_some()), (bytes.len() as u64, true));
            assert!(app.blobs.contains(crate::blobs::Digest::of(bytes)));
        }
        assert_eq!(is_there(app, &lost), (false, false));
        send(app, &open, b"5678").await;
        expire_once(app).await.unwrap();
        assert_eq!(app.blobs.partials().unwrap(), [uploads::number(open.shown.pk)]);
        running.stop().await;
    }
}
