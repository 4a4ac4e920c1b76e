//! The database as a file: checked, read and copied from outside, beside a server or without one.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, params};

use super::error::OpenError;
use super::uploads::{self, Upload};
use super::{Error, found};
use crate::domain::ids::UploadId;
use crate::domain::time::Timestamp;

/// Damages that are listed before it is enough.
const PROBLEMS_MAX: u32 = 50;
/// Pages that are copied between two looks at the progress.
const PAGES_AT_A_TIME: i32 = 1_024;

/// What must hold across rows, beyond what SQLite's own check looks at: a sentence, and the keys that break it.
const INVARIANTS: &[(&str, &str)] = &[
    (
        "job {} is started, but its node does not work on it",
        "SELECT j.pk FROM jobs AS j LEFT JOIN nodes AS n ON n.pk = j.node
         WHERE j.phase = 'started' AND j.kind = 'workable' AND n.current_job IS NOT j.pk AND j.deletion_time IS NULL",
    ),
    (
        "job {} has no event that says it was created",
        "SELECT pk FROM jobs WHERE events = 0 UNION ALL SELECT job FROM events WHERE number = 1 AND transition <> 'create'",
    ),
    (
        "event {} is of a job that is not there",
        "SELECT seq FROM events WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE pk = job)",
    ),
    (
        "event {} does not lead to the one of its job before it",
        "SELECT e.seq FROM events AS e LEFT JOIN events AS p ON p.seq = e.previous
         WHERE e.number > 1 AND (p.job IS NOT e.job OR p.number IS NOT e.number - 1
             OR e.previous_step IS NOT iif(p.transition = 'progress', p.previous_step, p.seq))",
    ),
    (
        "job {} does not lead to its newest event",
        "SELECT j.pk FROM jobs AS j LEFT JOIN events AS e ON e.seq = j.last_event
         WHERE e.job IS NOT j.pk OR e.number IS NOT j.events
             OR j.last_step IS NOT iif(e.transition = 'progress', e.previous_step, e.seq)",
    ),
    (
        "job {} has more events than it knows of",
        "SELECT job FROM events GROUP BY job HAVING count(*) > (SELECT events FROM jobs WHERE pk = job)",
    ),
    (
        "output {} has a digest that is no SHA-256 in lower-case hex",
        "SELECT pk FROM job_outputs WHERE sha256 GLOB '*[^0-9a-f]*'",
    ),
    (
        "the key of job {} was given out, but its counter has gone back",
        "SELECT max(pk) FROM jobs HAVING max(pk) > (SELECT seq FROM sqlite_sequence WHERE name = 'jobs')",
    ),
];

/// A database that is only read.
#[derive(Debug)]
pub struct Offline(Connection);

/// Bytes that rows name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedBytes {
    /// Their SHA-256, in hex.
    pub sha256: String,
    /// Their size, where an output tells it.
    pub size: Option<i64>,
}

/// Whether the bytes under a digest are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A row names them.
    Yes,
    /// A row names them, and says that they were found damaged and set aside.
    SetAside,
    /// No row names them.
    No,
}

