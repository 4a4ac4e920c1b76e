//! What staff do to many jobs at once, and what it would come to.

use rusqlite::Connection;

use super::jobs::{Body, By, Verb, act, set_deleted, standing};
use super::list::Selection;
use super::{Error, Store};
use crate::domain::ids::JobId;
use crate::domain::lifecycle::{Action, Outcome, Refusal, step};
use crate::domain::time::Timestamp;
use crate::domain::workflow::{cancelled, may_cancel};

/// Something that staff do to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Calls it off.
    Cancel,
    /// Takes it away from its node, to be done again.
    Abort,
    /// Soft-deletes it.
    Delete,
    /// Takes a soft-delete back.
    Restore,
}

/// What a deed would come to.
#[derive(Debug)]
pub enum Outlook {
    /// It would change the job.
    Changes,
    /// The job is as the deed would have it.
    Stays,
    /// The rules say no.
    Refused(Refusal),
    /// There is no such job any more.
    Gone,
}

impl Store {
    /// Says what a deed would come to for each of some jobs, as they stand now. Changes nothing.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn outlook(&self, jobs: Vec<JobId>, deed: Deed, now: Timestamp) -> Result<Vec<(JobId, Outlook)>, Error> {
        self.read_long(move |connection| {
            // One transaction, so that what is counted was true at one moment.
            let tx = connection.unchecked_transaction()?;
            jobs.into_iter().map(|job| Ok((job, outlook(&tx, job, deed, now)?))).collect()
        })
        .await
    }

    /// Does a deed to each of some jobs that allow it as they stand then, in one commit; gives for each what came of it.
    ///
    /// # Errors
    /// When it can't be written: then nothing has changed.
    pub async fn carry_out_deeds(&self, jobs: Vec<JobId>, deed: Deed) -> Result<Vec<(JobId, Outlook)>, Error> {
        self.write(move |tx| {
            let carry_out = |job| {
                // Judged before anything is written, so that a job that says no takes nothing back of the others.
                let outlook = outlook(tx.connection(), job, deed, tx.now())?;
                match (&outlook, deed) {
                    (Outlook::Stays | Outlook::Refused(_) | Outlook::Gone, _) => {}
                    (Outlook::Changes, Deed::Cancel) => act(tx, job, By::default(), Verb::Cancel)?,
                    (Outlook::Changes, Deed::Abort) => act(tx, job, By::default(), Verb::Abort)?,
                    (Outlook::Changes, Deed::Delete) => set_deleted(tx, job, true)?,
                    (Outlook::Changes, Deed::Restore) => set_deleted(tx, job, false)?,
                }
                Ok((job, outlook))
            };
            jobs.into_iter().map(carry_out).collect()
        })
        .await
    }

    /// Reads the keys of a list in its order, `max` at the most.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn keys_up_to<T: Send + 'static>(&self, selection: &Selection<T>, max: u32) -> Result<Vec<JobId>, Error> {
        let statement = selection.keys(max);
        self.read_long(move |connection| {
            let mut prepared = connection.prepare_cached(&statement.sql)?;
            let rows = prepared.query_map(rusqlite::params_from_iter(statement.params), |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

fn outlook(connection: &Connection, job: JobId, deed: Deed, now: Timestamp) -> Result<Outlook, Error> {
    let standing = match standing(connection, job) {
        Ok(standing) => standing,
        Err(Error::NotFound) => return Ok(Outlook::Gone),
        Err(error) => return Err(error),
    };
    let is_child = standing.parent.is_some();
    let changes = match (deed, &standing.body) {
        (Deed::Delete, _) => Ok(!standing.deleted),
        (Deed::Restore, _) => Ok(standing.deleted),
        (Deed::Abort, Body::Meta(_)) => Err(Refusal::MetaJob),
        (Deed::Abort, Body::Workable(state)) => step(state, standing.deleted, Action::Abort, now).map(is_change),
        (Deed::Cancel, Body::Meta(state)) => {
            may_cancel(is_child, standing.deleted).map(|()| cancelled(state, now).is_some())
        }
        (Deed::Cancel, Body::Workable(state)) => {
            may_cancel(is_child, false).and_then(|()| step(state, standing.deleted, Action::Cancel, now).map(is_change))
        }
    };
    Ok(match changes {
        Ok(true) => Outlook::Changes,
        Ok(false) => Outlook::Stays,
        Err(refusal) => Outlook::Refused(refusal),
    })
}

fn is_change(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Change(_))
}
