//! Jobs: reading them, and the one way to change their phase.

use rusqlite::{Connection, Row, params};
use serde_json::value::RawValue;

use super::access::JobAccess;
use super::attempts::{self, Ends};
use super::events::{self, NewEvent};
use super::filter::JOBS;
use super::list::Listing;
use super::{Error, Store, WriteTx, found, workflow};
use crate::domain::attempt::Attempts;
use crate::domain::ids::{JobId, NodeId};
use crate::domain::lifecycle::{
    Action, Actor, Change, NodeChange, Outcome, Phase, Refusal, State, Transition, Work, step,
};
use crate::domain::time::Timestamp;
use crate::domain::workflow::{MetaState, may_cancel};
use crate::wire;

pub use super::create::NewJob;

/// The columns of a job's JSON, over `jobs AS t`; read by [`from_row`].
pub(super) const COLUMNS: &str = "t.pk, t.template, (SELECT name FROM job_templates WHERE pk = t.template), \
     (SELECT version FROM job_templates WHERE pk = t.template), t.parent, t.start_time, \
     t.end_time, t.error_reason, t.input_values, t.parameter_values, t.node, \
     (SELECT json_group_array(json_object('pk', o.pk, 'name', o.name, 'type', o.type) ORDER BY o.pk) \
      FROM job_outputs AS o WHERE o.job = t.pk AND o.deletion_time IS NULL), \
     t.description, t.progress_amount, t.phase, t.creator, t.creation_time, t.deletion_time, t.attempt, t.priority, \
     t.max_attempts, t.retry_delay, t.timeout, t.on_hold, t.labels, t.lease_expires";

/// Reads a row of [`COLUMNS`].
pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<wire::Job> {
    let phase: Phase = row.get(14)?;
    Ok(wire::Job {
        pk: row.get(0)?,
        template: wire::TemplateRef { pk: row.get(1)?, name: row.get(2)?, version: row.get(3)? },
        parent: row.get(4)?,
        start_time: row.get(5)?,
        end_time: row.get(6)?,
        error_reason: row.get(7)?,
        input_values: raw(row, 8)?,
        parameter_values: raw(row, 9)?,
        node: row.get(10)?,
        outputs: outputs(row, 11)?,
        description: row.get(12)?,
        is_cancelled: phase == Phase::Cancelled,
        progress_amount: row.get(13)?,
        phase,
        creator: row.get(15)?,
        creation_time: row.get(16)?,
        deletion_time: row.get(17)?,
        attempt: row.get(18)?,
        priority: row.get(19)?,
        max_attempts: row.get(20)?,
        retry_delay: row.get(21)?,
        timeout: row.get(22)?,
        hold: row.get(23)?,
        labels: labels(row, 24)?,
        lease_expires: row.get(25)?,
    })
}

/// Reads the JSON object of a job's labels.
fn labels(row: &Row<'_>, index: usize) -> rusqlite::Result<std::collections::BTreeMap<String, String>> {
    match row.get_ref(index)?.as_str()? {
        "{}" => Ok(Default::default()),
        text => serde_json::from_str(text).map_err(|error| bad_column(index, error)),
    }
}

/// Reads a column of JSON text that goes out as it is.
fn raw(row: &Row<'_>, index: usize) -> rusqlite::Result<Box<RawValue>> {
    RawValue::from_string(row.get(index)?).map_err(|error| bad_column(index, error))
}

/// Reads the JSON array of a job's outputs.
fn outputs(row: &Row<'_>, index: usize) -> rusqlite::Result<Vec<wire::OutputRef>> {
    match row.get_ref(index)?.as_str()? {
        "[]" => Ok(Vec::new()),
        text => serde_json::from_str(text).map_err(|error| bad_column(index, error)),
    }
}

fn bad_column(index: usize, error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
}

/// Reads a job, deleted or not.
pub(super) fn read(connection: &Connection, pk: JobId) -> Result<Option<wire::Job>, Error> {
    // Built once; the text is the key of the statement cache.
    static SQL: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("SELECT {COLUMNS} FROM jobs AS t WHERE t.pk = ?1"));
    found(connection.prepare_cached(&SQL)?.query_row([pk], from_row))
}

/// A job as the rules see it.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) body: Body,
    pub(super) parent: Option<JobId>,
    pub(super) deleted: bool,
    pub(super) description: String,
    pub(super) attempts: Attempts,
    /// Seconds that a run may take.
    pub(super) timeout_s: Option<f64>,
    pub(super) on_hold: bool,
}

impl Standing {
    /// Gives the phase.
    pub(super) fn phase(&self) -> Phase {
        match &self.body {
            Body::Workable(state) => state.phase(),
            Body::Meta(phase) => phase.phase(),
        }
    }
}

/// What kind of job it is.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Workable(State),
    Meta(MetaState),
}

