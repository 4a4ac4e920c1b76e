//! Taking bytes away that nobody refers to any more, and listing what is there.

use std::fs::ReadDir;
use std::io;

use super::{Blobs, Digest};

impl Blobs {
    /// Deletes bytes if nobody holds them and `is_referenced` says that no row names them; says whether it did.
    ///
    /// `is_referenced` must look at the newest committed state: a snapshot taken before the call won't do. Bytes
    /// that are not here count as not deleted. Waits for the disk and the database, so not for async threads.
    ///
    /// An upload of the same bytes at the same moment is safe. It takes its hold before it looks whether the bytes
    /// are here, and drops it after its row is committed; a removal and a hold exclude each other. So either the
    /// hold came first, and the removal gives up; or the hold waits until the bytes are gone, and the upload finds
    /// the place empty and fills it; or the hold was dropped before the removal began, and then the row was
    /// committed before it began, and `is_referenced`, asked afterwards, sees it.
    pub fn remove_unreferenced<E: From<io::Error>>(
        &self,
        digest: Digest,
        is_referenced: impl FnOnce() -> Result<bool, E>,
    ) -> Result<bool, E> {
        let Some(_removal) = self.0.holds.removal(digest) else { return Ok(false) };
        if is_referenced()? {
            return Ok(false);
        }
        // Not synced: if a loss of power brings the bytes back, the sweep at the next start finds them.
        match std::fs::remove_file(self.path(digest)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Lists the digests of all bytes here, in no order, in constant memory.
    ///
    /// Bytes that come or go meanwhile may be listed or not. Files of other names are passed over.
    pub fn list(&self) -> Listing {
        Listing { blobs: self.clone(), next_shard: Some(0), shard: None }
    }
}

/// The digests of all bytes in the store.
#[derive(Debug)]
pub struct Listing {
    blobs: Blobs,
    next_shard: Option<u8>,
    shard: Option<(u8, ReadDir)>,
}

impl Iterator for Listing {
    type Item = io::Result<Digest>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((number, entries)) = &mut self.shard {
                match entries.next() {
                    Some(Ok(entry)) => {
                        let hex = entry.file_name().to_str().map(|name| format!("{number:02x}{name}"));
                        let digest = hex.as_ref().and_then(|hex| hex.parse::<Digest>().ok());
                        // Hex in upper case would be read as well, but is no name this store gives.
                        match digest.filter(|digest| Some(digest.to_string()) == hex) {
                            Some(digest) => return Some(Ok(digest)),
                            None => continue,
                        }
                    }
                    Some(Err(error)) => return Some(Err(error)),
                    None => self.shard = None,
                }
            }
            let number = self.next_shard?;
            self.next_shard = number.checked_add(1);
            match self.blobs.0.dir.join(format!("{number:02x}")).read_dir() {
                Ok(entries) => self.shard = Some((number, entries)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use bytes::Bytes;

    use super::*;

    fn store(dir: &tempfile::TempDir) -> Blobs {
        Blobs::open(dir.path(), 0).unwrap()
    }

    async fn put(blobs: &Blobs, bytes: &'static [u8]) -> crate::blobs::Held {
        let mut writer = blobs.writer(None);
        writer.write(Bytes::from_static(bytes)).await.unwrap();
        writer.finish().await.unwrap()
    }

    #[tokio::test]
    async fn only_what_is_neither_held_nor_referenced_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = store(&dir);
        let held = put(&blobs, b"bytes").await;
        let digest = held.digest();
        let unasked = || -> io::Result<bool> { unreachable!("held bytes need no query") };
        assert!(!blobs.remove_unreferenced(digest, unasked).unwrap());
        drop(held);
        assert!(!blobs.remove_unreferenced(digest, || io::Result::Ok(true)).unwrap());
        assert!(blobs.remove_unreferenced(digest, || Err(io::Error::other("the query failed"))).is_err());
        assert!(blobs.open_read(digest).await.unwrap().is_some());
        assert!(blobs.remove_unreferenced(digest, || io::Result::Ok(false)).unwrap());
        assert!(blobs.open_read(digest).await.unwrap().is_none());
        assert!(!blobs.remove_unreferenced(digest, || io::Result::Ok(false)).unwrap());
    }

    #[tokio::test]
    async fn a_panic_in_the_query_leaves_the_digest_free() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = store(&dir);
        let digest = put(&blobs, b"bytes").await.digest();
        let panicking = std::panic::AssertUnwindSafe(|| {
            blobs.remove_unreferenced(digest, || -> io::Result<bool> { panic!("planned") })
        });
        assert!(std::panic::catch_unwind(panicking).is_err());
        assert!(blobs.hold(digest).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn lists_all_and_passes_over_what_is_not_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = store(&dir);
        let put: HashSet<Digest> = [put(&blobs, b"one").await, put(&blobs, b"two").await, put(&blobs, b"").await]
            .map(|held| held.digest())
            .into();
        std::fs::write(dir.path().join("00/notes.txt"), b"").unwrap();
        std::fs::write(dir.path().join("ff").join("AB".repeat(31)), b"").unwrap();
        std::fs::write(dir.path().join("incoming/7"), b"").unwrap();
        let listed: Vec<Digest> = blobs.list().collect::<io::Result<_>>().unwrap();
        assert_eq!(listed.len(), 3);
        assert_eq!(listed.into_iter().collect::<HashSet<_>>(), put);
    }

    /// Uploads and removals of the same bytes from threads: bytes that a row names must always be there.
    #[test]
    fn an_upload_never_loses_its_bytes_to_the_sweep() {
        const BODIES: [&[u8]; 3] = [b"a", b"b", b""];
        let dir = tempfile::tempdir().unwrap();
        let blobs = store(&dir);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
        let rows: Mutex<Vec<Digest>> = Mutex::default();
        let removed = AtomicUsize::new(0);
        let uploading = AtomicBool::new(true);
        let is_referenced = |digest: &Digest| rows.lock().unwrap().contains(digest);
        std::thread::scope(|scope| {
            let uploads: Vec<_> = BODIES
                .into_iter()
                .cycle()
                .take(6)
                .map(|body| {
                    scope.spawn(|| {
                        for _ in 0..40 {
                            let held = runtime.block_on(put(&blobs, body));
                            let digest = held.digest();
                            rows.lock().unwrap().push(digest);
                            drop(held);
                            let size = blobs.size_on_disk(digest).unwrap();
                            assert_eq!(size, Some(body.len() as u64), "the bytes of a committed row are gone");
                            let mut rows = rows.lock().unwrap();
                            let row = rows.iter().position(|row| *row == digest).unwrap();
                            rows.swap_remove(row);
                        }
                    })
                })
                .collect();
            for _ in 0..2 {
                scope.spawn(|| {
                    while uploading.load(Ordering::SeqCst) {
                        for body in BODIES {
                            let digest = Digest::of(body);
                            let gone = blobs.remove_unreferenced(digest, || io::Result::Ok(is_referenced(&digest)));
                            removed.fetch_add(usize::from(gone.unwrap()), Ordering::SeqCst);
                        }
                    }
                });
            }
            let results: Vec<_> = uploads.into_iter().map(|upload| upload.join()).collect();
            uploading.store(false, Ordering::SeqCst);
            assert!(results.iter().all(Result::is_ok));
        });
        assert!(removed.into_inner() > 0, "the sweep never got to remove anything");
    }
}
