//! `backup` and `restore`: a data directory copied as it is at one moment.
//!
//! A backup of a running server must not lose bytes to the server's sweep. Bytes are linked (or copied) first, then
//! the database is copied, then the bytes that came since. If one of those is gone by then, its last row went after
//! the copy was made, and the database is copied anew. Each round has less to catch up with.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use super::{BLOBS, DATABASE, Error, Progress, Report, TOKEN_KEY};
use super::{check_empty, lock, make_empty, open_database, sync_dir, verify};
use crate::blobs::Digest;
use crate::blobs::offline::{list_shard, place};
use crate::domain::time::{Clock, SystemClock};
use crate::store::offline::{Offline, Wanted};

/// Rows that are read at a time.
const BATCH: u32 = 256;
/// Copies of the database that are tried before giving up; a second one is rare.
const ROUNDS_MAX: usize = 20;
/// The database's name until all of its bytes are there.
const UNFINISHED: &str = "labrun.db.unfinished";

/// How bytes get from one directory into another.
#[derive(Debug, Clone, Copy)]
enum By {
    /// As another name of the same file where the file system can, which costs nothing; else as a copy.
    Link,
    /// As a copy, so that the two directories share no fate.
    Copy,
}

/// Copies the data directory `dir` to `dest`, a new or empty directory, and verifies the copy. A server may run on
/// `dir` meanwhile, and waits for nothing.
pub fn backup(dir: &Path, dest: &Path, progress: &dyn Progress) -> Result<Report, Error> {
    let live = open_database(dir)?;
    // Looked at before anything is made, so that nothing is left of what is refused.
    let place = |path: &Path| place_of(path).map_err(Error::file(path));
    if place(dest)?.starts_with(place(dir)?) {
        let (dest, dir) = (dest.display(), dir.display());
        return Err(Error::Directory(format!("{dest} lies within {dir}, and would be lost with it: name another")));
    }
    make_empty(dest)?;
    make_shards(&dest.join(BLOBS))?;
    let count = live.count_named()?;
    progress.begin("linking bytes (files)", u64::try_from(count).unwrap_or_default());
    take_bytes(&live, &live, dir, dest, By::Link, progress)?;
    progress.end();
    let unfinished = dest.join(UNFINISHED);
    let mut rounds = 0;
    let copy = loop {
        remove_if_there(&unfinished)?;
        copy_database(&live, &unfinished, progress)?;
        let copy = Offline::open(&unfinished)?;
        if take_bytes(&copy, &live, dir, dest, By::Link, &Silent)? {
            break copy;
        }
        rounds += 1;
        if rounds == ROUNDS_MAX {
            let sentence = "bytes are deleted faster than they can be backed up: try again when less is deleted";
            return Err(Error::Directory(sentence.to_owned()));
        }
    };
    drop_unnamed(&copy, &dest.join(BLOBS))?;
    drop(copy);
    finish(dir, dest)?;
    verify(dest, progress)
}

/// Makes the data directory `dir` from the backup `src`, which is verified first.
///
/// # Errors
/// When `dir` is not empty, or the backup is damaged: then nothing is made.
pub fn restore(src: &Path, dir: &Path, progress: &dyn Progress) -> Result<Report, Error> {
    // Looked at before all bytes are read, which may take hours.
    check_empty(dir)?;
    let found = verify(src, progress)?;
    if !found.problems.is_empty() {
        return Ok(found);
    }
    let from = open_database(src)?;
    make_empty(dir)?;
    let _lock = lock(dir, SystemClock.now())?;
    make_shards(&dir.join(BLOBS))?;
    let count = from.count_named()?;
    progress.begin("copying bytes (files)", u64::try_from(count).unwrap_or_default());
    take_bytes(&from, &from, src, dir, By::Copy, progress)?;
    progress.end();
    copy_database(&from, &dir.join(UNFINISHED), progress)?;
    finish(src, dir)?;
    verify(dir, progress)
}

