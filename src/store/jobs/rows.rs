//! Jobs as rows: as they are shown, and as the rules see them.

use std::sync::LazyLock;

use rusqlite::{Connection, Row, params};
use serde_json::value::RawValue;

use super::transitions::By;
use crate::domain::attempt::Attempts;
use crate::domain::ids::{JobId, NodeId};
use crate::domain::lifecycle::{Actor, Phase, State, Work};
use crate::domain::time::Timestamp;
use crate::domain::workflow::MetaState;
use crate::store::events::Chain;
use crate::store::{Error, found};
use crate::wire;

/// The columns of a job's JSON, over `jobs AS t`; read by [`from_row`].
pub(in crate::store) const COLUMNS: &str = "t.pk, t.template, (SELECT name FROM job_templates WHERE pk = t.template), \
     (SELECT version FROM job_templates WHERE pk = t.template), t.parent, t.start_time, \
     t.end_time, t.error_reason, t.input_values, t.parameter_values, t.node, \
     (SELECT json_group_array(json_object('pk', o.pk, 'name', o.name, 'type', o.type)) \
      FROM job_outputs AS o WHERE o.job = t.pk AND o.deletion_time IS NULL), \
     t.description, t.progress_amount, t.phase, t.creator, t.creation_time, t.deletion_time, t.attempt, t.priority, \
     t.max_attempts, t.retry_delay, t.timeout, t.on_hold, t.labels, t.lease_expires";

/// Reads a row of [`COLUMNS`].
pub(in crate::store) fn from_row(row: &Row<'_>) -> rusqlite::Result<wire::Job> {
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

/// Reads the JSON array of a job's outputs, and puts them in order. An ORDER BY within SQLite's aggregate would cost as
/// much as the rest of the row, outputs or none: it makes a table of its own for each row.
fn outputs(row: &Row<'_>, index: usize) -> rusqlite::Result<Vec<wire::OutputRef>> {
    let text = row.get_ref(index)?.as_str()?;
    if text == "[]" {
        return Ok(Vec::new());
    }
    let mut outputs: Vec<wire::OutputRef> = serde_json::from_str(text).map_err(|error| bad_column(index, error))?;
    outputs.sort_unstable_by_key(|output| output.pk);
    Ok(outputs)
}

fn bad_column(index: usize, error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
}

/// Reads a job, deleted or not.
pub(in crate::store) fn read(connection: &Connection, pk: JobId) -> Result<Option<wire::Job>, Error> {
    // Built once; the text is the key of the statement cache.
    static SQL: LazyLock<String> = LazyLock::new(|| format!("SELECT {COLUMNS} FROM jobs AS t WHERE t.pk = ?1"));
    found(connection.prepare_cached(&SQL)?.query_row([pk], from_row))
}

/// A job as the rules see it.
#[derive(Debug, Clone)]
pub(in crate::store) struct Standing {
    pub(in crate::store) body: Body,
    pub(in crate::store) parent: Option<JobId>,
    pub(in crate::store) deleted: bool,
    pub(in crate::store) description: String,
    /// Whether it asked for notifications of its own.
    pub(in crate::store) asked_notifications: bool,
    pub(in crate::store) attempts: Attempts,
    /// Seconds that a run may take.
    pub(in crate::store) timeout_s: Option<f64>,
    pub(in crate::store) on_hold: bool,
    pub(in crate::store) chain: Chain,
}

impl Standing {
    /// Gives the phase.
    pub(in crate::store) fn phase(&self) -> Phase {
        match &self.body {
            Body::Workable(state) => state.phase(),
            Body::Meta(phase) => phase.phase(),
        }
    }
}

/// What kind of job it is.
#[derive(Debug, Clone)]
pub(in crate::store) enum Body {
    Workable(State),
    Meta(MetaState),
}

/// The columns that make a body, as they are in the row.
struct Parts {
    is_meta: bool,
    phase: Phase,
    holder: Option<NodeId>,
    since: Option<Timestamp>,
    ended: Option<Timestamp>,
    reason: Option<String>,
    progress: f64,
}

impl Parts {
    /// Puts the body together; `None` where there is no value that the phase wants, which the schema's CHECKs rule out.
    fn body(self) -> Option<Body> {
        let Self { is_meta, phase, holder, since, ended, reason, progress } = self;
        if is_meta {
            return Some(Body::Meta(match phase {
                Phase::Created => MetaState::Created,
                Phase::Started => MetaState::Started { since: since?, progress },
                Phase::Errored => MetaState::Errored { since: since?, progress, ended: ended?, reason: reason? },
                Phase::Finished => MetaState::Finished { since: since?, ended: ended? },
                Phase::Cancelled => MetaState::Cancelled { since, progress, ended: ended? },
            }));
        }
        Some(Body::Workable(match phase {
            Phase::Created => State::Created { holder },
            Phase::Started => State::Started { holder: holder?, since: since?, progress },
            Phase::Errored => State::Errored { holder, since: since?, progress, ended: ended?, reason: reason? },
            Phase::Finished => State::Finished { holder, since: since?, ended: ended? },
            Phase::Cancelled => State::Cancelled { holder, since, progress, ended: ended? },
        }))
    }
}

/// Reads how a job stands.
pub(in crate::store) fn standing(connection: &Connection, pk: JobId) -> Result<Standing, Error> {
    Ok(standing_by(connection, pk, By::default())?.0)
}

/// What the node of `?2` works on: 0 for nothing, since keys begin at 1, and NULL when there is no such node.
const NODES_JOB: &str = "(SELECT coalesce(current_job, 0) FROM nodes WHERE pk = ?2)";

/// Reads how a job stands, and what the node works on that a call is made for, if it is made for one.
///
/// # Errors
/// `NodeGone` when that node was destroyed after the call came in, `StaleAttempt` when the call says that it belongs to
/// another attempt than the present one.
pub(in crate::store) fn standing_by(
    connection: &Connection,
    pk: JobId,
    by: By,
) -> Result<(Standing, Option<Actor>), Error> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT kind = 'meta', phase, node, start_time, end_time, error_reason, progress_amount, parent,
                 deletion_time IS NOT NULL, description, notifications <> '{{}}', attempt, max_attempts, retry_delay,
                 timeout, on_hold, events, last_event, last_step, {NODES_JOB}
             FROM jobs WHERE pk = ?1"
        )
    });
    let row = connection.prepare_cached(&SQL)?.query_row(params![pk, by.node], |row| {
        let parts = Parts {
            is_meta: row.get(0)?,
            phase: row.get(1)?,
            holder: row.get(2)?,
            since: row.get(3)?,
            ended: row.get(4)?,
            reason: row.get(5)?,
            progress: row.get(6)?,
        };
        let Some(body) = parts.body() else { return Ok(None) };
        let standing = Standing {
            body,
            parent: row.get(7)?,
            deleted: row.get(8)?,
            description: row.get(9)?,
            asked_notifications: row.get(10)?,
            attempts: Attempts { number: row.get(11)?, max: row.get(12)?, retry_delay_s: row.get(13)? },
            timeout_s: row.get(14)?,
            on_hold: row.get(15)?,
            chain: Chain { count: row.get(16)?, last: row.get(17)?, last_step: row.get(18)? },
        };
        Ok(Some((standing, row.get(19)?)))
    });
    let (standing, nodes_job) = found(row)?.ok_or(Error::NotFound)?.ok_or_else(|| half(pk))?;
    let actor = actor(pk, by, standing.attempts.number, nodes_job)?;
    Ok((standing, actor))
}

