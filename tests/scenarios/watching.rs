//! Watching jobs by WebSocket and by server-sent events (contract §10).

mod browser;
mod crowds;
mod events;
mod hostile;
mod sockets;

use serde_json::{Value, json};

use crate::harness::{Held, Lab, Reply};

/// Tells progress `number` of `count`, with the number among the data.
async fn progress(lab: &Lab, held: Held, number: usize, count: usize) -> Reply {
    let path = format!("/v1/jobs/{}/progress/{}", held.job, number as f64 / count as f64);
    lab.post(&path).node(held.node).json(json!({"number": number})).await.expect(200)
}

/// The transitions of some events.
fn transitions<'a>(events: impl IntoIterator<Item = &'a Value>) -> Vec<&'a str> {
    events.into_iter().map(|event| event["transition"].as_str().expect("a transition")).collect()
}

/// The number that an event of [`progress`] carries.
fn number(event: &Value) -> usize {
    event["transition_data"]["number"].as_u64().unwrap_or_else(|| panic!("no number: {event}")) as usize
}

/// The resident memory of a process, in bytes.
fn memory_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
