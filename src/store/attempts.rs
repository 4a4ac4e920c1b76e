//! Attempts, leases and retries: what follows from a transition besides the job's own row (contract §11).

use rusqlite::{Row, params};

use super::jobs::{Standing, carry_out, family, read, standing};
use super::{Error, Store, WriteTx};
use crate::domain::attempt::{self, Attempts, Ending, plus};
use crate::domain::ids::{JobId, NodeId};
use crate::domain::lifecycle::{Change, State, Transition};
use crate::wire;

/// What the caller of a change knows of the attempt.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ends {
    /// For an acquire: the lease that was asked for, in seconds.
    pub(super) lease_s: Option<f64>,
    /// How the attempt ends, when the transition does not say it.
    pub(super) ending: Option<Ending>,
}

/// Writes down what a change means for the attempt, and tries an errored job again if it may.
pub(super) fn follow(
    tx: &WriteTx<'_>,
    job: JobId,
    standing: &Standing,
    change: &Change,
    node: Option<NodeId>,
    ends: Ends,
) -> Result<(), Error> {
    let connection = tx.connection();
    let number = standing.attempts.number;
    match change.transition {
        Transition::Acquire => {
            // The job's own number went up with its phase.
            connection
                .prepare_cached("INSERT INTO job_attempts (job, number, node, acquired) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![job, number + 1, node, tx.now()])?;
            if let Some(lease_s) = ends.lease_s {
                lease(tx, job, lease_s)?;
            }
        }
        Transition::Start => {
            connection
                .prepare_cached("UPDATE job_attempts SET started = ?3 WHERE job = ?1 AND number = ?2")?
                .execute(params![job, number, tx.now()])?;
            if let Some(timeout_s) = standing.timeout_s {
                connection
                    .prepare_cached("UPDATE jobs SET deadline = ?2 WHERE pk = ?1")?
                    .execute(params![job, plus(tx.now(), timeout_s)])?;
            }
        }
        // The holder goes on with the same attempt; a retry by itself leaves the failed one as it ended.
        Transition::Reset if change.next.holder().is_some() => {
            connection
                .prepare_cached(
                    "UPDATE job_attempts SET started = NULL, ended = NULL, outcome = NULL, error = NULL
                     WHERE job = ?1 AND number = ?2",
                )?
                .execute(params![job, number])?;
            // While the job was errored, its lease may have been renewed for longer than it is.
            connection
                .prepare_cached(
                    "UPDATE jobs SET lease_expires = min(lease_expires, ?2 + CAST(lease * 1000000 AS INTEGER))
                     WHERE pk = ?1 AND lease IS NOT NULL",
                )?
                .execute(params![job, tx.now()])?;
        }
        Transition::Create | Transition::Progress | Transition::Reset => {}
        Transition::Release | Transition::Finish | Transition::Error | Transition::Abort | Transition::Cancel => {
            let ending = ends.ending.or(Ending::by(change.transition)).map(Ending::as_str);
            // A job that was errored before this attempt keeps its reason; that is not this attempt's.
            let is_its_own = matches!(change.transition, Transition::Error | Transition::Cancel);
            let error = change.next.error_reason().filter(|_| is_its_own);
            connection
                .prepare_cached(
                    "UPDATE job_attempts SET ended = ?3, outcome = ?4, error = ?5
                     WHERE job = ?1 AND number = ?2 AND ended IS NULL",
                )?
                .execute(params![job, number, tx.now(), ending, error])?;
        }
    }
    if change.transition == Transition::Error {
        retry(tx, job, standing.attempts, &change.next)?;
    }
    if matches!(change.next, State::Created { holder: None }) {
        tx.note_free_job(job);
    }
    Ok(())
}

/// Tries an errored job again, now or later, if attempts are left.
fn retry(tx: &WriteTx<'_>, job: JobId, attempts: Attempts, errored: &State) -> Result<(), Error> {
    let Some(time) = attempts.retry_at(tx.now()) else { return Ok(()) };
    if time > tx.now() {
        tx.connection().prepare_cached("UPDATE jobs SET retry_time = ?2 WHERE pk = ?1")?.execute(params![job, time])?;
        return Ok(());
    }
    match attempt::retry(errored) {
        Some(change) => {
            let standing = standing(tx.connection(), job)?;
            carry_out(tx, job, &standing, errored, change, None, RETRY_DATA, Ends::default())
        }
        None => Ok(()),
    }
}

/// What the event of a retry says to watchers.
pub(super) const RETRY_DATA: &str = r#"{"reason":"retry"}"#;

/// Gives the holder of a job a lease, from now on.
pub(super) fn lease(tx: &WriteTx<'_>, job: JobId, lease_s: f64) -> Result<(), Error> {
    tx.connection()
        .prepare_cached(
            "UPDATE jobs SET lease = ?2, lease_expires = ?3 WHERE pk = ?1 AND phase NOT IN ('finished', 'cancelled')",
        )?
        .execute(params![job, lease_s, plus(tx.now(), lease_s)])?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<wire::Attempt> {
    Ok(wire::Attempt {
        number: row.get(0)?,
        node: row.get(1)?,
        acquired: row.get(2)?,
        started: row.get(3)?,
        ended: row.get(4)?,
        outcome: row.get(5)?,
        error: row.get(6)?,
    })
}

impl Store {
    /// Reads the attempts of a job, in order.
    pub async fn attempts(&self, job: JobId) -> Result<Vec<wire::Attempt>, Error> {
        self.read_long(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT number, node, acquired, started, ended, outcome, error FROM job_attempts
                 WHERE job = ?1 ORDER BY number",
            )?;
            let rows = statement.query_map([job], from_row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Lets a job that is on hold go, and its children with it. Doing so again changes nothing.
    pub async fn unhold_job(&self, job: JobId) -> Result<wire::Job, Error> {
        self.write(move |tx| {
            let connection = tx.connection();
            let mut let_go = connection.prepare_cached("UPDATE jobs SET on_hold = 0 WHERE pk = ?1 AND on_hold = 1")?;
            for job in family(connection, job)? {
                let_go.execute([job])?;
                tx.note_free_job(job);
            }
            read(connection, job)?.ok_or(Error::NotFound)
        })
        .await
    }
}
