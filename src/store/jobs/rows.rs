//! Jobs as rows: as they are shown, and as the rules see them.

use rusqlite::{Connection, Row, params};
use serde_json::value::RawValue;

use super::transitions::By;
use crate::domain::attempt::Attempts;
use crate::domain::ids::{JobId, NodeId};
use crate::domain::lifecycle::{Actor, Phase, State, Work};
use crate::domain::time::Timestamp;
use crate::domain::workflow::MetaState;
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
    static SQL: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("SELECT {COLUMNS} FROM jobs AS t WHERE t.pk = ?1"));
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

/// Reads how a job stands.
pub(in crate::store) fn standing(connection: &Connection, pk: JobId) -> Result<Standing, Error> {
    Ok(standing_by(connection, pk, By::default())?.0)
}

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
    let (standing, nodes_job) = connection
        .prepare_cached(
            "SELECT kind, phase, node, start_time, end_time, error_reason, progress_amount, deletion_time, description,
                 attempt, max_attempts, retry_delay, timeout, on_hold, parent, notifications <> '{}',
                 (SELECT coalesce(current_job, 0) FROM nodes WHERE pk = ?2)
             FROM jobs WHERE pk = ?1",
        )?
        .query_row(params![pk, by.node], |row| {
            let kind = row.get_ref(0)?.as_str()?;
            let is_meta = kind == "meta";
            let body = if is_meta { Body::Meta(meta_state(row)?) } else { Body::Workable(state_from_row(row)?) };
            let deleted = row.get::<_, Option<Timestamp>>(7)?.is_some();
            let attempts = Attempts { number: row.get(9)?, max: row.get(10)?, retry_delay_s: row.get(11)? };
            let (description, timeout_s, on_hold) = (row.get(8)?, row.get(12)?, row.get(13)?);
            let (parent, asked_notifications) = (row.get(14)?, row.get(15)?);
            let standing =
                Standing { body, parent, deleted, description, asked_notifications, attempts, timeout_s, on_hold };
            Ok((standing, row.get::<_, Option<JobId>>(16)?))
        })
        .map_err(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => Error::NotFound,
            error => error.into(),
        })?;
    // Keys begin at 1: a node that works on nothing has 0 here, and one that is not there has nothing.
    let work = match nodes_job {
        None if by.node.is_some() => return Err(Error::NodeGone),
        None | Some(JobId(0)) => Work::Nothing,
        Some(job) if job == pk => Work::ThisJob,
        Some(_) => Work::AnotherJob,
    };
    let current = standing.attempts.number;
    if by.attempt.is_some_and(|attempt| attempt != current) {
        return Err(Error::StaleAttempt { current });
    }
    Ok((standing, by.node.map(|node| Actor { node, work })))
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
