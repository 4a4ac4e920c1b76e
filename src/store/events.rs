//! The event log: every transition, written in the transaction that makes it (contract §10).

use rusqlite::params;

use super::{Error, WriteTx};
use crate::domain::ids::{JobId, NodeId};
use crate::domain::lifecycle::Transition;

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

/// Appends an event.
pub(super) fn append(tx: &WriteTx<'_>, event: &NewEvent<'_>) -> Result<(), Error> {
    let NewEvent { job, transition, node, progress, error, description, data } = event;
    let connection = tx.connection();
    connection
        .prepare_cached(
            "INSERT INTO events (job, time, transition, node, progress, error, description, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![job, tx.now(), transition, node, progress, error, description, data])?;
    tx.note_event(connection.last_insert_rowid());
    Ok(())
}
