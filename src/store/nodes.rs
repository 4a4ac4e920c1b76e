//! Worker nodes (contract §4).

use rusqlite::{Connection, Row, params};

use super::access::has;
use super::error::is_unique_violation;
use super::filter::NODES;
use super::list::Listing;
use super::{Error, Store, found, jobs};
use crate::domain::fields::Problems;
use crate::domain::ids::{NodeId, UserId};
use crate::domain::time::Timestamp;
use crate::wire;

/// The columns of a node's JSON, over `nodes AS t`; read by [`from_row`].
const COLUMNS: &str = "t.pk, t.ip, t.\"index\", t.driver_version, t.hardware_generation, t.gpu_mem, t.cpu_mem, \
     t.last_seen, t.current_job, t.creator";

/// Reads a row of [`COLUMNS`].
fn from_row(row: &Row<'_>) -> rusqlite::Result<wire::Node> {
    Ok(wire::Node {
        pk: row.get(0)?,
        ip: row.get(1)?,
        index: row.get(2)?,
        driver_version: row.get(3)?,
        hardware_generation: row.get(4)?,
        gpu_mem: row.get(5)?,
        cpu_mem: row.get(6)?,
        last_seen: row.get(7)?,
        current_job: row.get(8)?,
        creator: row.get(9)?,
    })
}

/// Says how nodes are listed.
pub fn listing() -> Listing<wire::Node> {
    Listing::new(&NODES, COLUMNS, from_row)
}

/// What is to change of a node, its values checked already; the outer `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct NodeChanges {
    /// Address or name of its machine.
    pub ip: Option<String>,
    /// Tells apart the nodes of one machine.
    pub index: Option<i64>,
    /// Version of its graphics driver.
    pub driver_version: Option<Option<String>>,
    /// Key of its GPU's hardware generation; its absence is found out here.
    pub hardware_generation: Option<Option<i64>>,
    /// Memory of its GPU, in bytes.
    pub gpu_mem: Option<Option<i64>>,
    /// Memory of its machine, in bytes.
    pub cpu_mem: Option<i64>,
}

impl Store {
    /// Reads a node.
    pub fn node(&self, pk: NodeId) -> Result<Option<wire::Node>, Error> {
        self.read(|connection| read(connection, pk))
    }

