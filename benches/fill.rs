//! Many jobs at once: two jobs that the server made are copied again and again, with their events, attempts and
//! outputs, while the server is stopped. Copies of rows fit the schema whatever its columns are.

use std::path::Path;

use anyhow::{Context, ensure};
use rusqlite::Connection;

use crate::lab::Lab;

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
    /// Makes them over the interface: one that is free, and one that is finished and has an output.
    pub(crate) async fn make(lab: &mut Lab) -> anyhow::Result<Self> {
        let mut node = lab.node().await?;
        let free = node.create(lab.template).await?;
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
            for statement in &statements {
                connection.prepare_cached(statement)?.execute([pk, model(pk)])?;
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

/// Writes the statement that copies the rows of job `?2` for job `?1`; `key` is the column with the job's key.
fn copy_statement(connection: &Connection, table: &str, key: &str) -> anyhow::Result<String> {
    let mut names = connection.prepare("SELECT name, type, pk FROM pragma_table_info(?1)")?;
    let single_key =
        names.query_map([table], |row| row.get::<_, i64>(2))?.filter(|pk| matches!(pk, Ok(1..))).count() == 1;
    let columns = names
        .query_map([table], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(2)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    // A key of its own is counted on by SQLite.
    let copied: Vec<String> = columns
        .into_iter()
        .filter(|(name, pk)| name == key || !(single_key && *pk > 0))
        .map(|(name, _)| name)
        .collect();
    let quoted = |name: &String| format!("\"{name}\"");
    let into: Vec<String> = copied.iter().map(quoted).collect();
    let from: Vec<String> =
        copied.iter().map(|name| if name == key { "?1".to_owned() } else { quoted(name) }).collect();
    ensure!(!copied.is_empty(), "the database has no table {table}");
    Ok(format!("INSERT INTO {table} ({}) SELECT {} FROM {table} WHERE {key} = ?2", into.join(", "), from.join(", ")))
}

/// Gives the size of the database, in bytes.
pub(crate) fn database_bytes(data: &Path) -> anyhow::Result<f64> {
    let size = std::fs::metadata(data.join("labrun.db")).context("the database is there")?.len();
    Ok(size as f64)
}
