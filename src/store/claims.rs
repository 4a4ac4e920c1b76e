//! Handing out jobs: the first free one that passes a node's filter, by priority, then age (contract §11).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Row, params, params_from_iter};
use tokio::sync::Notify;

use super::filter::{JOBS, Query, Statement};
use super::jobs::{By, Verb, act, read};
use super::{Error, Store, found};
use crate::domain::fields::Problems;
use crate::domain::ids::{JobId, NodeId, UserId};
use crate::wire;

/// What makes a job one that can be handed out; literally the condition of the indexes `jobs_to_claim` and
/// `jobs_to_claim_by_template`.
const FREE: &str = "t.phase = 'created' AND t.node IS NULL AND t.kind = 'workable' AND t.deletion_time IS NULL \
                    AND t.on_hold = 0";
/// The order of that index.
const ORDER: &str = "t.priority DESC, t.pk";

/// Jobs that became free since they were last taken up: what a claim that has looked through all others waits for.
#[derive(Debug, Default)]
pub struct FreeJobs {
    freed: Mutex<Freed>,
    came: Notify,
}

/// Jobs that became free, or may pass a filter that they did not pass before. Some may be free no more.
#[derive(Debug, Default)]
pub enum Freed {
    /// Nothing became free.
    #[default]
    None,
    /// These did.
    These(Vec<JobId>),
    /// So many did that all free jobs are to be looked through.
    TooMany,
}

/// Freed jobs that are remembered one by one.
const FREED_MAX: usize = 1_000;

impl FreeJobs {
    /// Adds jobs, and wakes who waits for one.
    pub(super) fn add(&self, jobs: &[JobId]) {
        if jobs.is_empty() {
            return;
        }
        let mut freed = self.freed.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *freed {
            Freed::None => *freed = Freed::These(jobs.to_vec()),
            Freed::These(these) => these.extend_from_slice(jobs),
            Freed::TooMany => {}
        }
        if matches!(&*freed, Freed::These(these) if these.len() > FREED_MAX) {
            *freed = Freed::TooMany;
        }
        drop(freed);
        self.came.notify_one();
    }

    /// Returns when a job became free since [`FreeJobs::take`]. For one waiting task.
    pub async fn came(&self) {
        self.came.notified().await;
    }