/// Reads how a job stands.
pub(super) fn standing(connection: &Connection, pk: JobId) -> Result<Standing, Error> {
    connection
        .prepare_cached(
            "SELECT kind, phase, node, start_time, end_time, error_reason, progress_amount, deletion_time, description,
                 attempt, max_attempts, retry_delay, timeout, on_hold, parent
             FROM jobs WHERE pk = ?1",
        )?
        .query_row([pk], |row| {
            let kind = row.get_ref(0)?.as_str()?;
            let is_meta = kind == "meta";
            let body = if is_meta { Body::Meta(meta_state(row)?) } else { Body::Workable(state_from_row(row)?) };
            let deleted = row.get::<_, Option<Timestamp>>(7)?.is_some();
            let attempts = Attempts { number: row.get(9)?, max: row.get(10)?, retry_delay_s: row.get(11)? };
            let (description, timeout_s, on_hold) = (row.get(8)?, row.get(12)?, row.get(13)?);
            Ok(Standing { body, parent: row.get(14)?, deleted, description, attempts, timeout_s, on_hold })
        })
        .map_err(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => Error::NotFound,
            error => error.into(),
        })
}

/// Puts a workable job's state together; a NULL where the phase wants a value can't be, by the schema's CHECKs.
fn state_from_row(row: &Row<'_>) -> rusqlite::Result<State> {
    let holder: Option<NodeId> = row.get(2)?;
    let progress: f64 = row.get(6)?;
    Ok(match row.get(1)? {
        Phase::Created => State::Created { holder },
        Phase::Started => State::Started { holder: row.get(2)?, since: row.get(3)?, progress },
        Phase::Errored => {
            State::Errored { holder, since: row.get(3)?, progress, ended: row.get(4)?, reason: row.get(5)? }
        }
        Phase::Finished => State::Finished { holder, since: row.get(3)?, ended: row.get(4)? },
        Phase::Cancelled => State::Cancelled { holder, since: row.get(3)?, progress, ended: row.get(4)? },
    })
}

/// Puts a meta-job's state together, as [`state_from_row`] does.
fn meta_state(row: &Row<'_>) -> rusqlite::Result<MetaState> {
    let progress: f64 = row.get(6)?;
    Ok(match row.get(1)? {
        Phase::Created => MetaState::Created,
        Phase::Started => MetaState::Started { since: row.get(3)?, progress },
        Phase::Errored => MetaState::Errored { since: row.get(3)?, progress, ended: row.get(4)?, reason: row.get(5)? },
        Phase::Finished => MetaState::Finished { since: row.get(3)?, ended: row.get(4)? },
        Phase::Cancelled => MetaState::Cancelled { since: row.get(3)?, progress, ended: row.get(4)? },
    })
}

/// Reads what a node works on, as seen from a job.
pub(super) fn actor(connection: &Connection, node: NodeId, job: JobId) -> Result<Actor, Error> {
    let current: Option<Option<JobId>> = found(
        connection.prepare_cached("SELECT current_job FROM nodes WHERE pk = ?1")?.query_row([node], |row| row.get(0)),
    )?;
    let work = match current.flatten() {
        None => Work::Nothing,
        Some(current) if current == job => Work::ThisJob,
        Some(_) => Work::AnotherJob,
    };
    Ok(Actor { node, work })
}

/// The columns in which a job's standing is kept.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) phase: Phase,
    pub(super) node: Option<NodeId>,
    pub(super) start_time: Option<Timestamp>,
    pub(super) end_time: Option<Timestamp>,
    pub(super) error_reason: Option<&'a str>,
    pub(super) progress: f64,
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

/// Writes a job's new standing and its event. The one place that writes a phase: guarded by the phase it comes from.
pub(super) fn apply(
    tx: &WriteTx<'_>,
    job: JobId,
    from: Phase,
    facts: &Facts<'_>,
    transition: Transition,
    description: &str,
    data: &str,
) -> Result<(), Error> {
    let Facts { phase, node, start_time, end_time, error_reason, progress } = facts;
    let connection = tx.connection();
    let changed = match transition {
        // By far the most frequent. A job that is held changes nothing else by it (a meta-job, which nobody holds,
        // may), and a statement that names no column of an index leaves all indexes alone.
        Transition::Progress if node.is_some() => connection
            .prepare_cached("UPDATE jobs SET progress_amount = ?3 WHERE pk = ?1 AND phase = ?2")?
            .execute(params![job, from, progress])?,
        _ => connection
            .prepare_cached(
                "UPDATE jobs SET phase = ?3, node = ?4, start_time = ?5, end_time = ?6, error_reason = ?7,
                     progress_amount = ?8, retry_time = iif(?9 = 'release', retry_time, NULL),
                     deadline = iif(?9 = 'progress', deadline, NULL),
                     lease = iif(?9 IN ('start', 'progress'), lease, NULL),
                     lease_expires = iif(?9 IN ('start', 'progress'), lease_expires, NULL)
                 WHERE pk = ?1 AND phase = ?2",
            )?
            .execute(params![job, from, phase, node, start_time, end_time, error_reason, progress, transition])?,
    };
    if changed != 1 {
        return Err(Error::Broken(format!("job {job} was not in phase {from} any more")));
    }
    // Neither of the two changes who holds the job, and they are what a node calls most.
    if !matches!(transition, Transition::Progress | Transition::Start) {
        tx.note_job(job, None);
    }
    let event = NewEvent { job, transition, node: *node, progress: *progress, error: *error_reason, description, data };
    events::append(tx, &event)
}

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

