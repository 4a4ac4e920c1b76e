//! Carries out the rules of workflows (`domain/workflow`): plans meta-jobs, makes their children, moves them.
//!
//! All that follows from a child's transition happens in the transaction of that transition: the standing of its
//! parent and of those above, the copies of its outputs, the children that are due. There is no step in between at
//! which a crash could find a tree that does not go on, and nothing to be caught up with after one.
//!
//! A soft-deleted meta-job follows its children, which go on, but makes no new ones until it is reinstated. A child of
//! a meta-job that has not ended can't be removed for good.

mod feeds;
mod make;
mod templates;
pub mod view;

use rusqlite::{Connection, params};

use super::jobs::{Body, Facts, Standing, apply, carry_out, standing};
use super::{Error, WriteTx, found};
use crate::domain::ids::JobId;
use crate::domain::lifecycle::{Action, Outcome, Phase, step};
use crate::domain::workflow::{self as rules, MetaState, Readiness, Tally, Trouble};

pub(super) use make::create;

/// What became of a meta-job when it was looked at.
struct Look {
    /// The job above it.
    parent: Option<JobId>,
    /// Whether it stands elsewhere than before.
    moved: bool,
}

/// Carries a child's transition on to its parent, and from there as far up as something changes.
pub(super) fn child_changed(tx: &WriteTx<'_>, child: JobId, parent: JobId) -> Result<(), Error> {
    let mut next = Some((child, parent));
    while let Some((child, parent)) = next.take() {
        let look = settle(tx, parent, Some(child))?;
        if look.moved {
            next = look.parent.map(|above| (parent, above));
        }
    }
    Ok(())
}

/// Looks at a workflow again after outputs of one of its children were removed or reinstated: a finished child may now
/// lack what a sibling needs, or lack it no more.
pub(super) fn outputs_changed(tx: &WriteTx<'_>, job: JobId) -> Result<(), Error> {
    let parent: Option<Option<JobId>> = found(
        tx.connection().prepare_cached("SELECT parent FROM jobs WHERE pk = ?1")?.query_row([job], |row| row.get(0)),
    )?;
    parent.flatten().map_or(Ok(()), |parent| child_changed(tx, job, parent))
}

/// Makes what has fallen due while a meta-job was soft-deleted; other jobs are left as they are.
pub(super) fn resume(tx: &WriteTx<'_>, job: JobId) -> Result<(), Error> {
    let is_meta = found(
        tx.connection()
            .prepare_cached("SELECT kind = 'meta' FROM jobs WHERE pk = ?1")?
            .query_row([job], |row| row.get::<_, bool>(0)),
    )?;
    if is_meta != Some(true) {
        return Ok(());
    }
    let look = settle(tx, job, None)?;
    match look.parent {
        Some(above) if look.moved => child_changed(tx, job, above),
        _ => Ok(()),
    }
}

/// Brings a meta-job to where its children put it, and makes those that are due. `child` is the one that something
/// became of; without it, all are looked at.
fn settle(tx: &WriteTx<'_>, job: JobId, child: Option<JobId>) -> Result<Look, Error> {
    let connection = tx.connection();
    let standing = standing(connection, job)?;
    let Body::Meta(before) = &standing.body else {
        return Err(Error::Broken(format!("job {job} has children, but is no meta-job")));
    };
    if before.phase().is_final() {
        return Ok(Look { parent: standing.parent, moved: false });
    }
    let mut finished = None;
    if let Some(child) = child {
        let (name, phase): (String, Phase) = connection
            .prepare_cached("SELECT child_name, phase FROM jobs WHERE pk = ?1")?
            .query_row([child], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if phase == Phase::Finished {
            share_outputs(tx, job, child, &name)?;
            finished = Some(name);
        }
    }
    let tally = tally(connection, job)?;
    // What a child does before its end makes no sibling due; but while the workflow stood still, any may have become so.
    let waiting = match finished {
        _ if tally.errored > 0 => Vec::new(),
        _ if child.is_none() || !before.makes_children() => feeds::all_unmade(connection, job)?,
        Some(name) => feeds::fed_by(connection, job, &name)?,
        None => Vec::new(),
    };
    let mut due = Vec::new();
    let mut trouble = first_error(connection, job, &tally)?;
    for (name, readiness) in feeds::readiness_of(connection, job, waiting)? {
        match readiness {
            Readiness::Waits => {}
            Readiness::Ready(inputs) => due.push((name, inputs)),
            Readiness::Lacks(lack) => trouble = trouble.or(Some(Trouble::Lacks(lack))),
        }
    }
    let after = rules::derive(before, &tally, trouble.as_ref(), tx.now());
    let moved = write(tx, job, &standing, before, &after)?;
    if after.makes_children() && !standing.deleted {
        make::children(tx, job, due)?;
    }
    Ok(Look { parent: standing.parent, moved })
}

/// Adds up how the children of a meta-job stand: from an index alone, since every progress call comes by here.
fn tally(connection: &Connection, job: JobId) -> Result<Tally, Error> {
    let tally = connection
        .prepare_cached(
            "SELECT (SELECT children FROM jobs WHERE pk = ?1), count(*) FILTER (WHERE phase = 'finished'),
                 count(*) FILTER (WHERE phase IN ('started', 'errored', 'finished')),
                 count(*) FILTER (WHERE phase = 'errored'), total(progress_amount)
             FROM jobs INDEXED BY jobs_tally WHERE parent = ?1",
        )?
        .query_row([job], |row| {
            let (total, finished, begun) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Tally { total, finished, begun, errored: row.get(3)?, progress: row.get(4)? })
        })?;
    Ok(tally)
}

