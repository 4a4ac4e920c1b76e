//! The named points at which a disk can fail an upload. Tests make it fail there; otherwise nothing happens.

use std::io;

/// A step of an upload that asks something of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    Create,
    Write,
    Sync,
    Rename,
    SyncDir,
}

/// What the disk is to fail next.
#[derive(Debug, Default)]
pub(super) struct Faults {
    #[cfg(test)]
    planned: std::sync::Mutex<Option<(Point, io::ErrorKind)>>,
}

impl Faults {
    /// Fails if a test planned so.
    #[cfg(test)]
    pub(super) fn meet(&self, point: Point) -> io::Result<()> {
        let mut planned = self.planned.lock().unwrap();
        match planned.take_if(|(at, _)| *at == point) {
            Some((_, kind)) => Err(kind.into()),
            None => Ok(()),
        }
    }

    /// Lets the step happen.
    #[cfg(not(test))]
    #[inline]
    pub(super) fn meet(&self, _: Point) -> io::Result<()> {
        Ok(())
    }

    /// Plans the failure of the next such step.
    #[cfg(test)]
    fn plan(&self, point: Point, kind: io::ErrorKind) {
        *self.planned.lock().unwrap() = Some((point, kind));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::blobs::{Blobs, Digest, WriteError};

    /// Every step of an upload fails once in every way: the upload is told so, nothing is left behind that claims to
    /// be whole, and the next upload of the same bytes succeeds.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_disk_that_fails_at_any_step_costs_that_upload_and_nothing_else() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
        let digest = Digest::of(&bytes);
        for point in [Point::Create, Point::Write, Point::Sync, Point::Rename, Point::SyncDir] {
            for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
                let dir = tempfile::tempdir().unwrap();
                let blobs = Blobs::open(dir.path(), 0).unwrap();
                let upload = async || {
                    let mut writer = blobs.writer(None);
                    for piece in bytes.chunks(300_000) {
                        writer.write(Bytes::copy_from_slice(piece)).await?;
                    }
                    writer.finish().await
                };
                blobs.0.faults.plan(point, kind);
                let failed = upload().await.expect_err("the disk failed");
                let full = matches!(failed, WriteError::NoSpace);
                assert_eq!(full, kind != io::ErrorKind::Other, "{point:?} {kind:?}: {failed:?}");
                let left: Vec<Digest> = blobs.list().collect::<io::Result<_>>().unwrap();
                // The name may have been given when its own sync failed; the bytes under it are whole and synced.
                assert!(left.is_empty() || (point == Point::SyncDir && left == [digest]), "{point:?}: {left:?}");
                assert!(blobs.0.holds.removal(digest).is_some(), "{point:?}: no hold is left");
                let held = upload().await.expect("the disk works again");
                assert_eq!((held.digest(), held.size_bytes()), (digest, bytes.len() as u64));
                let incoming = dir.path().join("incoming").read_dir().unwrap().count();
                assert_eq!(incoming, 0, "{point:?} {kind:?} left a file behind");
            }
        }
    }

    /// The same for an upload in pieces: what was acknowledged before the disk failed is there, and it goes on from
    /// there, also when the hash of it is forgotten as by a restart.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_disk_that_fails_in_a_later_piece_takes_nothing_from_the_earlier_ones() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
        let (size, cut) = (bytes.len() as u64, 300_001);
        for point in [Point::Create, Point::Write, Point::Sync, Point::Rename, Point::SyncDir] {
            for restart in [false, true] {
                let dir = tempfile::tempdir().unwrap();
                let blobs = Blobs::open(dir.path(), 0).unwrap();
                let mut first = blobs.resume(7, 0, size).await.unwrap();
                first.write(Bytes::copy_from_slice(&bytes[..cut])).await.unwrap();
                assert_eq!(first.checkpoint().await.unwrap(), cut as u64);
                first.close().await;
                let blobs = if restart { Blobs::open(dir.path(), 0).unwrap() } else { blobs };
                let rest = async || {
                    let mut file = blobs.resume(7, cut as u64, size).await?;
                    if let Err(error) = file.write(Bytes::copy_from_slice(&bytes[cut..])).await {
                        file.close().await;
                        return Err(error);
                    }
                    file.seal(Some(Digest::of(&bytes))).await?.place().await
                };
                blobs.0.faults.plan(point, io::ErrorKind::StorageFull);
                let failed = rest().await.expect_err("the disk failed");
                assert!(matches!(failed, WriteError::NoSpace), "{point:?}: {failed:?}");
                let held = if point == Point::SyncDir {
                    // Its bytes have their place already, and their old name, since the new one may not be durable.
                    assert!(blobs.hold(Digest::of(&bytes)).await.unwrap().is_some());
                    let sealed = blobs.take_sealed(7, Digest::of(&bytes)).await.unwrap().expect("they are there");
                    sealed.place().await.expect("the disk works again")
                } else {
                    rest().await.expect("the disk works again")
                };
                assert_eq!((held.digest(), held.size_bytes()), (Digest::of(&bytes), size));
                assert!(blobs.partials().unwrap().is_empty(), "{point:?} left a file behind");
            }
        }
    }

    /// The same where another upload gave the bytes their place already: whether that name is durable, only the sync tells.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_failed_sync_takes_no_name_of_an_upload_whose_bytes_were_there() {
        let bytes = Bytes::from_static(b"the same in both");
        let digest = Digest::of(&bytes);
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), 0).unwrap();
        let mut in_pieces = blobs.resume(7, 0, bytes.len() as u64).await.unwrap();
        in_pieces.write(bytes.clone()).await.unwrap();
        let sealed = in_pieces.seal(Some(digest)).await.unwrap();
        let mut writer = blobs.writer(None);
        writer.write(bytes).await.unwrap();
        let _other = writer.finish().await.unwrap();
        blobs.0.faults.plan(Point::SyncDir, io::ErrorKind::Other);
        sealed.place().await.expect_err("the disk failed");
        assert_eq!(blobs.partials().unwrap(), [7], "the old name is there");
        let sealed = blobs.take_sealed(7, digest).await.unwrap().expect("and so are the bytes");
        let _held = sealed.place().await.expect("the disk works again");
        assert!(blobs.partials().unwrap().is_empty());
    }

    /// What a file has beyond the bytes that count is cut off; one that has fewer is not gone on with.
    #[tokio::test(flavor = "multi_thread")]
    async fn an_upload_goes_on_at_its_place_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), 0).unwrap();
        let path = dir.path().join("partial/3");
        std::fs::write(&path, b"abcdefgh and what did not count").unwrap();
        let mut file = blobs.resume(3, 8, 12).await.unwrap();
        file.write(Bytes::from_static(b"ijkl")).await.unwrap();
        assert!(matches!(file.write(Bytes::from_static(b"m")).await, Err(WriteError::TooLarge { limit_bytes: 12 })));
        file.close().await;
        let mut file = blobs.resume(3, 8, 12).await.unwrap();
        file.write(Bytes::from_static(b"ijkl")).await.unwrap();
        let wrong = file.seal(Some(Digest::of(b"other"))).await;
        assert!(matches!(wrong, Err(WriteError::Mismatch { actual }) if actual == Digest::of(b"abcdefghijkl")));
        std::fs::write(&path, b"abc").unwrap();
        assert!(matches!(blobs.resume(3, 8, 12).await, Err(WriteError::Io(_))));
        blobs.discard(3).unwrap();
        blobs.discard(3).unwrap();
        assert!(matches!(blobs.resume(3, 8, 12).await, Err(WriteError::Io(_))));
    }
}