    /// Reads the newest jobs that each of some nodes held last, at most `max` of each.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn last_jobs_of(&self, nodes: Vec<NodeId>, max: u32) -> Result<Vec<Vec<wire::Job>>, Error> {
        self.read_long(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT pk FROM jobs WHERE node = ?1 AND deletion_time IS NULL ORDER BY pk DESC LIMIT ?2",
            )?;
            let mut found = Vec::with_capacity(nodes.len());
            for node in nodes {
                let keys = statement.query_map(params![node, max], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?;
                let jobs = keys.into_iter().filter_map(|job| jobs::read(connection, job).transpose());
                found.push(jobs.collect::<Result<_, _>>()?);
            }
            Ok(found)
        })
        .await
    }

    /// Makes a node.
    ///
    /// # Errors
    /// `Invalid` when another node has its ip and index, or its hardware generation is not there.
    pub async fn create_node(&self, new: wire::node::NewNode, creator: UserId) -> Result<wire::Node, Error> {
        self.write(move |tx| {
            let connection = tx.connection();
            let wire::node::NewNode { ip, index, driver_version, hardware_generation, gpu_mem, cpu_mem } = &new;
            check_generation(connection, *hardware_generation)?;
            connection
                .prepare_cached(
                    "INSERT INTO nodes (ip, \"index\", driver_version, hardware_generation, gpu_mem, cpu_mem, creator)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![ip, index, driver_version, hardware_generation, gpu_mem, cpu_mem, creator])
                .map_err(taken)?;
            read(connection, NodeId(connection.last_insert_rowid()))?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Changes a node.
    ///
    /// # Errors
    /// `NotFound` when there is no such node, else as for [`Store::create_node`].
    pub async fn update_node(&self, pk: NodeId, changes: NodeChanges) -> Result<wire::Node, Error> {
        self.write(move |tx| {
            let connection = tx.connection();
            let was = read(connection, pk)?.ok_or(Error::NotFound)?;
            let NodeChanges { ip, index, driver_version, hardware_generation, gpu_mem, cpu_mem } = changes;
            let hardware_generation = hardware_generation.unwrap_or(was.hardware_generation);
            check_generation(connection, hardware_generation)?;
            connection
                .prepare_cached(
                    "UPDATE nodes SET ip = ?2, \"index\" = ?3, driver_version = ?4, hardware_generation = ?5,
                         gpu_mem = ?6, cpu_mem = ?7
                     WHERE pk = ?1",
                )?
                .execute(params![
                    pk,
                    ip.unwrap_or(was.ip),
                    index.unwrap_or(was.index),
                    driver_version.unwrap_or(was.driver_version),
                    hardware_generation,
                    gpu_mem.unwrap_or(was.gpu_mem),
                    cpu_mem.unwrap_or(was.cpu_mem),
                ])
                .map_err(taken)?;
            read(connection, pk)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Removes a node. Jobs that it once held lose the mention of it.
    ///
    /// # Errors
    /// `NotFound` when there is no such node, `NotNow` when it holds a job that is not finished or cancelled, deleted
    /// ones included: they can be reinstated.
    pub async fn destroy_node(&self, pk: NodeId) -> Result<(), Error> {
        self.write(move |tx| {
            let connection = tx.connection();
            let holds = "SELECT EXISTS (SELECT 1 FROM jobs
                             WHERE node = ?1 AND phase IN ('created', 'started', 'errored'))";
            if has(connection, holds, pk.0)? {
                let sentence = "The node holds a job that is not finished; release or abort that one first.".to_owned();
                return Err(Error::NotNow { code: "holds_job", sentence });
            }
            match connection.prepare_cached("DELETE FROM nodes WHERE pk = ?1")?.execute([pk])? {
                0 => Err(Error::NotFound),
                _ => {
                    tx.note_changed_callers();
                    Ok(())
                }
            }
        })
        .await
    }

    /// Writes down when nodes were last seen; never takes a time back.
    pub async fn set_last_seen(&self, times: Vec<(NodeId, Timestamp)>) -> Result<(), Error> {
        self.write(move |tx| {
            let mut statement = tx.connection().prepare_cached(
                "UPDATE nodes SET last_seen = ?2 WHERE pk = ?1 AND (last_seen IS NULL OR last_seen < ?2)",
            )?;
            for (node, time) in times {
                statement.execute(params![node, time])?;
            }
            Ok(())
        })
        .await
    }
}

fn read(connection: &Connection, pk: NodeId) -> Result<Option<wire::Node>, Error> {
    static SQL: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("SELECT {COLUMNS} FROM nodes AS t WHERE t.pk = ?1"));
    found(connection.prepare_cached(&SQL)?.query_row([pk], from_row))
}

/// Refuses the key of a hardware generation that is not there.
fn check_generation(connection: &Connection, generation: Option<i64>) -> Result<(), Error> {
    let Some(generation) = generation else { return Ok(()) };
    let there = "SELECT EXISTS (SELECT 1 FROM hardware_generations WHERE pk = ?1)";
    if has(connection, there, generation)? {
        return Ok(());
    }
    Err(Problems::one("hardware_generation", format!("There is no hardware generation {generation}.")).into())
}

/// Tells a taken ip and index from other failures.
fn taken(error: rusqlite::Error) -> Error {
    if !is_unique_violation(&error) {
        return error.into();
    }
    let mut problems = Problems::default();
    for field in ["ip", "index"] {
        problems.add(field, "Another node has this ip and index.");
    }
    problems.into()
}
