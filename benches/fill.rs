//! Many jobs at once: two jobs that the server made are copied again and again, with their events, attempts and
//! outputs, while the server is stopped. Copies of rows fit the schema whatever its columns are; only the places of events,
//! by which events and jobs lead to events, are new for each copy.

use std::path::Path;

use anyhow::{Context, ensure};
use rusqlite::{Connection, params_from_iter};

use crate::lab::{Lab, NEW_JOB_ON_HOLD};

/// Copies made in one transaction.
const BATCH: i64 = 20_000;
/// One in so many jobs is free; the others are finished.
const FREE_EVERY: i64 = 20;

/// The jobs that copies are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Models {
    free: i64,
    finished: i64,
}

impl Models {
    /// Makes them over the interface: one that is free but for being on hold, and one that is finished and has an output.
    pub(crate) async fn make(lab: &mut Lab) -> anyhow::Result<Self> {
        let mut node = lab.node().await?;
        // Kept on hold, so that nobody takes it; its copies are not.
        let path = format_args!("/v1/job-templates/{}/create-job", lab.template);
        let free = node.call("POST", path, NEW_JOB_ON_HOLD.as_bytes()).await?.pk()?;
        let finished = node.begin(lab.template).await?;
        node.call("POST", format_args!("/v1/jobs/{finished}/outputs/curve/JSON"), b"[1, 2, 3]").await?;
        node.call("POST", format_args!("/v1/jobs/{finished}/finish"), b"{}").await?;
        Ok(Self { free, finished })
    }
}

/// Adds jobs until there are `count`: finished ones, and a free one now and then.
pub(crate) fn mixed(data: &Path, models: Models, count: i64) -> anyhow::Result<()> {
    fill(data, count, |pk| if pk % FREE_EVERY == 0 { models.free } else { models.finished })
}

/// Adds free jobs until there are `count` jobs; gives the first new key.
pub(crate) fn free(data: &Path, models: Models, count: i64) -> anyhow::Result<()> {
    fill(data, count, |_| models.free)
}

fn fill(data: &Path, count: i64, model: impl Fn(i64) -> i64) -> anyhow::Result<()> {
    let connection = Connection::open(data.join("labrun.db"))?;
    // Nothing here has to survive a crash.
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "cache_size", -200_000)?;
    let statements = [
        copy_statement(&connection, "jobs", "pk")?,
        copy_statement(&connection, "events", "job")?,
        copy_statement(&connection, "job_attempts", "job")?,
        copy_statement(&connection, "job_outputs", "job")?,
    ];
    let mut next = last(&connection)? + 1;
    while next <= count {
        connection.execute_batch("BEGIN")?;
        for pk in next..=count.min(next + BATCH - 1) {
            let mut newest = connection.prepare_cached("SELECT max(seq) FROM events")?;
            let place = newest.query_row([], |row| row.get(0))?;
            let values = [pk, model(pk), place];
            for statement in &statements {
                let mut statement = connection.prepare_cached(statement)?;
                let wanted = statement.parameter_count();
                statement.execute(params_from_iter(&values[..wanted]))?;
            }
        }
        connection.execute_batch("COMMIT")?;
        next += BATCH;
    }
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    ensure!(last(&connection)? >= count, "not all jobs were made");
    Ok(())
}

/// Gives the key of the newest job.
pub(crate) fn last(connection: &Connection) -> anyhow::Result<i64> {
    Ok(connection.query_row("SELECT max(pk) FROM jobs", [], |row| row.get(0))?)
}

/// Writes the statement that copies the rows of job `?2` for job `?1`, whose events are behind the place `?3`; `key` is the
/// column with the job's key. A key of the rows' own is left to SQLite, and no copy is on hold.
fn copy_statement(connection: &Connection, table: &str, key: &str) -> anyhow::Result<String> {
    let mut columns = connection.prepare("SELECT name FROM pragma_table_info(?1) WHERE name <> 'pk'")?;
    let names = columns.query_map([table], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    ensure!(!names.is_empty(), "the database has no table {table}");
    let (mut into, mut from) = (Vec::new(), Vec::new());
    if key == "pk" {
        into.push(key.to_owned());
        from.push("?1".to_owned());
    }
    for name in names {
        from.push(match name.as_str() {
            "on_hold" => "0".to_owned(),
            "seq" => "?3 + number".to_owned(),
            "previous" => "nullif(?3 + number - 1, ?3)".to_owned(),
            "last_event" => "?3 + events".to_owned(),
            "previous_step" | "last_step" => {
                format!("?3 + (SELECT its.number FROM events AS its WHERE its.seq = model.{name})")
            }
            name if name == key => "?1".to_owned(),
            name => format!("\"{name}\""),
        });
        into.push(format!("\"{name}\""));
    }
    // No index finds the events of a job; but the models are the first of all.
    let among = if table == "events" { " AND seq <= (SELECT last_event FROM jobs WHERE pk = ?2)" } else { "" };
    let (into, from) = (into.join(", "), from.join(", "));
    Ok(format!("INSERT INTO {table} ({into}) SELECT {from} FROM {table} AS model WHERE {key} = ?2{among}"))
}

/// Gives the size of the database, in bytes.
pub(crate) fn database_bytes(data: &Path) -> anyhow::Result<f64> {
    let size = std::fs::metadata(data.join("labrun.db")).context("the database is there")?.len();
    Ok(size as f64)
}
