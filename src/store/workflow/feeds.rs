//! What the children that are not made yet wait for.

use std::collections::BTreeMap;

use rusqlite::{Connection, Params, params};
use serde_json::Value;

use super::super::{Error, found};
use crate::domain::ids::{JobId, OutputId};
use crate::domain::lifecycle::Phase;
use crate::domain::workflow::{Edge, Feed, Found, Readiness, Source, readiness};

/// Gives the names of all children that are not made yet, in the order of the template.
pub(super) fn all_unmade(connection: &Connection, parent: JobId) -> Result<Vec<String>, Error> {
    names(
        connection,
        "SELECT child.name FROM workflow_children AS child
         WHERE child.parent = ?1 AND NOT EXISTS (
             SELECT 1 FROM jobs WHERE parent = ?1 AND child_name = child.name)
         ORDER BY child.position",
        params![parent],
    )
}

/// Gives the names of the children that are not made yet and need something of a sibling.
pub(super) fn fed_by(connection: &Connection, parent: JobId, source: &str) -> Result<Vec<String>, Error> {
    names(
        connection,
        "SELECT DISTINCT child.name, child.position
         FROM workflow_edges AS edge JOIN workflow_children AS child ON child.parent = ?1 AND child.name = edge.to_node
         WHERE edge.parent = ?1 AND edge.from_node = ?2 AND NOT EXISTS (
             SELECT 1 FROM jobs WHERE parent = ?1 AND child_name = child.name)
         ORDER BY child.position",
        params![parent, source],
    )
}

fn names(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<String>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let names = statement.query_map(params, |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// Asks the rules for each of these children whether it can be made.
pub(super) fn readiness_of(
    connection: &Connection,
    parent: JobId,
    children: Vec<String>,
) -> Result<Vec<(String, Readiness)>, Error> {
    // Siblings often wait for the same one, which is read once.
    let mut sources: BTreeMap<String, Source> = BTreeMap::new();
    let mut answers = Vec::new();
    for child in children {
        let edges = edges_to(connection, parent, &child)?;
        for edge in &edges {
            if !sources.contains_key(&edge.from_node) {
                let there = source(connection, parent, &edge.from_node)?;
                sources.insert(edge.from_node.clone(), there);
            }
        }
        let feeds = edges.iter().map(|edge| {
            let source = sources.get(&edge.from_node).unwrap_or(&Source::Unfinished);
            Feed { edge, source }
        });
        let ready = readiness(&feeds.collect::<Vec<_>>());
        answers.push((child, ready));
    }
    Ok(answers)
}

fn edges_to(connection: &Connection, parent: JobId, child: &str) -> Result<Vec<Edge>, Error> {
    let mut statement =
        connection.prepare_cached("SELECT edge FROM workflow_edges WHERE parent = ?1 AND to_node = ?2")?;
    let mut rows = statement.query(params![parent, child])?;
    let mut edges = Vec::new();
    while let Some(row) = rows.next()? {
        // By way of `Value`, since serde reads its untagged forms from there alone without loss.
        let value: Value = row.get::<_, String>(0)?.parse().map_err(broken)?;
        edges.push(serde_json::from_value(value).map_err(broken)?);
    }
    Ok(edges)
}

/// Turns text of ours that can't be read into an error for the log.
pub(super) fn broken(error: serde_json::Error) -> Error {
    Error::Broken(format!("the plan of a workflow can't be read: {error}"))
}

/// Reads what there is of a child.
fn source(connection: &Connection, parent: JobId, child: &str) -> Result<Source, Error> {
    let job: Option<(JobId, Phase)> = found(
        connection
            .prepare_cached("SELECT pk, phase FROM jobs WHERE parent = ?1 AND child_name = ?2")?
            .query_row(params![parent, child], |row| Ok((row.get(0)?, row.get(1)?))),
    )?;
    let Some((job, Phase::Finished)) = job else { return Ok(Source::Unfinished) };
    let mut statement = connection.prepare_cached(
        "SELECT pk, name, type FROM job_outputs WHERE job = ?1 AND deletion_time IS NULL ORDER BY pk",
    )?;
    let outputs = statement.query_map([job], |row| {
        let pk: OutputId = row.get(0)?;
        Ok(Found { pk, name: row.get(1)?, type_name: row.get(2)? })
    })?;
    Ok(Source::Finished(outputs.collect::<Result<_, _>>()?))
}
