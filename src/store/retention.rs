//! Retention: which jobs and outputs are old enough to go, and letting them go.

use rusqlite::{Connection, params};

use super::offline::Offline;
use super::{Error, Store};
use crate::domain::ids::{JobId, OutputId};
use crate::domain::time::Timestamp;

/// How long things are kept, in seconds; `None` keeps them until somebody deletes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ages {
    /// Finished jobs, from their end to their soft-delete.
    pub finished_s: Option<i64>,
    /// Errored jobs, from their end to their soft-delete.
    pub errored_s: Option<i64>,
    /// Cancelled jobs, from their end to their soft-delete.
    pub cancelled_s: Option<i64>,
    /// Soft-deleted jobs and outputs, from then to their hard delete.
    pub deleted_s: Option<i64>,
}

/// What is old enough to go.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Jobs to soft-delete: key, phase, end.
    pub ended: Vec<(JobId, String, Timestamp)>,
    /// Soft-deleted jobs to delete for good: key, time of their soft-delete.
    pub deleted_jobs: Vec<(JobId, Timestamp)>,
    /// Soft-deleted outputs of jobs that stay: key, time of their soft-delete.
    pub deleted_outputs: Vec<(OutputId, Timestamp)>,
}

/// Only tops of hierarchies are asked for: children go with their parent, and not while one of them still runs.
const ENDED: &str = "SELECT pk, phase, end_time FROM jobs
    WHERE deletion_time IS NULL AND parent IS NULL AND (
        (phase = 'finished' AND end_time <= ?1) OR (phase = 'errored' AND end_time <= ?2)
        OR (phase = 'cancelled' AND end_time <= ?3))
    AND NOT EXISTS (
        WITH RECURSIVE tree (pk) AS (VALUES (jobs.pk) UNION SELECT c.pk FROM jobs AS c JOIN tree ON c.parent = tree.pk)
        SELECT 1 FROM tree JOIN jobs AS d ON d.pk = tree.pk WHERE d.phase IN ('created', 'started'))
    ORDER BY end_time LIMIT ?4";
const DELETED_JOBS: &str =
    "SELECT pk, deletion_time FROM jobs WHERE deletion_time <= ?1 AND parent IS NULL ORDER BY deletion_time LIMIT ?2";
const DELETED_OUTPUTS: &str = "SELECT o.pk, o.deletion_time FROM job_outputs AS o JOIN jobs AS j ON j.pk = o.job
    WHERE o.deletion_time <= ?1 AND j.deletion_time IS NULL ORDER BY o.deletion_time LIMIT ?2";

/// Looks for what is old enough at a time, at most `limit` of each kind, the oldest first.
fn due(connection: &Connection, ages: Ages, now: Timestamp, limit: u32) -> Result<Due, Error> {
    // Comparing with NULL is never true: an age that is not set picks nothing.
    let before = |age_s: Option<i64>| age_s.map(|age_s| now.plus_seconds(-age_s));
    let Ages { finished_s, errored_s, cancelled_s, deleted_s } = ages;
    let mut due = Due::default();
    let mut ended = connection.prepare_cached(ENDED)?;
    let rows = ended.query_map(params![before(finished_s), before(errored_s), before(cancelled_s), limit], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    due.ended = rows.collect::<Result<_, _>>()?;
    let mut jobs = connection.prepare_cached(DELETED_JOBS)?;
    let rows = jobs.query_map(params![before(deleted_s), limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    due.deleted_jobs = rows.collect::<Result<_, _>>()?;
    let mut outputs = connection.prepare_cached(DELETED_OUTPUTS)?;
    let rows = outputs.query_map(params![before(deleted_s), limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    due.deleted_outputs = rows.collect::<Result<_, _>>()?;
    Ok(due)
}

impl Offline {
    /// Lists what retention would let go at a time, at most `limit` of each kind.
    pub fn retention_due(&self, ages: Ages, now: Timestamp, limit: u32) -> Result<Due, Error> {
        due(self.connection(), ages, now, limit)
    }
}

impl Store {
    /// Looks for what is old enough at a time, at most `limit` of each kind.
    pub async fn retention_due(&self, ages: Ages, now: Timestamp, limit: u32) -> Result<Due, Error> {
        self.read_long(move |connection| due(connection, ages, now, limit)).await
    }

    /// Soft-deletes jobs that have ended, with their children. Jobs that were reset meanwhile stay.
    pub async fn retire_jobs(&self, jobs: Vec<JobId>) -> Result<(), Error> {
        self.write(move |tx| {
            let mut statement = tx.connection().prepare_cached(
                "UPDATE jobs SET deletion_time = ?2 WHERE deletion_time IS NULL AND pk IN (
                     WITH RECURSIVE tree (pk) AS (
                         SELECT pk FROM jobs WHERE pk = ?1 AND end_time IS NOT NULL
                         UNION SELECT c.pk FROM jobs AS c JOIN tree ON c.parent = tree.pk)
                     SELECT pk FROM tree)",
            )?;
            for job in jobs {
                statement.execute(params![job, tx.now()])?;
            }
            Ok(())
        })
        .await
    }
}
