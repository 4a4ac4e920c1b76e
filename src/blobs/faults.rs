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
}
