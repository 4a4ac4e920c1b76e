//! The crash test: random traffic against a real server, SIGKILL at random moments, a restart on the same directory,
//! and then every answer that was given is held against what is there.
//!
//! Each worker has a node and a job of its own, so that what it was told last is what must be there. A call that got
//! no answer may have been done or not, but not by halves.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{ADMIN, Lab, USER, binary};

const WORKERS: usize = 4;
/// The largest upload, in bytes.
const UPLOAD_BYTES_MAX: u64 = 16 << 20;
/// Rounds after which everything is removed for good, so that a long run does not fill the disk.
const ROUNDS_KEPT: usize = 8;

/// Random numbers that a seed makes again (xorshift).
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// Bytes of a random length: most are small, some are large.
    fn bytes(&mut self) -> Vec<u8> {
        let bits = self.below(25);
        let length = self.below((1 << bits) + 1).min(UPLOAD_BYTES_MAX);
        let mut bytes = Vec::with_capacity(length as usize + 8);
        while (bytes.len() as u64) < length {
            bytes.extend_from_slice(&self.below(u64::MAX).to_le_bytes());
        }
        bytes.truncate(length as usize);
        bytes
    }
}

/// What the server said of a job, and must keep to.
#[derive(Debug, Clone)]
enum Said {
    /// The job as it was shown.
    Job(Value),
    /// That it is gone for good.
    Gone,
}

/// What one worker was told.
#[derive(Debug, Default)]
struct Told {
    jobs: BTreeMap<i64, Said>,
    /// Jobs of which a call was not answered, with the call.
    doubtful: BTreeMap<i64, &'static str>,
    /// Name of an output to the SHA-256 of its bytes, by job.
    bytes: BTreeMap<(i64, String), String>,
    answers: u64,
}

/// A caller that takes a broken connection for an answer: none.
#[derive(Debug, Clone)]
struct Caller {
    http: reqwest::Client,
    base: String,
    token: String,
    node: Option<i64>,
}

impl Caller {
    async fn call(&self, method: &str, path: &str, body: Vec<u8>) -> Option<(u16, Vec<u8>)> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(node) = self.node {
            request = request.header("node-id", node);
        }
        let reply = request.body(body).send().await.ok()?;
        let status = reply.status().as_u16();
        Some((status, reply.bytes().await.ok()?.to_vec()))
    }

    /// Makes a call that the rules allow; `None` when the server was killed under it.
    async fn done(&self, method: &str, path: &str, body: Vec<u8>) -> Option<Value> {
        let (status, body) = self.call(method, path, body).await?;
        // A server that is being killed may still say that it can't.
        assert_eq!(status, 200, "{method} {path}: {}", String::from_utf8_lossy(&body));
        Some(serde_json::from_slice(&body).expect("JSON"))
    }
}

/// Works through the lives of jobs until the server is gone.
async fn work(user: Caller, admin: Caller, template: i64, mut dice: Dice) -> Told {
    let mut told = Told::default();
    while life(&user, &admin, template, &mut dice, &mut told).await.is_some() {}
    told
}

/// One job's life; `None` when the server is gone.
async fn life(user: &Caller, admin: &Caller, template: i64, dice: &mut Dice, told: &mut Told) -> Option<()> {
    let path = format!("/v1/job-templates/{template}/create-job");
    let job = user.done("POST", &path, json!({"input_values": {}}).to_string().into()).await?;
    let pk = job["pk"].as_i64().expect("a key");
    assert!(told.jobs.insert(pk, Said::Job(job)).is_none(), "the key {pk} was given out twice");
    told.answers += 1;
    let base = format!("/v1/jobs/{pk}");
    for (method, verb) in [("GET", "acquire"), ("POST", "start")] {
        act(user, method, &base, verb, json!({}), told, pk).await?;
    }
    for number in 0..dice.below(4) {
        upload(user, &format!("o{number}"), dice.bytes(), told, pk).await?;
        act(user, "POST", &base, "progress/0.5", json!({"at": number}), told, pk).await?;
    }
    let error = (dice.below(3) == 0).then_some("the lamp is dark");
    act(user, "POST", &base, "finish", json!({"error": error}), told, pk).await?;
    if error.is_some() && dice.below(2) == 0 {
        act(user, "DELETE", &base, "reset", Value::Null, told, pk).await?;
        act(user, "DELETE", &base, "release", Value::Null, told, pk).await?;
    }
    if dice.below(4) == 0 {
        told.doubtful.insert(pk, "hard");
        admin.done("DELETE", &format!("{base}/hard"), Vec::new()).await?;
        told.doubtful.remove(&pk);
        told.jobs.insert(pk, Said::Gone);
        told.answers += 1;
    }
    Some(())
}

async fn act(
    user: &Caller,
    method: &str,
    base: &str,
    verb: &'static str,
    body: Value,
    told: &mut Told,
    pk: i64,
) -> Option<()> {
    told.doubtful.insert(pk, verb);
    let body = if body.is_null() { Vec::new() } else { body.to_string().into() };
    let job = user.done(method, &format!("{base}/{verb}"), body).await?;
    told.doubtful.remove(&pk);
    told.jobs.insert(pk, Said::Job(job));
    told.answers += 1;
    Some(())
}

