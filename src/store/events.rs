//! The event log: every transition, written in the transaction that makes it (contract §10).

use std::sync::LazyLock;

use rusqlite::{Connection, Row, params};
use serde_json::value::RawValue;

use super::list::Selection;
use super::{Error, Store, WriteTx, found, notify};
use crate::domain::ids::{JobId, NodeId};
use crate::domain::lifecycle::{Phase, Transition};
use crate::domain::notification::Message;

/// A transition on its way into the log, with the job as it leaves it.
#[derive(Debug)]
pub(super) struct NewEvent<'a> {
    pub(super) job: JobId,
    pub(super) transition: Transition,
    pub(super) node: Option<NodeId>,
    pub(super) progress: f64,
    pub(super) error: Option<&'a str>,
    pub(super) description: &'a str,
    /// A JSON object.
    pub(super) data: &'a str,
}

/// Gives the highest place in the log that was ever used, by an event that is there or by one that went with its job.
pub(super) fn last_place(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .query_row("SELECT max(seq, (SELECT coalesce(max(seq), 0) FROM events)) FROM events_gone", [], |row| row.get(0))
}

/// Appends an event, and sees to the notifications that it calls for; `asked` says whether the job asked for any itself.
pub(super) fn append(tx: &WriteTx<'_>, event: &NewEvent<'_>, asked: bool) -> Result<(), Error> {
    let NewEvent { job, transition, node, progress, error, description, data } = event;
    let seq = tx.next_event();
    tx.connection()
        .prepare_cached(
            "INSERT INTO events (seq, job, time, transition, node, progress, error, description, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![seq, job, tx.now(), transition, node, progress, error, description, data])?;
    notify::tell(tx, event, asked)
}

/// An event as watchers are told of it.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its place in the log; larger than that of every event before it.
    pub seq: i64,
    /// What it says.
    pub message: Message,
}

impl Event {
    /// Says whether nothing can follow it on its job.
    pub fn is_last(&self) -> bool {
        matches!(self.message.transition, Transition::Finish | Transition::Cancel)
    }

    /// Gives how much of its size hangs on what callers wrote, in bytes.
    fn text_bytes(&self) -> usize {
        let Message { description, error, transition_data, .. } = &self.message;
        description.len() + error.as_ref().map_or(0, String::len) + transition_data.get().len()
    }
}

/// Some events, in order.
#[derive(Debug, Clone)]
pub struct Events {
    /// The events.
    pub events: Vec<Event>,
    /// Whether there may be more behind them.
    pub more: bool,
}

/// Text after which no more events are read at a time, in bytes: one event alone can have as much.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// The columns of an event; read by [`from_row`].
const COLUMNS: &str = "seq, job, transition, node, progress, error, description, data";

/// The events of one job after a place.
static OF_JOB: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {COLUMNS} FROM events WHERE job = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3"));
/// The events of all jobs after a place; it says nothing of a job, but takes the same values.
static OF_ALL: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {COLUMNS} FROM events WHERE ?1 IS NULL AND seq > ?2 ORDER BY seq LIMIT ?3"));

fn from_row(row: &Row<'_>) -> rusqlite::Result<Event> {
    let transition: Transition = row.get(2)?;
    let message = Message {
        transition,
        description: row.get(6)?,
        pk: row.get(1)?,
        progress: row.get(4)?,
        cancelled: transition == Transition::Cancel,
        node: row.get(3)?,
        error: row.get(5)?,
        transition_data: RawValue::from_string(row.get(7)?).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(7, rusqlite::types::Type::Text, Box::new(error))
        })?,
    };
    Ok(Event { seq: row.get(0)?, message })
}

/// Reads the present state of a job as the transition that led to it, with the job's newest place in the log.
fn present(connection: &Connection, job: JobId) -> Result<Option<Event>, Error> {
    // One transaction, so that the state and the place in the log belong together.
    let tx = connection.unchecked_transaction()?;
    let seq: i64 = tx
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM events WHERE job = ?1")?
        .query_row([job], |row| row.get(0))?;
    let message = found(
        tx.prepare_cached("SELECT phase, node, progress_amount, error_reason, description FROM jobs WHERE pk = ?1")?
            .query_row([job], |row| {
                let node: Option<NodeId> = row.get(1)?;
                let phase: Phase = row.get(0)?;
                let transition = match phase {
                    Phase::Created if node.is_none() => Transition::Create,
                    Phase::Created => Transition::Acquire,
                    Phase::Started => Transition::Progress,
                    Phase::Errored => Transition::Error,
                    Phase::Finished => Transition::Finish,
                    Phase::Cancelled => Transition::Cancel,
                };
                Ok(Message {
                    transition,
                    description: row.get(4)?,
                    pk: job,
                    progress: row.get(2)?,
                    cancelled: phase == Phase::Cancelled,
                    node,
                    error: row.get(3)?,
                    transition_data: RawValue::from_string("{}".to_owned()).unwrap_or_default(),
                })
            }),
    )?;
    Ok(message.map(|message| Event { seq, message }))
}

impl Store {
    /// Reads the present state of a job as the transition that led to it (contract §10), with the place in the log as of
    /// which it is true; `None` when there is no such job.
    pub fn present_state(&self, job: JobId) -> Result<Option<Event>, Error> {
        self.read(|connection| present(connection, job))
    }

    /// Reads the events of one job, or of all, that come after a place in the log: in order, `limit` at the most, and no
    /// more after the first 1 MiB of text.
    pub fn events_after(&self, job: Option<JobId>, after: i64, limit: u32) -> Result<Events, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(if job.is_some() { &OF_JOB } else { &OF_ALL })?;
            let mut rows = statement.query(params![job, after, limit])?;
            let (mut events, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let event = from_row(row)?;
                bytes += event.text_bytes();
                events.push(event);
                if bytes > PAGE_BYTES_MAX {
                    return Ok(Events { events, more: true });
                }
            }
            let more = events.len() == limit as usize;
            Ok(Events { events, more })
        })
    }

    /// Says whether a job passes a filter as it is now.
    pub fn passes(&self, selection: &Selection<crate::wire::Job>, job: JobId) -> Result<bool, Error> {
        let statement = selection.only(job.0);
        self.read(|connection| {
            let mut prepared = connection.prepare_cached(&statement.sql)?;
            Ok(prepared.exists(rusqlite::params_from_iter(&statement.params))?)
        })
    }

    /// Reads what was asked of a job's notifications: JSON text as create-job kept it.
    pub fn notifications_of(&self, job: JobId) -> Result<Option<String>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT notifications FROM jobs WHERE pk = ?1")?;
            found(statement.query_row([job], |row| row.get(0)))
        })
    }
}