/// Reads a job as it is shown and how it stands, in one look at its row.
///
/// # Errors
/// Those of [`standing_by`].
pub(in crate::store) fn shown_and_standing_by(
    connection: &Connection,
    pk: JobId,
    by: By,
) -> Result<(wire::Job, Standing, Option<Actor>), Error> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT {COLUMNS}, t.kind = 'meta', t.notifications <> '{{}}', t.events, t.last_event, t.last_step, {NODES_JOB}
             FROM jobs AS t WHERE t.pk = ?1"
        )
    });
    let row = connection.prepare_cached(&SQL)?.query_row(params![pk, by.node], |row| {
        let chain = Chain { count: row.get(28)?, last: row.get(29)?, last_step: row.get(30)? };
        Ok((from_row(row)?, row.get(26)?, row.get(27)?, chain, row.get(31)?))
    });
    let (shown, is_meta, asked_notifications, chain, nodes_job) = found(row)?.ok_or(Error::NotFound)?;
    let parts = Parts {
        is_meta,
        phase: shown.phase,
        holder: shown.node,
        since: shown.start_time,
        ended: shown.end_time,
        reason: shown.error_reason.clone(),
        progress: shown.progress_amount,
    };
    let standing = Standing {
        body: parts.body().ok_or_else(|| half(pk))?,
        parent: shown.parent,
        deleted: shown.deletion_time.is_some(),
        description: shown.description.clone(),
        asked_notifications,
        attempts: Attempts { number: shown.attempt, max: shown.max_attempts, retry_delay_s: shown.retry_delay },
        timeout_s: shown.timeout,
        on_hold: shown.hold,
        chain,
    };
    let actor = actor(pk, by, shown.attempt, nodes_job)?;
    Ok((shown, standing, actor))
}

fn half(job: JobId) -> Error {
    Error::Broken(format!("job {job} lacks what belongs to its phase"))
}

/// Says what the node of a call works on, and that the call is of the present attempt.
fn actor(job: JobId, by: By, current: i64, nodes_job: Option<JobId>) -> Result<Option<Actor>, Error> {
    let work = match nodes_job {
        None if by.node.is_some() => return Err(Error::NodeGone),
        None | Some(JobId(0)) => Work::Nothing,
        Some(its) if its == job => Work::ThisJob,
        Some(_) => Work::AnotherJob,
    };
    if by.attempt.is_some_and(|attempt| attempt != current) {
        return Err(Error::StaleAttempt { current });
    }
    Ok(by.node.map(|node| Actor { node, work }))
}

/// Gives a job and all its descendants.
pub(in crate::store) fn family(connection: &Connection, job: JobId) -> Result<Vec<JobId>, Error> {
    let mut statement = connection.prepare_cached(
        "WITH RECURSIVE tree (pk) AS (
             VALUES (?1) UNION SELECT jobs.pk FROM jobs JOIN tree ON jobs.parent = tree.pk)
         SELECT pk FROM tree",
    )?;
    let jobs = statement.query_map([job], |row| row.get(0))?;
    Ok(jobs.collect::<Result<_, _>>()?)
}