    /// Takes up what became free. A read that begins afterwards sees it all.
    pub fn take(&self) -> Freed {
        std::mem::take(&mut *self.freed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Which jobs a node takes.
#[derive(Debug)]
pub struct Wanted {
    /// The first of all.
    of_all: Statement,
    /// The first of some that are named.
    of_some: Statement,
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
        let (of_all, of_some) = (query.first("t.pk", FREE, ORDER), query.first_among("t.pk", FREE, ORDER));
        Ok(Self { of_all, of_some, text: filter.to_string() })
    }

    /// Finds the first job, where it is to be looked for.
    fn first(&self, connection: &Connection, place: Place<'_>) -> Result<Option<JobId>, Error> {
        let row = |row: &Row<'_>| row.get(0);
        match place {
            Place::Nowhere => Ok(None),
            Place::Everywhere => {
                let Statement { sql, params } = &self.of_all;
                found(connection.prepare_cached(sql)?.query_row(params_from_iter(params), row))
            }
            Place::Among(keys) => {
                let Statement { sql, params } = &self.of_some;
                let last = rusqlite::types::Value::Text(keys.to_owned());
                found(connection.prepare_cached(sql)?.query_row(params_from_iter(params.iter().chain([&last])), row))
            }
        }
    }
}

/// Where a claim looks for a job.
#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Nowhere,
    /// Among these keys, a JSON array.
    Among(&'a str),
    Everywhere,
}

/// What became free, as claims look through it.
#[derive(Debug)]
struct News {
    keys: Option<String>,
    everywhere: bool,
}

impl News {
    fn new(freed: &Freed) -> Self {
        let keys = match freed {
            Freed::These(jobs) => Some(serde_json::json!(jobs.iter().map(|job| job.0).collect::<Vec<_>>()).to_string()),
            Freed::None | Freed::TooMany => None,
        };
        Self { keys, everywhere: matches!(freed, Freed::TooMany) }
    }

    /// Says where a claim looks: everywhere at its first try, then among what became free.
    fn place(&self, is_first_try: bool) -> Place<'_> {
        match &self.keys {
            _ if is_first_try || self.everywhere => Place::Everywhere,
            Some(keys) => Place::Among(keys),
            None => Place::Nowhere,
        }
    }
}

/// On whose behalf a claim is made. It was let in when it came, and is looked at once more before it gets a job: it may
/// have waited for long.
#[derive(Debug, Clone)]
pub struct ClaimedBy {
    /// The node.
    pub node: NodeId,
    /// The user who calls.
    pub user: UserId,
    /// The SHA-256, in hex, of the API token that the call came with, if it came with one.
    pub api_token: Option<Arc<str>>,
}

/// A node that waits for a job.
pub struct Claimant {
    /// The node, and who calls for it.
    pub by: ClaimedBy,
    /// Which jobs it takes.
    pub wanted: Arc<Wanted>,
    /// Whether it has not been tried before, so that all free jobs are to be looked through.
    pub is_first_try: bool,
    /// The lease it asks for, in seconds.
    pub lease_s: Option<f64>,
    /// Says whether it still waits; asked right before it is given a job.
    pub is_there: Box<dyn Fn() -> bool + Send>,
}

impl Store {
    /// Says whether there is a job for any of these, each with whether it is its first try: a read, so that the writer
    /// is not asked in vain.
    pub async fn any_to_claim(&self, wanted: Vec<(Arc<Wanted>, bool)>, freed: &Freed) -> Result<bool, Error> {
        let news = News::new(freed);
        let looks_everywhere = news.everywhere || wanted.iter().any(|(_, is_first_try)| *is_first_try);
        let look = move |connection: &Connection| {
            let mut asked = HashSet::new();
            for (wanted, is_first_try) in wanted.iter().filter(|(wanted, first)| asked.insert((&wanted.text, *first))) {
                if wanted.first(connection, news.place(*is_first_try))?.is_some() {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        // Among all that are free, the first that fits may come late.
        if looks_everywhere { self.read_long(look).await } else { self.read(look) }
    }

    /// Gives each claimant, in their order, the first job that is free and passes its filter. The answer holds the
    /// claimants' positions with their jobs; those without one are not in it. One that may have no job any more is told
    /// so in its place, and the job is for the next.
    ///
    /// # Errors
    /// When the database can't be used. What is wrong with one claimant is nothing to the others.
    pub async fn claim(
        &self,
        claimants: Vec<Claimant>,
        freed: &Freed,
    ) -> Result<Vec<(usize, Result<wire::Job, Error>)>, Error> {
        let news = News::new(freed);
        self.write(move |tx| {
            let connection = tx.connection();
            let mut in_vain: HashSet<(&str, bool)> = HashSet::new();
            let mut given = Vec::new();
            for (position, claimant) in claimants.iter().enumerate() {
                let Claimant { by, wanted, is_first_try, lease_s, is_there } = claimant;
                let question = (wanted.text.as_str(), *is_first_try);
                if in_vain.contains(&question) || !is_there() {
                    continue;
                }
                let Some(job) = wanted.first(connection, news.place(*is_first_try))? else {
                    in_vain.insert(question);
                    continue;
                };
                if let Some(refusal) = refusal(connection, by)? {
                    given.push((position, Err(refusal)));
                    continue;
                }
                let by = By { node: Some(by.node), attempt: None };
                act(tx, job, by, Verb::Acquire { lease_s: *lease_s })?;
                given.push((position, Ok(read(connection, job)?.ok_or(Error::NotFound)?)));
            }
            Ok(given)
        })
        .await
    }
}

/// Says why somebody who was let in when the claim came is to get no job any more, in the order of the checks
/// (contract §1).
fn refusal(connection: &Connection, by: &ClaimedBy) -> Result<Option<Error>, Error> {
    let ClaimedBy { node, user, api_token } = by;
    let (may_come_in, node_is_there): (bool, bool) = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM users WHERE pk = ?1 AND is_active = 1) AND (?2 IS NULL
                 OR EXISTS (SELECT 1 FROM api_tokens WHERE sha256 = ?2 AND revoked_time IS NULL)),
                 EXISTS (SELECT 1 FROM nodes WHERE pk = ?3)",
        )?
        .query_row(params![user, api_token, node], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(match (may_come_in, node_is_there) {
        (false, _) => Some(Error::CallerGone),
        (true, false) => Some(Error::NodeGone),
        (true, true) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::plan_of;

    #[test]
    fn the_next_job_is_the_first_entry_of_an_index() {
        let of_a_template = serde_json::json!({"expressions": [{"type": "exact", "field": "template", "value": 7}]});
        for (filter, index) in [(serde_json::json!({}), "jobs_to_claim"), (of_a_template, "jobs_to_claim_by_template")]
        {
            let wanted = Wanted::parse(&filter).unwrap();
            let plan = plan_of(&wanted.of_all.sql);
            assert!(plan.contains(&format!("INDEX {index}")) && !plan.contains("TEMP B-TREE"), "{plan}");
        }
    }

    #[test]
    fn of_some_jobs_no_others_are_looked_at() {
        let wanted = Wanted::parse(&serde_json::json!({})).unwrap();
        let plan = plan_of(&wanted.of_some.sql);
        assert!(plan.contains("SEARCH t USING INTEGER PRIMARY KEY"), "{plan}");
    }

    #[test]
    fn what_became_free_is_remembered_until_it_is_too_much() {
        let jobs = FreeJobs::default();
        assert!(matches!(jobs.take(), Freed::None));
        jobs.add(&[]);
        assert!(matches!(jobs.take(), Freed::None));
        jobs.add(&[JobId(1)]);
        jobs.add(&[JobId(2), JobId(3)]);
        assert!(matches!(jobs.take(), Freed::These(jobs) if jobs == [JobId(1), JobId(2), JobId(3)]));
        jobs.add(&vec![JobId(4); FREED_MAX]);
        jobs.add(&[JobId(5)]);
        jobs.add(&[JobId(6)]);
        assert!(matches!(jobs.take(), Freed::TooMany));
        assert!(matches!(jobs.take(), Freed::None));
    }
}
