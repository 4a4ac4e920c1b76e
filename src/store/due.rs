//! What falls due by time: leases, deadlines, retries, old keys. One step, called again and again; tests turn the clock.

use rusqlite::params;

use super::attempts::{Ends, RETRY_DATA};
use super::jobs::{Body, carry_out, standing};
use super::{Error, Store, WriteTx, idempotency};
use crate::domain::attempt::{self, Ending};
use crate::domain::ids::{JobId, NodeId};
use crate::domain::lifecycle::Change;
use crate::domain::time::Timestamp;

/// Jobs that one step moves at the most, so that it never keeps other writes waiting for long.
const JOBS_MAX: i64 = 200;

/// Whether anything is due. Here and below, `deletion_time IS NULL` is literally a condition of the index that is meant.
/// What no step can move must not be found: it would stand before all that comes after it.
///
/// A retry waits while somebody holds the job who took it after it had erred: to look into it, or to reset and run it,
/// as its present attempt that has not ended shows. The holder whose run failed is no reason to wait; that attempt has
/// ended.
const ANYTHING: &str = "SELECT EXISTS (SELECT 1 FROM jobs WHERE lease_expires <= ?1 AND deletion_time IS NULL)
    OR EXISTS (SELECT 1 FROM jobs WHERE deadline <= ?1 AND deletion_time IS NULL)
    OR EXISTS (SELECT 1 FROM jobs WHERE retry_time <= ?1 AND deletion_time IS NULL
        AND (node IS NULL OR EXISTS (SELECT 1 FROM job_attempts AS a
                 WHERE a.job = jobs.pk AND a.number = jobs.attempt AND a.ended IS NOT NULL)))
    OR EXISTS (SELECT 1 FROM idempotency_keys WHERE time <= ?1 - 86400000000)";

/// Literally the condition of the index `jobs_by_lease`, so that a start does not read every job.
const RENEW_ALL: &str = "UPDATE jobs SET lease_expires = ?1 + CAST(lease * 1000000 AS INTEGER)
    WHERE lease_expires IS NOT NULL AND deletion_time IS NULL";

/// Leases that have run out, if no sign of life came since; with when the run ended, which is there if it failed.
const LEASES: &str = "SELECT pk, node, lease, end_time FROM jobs WHERE lease_expires <= ?1 AND deletion_time IS NULL
    ORDER BY lease_expires LIMIT ?2";

/// Runs that take too long.
const DEADLINES: &str = "SELECT pk FROM jobs WHERE deadline <= ?1 AND deletion_time IS NULL ORDER BY deadline LIMIT ?2";

/// Errored jobs that are to be tried again; see [`ANYTHING`] for those that are not to be.
const RETRIES: &str = "SELECT pk FROM jobs WHERE retry_time <= ?1 AND deletion_time IS NULL
        AND (node IS NULL OR EXISTS (SELECT 1 FROM job_attempts AS a
                 WHERE a.job = jobs.pk AND a.number = jobs.attempt AND a.ended IS NOT NULL))
    ORDER BY retry_time LIMIT ?2";

/// Tells when a node last gave a sign of life for a job, if it did since the server started.
pub type LastSign = dyn Fn(NodeId, JobId) -> Option<Timestamp> + Send;

impl Store {
    /// Says whether anything may be due: a read that costs next to nothing.
    pub fn anything_due(&self, now: Timestamp) -> Result<bool, Error> {
        self.read(|connection| Ok(connection.prepare_cached(ANYTHING)?.query_row([now], |row| row.get(0))?))
    }

    /// Carries out what is due. A lease is renewed, instead of running out, when its node gave a later sign of life.
    pub async fn run_due(&self, last_sign: Box<LastSign>) -> Result<(), Error> {
        self.write(move |tx| {
            expire_leases(tx, last_sign.as_ref())?;
            time_out(tx)?;
            retry(tx)?;
            idempotency::forget_old(tx)
        })
        .await
    }

