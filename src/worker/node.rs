//! What this machine is, and the nodes that it is to the server: one for each slot.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::WorkError;
use super::spool::WorkDir;
use crate::client::{Client, ClientError};
use crate::domain::ids::NodeId;
use crate::domain::time::{Clock, SystemClock};
use crate::wire::Node;
use crate::wire::list::{ListSpec, exact};
use crate::wire::node::NewNode;

/// Most characters of a machine's name (contract §4).
const NAME_CHARS_MAX: usize = 39;
/// Most characters of a driver's version (contract §4).
const DRIVER_CHARS_MAX: usize = 16;
/// The highest index of a node on its machine (contract §4).
const INDEX_MAX: i64 = 32_767;
/// How long `nvidia-smi` may take.
const GPU_QUERY_MAX: Duration = Duration::from_secs(20);
/// A node that was seen less than so many seconds ago may be another worker's that runs.
const ALIVE_S: i64 = 60;

/// This machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    name: String,
    memory_bytes: i64,
    gpus: Vec<Gpu>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Gpu {
    memory_bytes: i64,
    driver: String,
}

impl Machine {
    /// Looks at this machine; `name` stands in for its own.
    pub(crate) async fn here(name: Option<String>) -> Self {
        let own = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        let name: String = name.unwrap_or_else(own).chars().take(NAME_CHARS_MAX).collect();
        let name = if name.is_empty() { "localhost".to_owned() } else { name };
        Self { name, memory_bytes: memory_bytes(), gpus: gpus().await }
    }

    /// Says how many GPUs there are.
    pub(crate) fn gpu_count(&self) -> usize {
        self.gpus.len()
    }

    /// Describes the node of a slot. Slot and GPU have the same number; a slot beyond the last GPU has none.
    fn node(&self, slot: usize, index: i64) -> NewNode {
        let gpu = self.gpus.get(slot);
        NewNode {
            ip: self.name.clone(),
            index,
            driver_version: gpu.map(|gpu| gpu.driver.clone()),
            hardware_generation: None,
            gpu_mem: gpu.map(|gpu| gpu.memory_bytes),
            cpu_mem: self.memory_bytes,
        }
    }

    /// Registers the nodes of this worker: those that it was before, else free ones. `first` is the index of the first,
    /// with the others behind it; without it they are looked for.
    pub(crate) async fn register(
        &self,
        client: &Client,
        work: &WorkDir,
        slots: usize,
        first: Option<i64>,
    ) -> Result<Vec<Node>, WorkError> {
        let known = work.nodes(client.address());
        let here = client.nodes(&ListSpec::default().with(exact("ip", self.name.as_str()))).await?;
        let candidates: Vec<i64> = match first {
            Some(first) => (first..).take(slots).collect(),
            None => {
                let mut mine: Vec<_> =
                    here.iter().filter(|node| known.contains(&node.pk)).map(|node| node.index).collect();
                mine.sort_unstable();
                let others = (0..=INDEX_MAX).filter(|index| !mine.contains(index)).collect::<Vec<_>>();
                [mine, others].concat()
            }
        };
        let mut nodes = Vec::new();
        for index in candidates.into_iter().filter(|index| *index <= INDEX_MAX) {
            if nodes.len() == slots {
                break;
            }
            let there = here.iter().find(|node| node.index == index);
            match self.take(client, &known, nodes.len(), index, there).await? {
                Taken::Node(node) => {
                    work.note_node(client.address(), node.pk).map_err(|source| WorkError::unusable(work, source))?;
                    nodes.push(node);
                }
                Taken::Not(why) if first.is_some() => {
                    return Err(WorkError::NodeTaken { name: self.name.clone(), index, why });
                }
                Taken::Not(_) => {}
            }
        }
        if nodes.len() < slots {
            return Err(WorkError::NoIndex(self.name.clone()));
        }
        Ok(nodes)
    }

    /// Becomes the node of an index, if nobody else is it.
    async fn take(
        &self,
        client: &Client,
        known: &[NodeId],
        slot: usize,
        index: i64,
        there: Option<&Node>,
    ) -> Result<Taken, ClientError> {
        let new = self.node(slot, index);
        let made = match there {
            None => client.create_node(&new).await,
            Some(node) if !known.contains(&node.pk) && is_alive(node) => {
                return Ok(Taken::Not("it called a moment ago, so that another worker seems to be it".to_owned()));
            }
            Some(node) => client.for_node(node.pk).update_node(node.pk, &new).await,
        };
        match made {
            Ok(node) => Ok(Taken::Node(node)),
            // Another user's, or another worker was faster.
            Err(error) if matches!(error.status(), Some(400 | 403)) => Ok(Taken::Not(error.to_string())),
            Err(error) => Err(error),
        }
    }
}

enum Taken {
    Node(Node),
    Not(String),
}

fn is_alive(node: &Node) -> bool {
    node.last_seen.is_some_and(|seen| seen.plus_seconds(ALIVE_S) > SystemClock.now())
}

/// Gives this machine's memory; 0 where the system does not tell.
fn memory_bytes() -> i64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<i64>().ok());
    total.unwrap_or_default().saturating_mul(1024)
}

/// Asks `nvidia-smi` for the GPUs; none when it is not there or does not answer.
async fn gpus() -> Vec<Gpu> {
    let ask = || {
        Command::new("nvidia-smi")
            .args(["--query-gpu=memory.total,driver_version", "--format=csv,noheader,nounits"])
            .stdin(Stdio::null())
            .output()
    };
    let answer = tokio::time::timeout(GPU_QUERY_MAX, tokio::task::spawn_blocking(ask)).await;
    match answer {
        Ok(Ok(Ok(output))) if output.status.success() => parse_gpus(&String::from_utf8_lossy(&output.stdout)),
        _ => Vec::new(),
    }
}

/// Reads lines of `MEBIBYTES, DRIVER`.
fn parse_gpus(text: &str) -> Vec<Gpu> {
    let parse = |line: &str| {
        let (mebibytes, driver) = line.split_once(',')?;
        let memory_bytes = mebibytes.trim().parse::<i64>().ok()?.checked_mul(1 << 20)?;
        Some(Gpu { memory_bytes, driver: driver.trim().chars().take(DRIVER_CHARS_MAX).collect() })
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_read_line_by_line_and_belong_to_the_slots_in_turn() {
        let gpus = parse_gpus("24576, 550.54.14\n[N/A], x\n11264, 550.54.14\n");
        assert_eq!(gpus.len(), 2);
        let machine = Machine { name: "bench".to_owned(), memory_bytes: 1, gpus };
        assert_eq!(machine.node(1, 5).gpu_mem, Some(11_264 << 20));
        assert_eq!(machine.node(0, 4).driver_version.as_deref(), Some("550.54.14"));
        assert_eq!(machine.node(2, 6).gpu_mem, None);
        assert_eq!(parse_gpus("NVIDIA-SMI has failed"), []);
    }

    #[tokio::test]
    async fn this_machine_has_a_name_and_memory() {
        let machine = Machine::here(None).await;
        assert!((1..=NAME_CHARS_MAX).contains(&machine.name.chars().count()) && machine.memory_bytes > 0);
        assert_eq!(Machine::here(Some("x".repeat(60))).await.name, "x".repeat(39));
    }
}
