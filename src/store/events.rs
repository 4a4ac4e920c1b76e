//! The event log: every transition, written in the transaction that makes it (contract §10).

use std::sync::LazyLock;

use rusqlite::{Connection, Row, params};
use serde_json::value::RawValue;

use super::list::Selection;
use super::{Error, Store, WriteTx, found, notify};
use crate::domain::ids::{JobId, NodeId};
use crate::domain::lifecycle::{Phase, Transition};
use crate::domain::notification::Message;

/// Where the events of a job are: the newest, from which each leads to the one before it. Kept in the job's row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// How many there are.
    pub(super) count: i64,
    /// The newest.
    pub(super) last: Option<i64>,
    /// The newest that is not progress.
    pub(super) last_step: Option<i64>,
}

impl Chain {
    /// Gives the chain with one more event at its end.
    pub(super) fn and(self, seq: i64, transition: Transition) -> Self {
        let last_step = if transition == Transition::Progress { self.last_step } else { Some(seq) };
        Self { count: self.count + 1, last: Some(seq), last_step }
    }
}

/// A transition on its way into the log, with the job as it leaves it.
#[derive(Debug)]
pub(super) struct NewEvent<'a> {
    /// Its place, from [`WriteTx::next_event`].
    pub(super) seq: i64,
    pub(super) job: JobId,
    /// The events of the job before it.
    pub(super) chain: Chain,
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
/// That it is the newest of its job is for the caller to write into the job's row.
pub(super) fn append(tx: &WriteTx<'_>, event: &NewEvent<'_>, asked: bool) -> Result<(), Error> {
    let NewEvent { seq, job, chain, transition, node, progress, error, description, data } = event;
    let (number, Chain { last, last_step, .. }) = (chain.count + 1, chain);
    let time = tx.now();
    tx.connection()
        .prepare_cached(
            "INSERT INTO events (seq, job, number, previous, previous_step, time, transition, node, progress, error,
                 description, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            seq,
            job,
            number,
            last,
            last_step,
            time,
            transition,
            node,
            progress,
            error,
            description,
            data
        ])?;
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

/// Every so many-th event of a job is in an index, as the schema says.
const MARKED_EVERY: u32 = 64;

/// The events of one job after a place: from an event that is far enough behind it, or the newest, backwards to it. `?4`
/// says how many marked ones to go on before turning back. The places are put in order before the events are looked up,
/// one by one, as they are asked for: the texts of a whole page can be large.
static OF_JOB: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH RECURSIVE chain (at) AS (
             SELECT coalesce(
                 (SELECT seq FROM events WHERE job = ?1 AND seq > ?2 AND number % {MARKED_EVERY} = 0
                  ORDER BY seq LIMIT 1 OFFSET ?4),
                 (SELECT last_event FROM jobs WHERE pk = ?1))
             UNION ALL
             SELECT e.previous FROM chain CROSS JOIN events AS e ON e.seq = chain.at WHERE e.previous > ?2)
         SELECT {COLUMNS} FROM (SELECT at FROM chain WHERE at > ?2 ORDER BY at LIMIT ?3) AS places
             CROSS JOIN events ON seq = places.at"
    )
});
/// The events of all jobs after a place.
static OF_ALL: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {COLUMNS} FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2"));

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
    let mut statement = connection.prepare_cached(
        "SELECT phase, node, progress_amount, error_reason, description, coalesce(last_event, 0) FROM jobs WHERE pk = ?1",
    )?;
    found(statement.query_row([job], |row| {
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
        let message = Message {
            transition,
            description: row.get(4)?,
            pk: job,
            progress: row.get(2)?,
            cancelled: phase == Phase::Cancelled,
            node,
            error: row.get(3)?,
            transition_data: RawValue::from_string("{}".to_owned()).unwrap_or_default(),
        };
        Ok(Event { seq: row.get(5)?, message })
    }))
}

fn events_after(connection: &Connection, job: Option<JobId>, after: i64, limit: u32) -> Result<Events, Error> {
    let mut statement = connection.prepare_cached(if job.is_some() { &OF_JOB } else { &OF_ALL })?;
    let mut rows = match job {
        Some(job) => statement.query(params![job, after, limit, limit.div_ceil(MARKED_EVERY)])?,
        None => statement.query([after, i64::from(limit)])?,
    };
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
        self.read(|connection| events_after(connection, job, after, limit))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{WHAT_JOBS_NEED, migrate, plan_of};

    /// A database with the events of two jobs: 300 of the first, and among them 10 of the second.
    fn two_jobs() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate::migrate(&mut connection).unwrap();
        connection.execute_batch(WHAT_JOBS_NEED).unwrap();
        let mut chains = [Chain::default(); 2];
        for job in [1, 2] {
            connection
                .execute(
                    "INSERT INTO jobs (pk, template, kind, phase, input_values, parameter_values, description, creator,
                         creation_time) VALUES (?1, 1, 'meta', 'created', '{}', '{}', '', 1, 0)",
                    [job],
                )
                .unwrap();
        }
        for seq in 1..=310 {
            let job = if seq % 31 == 30 { 2 } else { 1 };
            let chain = &mut chains[job - 1];
            let transition = if chain.count == 0 { Transition::Create } else { Transition::Progress };
            connection
                .execute(
                    "INSERT INTO events (seq, job, number, previous, previous_step, time, transition, progress, description)
                     VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, 0, '')",
                    params![seq, job, chain.count + 1, chain.last, chain.last_step, transition],
                )
                .unwrap();
            *chain = chain.and(seq, transition);
        }
        for (job, Chain { count, last, last_step }) in (1..).zip(chains) {
            connection
                .execute(
                    "UPDATE jobs SET events = ?2, last_event = ?3, last_step = ?4 WHERE pk = ?1",
                    params![job, count, last, last_step],
                )
                .unwrap();
        }
        connection
    }

    #[test]
    fn the_events_of_a_job_after_a_place_are_all_found_and_in_order() {
        let connection = two_jobs();
        for job in [1, 2, 3] {
            for after in 0..=311 {
                for limit in [1, 5, 63, 64, 65, 100, 128, 1_000] {
                    let found = events_after(&connection, Some(JobId(job)), after, limit).unwrap();
                    let all = (after + 1..=310).filter(|seq| job == if seq % 31 == 30 { 2 } else { 1 });
                    let expected: Vec<i64> = all.take(limit as usize).collect();
                    let seqs: Vec<i64> = found.events.iter().map(|event| event.seq).collect();
                    assert_eq!(seqs, expected, "{limit} of job {job} after {after}");
                    assert_eq!(found.more, expected.len() == limit as usize);
                    assert!(found.events.iter().all(|event| event.message.pk == JobId(job)));
                }
            }
        }
    }

    #[test]
    fn no_more_of_a_long_history_is_read_than_is_wanted() {
        let plan = plan_of(&OF_JOB);
        assert!(plan.ends_with("SEARCH events USING INTEGER PRIMARY KEY (rowid=?)"), "texts are put in order: {plan}");
        assert!(plan.contains("SEARCH events USING INDEX events_marked (job=? AND seq>?)"), "{plan}");
        assert!(!plan.contains("SCAN e"), "{plan}");
    }
}