/// Gives the child that has been errored for the longest, if one is.
fn first_error(connection: &Connection, job: JobId, tally: &Tally) -> Result<Option<Trouble>, Error> {
    if tally.errored == 0 {
        return Ok(None);
    }
    found(
        connection
            .prepare_cached(
                "SELECT child_name, error_reason FROM jobs WHERE parent = ?1 AND phase = 'errored'
                 ORDER BY end_time, pk LIMIT 1",
            )?
            .query_row([job], |row| Ok(Trouble::Failed { child: row.get(0)?, reason: row.get(1)? })),
    )
}

/// Writes a meta-job's new standing with its event, if it is new.
fn write(
    tx: &WriteTx<'_>,
    job: JobId,
    standing: &Standing,
    before: &MetaState,
    after: &MetaState,
) -> Result<bool, Error> {
    let Some(transition) = rules::transition(before, after) else { return Ok(false) };
    apply(tx, job, before.phase(), &Facts::from(after), transition, standing, "{}")?;
    // Not at each progress of each child, which would have all siblings looked at.
    if before.phase() != after.phase() {
        note_free_children(tx, job)?;
    }
    Ok(true)
}

/// Notes the free children of a meta-job that is not what it was: a waiting claim may ask for what their parent is now.
pub(super) fn note_free_children(tx: &WriteTx<'_>, parent: JobId) -> Result<(), Error> {
    let mut statement = tx.connection().prepare_cached(
        "SELECT pk FROM jobs WHERE parent = ?1 AND phase = 'created' AND node IS NULL AND kind = 'workable'
             AND deletion_time IS NULL AND on_hold = 0",
    )?;
    for child in statement.query_map([parent], |row| row.get(0))? {
        tx.note_free_job(child?);
    }
    Ok(())
}

/// Gives a meta-job the outputs of a finished child, as `child:NAME`: rows that name the same bytes. What it had once,
/// and staff removed, does not come again.
fn share_outputs(tx: &WriteTx<'_>, parent: JobId, child: JobId, name: &str) -> Result<(), Error> {
    tx.connection()
        .prepare_cached(
            "INSERT INTO job_outputs (job, name, type, size, sha256, creator, creation_time)
             SELECT ?1, ?3 || ':' || own.name, own.type, own.size, own.sha256, own.creator, ?4
             FROM job_outputs AS own
             WHERE own.job = ?2 AND own.deletion_time IS NULL AND NOT EXISTS (
                 SELECT 1 FROM job_outputs AS had
                 WHERE had.job = ?1 AND had.name = ?3 || ':' || own.name AND had.type = own.type)
             ORDER BY own.pk",
        )?
        .execute(params![parent, child, name, tx.now()])?;
    Ok(())
}

/// Calls off a whole hierarchy from its top, with an event for each job in it that had not ended.
pub(super) fn cancel(tx: &WriteTx<'_>, top: JobId, standing: &Standing, state: &MetaState) -> Result<(), Error> {
    rules::may_cancel(standing.parent.is_some(), standing.deleted)?;
    let Some(after) = rules::cancelled(state, tx.now()) else { return Ok(()) };
    write(tx, top, standing, state, &after)?;
    let below: Vec<JobId> = tx
        .connection()
        .prepare_cached(
            "WITH RECURSIVE tree (pk) AS (
                 SELECT pk FROM jobs WHERE parent = ?1 UNION ALL SELECT jobs.pk FROM jobs JOIN tree ON jobs.parent = tree.pk)
             SELECT pk FROM jobs WHERE pk IN tree AND phase NOT IN ('finished', 'cancelled') ORDER BY pk",
        )?
        .query_map([top], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    // A parent comes before its children, by its key; so none of them finds it in a phase that could follow them.
    for job in below {
        cancel_one(tx, job)?;
    }
    Ok(())
}

/// Calls off one job below the top; a soft-deleted one too, so that it does not come back to life on its own.
fn cancel_one(tx: &WriteTx<'_>, job: JobId) -> Result<(), Error> {
    let standing = standing(tx.connection(), job)?;
    match &standing.body {
        Body::Meta(state) => match rules::cancelled(state, tx.now()) {
            Some(after) => write(tx, job, &standing, state, &after).map(drop),
            None => Ok(()),
        },
        Body::Workable(state) => match step(state, false, Action::Cancel, tx.now())? {
            Outcome::Change(change) => {
                carry_out(tx, job, &standing, state, change, None, "{}", super::attempts::Ends::default())
            }
            Outcome::Unchanged | Outcome::NodeFreed => Ok(()),
        },
    }
}

/// Says whether a job may be removed for good, as far as the workflow above it goes.
///
/// # Errors
/// `NotNow` when its parent has not ended.
pub(super) fn may_purge(connection: &Connection, parent: Option<JobId>) -> Result<(), Error> {
    let phase = match parent {
        None => None,
        Some(parent) => found(
            connection.prepare_cached("SELECT phase FROM jobs WHERE pk = ?1")?.query_row([parent], |row| row.get(0)),
        )?,
    };
    if rules::may_purge(phase) {
        return Ok(());
    }
    let sentence = "The job is part of a workflow that has not ended; cancel or delete the whole.".to_owned();
    Err(Error::NotNow { code: "child_job", sentence })
}
