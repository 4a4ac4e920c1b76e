//! The one way to change a job's phase: what a caller does is put to the rules, and what they decide is carried out.

use rusqlite::params;

use super::rows::{Body, Standing, read, shown_and_standing_by, standing_by};
use crate::domain::ids::{JobId, NodeId};
use crate::domain::lifecycle::{Action, Actor, Change, NodeChange, Outcome, Phase, Refusal, State, Transition, step};
use crate::domain::time::Timestamp;
use crate::domain::workflow::{MetaState, may_cancel};
use crate::store::attempts::{self, Ends};
use crate::store::events::{self, Chain, NewEvent};
use crate::store::{Error, WriteTx, workflow};
use crate::wire;

/// What a caller does to a job, before it is known how the job and the node stand.
#[derive(Debug, Clone)]
pub enum Verb {
    /// Takes the job.
    Acquire {
        /// For how many seconds, unless the node gives signs of life; for ever without.
        lease_s: Option<f64>,
    },
    /// Gives it back.
    Release,
    /// Begins work.
    Start,
    /// Says how far it has come.
    Progress {
        /// From 0 to 1.
        amount: f64,
        /// A JSON object for the watchers, as text.
        data: String,
    },
    /// Ends the work, with an error's text or well.
    Finish {
        /// Why the run failed, if it did.
        error: Option<String>,
    },
    /// Makes an errored job ready again.
    Reset,
    /// Takes it away from its holder.
    Abort,
    /// Calls it off.
    Cancel,
}

impl Verb {
    /// Makes the action of the rules; a node's verb without a node is nobody's to do.
    fn action(self, actor: Option<Actor>) -> Result<Action, Refusal> {
        let by = actor.ok_or(Refusal::NotHolder);
        Ok(match self {
            Self::Acquire { .. } => Action::Acquire(by?),
            Self::Release => Action::Release(by?),
            Self::Start => Action::Start(by?),
            Self::Progress { amount, .. } => Action::Progress(by?, amount),
            Self::Finish { error } => Action::Finish(by?, error),
            Self::Reset => Action::Reset(by?),
            Self::Abort => Action::Abort,
            Self::Cancel => Action::Cancel,
        })
    }
}

/// On whose behalf an action is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct By {
    /// The node, if the call is made for one.
    pub node: Option<NodeId>,
    /// The attempt that the call says it belongs to.
    pub attempt: Option<i64>,
}

/// Carries out one action inside a transaction.
pub(in crate::store) fn act(tx: &WriteTx<'_>, job: JobId, by: By, verb: Verb) -> Result<(), Error> {
    let (standing, actor) = standing_by(tx.connection(), job, by)?;
    act_on(tx, job, by, verb, &standing, actor)
}

/// Carries out one action inside a transaction, and gives the job as it then stands.
pub(super) fn act_and_show(tx: &WriteTx<'_>, job: JobId, by: By, verb: Verb) -> Result<wire::Job, Error> {
    if let Verb::Progress { amount, .. } = verb {
        // What nodes call most. It changes nothing else that is shown, so the look that the rules need at the row serves
        // for the answer as well (`benches/RESULTS.md`).
        let (shown, standing, actor) = shown_and_standing_by(tx.connection(), job, by)?;
        act_on(tx, job, by, verb, &standing, actor)?;
        return Ok(wire::Job { progress_amount: amount, ..shown });
    }
    act(tx, job, by, verb)?;
    read(tx.connection(), job)?.ok_or(Error::NotFound)
}

/// Carries out one action on a job that has been looked at.
fn act_on(
    tx: &WriteTx<'_>,
    job: JobId,
    by: By,
    verb: Verb,
    standing: &Standing,
    actor: Option<Actor>,
) -> Result<(), Error> {
    let state = match &standing.body {
        Body::Workable(state) => state,
        Body::Meta(state) => {
            return match verb {
                Verb::Cancel => workflow::cancel(tx, job, standing, state),
                _ => Err(Error::Refused(Refusal::MetaJob)),
            };
        }
    };
    if matches!(verb, Verb::Cancel) {
        may_cancel(standing.parent.is_some(), false)?;
    }
    let (data, lease_s) = match &verb {
        Verb::Progress { data, .. } => (data.clone(), None),
        Verb::Acquire { lease_s } => ("{}".to_owned(), *lease_s),
        _ => ("{}".to_owned(), None),
    };
    match step(state, standing.deleted, verb.action(actor)?, tx.now())? {
        Outcome::Unchanged => match lease_s {
            Some(lease_s) => attempts::lease(tx, job, lease_s),
            None => Ok(()),
        },
        Outcome::NodeFreed => change_node(tx, job, by.node, NodeChange::Freed),
        Outcome::Change(change) => {
            if standing.on_hold && change.transition == Transition::Acquire {
                let sentence = "The job is on hold; let it go with unhold first.".to_owned();
                return Err(Error::NotNow { code: "on_hold", sentence });
            }
            carry_out(tx, job, standing, state, change, by.node, &data, Ends { lease_s, ending: None })
        }
    }
}

