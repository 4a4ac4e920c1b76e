//! What workers write while they run: one log an attempt, of which the middle goes when it grows too long (contract §11).

use rusqlite::{Connection, params};

use super::jobs::{By, standing, standing_by};
use super::{Error, Store, found};
use crate::domain::ids::JobId;
use crate::domain::lifecycle::Phase;

/// Bytes that a log keeps: half of them from its beginning, half up to its end.
pub const LOG_BYTES_MAX: i64 = 16 << 20;
const HALF: i64 = LOG_BYTES_MAX / 2;
/// Bytes read at a time.
const READ_BYTES: i64 = 256 << 10;

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPart {
    /// The attempt whose log it is.
    pub attempt: i64,
    /// How many bytes were cut out right before it.
    pub cut_bytes: i64,
    /// What was written, as it came.
    pub bytes: Vec<u8>,
    /// The place behind it: how many bytes were written up to here, those that were cut included.
    pub end: i64,
    /// Whether there is more behind it by now.
    pub more: bool,
    /// Whether nothing can follow any more, because the attempt is over.
    pub over: bool,
}

impl Store {
    /// Appends to the log of a job's present attempt; gives how many bytes were written in all.
    ///
    /// # Errors
    /// `StaleAttempt` when the call is for another attempt, `NotNow` when nobody ever acquired the job.
    pub async fn append_log(&self, job: JobId, attempt: Option<i64>, bytes: Vec<u8>) -> Result<i64, Error> {
        self.write(move |tx| {
            let connection = tx.connection();
            let current = standing_by(connection, job, By { node: None, attempt })?.0.attempts.number;
            if current == 0 {
                let sentence = "The job was never acquired, so that it has no log.".to_owned();
                return Err(Error::NotNow { code: "no_attempt", sentence });
            }
            let start = end_of(connection, job, current)?;
            let end = start + i64::try_from(bytes.len()).map_err(|error| Error::Broken(error.to_string()))?;
            if end > start {
                connection
                    .prepare_cached("INSERT INTO job_logs (job, attempt, start, bytes) VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![job, current, start, bytes])?;
            }
            if end > LOG_BYTES_MAX {
                connection
                    .prepare_cached(
                        "DELETE FROM job_logs WHERE job = ?1 AND attempt = ?2 AND start >= ?3
                             AND start + length(bytes) <= ?4",
                    )?
                    .execute(params![job, current, HALF, end - HALF])?;
            }
            Ok(end)
        })
        .await
    }

    /// Reads the next part of the log of an attempt, the present one unless said, after a place.
    pub async fn read_log(&self, job: JobId, attempt: Option<i64>, after: i64) -> Result<LogPart, Error> {
        self.read_long(move |connection| {
            // One transaction, so that "over" is not said of a log that had grown before.
            let tx = connection.unchecked_transaction()?;
            let standing = standing(&tx, job)?;
            let current = standing.attempts.number;
            // Before the first attempt, it is the first one's log that is waited for.
            let attempt = attempt.unwrap_or(current.max(1));
            let ended = matches!(standing.phase(), Phase::Finished | Phase::Errored | Phase::Cancelled);
            let over = attempt < current || ended;
            let part = read(&tx, job, attempt, after)?;
            Ok(LogPart { over, ..part })
        })
        .await
    }
}

/// Gives how many bytes were written to a log.
pub(super) fn end_of(connection: &Connection, job: JobId, attempt: i64) -> Result<i64, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT start + length(bytes) FROM job_logs WHERE job = ?1 AND attempt = ?2 ORDER BY start DESC LIMIT 1",
    )?;
    Ok(found(statement.query_row(params![job, attempt], |row| row.get(0)))?.unwrap_or(0))
}

pub(super) fn read(connection: &Connection, job: JobId, attempt: i64, after: i64) -> Result<LogPart, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT start, bytes FROM job_logs WHERE job = ?1 AND attempt = ?2 AND start + length(bytes) > ?3 ORDER BY start",
    )?;
    let mut rows = statement.query(params![job, attempt, after])?;
    let mut part = LogPart { attempt, cut_bytes: 0, bytes: Vec::new(), end: after, more: false, over: false };
    while let Some(row) = rows.next()? {
        let start: i64 = row.get(0)?;
        let bytes = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let gap = (start - part.end).max(0);
        // A cut is told at the beginning of a part, so that its reader can say so in its place.
        let full = i64::try_from(part.bytes.len()).unwrap_or(i64::MAX) >= READ_BYTES;
        if full || (gap > 0 && !part.bytes.is_empty()) {
            part.more = true;
            break;
        }
        part.cut_bytes += gap;
        let known = usize::try_from(part.end - start).unwrap_or(0);
        part.bytes.extend_from_slice(bytes.get(known..).unwrap_or_default());
        part.end = start + i64::try_from(bytes.len()).unwrap_or(0);
    }
    Ok(part)
}
