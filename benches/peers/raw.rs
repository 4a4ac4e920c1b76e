//! SQLite by itself, in this process and with nothing around it: the two writes of a transition (a job's row and an
//! event), one commit for each or one for many; and reading rows and writing them as JSON.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, params};
use serde::Serialize;
use serde_json::value::RawValue;

/// How far a job is said to have come, in turns: SQLite does not write a row that stays as it was.
pub(crate) const AMOUNTS: [f64; 2] = [0.25, 0.75];

/// A database of its own with the same settings as the server's.
#[derive(Debug)]
pub(crate) struct RawWrites {
    connection: Connection,
    /// Transitions written so far.
    count: Cell<i64>,
}

impl RawWrites {
    /// Makes it in a directory.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let connection = Connection::open(dir.join("raw.db"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE jobs (pk INTEGER PRIMARY KEY, phase TEXT, progress REAL, description TEXT);
             CREATE TABLE events (seq INTEGER PRIMARY KEY, job INTEGER, time INTEGER, transition TEXT,
                 progress REAL, description TEXT);
             CREATE INDEX events_by_job ON events (job, seq);
             WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
             INSERT INTO jobs SELECT i, 'started', 0, 'a job of the harness' FROM n;",
        )?;
        Ok(Self { connection, count: Cell::new(0) })
    }

    /// Writes transitions for a time, so many to a commit; gives them per second.
    pub(crate) fn round(&self, time: Duration, batch: u32) -> anyhow::Result<f64> {
        let (began, before) = (Instant::now(), self.count.get());
        while began.elapsed() < time {
            self.commit(batch)?;
        }
        Ok((self.count.get() - before) as f64 / began.elapsed().as_secs_f64())
    }

    /// Writes transitions, all in one commit.
    pub(crate) fn commit(&self, batch: u32) -> anyhow::Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for _ in 0..batch {
            let count = self.count.get() + 1;
            self.count.set(count);
            let job = count % 1_000 + 1;
            let amount = AMOUNTS[usize::from(count / 1_000 % 2 == 1)];
            self.connection
                .prepare_cached("UPDATE jobs SET phase = 'started', progress = ?2 WHERE pk = ?1")?
                .execute(params![job, amount])?;
            self.connection
                .prepare_cached(
                    "INSERT INTO events (seq, job, time, transition, progress, description)
                     VALUES (?1, ?2, ?1, 'progress', ?3, 'a job of the harness')",
                )?
                .execute(params![count, job, amount])?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}

/// A job as a list shows it, read with one plain statement.
#[derive(Serialize)]
struct Row<'a> {
    pk: i64,
    template: (i64, &'a str, i64),
    parent: Option<i64>,
    start_time: Option<i64>,
    end_time: Option<i64>,
    error_reason: Option<&'a str>,
    input_values: &'a RawValue,
    parameter_values: &'a RawValue,
    node: Option<i64>,
    outputs: &'a RawValue,
    description: &'a str,
    progress_amount: f64,
    phase: &'a str,
    creator: i64,
    creation_time: i64,
    deletion_time: Option<i64>,
    attempt: i64,
    priority: i64,
    max_attempts: i64,
    retry_delay: f64,
    timeout: Option<f64>,
    hold: i64,
    labels: &'a RawValue,
    lease_expires: Option<i64>,
}

const ROWS: &str = "SELECT t.pk, t.template, m.name, m.version, t.parent, t.start_time, t.end_time, t.error_reason, \
     t.input_values, t.parameter_values, t.node, \
     (SELECT json_group_array(json_object('pk', o.pk, 'name', o.name, 'type', o.type)) FROM job_outputs AS o \
      WHERE o.job = t.pk AND o.deletion_time IS NULL), \
     t.description, t.progress_amount, t.phase, t.creator, t.creation_time, t.deletion_time, t.attempt, t.priority, \
     t.max_attempts, t.retry_delay, t.timeout, t.on_hold, t.labels, t.lease_expires \
     FROM jobs AS t JOIN job_templates AS m ON m.pk = t.template";

/// Reads jobs of a data directory and writes each as JSON, with one statement from the first to the last; gives the
/// seconds that it took.
pub(crate) fn read_and_serialise(data: &Path, rest_of_query: &str) -> anyhow::Result<f64> {
    let connection = Connection::open_with_flags(data.join("labrun.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = connection.prepare(&format!("{ROWS} {rest_of_query}"))?;
    let began = Instant::now();
    let mut out = Vec::with_capacity(1 << 20);
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let text = |index: usize| anyhow::Ok(row.get_ref(index)?.as_str()?);
        let job = Row {
            pk: row.get(0)?,
            template: (row.get(1)?, text(2)?, row.get(3)?),
            parent: row.get(4)?,
            start_time: row.get(5)?,
            end_time: row.get(6)?,
            error_reason: row.get_ref(7)?.as_str_or_null()?,
            input_values: serde_json::from_str(text(8)?)?,
            parameter_values: serde_json::from_str(text(9)?)?,
            node: row.get(10)?,
            outputs: serde_json::from_str(text(11)?)?,
            description: text(12)?,
            progress_amount: row.get(13)?,
            phase: text(14)?,
            creator: row.get(15)?,
            creation_time: row.get(16)?,
            deletion_time: row.get(17)?,
            attempt: row.get(18)?,
            priority: row.get(19)?,
            max_attempts: row.get(20)?,
            retry_delay: row.get(21)?,
            timeout: row.get(22)?,
            hold: row.get(23)?,
            labels: serde_json::from_str(text(24)?)?,
            lease_expires: row.get(25)?,
        };
        serde_json::to_writer(&mut out, &job)?;
        // As much as a socket would take at a time.
        if out.len() > 1 << 19 {
            std::hint::black_box(&out);
            out.clear();
        }
    }
    std::hint::black_box(&out);
    Ok(began.elapsed().as_secs_f64())
}