/// Says where a directory lies, whatever links lead there, or where it would once it and those above it are made.
fn place_of(dir: &Path) -> io::Result<PathBuf> {
    let mut place = PathBuf::new();
    for part in std::path::absolute(dir)?.components() {
        match part {
            Component::ParentDir => drop(place.pop()),
            part => place.push(part),
        }
        match place.canonicalize() {
            Ok(found) => place = found,
            // What is not there yet is made as a directory of its own, and is no link.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(place)
}

/// Copies the database, with its progress.
fn copy_database(from: &Offline, to: &Path, progress: &dyn Progress) -> Result<(), Error> {
    let mut done = 0;
    from.copy_to(to, |pages, total| {
        if done == 0 {
            progress.begin("copying the database (pages)", total);
        }
        progress.advance(pages.saturating_sub(done));
        done = pages;
    })?;
    progress.end();
    Ok(())
}

/// Brings all bytes that `rows` names from one directory into another; those that are there already are passed over.
/// Gives `false` when some were gone whose row had gone meanwhile.
fn take_bytes(
    rows: &Offline,
    live: &Offline,
    from: &Path,
    to: &Path,
    by: By,
    progress: &dyn Progress,
) -> Result<bool, Error> {
    let (from, to) = (from.join(BLOBS), to.join(BLOBS));
    let mut all_there = true;
    let mut after = String::new();
    loop {
        let batch = rows.named(&after, BATCH)?;
        let Some(last) = batch.last() else { break };
        after.clone_from(&last.sha256);
        for named in &batch {
            let Ok(digest) = named.sha256.parse::<Digest>() else { continue };
            let (source, target) = (place(&from, digest), place(&to, digest));
            if !target.exists() {
                match take(&source, &target, by) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => match live.wanted(&named.sha256)? {
                        Wanted::No => all_there = false,
                        Wanted::SetAside => {}
                        Wanted::Yes => {
                            let sentence = format!("the bytes {} are missing: run `labrun verify`", named.sha256);
                            return Err(Error::Directory(sentence));
                        }
                    },
                    Err(error) => return Err(Error::file(&target)(error)),
                }
            }
            progress.advance(1);
        }
    }
    for shard in 0..=u8::MAX {
        sync_dir(&to.join(format!("{shard:02x}")))?;
    }
    Ok(all_there)
}

/// Brings one file over; when this returns its bytes, though not yet its name, are on disk.
fn take(source: &Path, target: &Path, by: By) -> io::Result<()> {
    if matches!(by, By::Link) {
        match std::fs::hard_link(source, target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            Ok(()) => return Ok(()),
            // Another file system, or one that knows no links.
            Err(_) => {}
        }
    }
    let mut from = std::fs::File::open(source)?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
    io::copy(&mut from, &mut to)?;
    to.sync_all()
}

/// Removes bytes that were linked early and that the database's copy does not name any more.
fn drop_unnamed(copy: &Offline, blobs: &Path) -> Result<(), Error> {
    for shard in 0..=u8::MAX {
        for digest in list_shard(blobs, shard).map_err(Error::file(blobs))? {
            if copy.wanted(&digest.to_string())? == Wanted::No {
                let path = place(blobs, digest);
                std::fs::remove_file(&path).map_err(Error::file(&path))?;
            }
        }
    }
    Ok(())
}

/// Copies the key of the tokens, and gives the database its name last: without it the directory is none.
fn finish(from: &Path, to: &Path) -> Result<(), Error> {
    let key = to.join(TOKEN_KEY);
    match take(&from.join(TOKEN_KEY), &key, By::Copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::file(&key)(error)),
        // Without a key the next start makes one; people have to log in again.
        _ => {}
    }
    let (unfinished, database) = (to.join(UNFINISHED), to.join(DATABASE));
    sync_dir(&to.join(BLOBS))?;
    std::fs::rename(&unfinished, &database).map_err(Error::file(&database))?;
    sync_dir(to)?;
    to.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_dir)
}

fn make_shards(blobs: &Path) -> Result<(), Error> {
    for shard in 0..=u8::MAX {
        let dir = blobs.join(format!("{shard:02x}"));
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(Error::file(&dir))?;
    }
    sync_dir(blobs)
}

fn remove_if_there(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(path)(error)),
        _ => Ok(()),
    }
}

/// Tells nobody.
struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &'static str, _: u64) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
}