impl Offline {
    /// Opens the database of a stopped or running server for reading.
    ///
    /// # Errors
    /// When there is none, or it is none of labrun's, or of a newer one.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        super::migrate::check_version(&connection)?;
        Ok(Self(connection))
    }

    /// Gives the connection, for reads that other files of the store know how to make.
    pub(super) fn connection(&self) -> &Connection {
        &self.0
    }

    /// Asks SQLite whether the file is sound: `None` when the time was up before it was through, else what is wrong.
    pub fn quick_check(&self, at_most: Duration) -> Result<Option<Vec<String>>, Error> {
        quick_check(&self.0, at_most)
    }

    /// Looks at all of the file: pages, indexes, constraints, references, and what must hold across rows.
    pub fn problems(&self) -> Result<Vec<String>, Error> {
        let mut problems = texts(&self.0, &format!("PRAGMA integrity_check({PROBLEMS_MAX})"))?;
        let mut dangling = self.0.prepare("PRAGMA foreign_key_check")?;
        let rows = dangling.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?)))?;
        for row in rows.take(PROBLEMS_MAX as usize) {
            let (table, key) = row?;
            let key = key.map_or(String::new(), |key| format!(" {key}"));
            problems.push(format!("row{key} of the table {table} refers to a row that is not there"));
        }
        for (sentence, sql) in INVARIANTS {
            let mut statement = self.0.prepare(sql)?;
            let keys = statement.query_map([], |row| row.get::<_, i64>(0))?;
            for key in keys.take(PROBLEMS_MAX as usize) {
                problems.push(sentence.replace("{}", &key?.to_string()));
            }
        }
        if let Some(key) = super::audit::verify(&self.0)?.broken_at {
            problems.push(format!("entry {key} of the audit log does not follow from the one before it"));
        }
        Ok(problems)
    }

    /// Counts the digests that rows name. How many bytes they stand for is not known to all rows: an input names a digest
    /// alone.
    pub fn count_named(&self) -> Result<i64, Error> {
        let sql = "SELECT count(*) FROM (SELECT sha256 FROM job_outputs UNION SELECT sha256 FROM job_blobs)";
        Ok(self.0.query_row(sql, [], |row| row.get(0))?)
    }

    /// Gives the next `limit` bytes that rows name, by digest, those behind `after`.
    pub fn named(&self, after: &str, limit: u32) -> Result<Vec<NamedBytes>, Error> {
        let mut statement = self.0.prepare_cached(
            "SELECT sha256, max(size) FROM (
                 SELECT sha256, size FROM job_outputs WHERE sha256 > ?1
                 UNION ALL SELECT sha256, NULL FROM job_blobs WHERE sha256 > ?1)
             GROUP BY sha256 ORDER BY sha256 LIMIT ?2",
        )?;
        let rows = statement
            .query_map(params![after, limit], |row| Ok(NamedBytes { sha256: row.get(0)?, size: row.get(1)? }))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Says whether rows name these bytes at this moment.
    pub fn wanted(&self, sha256: &str) -> Result<Wanted, Error> {
        let mut statement = self.0.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM job_outputs WHERE sha256 = ?1)
                 OR EXISTS (SELECT 1 FROM job_blobs WHERE sha256 = ?1),
                 EXISTS (SELECT 1 FROM damaged_blobs WHERE sha256 = ?1)",
        )?;
        Ok(match statement.query_row([sha256], |row| Ok((row.get(0)?, row.get(1)?)))? {
            (true, false) => Wanted::Yes,
            (true, true) => Wanted::SetAside,
            (false, _) => Wanted::No,
        })
    }

    /// Lists the uploads on their way behind a key, at most `limit`.
    pub fn open_uploads(&self, after: UploadId, limit: u32) -> Result<Vec<Upload>, Error> {
        uploads::open_uploads(&self.0, after, limit)
    }

    /// Gives an upload if it is still on its way.
    pub fn open_upload(&self, pk: UploadId) -> Result<Option<Upload>, Error> {
        Ok(uploads::read(&self.0, pk)?.filter(|upload| upload.shown.finished_time.is_none()))
    }

    /// Gives the outputs that name bytes, for people: `output 7 of job 3`.
    pub fn names_of(&self, sha256: &str) -> Result<Vec<String>, Error> {
        let mut statement = self.0.prepare_cached(
            "SELECT 'output ' || pk || ' of job ' || job FROM job_outputs WHERE sha256 = ?1
             UNION ALL SELECT 'an input of job ' || job FROM job_blobs WHERE sha256 = ?1 LIMIT 10",
        )?;
        let names = statement.query_map([sha256], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// Copies the database as it is at one moment, uploads on their way left out. A server may go on writing meanwhile: nothing waits for the copy.
    /// `told` hears how many pages are done, and of how many.
    ///
    /// The copy is one file without a log beside it, and on disk when this returns.
    pub fn copy_to(&self, path: &Path, mut told: impl FnMut(u64, u64)) -> Result<(), Error> {
        // The open transaction pins one state for all the steps; without it each commit elsewhere would start the
        // copy anew.
        self.0.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;")?;
        let copied = self.copy_pages(path, &mut told);
        self.0.execute_batch("COMMIT")?;
        copied
    }

    fn copy_pages(&self, path: &Path, told: &mut impl FnMut(u64, u64)) -> Result<(), Error> {
        let mut copy = Connection::open(path)?;
        {
            let backup = Backup::new(&self.0, &mut copy)?;
            loop {
                let step = backup.step(PAGES_AT_A_TIME)?;
                let pages = backup.progress();
                let number = |count: i32| u64::try_from(count).unwrap_or_default();
                told(number(pages.pagecount.saturating_sub(pages.remaining)), number(pages.pagecount));
                match step {
                    StepResult::Done => break,
                    StepResult::More => {}
                    _ => return Err(Error::Busy),
                }
            }
        }
        // Their files grow while they are looked at, and are not copied: their clients begin anew.
        copy.execute("DELETE FROM uploads WHERE finished_time IS NULL", [])?;
        copy.pragma_update(None, "journal_mode", "DELETE")?;
        copy.close().map_err(|(_, error)| error)?;
        std::fs::File::open(path).and_then(|file| file.sync_all()).map_err(|error| Error::Broken(error.to_string()))
    }
}

/// Asks SQLite for at most so long whether a file is sound.
pub(super) fn quick_check(connection: &Connection, at_most: Duration) -> Result<Option<Vec<String>>, Error> {
    let interrupt = connection.get_interrupt_handle();
    let (done, ended) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if ended.recv_timeout(at_most) == Err(RecvTimeoutError::Timeout) {
                interrupt.interrupt();
            }
        });
        let found = texts(connection, &format!("PRAGMA quick_check({PROBLEMS_MAX})"));
        drop(done);
        match found {
            Err(Error::Sqlite(error))
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) =>
            {
                Ok(None)
            }
            found => found.map(Some),
        }
    })
}

