//! Handing out jobs: the first free one that passes a node's filter, by priority, then age (contract §11).

use std::collections::HashSet;

use rusqlite::params_from_iter;

use super::filter::{JOBS, Query, Statement};
use super::jobs::{By, Verb, act, read};
use super::{Error, Store};
use crate::domain::fields::Problems;
use crate::domain::ids::{JobId, NodeId};
use crate::wire;

/// What makes a job one that can be handed out; literally the condition of the index `jobs_to_claim`.
const FREE: &str = "t.phase = 'created' AND t.node IS NULL AND t.kind = 'workable' AND t.deletion_time IS NULL \
                    AND t.on_hold = 0";
/// The order of that index.
const ORDER: &str = "t.priority DESC, t.pk";

/// Which jobs a node takes.
#[derive(Debug)]
pub struct Wanted {
    statement: Statement,
    /// The filter as text: two claims with the same text want the same jobs.
    text: String,
}

impl Wanted {
    /// Checks a filter: a list spec with `expressions` alone.
    ///
    /// # Errors
    /// The problems of contract §9, each naming its culprit.
    pub fn parse(filter: &serde_json::Value) -> Result<Self, Problems> {
        let spec = crate::filter::parse(filter, &JOBS)?;
        if let Some(object) = filter.as_object() {
            let mut others = object.keys().filter(|name| name.as_str() != "expressions");
            if let Some(name) = others.next() {
                return Err(Problems::one(name, "A claim's filter holds expressions alone."));
            }
        }
        let query = Query::new(&JOBS, &spec)?;
        Ok(Self { statement: query.first("t.pk", FREE, ORDER), text: filter.to_string() })
    }
}

/// A node that waits for a job.
pub struct Claimant {
    /// The node.
    pub node: NodeId,
    /// Which jobs it takes.
    pub wanted: std::sync::Arc<Wanted>,
    /// The lease it asks for, in seconds.
    pub lease_s: Option<f64>,
    /// Says whether it still waits; asked right before it is given a job.
    pub is_there: Box<dyn Fn() -> bool + Send>,
}

impl Store {
    /// Says whether there is a job for any of these: a read, so that the writer is not asked in vain.
    pub fn any_to_claim(&self, wanted: &[std::sync::Arc<Wanted>]) -> Result<bool, Error> {
        self.read(|connection| {
            let mut asked = HashSet::new();
            for wanted in wanted.iter().filter(|wanted| asked.insert(wanted.text.as_str())) {
                if first(connection, wanted)?.is_some() {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// Gives each claimant, in their order, the first job that is free and passes its filter. The answer holds the
    /// claimants' positions with their jobs; those without one are not in it.
    pub async fn claim(&self, claimants: Vec<Claimant>) -> Result<Vec<(usize, wire::Job)>, Error> {
        self.write(move |tx| {
            let connection = tx.connection();
            let mut in_vain: HashSet<&str> = HashSet::new();
            let mut given = Vec::new();
            for (position, claimant) in claimants.iter().enumerate() {
                let text = claimant.wanted.text.as_str();
                if in_vain.contains(text) || !(claimant.is_there)() {
                    continue;
                }
                let Some(job) = first(connection, &claimant.wanted)? else {
                    in_vain.insert(text);
                    continue;
                };
                let by = By { node: Some(claimant.node), attempt: None };
                act(tx, job, by, Verb::Acquire { lease_s: claimant.lease_s })?;
                given.push((position, read(connection, job)?.ok_or(Error::NotFound)?));
            }
            Ok(given)
        })
        .await
    }
}

fn first(connection: &rusqlite::Connection, wanted: &Wanted) -> Result<Option<JobId>, Error> {
    let Statement { sql, params } = &wanted.statement;
    super::found(connection.prepare_cached(sql)?.query_row(params_from_iter(params), |row| row.get(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::plan_of;

    #[test]
    fn the_next_job_is_the_first_entry_of_an_index() {
        let wanted = Wanted::parse(&serde_json::json!({})).unwrap();
        let plan = plan_of(&wanted.statement.sql);
        assert!(plan.contains("jobs_to_claim") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}
