//! The crash test: random traffic against a real server, SIGKILL at random moments, a restart on the same directory,
//! and then every answer that was given is held against what is there.
//!
//! Each worker has a node, jobs and workflows of its own, so that what it was told last is what must be there. A call
//! that got no answer may have been done or not, but not by halves.

pub(super) mod caller;
pub(super) mod told;
pub(super) mod traffic;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{ADMIN, Lab, USER, binary};
use crate::scenarios::workflows::row;
use caller::Caller;
use told::{Count, Told};
use traffic::{Templates, Worker};

const WORKERS: usize = 4;
/// The largest upload, in bytes.
const UPLOAD_BYTES_MAX: u64 = 16 << 20;
/// Rounds after which everything is removed for good, so that a long run does not fill the disk.
const ROUNDS_KEPT: usize = 8;

/// Random numbers that a seed makes again (xorshift).
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// Mixes the seed well, so that dice of seeds that follow each other have nothing to do with each other.
    pub(super) fn new(seed: u64) -> Self {
        let mixed = (seed ^ (seed >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// Bytes of a random length: most are small, some are large.
    fn bytes(&mut self, bytes_max: u64) -> Vec<u8> {
        let bits = self.below(25);
        let length = self.below((1 << bits) + 1).min(bytes_max);
        let mut bytes = Vec::with_capacity(length as usize + 8);
        while (bytes.len() as u64) < length {
            bytes.extend_from_slice(&self.below(u64::MAX).to_le_bytes());
        }
        bytes.truncate(length as usize);
        bytes
    }
}

/// Frees the nodes of whatever they were at when the server went.
async fn clear(lab: &Lab, nodes: &[i64]) {
    for &node in nodes {
        if let Some(job) = lab.read_node(node).await["current_job"].as_i64() {
            lab.delete(&format!("/v1/jobs/{job}/abort")).by(ADMIN).await.expect(200);
            lab.post(&format!("/v1/jobs/{job}/finish")).node(node).await.expect(200);
        }
    }
}

/// Removes everything for good; children go with their parents.
async fn remove_all(lab: &Lab) {
    let listed = lab.post("/v1/jobs/list").text("{}").await.expect(200).json();
    for job in listed.as_array().expect("a list").iter().filter(|job| job["parent"] == Value::Null) {
        lab.staff(job["pk"].as_i64().expect("a key"), "hard").await.expect(200);
    }
}

/// Starts a worker for each node.
async fn begin(lab: &Lab, nodes: &[i64], templates: Templates, dice: &mut Dice) -> Vec<tokio::task::JoinHandle<Told>> {
    let callers = callers(lab).await;
    let start = |node: &i64| {
        let user = Caller { node: Some(*node), ..callers.0.clone() };
        let dice = Dice::new(dice.below(u64::MAX));
        let (told, upload_bytes_max) = (Told::default(), UPLOAD_BYTES_MAX);
        let worker = Worker { user, admin: callers.1.clone(), templates, dice, upload_bytes_max, told, history: None };
        tokio::spawn(worker.work())
    };
    nodes.iter().map(start).collect()
}

/// The user and the admin, on connections of their own.
pub(super) async fn callers(lab: &Lab) -> (Caller, Caller) {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let base = format!("http://127.0.0.1:{}", lab.port());
    let admin = Caller { http: http.clone(), base: base.clone(), token: lab.token(ADMIN).await, node: None };
    (Caller { http, base, token: lab.token(USER).await, node: None }, admin)
}

async fn crash(kills: usize, seed: u64) {
    let lab = Lab::start();
    let templates = Templates { plain: lab.template().await, flow: row(&lab).await };
    let mut dice = Dice::new(seed);
    let mut nodes = Vec::new();
    for _ in 0..WORKERS {
        nodes.push(lab.node(USER).await);
    }
    let mut seen: BTreeSet<i64> = BTreeSet::new();
    let (mut answers, mut doubts, mut count) = (0, 0, Count::default());
    for round in 1..=kills {
        let workers = begin(&lab, &nodes, templates, &mut dice).await;
        // The moment of the kill is the test's subject, not something to wait for.
        tokio::time::sleep(Duration::from_micros(20_000 + dice.below(400_000))).await;
        lab.server(|server| server.kill());
        let mut told = Vec::new();
        for worker in workers {
            told.push(worker.await.expect("no worker is told no"));
        }
        lab.server(|server| server.restart());
        let (user, _) = callers(&lab).await;
        for (told, node) in told.iter().zip(&nodes) {
            count += told.hold(&Caller { node: Some(*node), ..user.clone() }).await;
            for pk in told.jobs.keys() {
                assert!(seen.insert(*pk), "the key {pk} was given out twice");
            }
            (answers, doubts) = (answers + told.answers, doubts + told.doubtful.len());
        }
        verify(&lab);
        let next = lab.job().await;
        assert!(seen.iter().next_back().is_none_or(|last| next > *last), "the key {next} was given out before");
        seen.insert(next);
        clear(&lab, &nodes).await;
        if round % ROUNDS_KEPT == 0 {
            remove_all(&lab).await;
        }
    }
    let Count { jobs, outputs, uploads, workflows } = count;
    println!(
        "crash test: {kills} kills, {answers} acknowledged operations, {doubts} calls cut off; {jobs} jobs, \
         {outputs} outputs, {uploads} uploads in pieces and {workflows} workflows held against their answers, losses 0 \
         (seed {seed})"
    );
    assert!(answers > kills as u64 && doubts > 0, "the traffic was too thin to tell anything");
}

/// Runs `labrun verify` beside the server.
pub(super) fn verify(lab: &Lab) {
    let dir = lab.server(|server| server.dir().to_owned());
    let output = Command::new(binary()).arg("verify").arg("--data-dir").arg(dir).output().expect("the binary runs");
    assert!(output.status.success(), "DAMAGED: {}", String::from_utf8_lossy(&output.stdout));
}

/// Gives the seed that was asked for, or one of the moment.
pub(super) fn seed() -> u64 {
    let now = || std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.subsec_nanos().into());
    std::env::var("CRASH_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(now)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_that_was_answered_is_lost_to_five_kills() {
    crash(5, seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes minutes; CI runs it with CRASH_KILLS"]
async fn nothing_that_was_answered_is_lost_to_many_kills() {
    let kills = std::env::var("CRASH_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    crash(kills, seed()).await;
}