/// Reads a column of texts, leaving out the one that says `ok`. A text that says where is cut to its first line.
fn texts(connection: &Connection, sql: &str) -> Result<Vec<String>, Error> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.into_iter().filter(|text| text != "ok").collect())
}

/// Writes down, in the database of a stopped server, which bytes were found damaged, and which are whole again.
pub fn mark_damaged(
    path: &Path,
    damaged: &[(String, String)],
    whole_again: &[String],
    now: Timestamp,
) -> Result<(), Error> {
    let mut connection = super::readers::open_writer(path)
        .map_err(|error| Error::Broken(format!("the marks were not kept: {error}")))?;
    let tx = connection.transaction()?;
    for (sha256, damage) in damaged {
        tx.execute(
            "INSERT INTO damaged_blobs (sha256, found_time, damage) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![sha256, now, damage],
        )?;
    }
    for sha256 in whole_again {
        tx.execute("DELETE FROM damaged_blobs WHERE sha256 = ?1", [sha256])?;
    }
    tx.commit()?;
    Ok(())
}

/// Says whether any row names bytes at all.
pub(super) fn names_any(connection: &Connection) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM job_outputs LIMIT 1";
    Ok(found(connection.query_row(sql, [], |row| row.get::<_, i64>(0)))?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{WHAT_JOBS_NEED, migrate};

    #[test]
    fn events_that_are_not_linked_as_they_should_be_are_found() {
        let sound = "INSERT INTO jobs (template, kind, phase, input_values, parameter_values, description, creator, creation_time,
                 events, last_event, last_step)
                 VALUES (1, 'meta', 'created', '{}', '{}', '', 1, 0, 3, 4, 2),
                        (1, 'meta', 'created', '{}', '{}', '', 1, 0, 1, 3, 3);
             INSERT INTO events (seq, job, number, previous, previous_step, time, transition, progress, description)
                 VALUES (1, 1, 1, NULL, NULL, 0, 'create', 0, ''), (2, 1, 2, 1, 1, 0, 'start', 0, ''),
                        (3, 2, 1, NULL, NULL, 0, 'create', 0, ''), (4, 1, 3, 2, 2, 0, 'progress', 0, '');";
        for (harm, expected) in [
            ("", &[][..]),
            (
                "UPDATE events SET previous = 3 WHERE seq = 4",
                &["event 4 does not lead to the one of its job before it"],
            ),
            (
                "UPDATE events SET previous_step = 1 WHERE seq = 4",
                &["event 4 does not lead to the one of its job before it", "job 1 does not lead to its newest event"],
            ),
            ("UPDATE jobs SET last_event = 2, events = 2 WHERE pk = 1", &["job 1 has more events than it knows of"]),
            ("UPDATE jobs SET last_step = NULL WHERE pk = 2", &["job 2 does not lead to its newest event"]),
            (
                "UPDATE events SET job = 7 WHERE seq = 3",
                &["event 3 is of a job that is not there", "job 2 does not lead to its newest event"],
            ),
            ("UPDATE events SET transition = 'reset' WHERE seq = 3", &["job 2 has no event that says it was created"]),
            (
                "UPDATE jobs SET events = 0, last_step = NULL, last_event = NULL WHERE pk = 2",
                &[
                    "job 2 has no event that says it was created",
                    "job 2 does not lead to its newest event",
                    "job 2 has more events than it knows of",
                ],
            ),
        ] {
            let mut connection = Connection::open_in_memory().unwrap();
            migrate::migrate(&mut connection).unwrap();
            connection.execute_batch(WHAT_JOBS_NEED).unwrap();
            connection.execute_batch(sound).unwrap();
            connection.execute_batch(harm).unwrap();
            assert_eq!(Offline(connection).problems().unwrap(), expected, "{harm}");
        }
    }
}