/// Carries out a change that the rules have decided: the job, its event, its outputs, its node, its attempt, and what
/// follows for the workflow that it is part of.
#[expect(clippy::too_many_arguments, reason = "each is one part of the one change")]
pub(in crate::store) fn carry_out(
    tx: &WriteTx<'_>,
    job: JobId,
    standing: &Standing,
    state: &State,
    change: Change,
    node: Option<NodeId>,
    data: &str,
    ends: Ends,
) -> Result<(), Error> {
    apply(tx, job, state.phase(), &Facts::from(&change.next), change.transition, standing, data)?;
    if change.removes_outputs {
        tx.connection()
            .prepare_cached("UPDATE job_outputs SET deletion_time = ?2 WHERE job = ?1 AND deletion_time IS NULL")?
            .execute(params![job, tx.now()])?;
        // Those that are on their way are of the same run. Their files are found by the sweep.
        tx.connection()
            .prepare_cached("DELETE FROM uploads WHERE job = ?1 AND finished_time IS NULL")?
            .execute([job])?;
    }
    change_node(tx, job, node, change.node)?;
    attempts::follow(tx, job, standing, &change, node, ends)?;
    match (standing.parent, change.transition) {
        // Who holds a job is nothing to its parent.
        (None, _) | (_, Transition::Acquire | Transition::Release) => Ok(()),
        (Some(parent), _) => workflow::child_changed(tx, job, parent),
    }
}

/// Changes what a node works on; a node that works on another job by now keeps that one.
fn change_node(tx: &WriteTx<'_>, job: JobId, node: Option<NodeId>, change: NodeChange) -> Result<(), Error> {
    let sql = match change {
        NodeChange::Keep => return Ok(()),
        NodeChange::Works => "UPDATE nodes SET current_job = ?2 WHERE pk = ?1 AND current_job IS NULL",
        NodeChange::Freed => "UPDATE nodes SET current_job = NULL WHERE pk = ?1 AND current_job = ?2",
    };
    tx.connection().prepare_cached(sql)?.execute(params![node, job])?;
    Ok(())
}

/// The columns in which a job's standing is kept.
#[derive(Debug)]
pub(in crate::store) struct Facts<'a> {
    pub(in crate::store) phase: Phase,
    pub(in crate::store) node: Option<NodeId>,
    pub(in crate::store) start_time: Option<Timestamp>,
    pub(in crate::store) end_time: Option<Timestamp>,
    pub(in crate::store) error_reason: Option<&'a str>,
    pub(in crate::store) progress: f64,
}

impl<'a> From<&'a State> for Facts<'a> {
    fn from(state: &'a State) -> Self {
        Self {
            phase: state.phase(),
            node: state.holder(),
            start_time: state.start_time(),
            end_time: state.end_time(),
            error_reason: state.error_reason(),
            progress: state.progress(),
        }
    }
}

impl<'a> From<&'a MetaState> for Facts<'a> {
    fn from(state: &'a MetaState) -> Self {
        Self {
            phase: state.phase(),
            node: None,
            start_time: state.start_time(),
            end_time: state.end_time(),
            error_reason: state.error_reason(),
            progress: state.progress(),
        }
    }
}

/// Writes a job's new standing and its event. The one place that writes a phase: guarded by the phase it comes from, and by
/// the event that led to it.
pub(in crate::store) fn apply(
    tx: &WriteTx<'_>,
    job: JobId,
    from: Phase,
    facts: &Facts<'_>,
    transition: Transition,
    standing: &Standing,
    data: &str,
) -> Result<(), Error> {
    let Facts { phase, node, start_time, end_time, error_reason, progress } = facts;
    let Standing { description, asked_notifications, chain, .. } = standing;
    let connection = tx.connection();
    let seq = tx.next_event();
    let Chain { count, last, last_step } = chain.and(seq, transition);
    // A lease belongs to the holder, and lasts as long as the job is held.
    let keeps_lease = match transition {
        Transition::Start | Transition::Progress | Transition::Error | Transition::Reset => node.is_some(),
        Transition::Create
        | Transition::Acquire
        | Transition::Release
        | Transition::Finish
        | Transition::Abort
        | Transition::Cancel => false,
    };
    let changed = match transition {
        // By far the most frequent. A job that is held changes nothing else by it (a meta-job, which nobody holds,
        // may), and a statement that names no column of an index leaves all indexes alone.
        Transition::Progress if node.is_some() => connection
            .prepare_cached(
                "UPDATE jobs SET progress_amount = ?3, events = ?4, last_event = ?5
                 WHERE pk = ?1 AND phase = ?2 AND events = ?4 - 1",
            )?
            .execute(params![job, from, progress, count, last])?,
        _ => connection
            .prepare_cached(
                "UPDATE jobs SET phase = ?3, node = ?4, start_time = ?5, end_time = ?6, error_reason = ?7,
                     progress_amount = ?8, retry_time = iif(?9 IN ('acquire', 'release'), retry_time, NULL),
                     deadline = iif(?9 = 'progress', deadline, NULL),
                     lease = iif(?10, lease, NULL), lease_expires = iif(?10, lease_expires, NULL),
                     attempt = attempt + (?9 = 'acquire'), events = ?11, last_event = ?12, last_step = ?13
                 WHERE pk = ?1 AND phase = ?2 AND events = ?11 - 1",
            )?
            .execute(params![
                job,
                from,
                phase,
                node,
                start_time,
                end_time,
                error_reason,
                progress,
                transition,
                keeps_lease,
                count,
                last,
                last_step
            ])?,
    };
    if changed != 1 {
        return Err(Error::Broken(format!("job {job} was not in phase {from} with {} events any more", chain.count)));
    }
    // Neither of the two changes who holds the job, and they are what a node calls most.
    if !matches!(transition, Transition::Progress | Transition::Start) {
        tx.note_job(job, None);
    }
    let (chain, node, progress, error) = (*chain, *node, *progress, *error_reason);
    let event = NewEvent { seq, job, chain, transition, node, progress, error, description, data };
    events::append(tx, &event, *asked_notifications)
}
