//! The event log of a data directory, read as a story: it must lead to the states that the tables show.

use std::collections::HashMap;
use std::path::Path;

use crate::harness::dump::open;

/// A job as the events tell it.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    phase: String,
    node: Option<i64>,
    progress: f64,
    error: Option<String>,
}

/// What each transition must find and what it leaves.
fn next(before: Option<&Told>, transition: &str, event: &Told) -> Result<Told, String> {
    let phase = before.map(|told| told.phase.as_str());
    let holder = before.and_then(|told| told.node);
    let to = |phase: &str| Ok(Told { phase: phase.to_owned(), ..event.clone() });
    match (transition, phase) {
        ("create", None) if event.node.is_none() => to("created"),
        ("acquire", Some("created" | "errored")) if holder.is_none() && event.node.is_some() => {
            to(phase.unwrap_or_default())
        }
        ("release", Some("created" | "errored")) if holder.is_some() && event.node.is_none() => {
            to(phase.unwrap_or_default())
        }
        ("start", Some("created")) if holder.is_some() && event.node == holder => to("started"),
        ("progress", Some("started")) if event.node == holder => to("started"),
        ("finish", Some("started")) if event.node == holder && event.progress == 1.0 => to("finished"),
        ("error", Some("started")) if event.node == holder && event.error.is_some() => to("errored"),
        ("reset", Some("errored")) if event.node == holder && holder.is_some() => to("created"),
        ("abort", Some("created" | "started" | "errored")) if event.node.is_none() => to("created"),
        ("cancel", Some("created" | "started" | "errored")) if event.node == holder => to("cancelled"),
        _ => Err(format!("{transition} {event:?} after {before:?}")),
    }
}

/// Replays the log of every job and compares the end with the job's row.
pub(crate) fn check(dir: &Path) {
    let database = open(dir);
    let mut told: HashMap<i64, Told> = HashMap::new();
    let mut events = database
        .prepare("SELECT job, transition, node, progress, error FROM events ORDER BY seq")
        .expect("the log can be read");
    let mut rows = events.query([]).expect("the log can be read");
    let mut count = 0;
    while let Some(row) = rows.next().expect("the log can be read") {
        let get = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(i64, String, Told)> {
            let event = Told { phase: String::new(), node: row.get(2)?, progress: row.get(3)?, error: row.get(4)? };
            Ok((row.get(0)?, row.get(1)?, event))
        };
        let (job, transition, event) = get(row).expect("the log's columns are as expected");
        let after = next(told.get(&job), &transition, &event).unwrap_or_else(|wrong| panic!("job {job}: {wrong}"));
        told.insert(job, after);
        count += 1;
    }
    assert!(count > 100, "the histories left only {count} events");
    let mut jobs = database
        .prepare("SELECT pk, phase, node, progress_amount, error_reason FROM jobs")
        .expect("the jobs can be read");
    let rows = jobs.query_map([], |row| {
        let is = Told { phase: row.get(1)?, node: row.get(2)?, progress: row.get(3)?, error: row.get(4)? };
        Ok((row.get::<_, i64>(0)?, is))
    });
    let mut left = told.len();
    for row in rows.expect("the jobs can be read") {
        let (pk, is) = row.expect("the columns are as expected");
        assert_eq!(told.get(&pk), Some(&is), "job {pk} is not what its events tell");
        left -= 1;
    }
    assert_eq!(left, 0, "events of jobs that are gone");
}
