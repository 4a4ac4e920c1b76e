//! What became of a job, for people: its transitions with their times, and the end of its log.

use rusqlite::{Row, params};

use super::jobs::standing;
use super::logs::LogPart;
use super::{Error, Store, logs};
use crate::domain::ids::{JobId, NodeId};
use crate::domain::lifecycle::Transition;
use crate::domain::time::Timestamp;

/// A transition as the timeline shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When it was.
    pub time: Timestamp,
    /// What it was.
    pub transition: Transition,
    /// The node that held the job then.
    pub node: Option<NodeId>,
    /// Why the job is errored, if it is.
    pub error: Option<String>,
    /// What was sent along, a JSON object as text.
    pub data: String,
}

/// The newest transitions of a job, save progress.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// In order.
    pub steps: Vec<Step>,
    /// Whether there are earlier ones.
    pub is_cut: bool,
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Step> {
    let (time, transition, node) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(Step { time, transition, node, error: row.get(3)?, data: row.get(4)? })
}

impl Store {
    /// Reads the newest transitions of a job, `max` at the most, progress left out.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn timeline(&self, job: JobId, max: u32) -> Result<Timeline, Error> {
        self.read_long(move |connection| {
            let mut statement = connection.prepare_cached(
                "WITH RECURSIVE steps (at) AS (
                     SELECT last_step FROM jobs WHERE pk = ?1
                     UNION ALL
                     SELECT e.previous_step FROM steps CROSS JOIN events AS e ON e.seq = steps.at LIMIT ?2)
                 SELECT time, transition, node, error, data FROM steps CROSS JOIN events ON seq = steps.at
                 ORDER BY seq DESC",
            )?;
            let mut steps: Vec<Step> =
                statement.query_map(params![job, max + 1], from_row)?.collect::<Result<_, _>>()?;
            let is_cut = steps.len() > max as usize;
            steps.truncate(max as usize);
            steps.reverse();
            Ok(Timeline { steps, is_cut })
        })
        .await
    }

    /// Reads the end of the log of a job's present attempt, `bytes_max` at the most.
    ///
    /// # Errors
    /// `NotFound` when there is no such job.
    pub async fn log_tail(&self, job: JobId, bytes_max: i64) -> Result<LogPart, Error> {
        self.read_long(move |connection| {
            let tx = connection.unchecked_transaction()?;
            let attempt = standing(&tx, job)?.attempts.number.max(1);
            let end = logs::end_of(&tx, job, attempt)?;
            logs::read(&tx, job, attempt, (end - bytes_max).max(0))
        })
        .await
    }
}
