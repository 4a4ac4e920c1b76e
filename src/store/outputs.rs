//! Job outputs: rows that name bytes in the blob directory (contract §8).

use rusqlite::{Connection, Row, params};

use super::error::is_unique_violation;
use super::filter::JOB_OUTPUTS;
use super::jobs::{Body, By, standing_by};
use super::list::Listing;
use super::{Error, Store, WriteTx, found, workflow};
use crate::domain::ids::{JobId, NodeId, OutputId, UserId};
use crate::domain::lifecycle::{Action, Refusal, step};
use crate::domain::time::Timestamp;
use crate::wire;

/// The columns of an output's JSON, over `job_outputs AS t`; read by [`from_row`].
const COLUMNS: &str = "t.pk, t.job, t.name, t.type, t.creator, t.creation_time, t.deletion_time, t.size, t.sha256";

/// Reads a row of [`COLUMNS`].
fn from_row(row: &Row<'_>) -> rusqlite::Result<wire::Output> {
    Ok(wire::Output {
        pk: row.get(0)?,
        job: row.get(1)?,
        name: row.get(2)?,
        type_name: row.get(3)?,
        creator: row.get(4)?,
        creation_time: row.get(5)?,
        deletion_time: row.get(6)?,
        size: row.get(7)?,
        sha256: row.get(8)?,
    })
}

/// An output of a job that has finished, as it is offered to other jobs.
#[derive(Debug, Clone)]
pub struct FinishedOutput {
    /// Its key.
    pub pk: OutputId,
    /// Its name.
    pub name: String,
    /// Its type, as it was given.
    pub type_name: String,
    /// Its size, in bytes.
    pub size: i64,
    /// The job that it is of.
    pub job: JobId,
    /// What that is called: its description, or its template.
    pub title: String,
}

/// Says how outputs are listed.
pub fn listing() -> Listing<wire::Output> {
    Listing::new(&JOB_OUTPUTS, COLUMNS, from_row)
}

/// Who adds an output.
#[derive(Debug, Clone, Copy)]
pub struct Adder {
    /// The user.
    pub user: UserId,
    /// Whether the user is staff.
    pub is_staff: bool,
    /// The node on whose behalf, if any.
    pub node: Option<NodeId>,
    /// The attempt that the call says it belongs to.
    pub attempt: Option<i64>,
}

/// An output whose bytes are durable already.
#[derive(Debug, Clone)]
pub struct NewOutput {
    /// The job it belongs to.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Its type.
    pub type_name: String,
    /// Length of its bytes.
    pub size: i64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

/// Asks the rules whether an output may be added.
pub(super) fn may_add(connection: &Connection, job: JobId, by: Adder, now: Timestamp) -> Result<(), Error> {
    let (standing, actor) = standing_by(connection, job, By { node: by.node, attempt: by.attempt })?;
    let state = match &standing.body {
        Body::Workable(state) => state,
        Body::Meta(_) => return Err(Error::Refused(Refusal::MetaJob)),
    };
    step(state, standing.deleted, Action::AddOutput { actor, staff: by.is_staff }, now)?;
    Ok(())
}

/// Reads the live output of a job by name and type.
pub(super) fn read_live(
    connection: &Connection,
    job: JobId,
    name: &str,
    type_name: &str,
) -> Result<Option<wire::Output>, Error> {
    static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        format!(
            "SELECT {COLUMNS} FROM job_outputs AS t
             WHERE t.job = ?1 AND t.name = ?2 AND t.type = ?3 AND t.deletion_time IS NULL"
        )
    });
    found(connection.prepare_cached(&SQL)?.query_row(params![job, name, type_name], from_row))
}

fn read(connection: &Connection, pk: OutputId) -> Result<Option<wire::Output>, Error> {
    static SQL: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("SELECT {COLUMNS} FROM job_outputs AS t WHERE t.pk = ?1"));
    found(connection.prepare_cached(&SQL)?.query_row([pk], from_row))
}

impl Store {
    /// Says whether an upload would be taken as things stand, so that one that would not need not be read.
    pub fn may_add_output(&self, job: JobId, by: Adder, now: Timestamp) -> Result<(), Error> {
        self.read(|connection| may_add(connection, job, by, now))
    }

    /// Adds an output, or gives the one that is there already with the same bytes.
    ///
    /// # Errors
    /// `Refused` when the job's standing does not allow it any more, `DuplicateOutput` when other bytes have the name.
    pub async fn add_output(&self, new: NewOutput, by: Adder) -> Result<wire::Output, Error> {
        self.write(move |tx| add(tx, new, by)).await
    }

