//! Jobs: reading and listing them, what callers do to them, and their removal.

mod rows;
mod transitions;

use std::collections::BTreeSet;

use rusqlite::params;

use super::access::JobAccess;
use super::filter::JOBS;
use super::list::Listing;
use super::{Error, Store, WriteTx, workflow};
use crate::domain::ids::JobId;
use crate::wire;

pub use super::create::NewJob;
use rows::COLUMNS;
pub(super) use rows::{Body, Standing, family, from_row, read, standing, standing_by};
use transitions::act_and_show;
pub use transitions::{By, Verb};
pub(super) use transitions::{Facts, act, apply, carry_out};

/// A job that was removed for good.
#[derive(Debug)]
pub struct PurgedJob {
    /// The job as it was.
    pub was: wire::Job,
    /// The job and all its descendants, which went with it.
    pub jobs: Vec<JobId>,
    /// SHA-256 (hex) of the bytes that they named; the caller reclaims those that nothing names any more.
    pub digests: Vec<String>,
}

/// Says how jobs are listed.
pub fn listing() -> Listing<wire::Job> {
    Listing::new(&JOBS, COLUMNS, from_row)
}

/// Soft-deletes a job, or takes that back, inside a transaction.
pub(super) fn set_deleted(tx: &WriteTx<'_>, job: JobId, deleted: bool) -> Result<(), Error> {
    let time = deleted.then(|| tx.now());
    // A second delete keeps the time of the first.
    tx.connection()
        .prepare_cached(
            "UPDATE jobs SET deletion_time = ?2 WHERE pk = ?1 AND (deletion_time IS NULL) = (?2 IS NOT NULL)",
        )?
        .execute(params![job, time])?;
    if deleted {
        return Ok(());
    }
    tx.note_free_job(job);
    workflow::resume(tx, job)
}

impl Store {
    /// Reads a job, deleted or not; `None` when there is none.
    pub fn job(&self, pk: JobId) -> Result<Option<wire::Job>, Error> {
        self.read(|connection| read(connection, pk))
    }

    /// Does to a job what the rules allow, and gives the job as it then stands (contract §5).
    ///
    /// # Errors
    /// `NotFound` when there is no such job, `NodeGone` when the node is not there any more, `StaleAttempt` when the call is
    /// for another attempt than the present one, `Refused` and `NotNow` when the rules say no: then nothing has changed.
    pub async fn act(&self, job: JobId, by: By, verb: Verb) -> Result<wire::Job, Error> {
        self.write(move |tx| {
            let is_nodes_verb = !matches!(verb, Verb::Cancel | Verb::Abort);
            let after = act_and_show(tx, job, by, verb)?;
            // What a node does to a job it mostly follows up with the next call; and only workable jobs let it.
            if is_nodes_verb {
                let access = JobAccess { holder: after.node, is_meta: false, creator: after.creator };
                tx.note_job(job, Some(access));
            }
            Ok(after)
        })
        .await
    }

    /// Changes a job's description.
    pub async fn describe_job(&self, job: JobId, description: Option<String>) -> Result<wire::Job, Error> {
        self.write(move |tx| {
            if let Some(description) = description {
                tx.connection()
                    .prepare_cached("UPDATE jobs SET description = ?2 WHERE pk = ?1")?
                    .execute(params![job, description])?;
                // A waiting claim may ask for what it is called now.
                tx.note_free_job(job);
                workflow::note_free_children(tx, job)?;
            }
            read(tx.connection(), job)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Soft-deletes a job, or takes that back. Doing so again changes nothing.
    pub async fn set_job_deleted(&self, job: JobId, deleted: bool) -> Result<wire::Job, Error> {
        self.write(move |tx| {
            set_deleted(tx, job, deleted)?;
            read(tx.connection(), job)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Removes a job for good, with its outputs, events and children.
    ///
    /// # Errors
    /// `NotNow` when the job is a child of a meta-job that has not ended.
    pub async fn purge_job(&self, job: JobId) -> Result<PurgedJob, Error> {
        self.write_freeing(move |tx| {
            let connection = tx.connection();
            let was = read(connection, job)?.ok_or(Error::NotFound)?;
            workflow::may_purge(connection, was.parent)?;
            let jobs = family(connection, job)?;
            let mut named = connection.prepare_cached(
                "SELECT sha256 FROM job_outputs WHERE job = ?1 UNION SELECT sha256 FROM job_blobs WHERE job = ?1",
            )?;
            let mut digests = BTreeSet::new();
            for job in &jobs {
                for digest in named.query_map([job], |row| row.get::<_, String>(0))? {
                    digests.insert(digest?);
                }
            }
            connection.prepare_cached("DELETE FROM jobs WHERE pk = ?1")?.execute([job])?;
            jobs.iter().for_each(|job| tx.note_job(*job, None));
            Ok(PurgedJob { was, jobs, digests: digests.into_iter().collect() })
        })
        .await
    }
}