    /// Gives every lease a full period from now on: after a restart, no node could renew it meanwhile.
    pub async fn renew_all_leases(&self) -> Result<(), Error> {
        self.write(|tx| {
            tx.connection().execute(RENEW_ALL, [tx.now()])?;
            Ok(())
        })
        .await
    }
}

fn expire_leases(tx: &WriteTx<'_>, last_sign: &LastSign) -> Result<(), Error> {
    let connection = tx.connection();
    let due: Vec<(JobId, NodeId, f64, Option<Timestamp>)> = connection
        .prepare_cached(LEASES)?
        .query_map(params![tx.now(), JOBS_MAX], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<_, _>>()?;
    for (job, node, lease_s, errored_since) in due {
        let renewed = last_sign(node, job).map(|sign| attempt::renewed_until(sign, lease_s, errored_since));
        let renewed = renewed.filter(|expires| *expires > tx.now());
        if let Some(expires) = renewed {
            connection
                .prepare_cached("UPDATE jobs SET lease_expires = ?2 WHERE pk = ?1")?
                .execute(params![job, expires])?;
            continue;
        }
        let data = r#"{"reason":"lease_expired"}"#;
        move_on(tx, job, data, Ending::LeaseExpired, |standing, state| {
            attempt::expire(state, &standing.attempts, tx.now())
        })?;
    }
    Ok(())
}

fn time_out(tx: &WriteTx<'_>) -> Result<(), Error> {
    for job in due(tx, DEADLINES)? {
        let data = r#"{"reason":"timed_out"}"#;
        move_on(tx, job, data, Ending::TimedOut, |standing, state| {
            attempt::time_out(state, standing.timeout_s.unwrap_or_default(), tx.now())
        })?;
    }
    Ok(())
}

fn retry(tx: &WriteTx<'_>) -> Result<(), Error> {
    for job in due(tx, RETRIES)? {
        move_on(tx, job, RETRY_DATA, Ending::Errored, |_, state| attempt::retry(state))?;
    }
    Ok(())
}

fn due(tx: &WriteTx<'_>, sql: &str) -> Result<Vec<JobId>, Error> {
    let mut statement = tx.connection().prepare_cached(sql)?;
    let jobs = statement.query_map(params![tx.now(), JOBS_MAX], |row| row.get(0))?;
    Ok(jobs.collect::<Result<_, _>>()?)
}

/// Carries out what the rules say of a job that is due. A soft-deleted job is left as it is: what was due happens when
/// it is reinstated.
fn move_on(
    tx: &WriteTx<'_>,
    job: JobId,
    data: &str,
    ending: Ending,
    rule: impl FnOnce(&super::jobs::Standing, &crate::domain::lifecycle::State) -> Option<Change>,
) -> Result<(), Error> {
    let standing = standing(tx.connection(), job)?;
    let Body::Workable(state) = &standing.body else { return Ok(()) };
    let change = if standing.deleted { None } else { rule(&standing, state) };
    match change {
        Some(change) => {
            let ends = Ends { lease_s: None, ending: Some(ending) };
            carry_out(tx, job, &standing, state, change, state.holder(), data, ends)
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::plan_of;

    #[test]
    fn what_is_due_is_found_by_indexes_alone() {
        for (sql, indexes) in [
            (ANYTHING, &["jobs_by_lease", "jobs_by_deadline", "jobs_by_retry", "idempotency_keys_by_time"][..]),
            (RENEW_ALL, &["jobs_by_lease"]),
            (LEASES, &["jobs_by_lease"]),
            (DEADLINES, &["jobs_by_deadline"]),
            (RETRIES, &["jobs_by_retry"]),
        ] {
            let plan = plan_of(sql);
            assert!(indexes.iter().all(|index| plan.contains(index)), "{sql}: {plan}");
            assert!(plan.split("; ").all(|step| !step.starts_with("SCAN jobs") || step.contains("INDEX")), "{plan}");
        }
    }
}
