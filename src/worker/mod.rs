//! The generic worker: takes jobs whose template is a command, runs them, and brings back what they made.
//!
//! ```text
//!            claim            start                      the command ends
//!   slot ──► claim.rs ──► slot.rs ──► run.rs ──────────────────────────► spool.rs ──► deliver.rs ──► slot
//!                                      │ inputs.rs   fetch                  on disk      uploads, finish
//!                                      │ command.rs  words and values
//!                                      │ process.rs  the group of processes, limits.rs
//!                                      │ tell.rs     log, progress, signs of life; is the job still ours?
//!                                      └ outputs.rs  what is there
//! ```
//!
//! What ended is in the spool before the server hears of it, and goes from there when the server has it. So neither the
//! server's absence nor the worker's own end loses a result.

mod away;
mod claim;
mod command;
mod deliver;
mod inputs;
mod limits;
mod log;
pub(crate) mod names;
mod node;
mod outputs;
mod process;
mod progress;
mod run;
mod slot;
mod spool;
mod standing;
mod tell;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::away::Away;
use self::claim::Claims;
pub use self::limits::Limits;
use self::node::Machine;
use self::slot::Slot;
pub use self::spool::DirError;
use self::spool::WorkDir;
use crate::client::{Client, ClientError};
use crate::domain::ids::NodeId;
use crate::wire::Node;

/// What a worker is told at its start.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Its own folder; made if missing.
    pub dir: PathBuf,
    /// How many jobs it runs at a time; each slot is a node of its own.
    pub slots: u16,
    /// The machine's name to the server, at most 39 characters; the system's when none.
    pub name: Option<String>,
    /// The index of the first slot's node; the first free one when none.
    pub first_index: Option<i64>,
    /// Expressions that a job must pass (contract §9), beside those of what the worker can run.
    pub filter: Vec<Value>,
    /// Whether it ends when no job is free.
    pub once: bool,
    /// Seconds without a sign of life after which the server gives its jobs to others, 1 to 86,400.
    pub lease_s: f64,
    /// What each run may use.
    pub limits: Limits,
    /// How long processes may take to end when they are asked to, before they are ended.
    pub kill_grace: Duration,
    /// Which runs' folders are kept.
    pub keep: Keep,
}

impl Settings {
    /// Gives the defaults for a folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            slots: 1,
            name: None,
            first_index: None,
            filter: Vec::new(),
            once: false,
            lease_s: 300.0,
            limits: Limits::default(),
            kill_grace: Duration::from_secs(10),
            keep: Keep::OnError,
        }
    }
}

/// Which runs' folders are kept for people to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All.
    Always,
    /// Those of runs that failed.
    OnError,
    /// None.
    Never,
}

/// Whether a worker is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// It goes on.
    Not,
    /// It takes no more jobs, and ends when those that run have ended.
    Soon,
    /// It stops the jobs that run, and gives them back.
    Now,
}

/// Tells a worker to stop.
pub type Stop = watch::Receiver<Stopping>;

/// Says whether a worker is to stop, soon or now.
fn stops(stop: &Stop) -> bool {
    *stop.borrow() != Stopping::Not
}

/// Waits until a worker is to stop at once.
async fn stopped_now(stop: &mut Stop) {
    if stop.wait_for(|stopping| *stopping == Stopping::Now).await.is_err() {
        // Nobody is left who could say so.
        std::future::pending::<()>().await;
    }
}

/// Why a worker can't work.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// Its folder can't be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The server said no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The index that was asked for is another's.
    #[error("this worker can't be the node {name}#{index}: {why}; choose another --index or --name")]
    NodeTaken {
        /// The machine's name.
        name: String,
        /// The index.
        index: i64,
        /// Why not.
        why: String,
    },
    /// Every index is another's.
    #[error("the machine {0} has no free node left")]
    NoIndex(String),
    /// Its node was destroyed.
    #[error("the server does not know node {0} any more; start the worker again to register anew")]
    NodeGone(NodeId),
    /// A part of it ended by itself.
    #[error("a part of the worker ended by itself: {0}")]
    Panicked(String),
}

impl WorkError {
    fn unusable(work: &WorkDir, source: io::Error) -> Self {
        DirError::Unusable { dir: work.root().to_owned(), source }.into()
    }
}

/// A worker that is registered.
pub struct Worker {
    client: Client,
    settings: Arc<Settings>,
    work: Arc<WorkDir>,
    machine: Machine,
    nodes: Vec<Node>,
}

impl Worker {
    /// Opens the worker's folder, and registers a node for each slot: the same ones as before, if there were any.
    pub async fn start(client: Client, settings: Settings) -> Result<Self, WorkError> {
        let work = Arc::new(WorkDir::open(&settings.dir)?);
        let machine = Machine::here(settings.name.clone()).await;
        let nodes = machine.register(&client, &work, settings.slots.into(), settings.first_index).await?;
        Ok(Self { client, settings: Arc::new(settings), work, machine, nodes })
    }

    /// Gives the server's address.
    pub fn server(&self) -> &str {
        self.client.address()
    }

    /// Gives the nodes, one a slot.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Works until it is to stop, or until no job is free if it is to end then.
    pub async fn run(self, stop: Stop) -> Result<(), WorkError> {
        slot::recover(&self.work).await;
        let (away, claims) = (Arc::new(Away::default()), self.claims());
        let mut slots = JoinSet::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let slot = Slot {
                client: self.client.for_node(node.pk),
                node: node.clone(),
                settings: self.settings.clone(),
                work: self.work.clone(),
                claims: claims.clone(),
                away: away.clone(),
                stop: stop.clone(),
                variables: self.variables(number),
            };
            if number == 0 {
                self.deliver_of_others(&slot).await;
            }
            slots.spawn(slot.run());
        }
        // The first that can't go on ends them all: what they run is given back at the next start.
        while let Some(ended) = slots.join_next().await {
            ended.map_err(|error| WorkError::Panicked(error.to_string()))??;
        }
        Ok(())
    }

    fn claims(&self) -> Arc<Claims> {
        let Settings { filter, lease_s, once, .. } = &*self.settings;
        Arc::new(Claims::new(filter.clone(), *lease_s, *once))
    }

    /// Delivers what the spool holds for nodes that this worker was, and is not any more.
    async fn deliver_of_others(&self, by: &Slot) {
        for entry in self.work.spooled() {
            if entry.run.server != self.client.address() {
                tracing::warn!("the result in {} is for {}: it stays there", entry.dir.display(), entry.run.server);
            } else if !self.nodes.iter().any(|node| node.pk == entry.run.node) {
                by.deliver(entry).await;
            }
        }
    }

    /// Gives the variables of a slot's commands. Where slots share a machine with GPUs, each sees its own; what the
    /// operator says about it counts more.
    fn variables(&self, slot: usize) -> Vec<(String, String)> {
        const GPUS: &str = "CUDA_VISIBLE_DEVICES";
        let is_shared = self.nodes.len() > 1 && self.machine.gpu_count() > 0;
        if !is_shared || std::env::var_os(GPUS).is_some() {
            return Vec::new();
        }
        let own = if slot < self.machine.gpu_count() { slot.to_string() } else { String::new() };
        vec![(GPUS.to_owned(), own)]
    }
}