impl Store {
    /// Reads a job, deleted or not; `None` when there is none.
    pub fn job(&self, pk: JobId) -> Result<Option<wire::Job>, Error> {
        self.read(|connection| read(connection, pk))
    }

    /// Does to a job what the rules allow, and gives the job as it then stands (contract §5).
    ///
    /// # Errors
    /// `NotFound` when there is no such job, `StaleAttempt` when the call is for another attempt than the present one,
    /// `Refused` and `NotNow` when the rules say no: then nothing has changed.
    pub async fn act(&self, job: JobId, by: By, verb: Verb) -> Result<wire::Job, Error> {
        self.write(move |tx| {
            let is_nodes_verb = !matches!(verb, Verb::Cancel | Verb::Abort);
            act(tx, job, by, verb)?;
            let after = read(tx.connection(), job)?.ok_or(Error::NotFound)?;
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
            }
            read(tx.connection(), job)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Soft-deletes a job, or takes that back. Doing so again changes nothing.
    pub async fn set_job_deleted(&self, job: JobId, deleted: bool) -> Result<wire::Job, Error> {
        self.write(move |tx| {
            let time = deleted.then(|| tx.now());
            // A second delete keeps the time of the first.
            tx.connection()
                .prepare_cached(
                    "UPDATE jobs SET deletion_time = ?2 WHERE pk = ?1 AND (deletion_time IS NULL) = (?2 IS NOT NULL)",
                )?
                .execute(params![job, time])?;
            if !deleted {
                workflow::resume(tx, job)?;
            }
            read(tx.connection(), job)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Removes a job for good, with its outputs, events and children.
    ///
    /// # Errors
    /// `NotNow` when the job is a child of a meta-job that has not ended.
    pub async fn purge_job(&self, job: JobId) -> Result<PurgedJob, Error> {
        self.write(move |tx| {
            let connection = tx.connection();
            let was = read(connection, job)?.ok_or(Error::NotFound)?;
            workflow::may_purge(connection, was.parent)?;
            let jobs = connection
                .prepare_cached(
                    "WITH RECURSIVE tree (pk) AS (
                         VALUES (?1) UNION SELECT jobs.pk FROM jobs JOIN tree ON jobs.parent = tree.pk)
                     SELECT pk FROM tree",
                )?
                .query_map([job], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let digests = connection
                .prepare_cached(
                    "WITH RECURSIVE tree (pk) AS (
                         VALUES (?1) UNION SELECT jobs.pk FROM jobs JOIN tree ON jobs.parent = tree.pk)
                     SELECT sha256 FROM job_outputs WHERE job IN tree
                     UNION SELECT sha256 FROM job_blobs WHERE job IN tree",
                )?
                .query_map([job], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            connection.prepare_cached("DELETE FROM jobs WHERE pk = ?1")?.execute([job])?;
            let jobs: Vec<JobId> = jobs;
            jobs.iter().for_each(|job| tx.note_job(*job, None));
            Ok(PurgedJob { was, jobs, digests })
        })
        .await
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
pub(super) fn act(tx: &WriteTx<'_>, job: JobId, by: By, verb: Verb) -> Result<(), Error> {
    let connection = tx.connection();
    let standing = standing(connection, job)?;
    let current = standing.attempts.number;
    if by.attempt.is_some_and(|attempt| attempt != current) {
        return Err(Error::StaleAttempt { current });
    }
    let state = match &standing.body {
        Body::Workable(state) => state,
        Body::Meta(state) => {
            return match verb {
                Verb::Cancel => workflow::cancel(tx, job, &standing, state),
                _ => Err(Error::Refused(Refusal::MetaJob)),
            };
        }
    };
    if matches!(verb, Verb::Cancel) {
        may_cancel(standing.parent.is_some(), false)?;
    }
    let actor = by.node.map(|node| actor(connection, node, job)).transpose()?;
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
            carry_out(tx, job, &standing, state, change, by.node, &data, Ends { lease_s, ending: None })
        }
    }
}

/// Carries out a change that the rules have decided: the job, its event, its outputs, its node, its attempt, and what
/// follows for the workflow that it is part of.
#[expect(clippy::too_many_arguments, reason = "each is one part of the one change")]
pub(super) fn carry_out(
    tx: &WriteTx<'_>,
    job: JobId,
    standing: &Standing,
    state: &State,
    change: Change,
    node: Option<NodeId>,
    data: &str,
    ends: Ends,
) -> Result<(), Error> {
    apply(tx, job, state.phase(), &Facts::from(&change.next), change.transition, &standing.description, data)?;
    if change.removes_outputs {
        tx.connection()
            .prepare_cached("UPDATE job_outputs SET deletion_time = ?2 WHERE job = ?1 AND deletion_time IS NULL")?
            .execute(params![job, tx.now()])?;
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
