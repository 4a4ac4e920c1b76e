//! `verify`: every row against its bytes, every byte against its SHA-256, and the database against its own rules.

use std::path::Path;

use super::{BLOBS, DATABASE, Error, Progress, lock, open_database};
use crate::blobs::Digest;
use crate::blobs::offline::{Damage, bytes_on_disk, examine, list_shard, partial_bytes, place};
use crate::domain::ids::UploadId;
use crate::domain::time::{Clock, SystemClock};
use crate::store::offline::{NamedBytes, Offline, Wanted, mark_damaged};

/// Rows that are read at a time.
const BATCH: u32 = 256;

/// What a look at a data directory found.
#[derive(Debug, Default)]
pub struct Report {
    /// Digests whose bytes were read through, those that no row names among them.
    pub blobs: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Digests on disk that no row names: they wait for a name, or for the sweep.
    pub unreferenced: u64,
    /// Digests whose bytes an earlier repair set aside; their outputs say so.
    pub set_aside: u64,
    /// Uploads on their way whose bytes so far are there.
    pub uploads: u64,
    /// What is wrong, one sentence each.
    pub problems: Vec<String>,
    /// Bytes that are damaged, with what is wrong with them, in words.
    pub damaged: Vec<(String, String)>,
    /// Bytes that are marked as damaged, but are whole again.
    pub whole_again: Vec<String>,
}

/// Looks at all of a data directory. Changes nothing; a server may run on it meanwhile.
pub fn verify(dir: &Path, progress: &dyn Progress) -> Result<Report, Error> {
    let database = open_database(dir)?;
    let mut report = Report { problems: database.problems()?, ..Report::default() };
    let blobs = dir.join(BLOBS);
    progress.begin("reading the bytes", bytes_on_disk(&blobs).map_err(Error::file(&blobs))?);
    let mut after = String::new();
    loop {
        let batch = database.named(&after, BATCH)?;
        let Some(last) = batch.last() else { break };
        after.clone_from(&last.sha256);
        for named in batch {
            look_at_named(&database, &blobs, &named, progress, &mut report)?;
        }
    }
    look_at_unnamed(&database, &blobs, progress, &mut report)?;
    look_at_uploads(&database, &blobs, &mut report)?;
    progress.end();
    Ok(report)
}

fn look_at_named(
    database: &Offline,
    blobs: &Path,
    named: &NamedBytes,
    progress: &dyn Progress,
    report: &mut Report,
) -> Result<(), Error> {
    // What is no digest is told by the database's own checks.
    let Ok(digest) = named.sha256.parse::<Digest>() else { return Ok(()) };
    let size = named.size.and_then(|size| u64::try_from(size).ok());
    let mut read = 0;
    let found = examine(blobs, digest, size, |count| {
        read += count;
        progress.advance(count);
    });
    report.blobs += 1;
    report.bytes += read;
    // Asked after the look, so that bytes whose last row went meanwhile are not taken for lost.
    match (found, database.wanted(&named.sha256)?) {
        (_, Wanted::No) | (Ok(()), Wanted::Yes) => {}
        (Ok(()), Wanted::SetAside) => report.whole_again.push(named.sha256.clone()),
        (Err(Damage::Missing), Wanted::SetAside) => report.set_aside += 1,
        (Err(damage), _) => {
            let names = database.names_of(&named.sha256)?.join(", ");
            report.problems.push(format!("the bytes {} ({names}): {damage}", named.sha256));
            report.damaged.push((named.sha256.clone(), damage.to_string()));
        }
    }
    Ok(())
}

/// Reads bytes that no row names as well: an upload of the same bytes would take them up.
fn look_at_unnamed(
    database: &Offline,
    blobs: &Path,
    progress: &dyn Progress,
    report: &mut Report,
) -> Result<(), Error> {
    for shard in 0..=u8::MAX {
        for digest in list_shard(blobs, shard).map_err(Error::file(blobs))? {
            let sha256 = digest.to_string();
            if database.wanted(&sha256)? != Wanted::No {
                continue;
            }
            let mut read = 0;
            let found = examine(blobs, digest, None, |count| {
                read += count;
                progress.advance(count);
            });
            // The sweep may have taken them meanwhile.
            if matches!(found, Err(Damage::Missing)) {
                continue;
            }
            report.blobs += 1;
            report.bytes += read;
            match found {
                Ok(()) => report.unreferenced += 1,
                Err(damage) => {
                    report.problems.push(format!("the bytes {sha256}, which no row names: {damage}"));
                    report.damaged.push((sha256, damage.to_string()));
                }
            }
        }
    }
    Ok(())
}

/// Looks whether uploads on their way have the bytes that were acknowledged.
fn look_at_uploads(database: &Offline, blobs: &Path, report: &mut Report) -> Result<(), Error> {
    let mut after = UploadId(0);
    loop {
        let open = database.open_uploads(after, BATCH)?;
        let Some(last) = open.last() else { return Ok(()) };
        after = last.shown.pk;
        for upload in &open {
            let (pk, received) = (upload.shown.pk, upload.shown.received);
            let there = partial_bytes(blobs, pk.0.unsigned_abs()).map_err(Error::file(blobs))?;
            // Asked after the look, since one that has ended meanwhile has lost its file. A sealed one may have as well.
            let still_open = database.open_upload(pk)?.is_some_and(|upload| !upload.sealed);
            if there >= received || !still_open {
                report.uploads += 1;
            } else {
                report.problems.push(format!(
                    "upload {pk} has {there} bytes where {received} were acknowledged: the next start forgets it, and \
                     its client has to begin anew"
                ));
            }
        }
    }
}

/// Verifies the directory of a stopped server, moves damaged bytes to `damaged/` and marks what names them. Deletes
/// nothing. Gives what it found, and how many damaged digests it dealt with.
///
/// # Errors
/// When a server runs on the directory.
pub fn repair(dir: &Path, progress: &dyn Progress) -> Result<(Report, usize), Error> {
    open_database(dir)?;
    let now = SystemClock.now();
    let _lock = lock(dir, now)?;
    let report = verify(dir, progress)?;
    let aside = dir.join("damaged");
    // The marks come first: bytes that are marked but still in their place do no harm, the other way round they would
    // be missing without a word.
    mark_damaged(&dir.join(DATABASE), &report.damaged, &report.whole_again, now)?;
    for (sha256, _) in &report.damaged {
        let Ok(digest) = sha256.parse::<Digest>() else { continue };
        let from = place(&dir.join(BLOBS), digest);
        if from.exists() {
            std::fs::create_dir_all(&aside).map_err(Error::file(&aside))?;
            std::fs::rename(&from, aside.join(sha256)).map_err(Error::file(&from))?;
        }
    }
    let count = report.damaged.len();
    Ok((report, count))
}