    /// Reads the newest outputs of jobs that have finished, `max` at the most.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn newest_finished_outputs(&self, max: u32) -> Result<Vec<FinishedOutput>, Error> {
        self.read_long(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT o.pk, o.name, o.type, o.size, o.job, iif(trim(j.description) = '', t.name, j.description)
                 FROM (SELECT * FROM job_outputs WHERE deletion_time IS NULL ORDER BY pk DESC LIMIT ?1) AS o
                 JOIN jobs AS j ON j.pk = o.job JOIN job_templates AS t ON t.pk = j.template
                 WHERE j.phase = 'finished' AND j.deletion_time IS NULL ORDER BY o.pk DESC",
            )?;
            let rows = statement.query_map([max], |row| {
                let (pk, name, type_name) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(FinishedOutput { pk, name, type_name, size: row.get(3)?, job: row.get(4)?, title: row.get(5)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Reads an output, deleted or not; `None` when there is none.
    pub fn output(&self, pk: OutputId) -> Result<Option<wire::Output>, Error> {
        self.read(|connection| read(connection, pk))
    }

    /// Reads all live outputs of a job, in order of creation.
    pub async fn live_outputs(&self, job: JobId) -> Result<Vec<wire::Output>, Error> {
        self.read_long(move |connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM job_outputs AS t WHERE t.job = ?1 AND t.deletion_time IS NULL ORDER BY t.pk"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([job], from_row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Reads the live output of a job by name and type; `None` when there is none.
    pub fn live_output(&self, job: JobId, name: &str, type_name: &str) -> Result<Option<wire::Output>, Error> {
        self.read(|connection| read_live(connection, job, name, type_name))
    }

    /// Soft-deletes the live output of a job by name and type; gives it as it then is.
    pub async fn delete_live_output(&self, job: JobId, name: String, type_name: String) -> Result<wire::Output, Error> {
        self.write(move |tx| {
            let connection = tx.connection();
            let there = read_live(connection, job, &name, &type_name)?.ok_or(Error::NotFound)?;
            set_deleted(connection, there.pk, Some(tx.now()))?;
            workflow::outputs_changed(tx, job)?;
            read(connection, there.pk)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Soft-deletes an output, or takes that back. Doing so again changes nothing.
    ///
    /// # Errors
    /// `NotNow` when a live output has the name again.
    pub async fn set_output_deleted(&self, pk: OutputId, deleted: bool) -> Result<wire::Output, Error> {
        self.write(move |tx| {
            set_deleted(tx.connection(), pk, deleted.then(|| tx.now()))?;
            let now = read(tx.connection(), pk)?.ok_or(Error::NotFound)?;
            workflow::outputs_changed(tx, now.job)?;
            Ok(now)
        })
        .await
    }

    /// Removes an output for good, and gives it as it was; its bytes are the caller's to reclaim.
    pub async fn purge_output(&self, pk: OutputId) -> Result<wire::Output, Error> {
        self.write_freeing(move |tx| {
            let was = read(tx.connection(), pk)?.ok_or(Error::NotFound)?;
            tx.connection().prepare_cached("DELETE FROM job_outputs WHERE pk = ?1")?.execute([pk])?;
            workflow::outputs_changed(tx, was.job)?;
            Ok(was)
        })
        .await
    }
}

/// Carries out [`Store::add_output`] inside a transaction.
pub(super) fn add(tx: &WriteTx<'_>, new: NewOutput, by: Adder) -> Result<wire::Output, Error> {
    let connection = tx.connection();
    may_add(connection, new.job, by, tx.now())?;
    let NewOutput { job, name, type_name, size, sha256 } = new;
    match read_live(connection, job, &name, &type_name)? {
        Some(there) if there.sha256 == sha256 => return Ok(there),
        Some(_) => return Err(Error::DuplicateOutput),
        None => {}
    }
    connection
        .prepare_cached(
            "INSERT INTO job_outputs (job, name, type, size, sha256, creator, creation_time)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![job, name, type_name, size, sha256, by.user, tx.now()])?;
    read(connection, OutputId(connection.last_insert_rowid()))?.ok_or(Error::NotFound)
}

/// Sets or clears the time of deletion; a second delete keeps the time of the first.
fn set_deleted(connection: &Connection, pk: OutputId, time: Option<Timestamp>) -> Result<(), Error> {
    let changed = connection
        .prepare_cached(
            "UPDATE job_outputs SET deletion_time = ?2 WHERE pk = ?1 AND (deletion_time IS NULL) = (?2 IS NOT NULL)",
        )?
        .execute(params![pk, time]);
    match changed {
        Err(error) if is_unique_violation(&error) => {
            let sentence = "Another output of the job has this name and type; delete that one first.".to_owned();
            Err(Error::NotNow { code: "name_taken", sentence })
        }
        other => other.map(drop).map_err(Error::from),
    }
}