async fn upload(user: &Caller, name: &str, bytes: Vec<u8>, told: &mut Told, pk: i64) -> Option<()> {
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    told.doubtful.insert(pk, "outputs");
    told.bytes.insert((pk, name.to_owned()), sha256.clone());
    let output = user.done("POST", &format!("/v1/jobs/{pk}/outputs/{name}/str"), bytes).await?;
    told.doubtful.remove(&pk);
    assert_eq!(output["sha256"], sha256.as_str());
    let Some(Said::Job(job)) = told.jobs.get_mut(&pk) else { panic!("an output of a job that is not there") };
    let listed = json!({"pk": output["pk"], "name": output["name"], "type": output["type"]});
    job["outputs"].as_array_mut().expect("a list").push(listed);
    told.answers += 1;
    Some(())
}

/// Holds what was said against what is there, and gives how many jobs and outputs were looked at.
async fn hold(reader: &Caller, told: &Told) -> (usize, usize) {
    let (mut jobs, mut outputs) = (0, 0);
    for (pk, said) in &told.jobs {
        let (status, body) = reader.call("GET", &format!("/v1/jobs/{pk}"), Vec::new()).await.expect("an answer");
        jobs += 1;
        let doubt = told.doubtful.get(pk);
        match (said, status) {
            (Said::Gone, 404) => continue,
            (Said::Job(_), 404) if doubt == Some(&"hard") => continue,
            (Said::Job(_), 200) => {}
            _ => panic!("LOST: job {pk} was said to be {said:?}, and is {status} (in doubt: {doubt:?})"),
        }
        let Said::Job(said) = said else { continue };
        let now: Value = serde_json::from_slice(&body).expect("JSON");
        if doubt.is_none() {
            assert_eq!(&now, said, "LOST: job {pk} is not as it was said to be");
        }
        let shown = |job: &Value| job["outputs"].as_array().expect("a list").clone();
        if doubt != Some(&"reset") {
            for output in shown(said) {
                assert!(shown(&now).contains(&output), "LOST: output {output} of job {pk} (in doubt: {doubt:?})");
            }
        }
        for output in shown(&now) {
            let path = format!("/v1/job-outputs/{}/download", output["pk"]);
            let (status, bytes) = reader.call("GET", &path, Vec::new()).await.expect("an answer");
            assert_eq!(status, 200, "LOST: the bytes of output {output}");
            let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            let name = output["name"].as_str().expect("a name").to_owned();
            assert_eq!(told.bytes.get(&(*pk, name)), Some(&sha256), "LOST: other bytes of output {output}");
            outputs += 1;
        }
    }
    (jobs, outputs)
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

async fn crash(kills: usize, seed: u64) {
    let lab = Lab::start();
    let (template, mut dice) = (lab.template().await, Dice(seed | 1));
    let mut nodes = Vec::new();
    for _ in 0..WORKERS {
        nodes.push(lab.node(USER).await);
    }
    let mut seen: BTreeSet<i64> = BTreeSet::new();
    let (mut answers, mut doubts, mut jobs, mut outputs) = (0, 0, 0, 0);
    for round in 1..=kills {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let base = format!("http://127.0.0.1:{}", lab.port());
        let admin = Caller { http: http.clone(), base: base.clone(), token: lab.token(ADMIN).await, node: None };
        let user = Caller { http, base, token: lab.token(USER).await, node: None };
        let mut workers = Vec::new();
        for &node in &nodes {
            let user = Caller { node: Some(node), ..user.clone() };
            let dice = Dice(dice.below(u64::MAX) | 1);
            workers.push(tokio::spawn(work(user, admin.clone(), template, dice)));
        }
        // The moment of the kill is the test's subject, not something to wait for.
        tokio::time::sleep(Duration::from_micros(20_000 + dice.below(400_000))).await;
        lab.server(|server| server.kill());
        let mut told = Vec::new();
        for worker in workers {
            told.push(worker.await.expect("no worker is told no"));
        }
        lab.server(|server| server.restart());
        let base = format!("http://127.0.0.1:{}", lab.port());
        let reader = Caller { base, http: reqwest::Client::builder().no_proxy().build().expect("a client"), ..user };
        for told in &told {
            let (held_jobs, held_outputs) = hold(&reader, told).await;
            for pk in told.jobs.keys() {
                assert!(seen.insert(*pk), "the key {pk} was given out twice");
            }
            (jobs, outputs) = (jobs + held_jobs, outputs + held_outputs);
            (answers, doubts) = (answers + told.answers, doubts + told.doubtful.len());
        }
        verify(&lab);
        let next = lab.job().await;
        assert!(seen.iter().next_back().is_none_or(|last| next > *last), "the key {next} was given out before");
        seen.insert(next);
        clear(&lab, &nodes).await;
        if round % ROUNDS_KEPT == 0 {
            for pk in lab.post("/v1/jobs/list").text("{}").await.expect(200).pks() {
                lab.staff(pk, "hard").await.expect(200);
            }
        }
    }
    println!(
        "crash test: {kills} kills, {answers} acknowledged operations, {doubts} calls cut off, \
         {jobs} jobs and {outputs} outputs held against their answers, losses 0 (seed {seed})"
    );
    assert!(answers > kills as u64 && doubts > 0, "the traffic was too thin to tell anything");
}

/// Runs `labrun verify` beside the server.
fn verify(lab: &Lab) {
    let dir = lab.server(|server| server.dir().to_owned());
    let output = Command::new(binary()).arg("verify").arg("--data-dir").arg(dir).output().expect("the binary runs");
    assert!(output.status.success(), "DAMAGED: {}", String::from_utf8_lossy(&output.stdout));
}

/// Gives the seed that was asked for, or one of the moment.
fn seed() -> u64 {
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
