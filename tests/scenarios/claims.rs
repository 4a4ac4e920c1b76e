//! Claims by many nodes at once, through the real server (contract §11).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::raw::Raw;
use crate::harness::{ADMIN, Held, Lab, OTHER, Setup, USER, document};

/// A template of its own, and the claim's filter for its jobs alone.
async fn own(lab: &Lab) -> (i64, Value) {
    let template = lab.import(document(&lab.unique("claimed"))).await.expect(200).pk();
    (template, json!({"expressions": [{"type": "exact", "field": "template.pk", "value": template}]}))
}

async fn make(lab: &Lab, template: i64, more: Value) -> i64 {
    let mut body = json!({"input_values": {}});
    body.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    lab.post(&format!("/v1/job-templates/{template}/create-job")).json(body).await.expect(200).pk()
}

/// Makes jobs, has as many clients claim them as fast as they can, and counts how often each was handed out.
async fn hand_out(lab: &Lab, jobs: usize, clients: usize) {
    let (template, filter) = own(lab).await;
    let left = AtomicUsize::new(jobs);
    let one_left = || left.fetch_update(SeqCst, SeqCst, |count| count.checked_sub(1)).is_ok();
    join_all((0..clients).map(async |_| {
        while one_left() {
            make(lab, template, json!({})).await;
        }
    }))
    .await;
    let nodes = join_all((0..clients).map(|_| lab.node(USER))).await;
    let claimed = join_all(nodes.iter().map(async |node| {
        let mut mine = Vec::new();
        loop {
            let reply = lab.post("/v1/jobs/claim").node(*node).json(json!({"filter": filter})).await;
            match reply.status {
                204 => return mine,
                _ => mine.push(reply.expect(200).pk()),
            }
        }
    }))
    .await;
    let mut holders: BTreeMap<i64, usize> = BTreeMap::new();
    for job in claimed.into_iter().flatten() {
        *holders.entry(job).or_default() += 1;
    }
    assert_eq!(holders.len(), jobs, "jobs handed out");
    let twice: Vec<_> = holders.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "jobs handed out more than once: {twice:?}");
}

#[tokio::test]
async fn every_job_is_handed_out_once() {
    hand_out(&Lab::start(), 2_000, 16).await;
}

#[tokio::test]
#[ignore = "takes long; `.ci/run` asks for it by name"]
async fn race_of_64_clients_for_100_000_jobs() {
    let lab = Lab::start_with(Setup::default().with(&["--access-token-lifetime-s", "3600", "--log-level", "warn"]));
    let began = Instant::now();
    hand_out(&lab, 100_000, 64).await;
    println!("64 clients claimed 100000 jobs, each handed out once, in {} s", began.elapsed().as_secs());
}

#[tokio::test]
async fn a_worker_that_died_under_its_lease_is_replaced_and_its_late_answer_refused() {
    const LEASE_S: u64 = 1;
    let lab = Lab::start();
    let (template, filter) = own(&lab).await;
    let job = make(&lab, template, json!({})).await;
    let (dead, successor) = (lab.node(USER).await, lab.node(USER).await);
    let claim = |node: i64, more: Value| {
        let mut body = json!({"filter": filter});
        body.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        lab.post("/v1/jobs/claim").node(node).json(body)
    };
    let held = Held { job, node: dead };
    claim(dead, json!({"lease": LEASE_S})).await.expect(200);
    lab.act(held, "start").await.expect(200);
    // Measured from the last thing that the worker was told, which is later than its lease began.
    let silent_since = Instant::now();
    let taken_over = claim(successor, json!({"wait": 30})).await.expect(200).json();
    let replaced_after = silent_since.elapsed();
    assert_eq!((&taken_over["pk"], &taken_over["attempt"]), (&job.into(), &2.into()));
    assert!(replaced_after < Duration::from_secs(LEASE_S + 1), "replaced after {replaced_after:?}");
    // What the dead worker says when it comes back changes nothing.
    lab.act(held, "progress/0.9").json(json!({})).await.expect(403);
    lab.act(held, "finish").header("attempt", "1").json(json!({})).await.refuses(409, "stale_attempt");
    assert_eq!(lab.read(job).await["phase"], "created");
    assert_eq!(lab.read(job).await["node"], successor);
}

/// Claims a job under a lease of one second, starts it, and sends the head of an upload of so many bytes to it.
async fn begin_slow_upload(lab: &Lab, in_pieces: bool, bytes: usize) -> (Held, Raw) {
    let (template, filter) = own(lab).await;
    let held = Held { job: make(lab, template, json!({})).await, node: lab.node(USER).await };
    let claim = json!({"filter": filter, "lease": 1});
    lab.post("/v1/jobs/claim").node(held.node).json(claim).await.expect(200);
    lab.act(held, "start").await.expect(200);
    let path = format!("/v1/jobs/{}/outputs/slow/str", held.job);
    let head = if in_pieces {
        let begun = lab.post(&path).node(held.node).header("tus-resumable", "1.0.0");
        let begun = begun.header("upload-length", bytes.to_string()).await.expect(201);
        let head = lab.head("PATCH", begun.header("location").expect("a place"), USER).await;
        format!("{head}Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\n")
    } else {
        lab.head("POST", &path, USER).await
    };
    let mut raw = lab.raw();
    raw.send(format!("{head}Node-Id: {}\r\nContent-Length: {bytes}\r\n\r\n", held.node));
    (held, raw)
}

#[tokio::test]
async fn an_upload_that_takes_longer_than_the_lease_keeps_it() {
    const PIECES: usize = 12;
    let lab = Lab::start();
    join_all([false, true].map(async |in_pieces| {
        let (held, mut raw) = begin_slow_upload(&lab, in_pieces, PIECES).await;
        for _ in 0..PIECES {
            raw.send("x");
            // A lease runs by the clock of a real server: here the time has to pass.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        raw.reply().expect("an answer").expect(if in_pieces { 204 } else { 200 });
        let job = lab.read(held.job).await;
        assert_eq!((&job["phase"], &job["attempt"]), (&"started".into(), &1.into()));
        assert_eq!(job["outputs"][0]["name"], "slow");
    }))
    .await;
}

#[tokio::test]
async fn an_upload_that_was_silent_for_longer_than_the_lease_is_refused() {
    let lab = Lab::start();
    join_all([false, true].map(async |in_pieces| {
        let (held, mut raw) = begin_slow_upload(&lab, in_pieces, 2).await;
        raw.send("x");
        let deadline = crate::harness::deadline();
        while lab.read(held.job).await["phase"] != "created" {
            assert!(Instant::now() < deadline, "the job stayed with a node that says nothing");
        }
        raw.send("x");
        // What came of an upload in pieces went with the attempt.
        let (status, code) = if in_pieces { (404, "not_found") } else { (403, "permission_denied") };
        raw.reply().expect("an answer").refuses(status, code);
        assert_eq!(lab.read(held.job).await["outputs"], json!([]));
    }))
    .await;
}

/// Sends a claim that waits, and returns when it has its place in the queue: a later claim of one try, which goes
/// through the same queue, has been answered.
async fn wait_in_line(lab: &Lab, node: i64, filter: &Value) -> Raw {
    let head = lab.head("POST", "/v1/jobs/claim", USER).await;
    wait_in_line_with(lab, &head, node, filter).await
}

/// Does so with a head of one's own, as another user or with another token.
async fn wait_in_line_with(lab: &Lab, head: &str, node: i64, filter: &Value) -> Raw {
    let body = json!({"filter": filter, "wait": 60}).to_string();
    let head = head.trim_end_matches("\r\n");
    let mut raw = lab.raw();
    raw.send(format!("{head}\r\nNode-Id: {node}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    // Until the server has read it, the try of another node may come before it.
    let nodes = [lab.node(USER).await, lab.node(USER).await];
    for other in nodes {
        lab.post("/v1/jobs/claim").node(other).json(json!({"filter": filter})).await.expect(204);
    }
    raw
}

#[tokio::test]
async fn waiting_claims_are_served_in_order_of_arrival() {
    const WAITING: usize = 5;
    let lab = Lab::start();
    let (template, filter) = own(&lab).await;
    let mut line = Vec::new();
    for _ in 0..WAITING {
        let node = lab.node(USER).await;
        line.push((node, wait_in_line(&lab, node, &filter).await));
    }
    let mut jobs = Vec::new();
    for _ in 0..WAITING {
        jobs.push(make(&lab, template, json!({})).await);
    }
    for ((node, mut raw), job) in line.into_iter().zip(jobs) {
        let given = raw.reply().expect("an answer").expect(200).json();
        assert_eq!((&given["pk"], &given["node"]), (&job.into(), &node.into()));
    }
}

#[tokio::test]
async fn a_claimant_that_may_have_no_job_any_more_is_told_so_and_the_next_one_gets_it() {
    let lab = Lab::start();
    let (template, filter) = own(&lab).await;
    let destroyed = lab.node(USER).await;
    let mut of_destroyed = wait_in_line(&lab, destroyed, &filter).await;
    let others = lab.node(OTHER).await;
    let head = lab.head("POST", "/v1/jobs/claim", OTHER).await;
    let mut of_deactivated = wait_in_line_with(&lab, &head, others, &filter).await;
    let token = lab.post("/v1/auth/tokens").json(json!({"name": "worker"})).await.expect(201).json();
    let secret = token["token"].as_str().expect("a token");
    let head = format!("POST /v1/jobs/claim HTTP/1.1\r\nHost: lab\r\nAuthorization: Bearer {secret}\r\n");
    let mut of_revoked = wait_in_line_with(&lab, &head, lab.node(USER).await, &filter).await;
    let node = lab.node(USER).await;
    let mut waiting = wait_in_line(&lab, node, &filter).await;

    lab.delete(&format!("/v1/nodes/{destroyed}")).by(ADMIN).await.expect(204);
    lab.delete(&format!("/v1/users/{}", lab.user_pk(OTHER).await)).by(ADMIN).await.expect(204);
    lab.delete(&format!("/v1/auth/tokens/{}", token["pk"])).await.expect(200);
    let job = make(&lab, template, json!({})).await;
    let given = waiting.reply().expect("an answer").expect(200).json();
    assert_eq!((&given["pk"], &given["node"], &given["attempt"]), (&job.into(), &node.into(), &1.into()));
    of_destroyed.reply().expect("an answer").refuses(400, "bad_node_id");
    of_deactivated.reply().expect("an answer").refuses(401, "not_authenticated");
    of_revoked.reply().expect("an answer").refuses(401, "not_authenticated");
}

#[tokio::test]
async fn a_waiting_claim_hears_of_jobs_that_were_there_before_but_not_to_be_had() {
    let lab = Lab::start();
    let (template, filter) = own(&lab).await;
    let renamed = json!({"expressions": [{"type": "exact", "field": "template", "value": template},
                                         {"type": "exact", "field": "description", "value": "ready"}]});
    let job = make(&lab, template, json!({"hold": true})).await;
    let node = lab.node(USER).await;
    let path = format!("/v1/jobs/{job}");
    for change in ["unhold", "reinstate", "rename"] {
        let wanted = if change == "rename" { &renamed } else { &filter };
        if change == "reinstate" {
            lab.delete(&path).by(ADMIN).await.expect(204);
        }
        let mut waiting = wait_in_line(&lab, node, wanted).await;
        match change {
            "unhold" => lab.post(&format!("{path}/unhold")).by(ADMIN).await.expect(200),
            "reinstate" => lab.delete(&format!("{path}/reinstate")).by(ADMIN).await.expect(200),
            _ => lab.patch(&path).by(ADMIN).json(json!({"description": "ready"})).await.expect(200),
        };
        assert_eq!(waiting.reply().expect("an answer").expect(200).pk(), job, "{change}");
        lab.act(Held { job, node }, "release").await.expect(200);
    }
}

#[tokio::test]
async fn priority_goes_before_age_and_labels_can_be_asked_for() {
    let lab = Lab::start();
    let (template, filter) = own(&lab).await;
    let low = make(&lab, template, json!({"labels": {"rack": "a"}})).await;
    let high = make(&lab, template, json!({"priority": 7, "labels": {"rack": "b"}})).await;
    let node = lab.node(USER).await;
    let labelled = json!({"expressions": [{"type": "exact", "field": "labels.rack", "value": "a"},
                                          {"type": "exact", "field": "template", "value": template}]});
    let claim = async |filter: &Value| lab.post("/v1/jobs/claim").node(node).json(json!({"filter": filter})).await;
    assert_eq!(claim(&labelled).await.expect(200).pk(), low);
    assert_eq!(claim(&filter).await.expect(200).pk(), high);
    claim(&filter).await.expect(204);
    for field in ["labels", "labels.", "labels.a\nb"] {
        let test = json!({"expressions": [{"type": "exact", "field": field, "value": "a"}]});
        lab.post("/v1/jobs/list").json(test).await.expect(400);
    }
}

#[tokio::test]
async fn a_claimant_that_hung_up_gets_no_job() {
    let lab = Lab::start();
    let (template, filter) = own(&lab).await;
    let gone = lab.node(USER).await;
    let raw = wait_in_line(&lab, gone, &filter).await;
    let node = lab.node(USER).await;
    let claim = || lab.post("/v1/jobs/claim").node(node).json(json!({"filter": filter}));
    drop(raw);
    let job = make(&lab, template, json!({})).await;
    let deadline = crate::harness::deadline();
    loop {
        // The server may notice the hang-up a moment later; the job must come back by itself in any case.
        let reply = claim().await;
        if reply.status == 200 {
            assert_eq!(reply.pk(), job);
            return;
        }
        assert!(std::time::Instant::now() < deadline, "the job stayed with a claimant that had hung up");
    }
}

#[tokio::test]
async fn one_key_makes_one_job() {
    let lab = Lab::start();
    let template = lab.template().await;
    let path = format!("/v1/job-templates/{template}/create-job");
    let make = |body: Value| lab.post(&path).header("idempotency-key", "a-key").json(body);
    let once = json!({"input_values": {}, "description": "once"});
    let replies = join_all((0..8).map(async |_| make(once.clone()).await)).await;
    let keys: Vec<i64> = replies.into_iter().map(|reply| reply.expect(200).pk()).collect();
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    make(json!({"input_values": {}, "description": "twice"})).await.refuses(409, "idempotency_key_reused");
    let other = lab.post(&path).by(ADMIN).header("idempotency-key", "a-key").json(once.clone()).await.expect(200).pk();
    assert_ne!(other, keys[0], "another user's key is another key");
}

#[tokio::test]
async fn the_manifest_and_the_archives_hold_every_output() {
    let lab = Lab::start();
    let held = lab.started().await;
    for (name, bytes) in [("table", "a,b"), ("Table", "c,d"), ("..%2Fup", "x"), ("empty", "")] {
        lab.upload(held, name, "str", bytes).await.expect(200);
    }
    let manifest = lab.get(&format!("/v1/jobs/{}/manifest", held.job)).await.expect(200).text();
    let names: Vec<&str> = manifest.lines().map(|line| &line[66..]).collect();
    assert_eq!(names, ["table", "Table.2", "_up", "empty"]);
    let dir = tempfile::tempdir().expect("a directory");
    for (format, unpack) in [("tar", ["tar", "-xf"]), ("zip", ["python3", "-mzipfile"])] {
        let archive = lab.get(&format!("/v1/jobs/{}/archive?format={format}", held.job)).await.expect(200);
        let folder = dir.path().join(format);
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join("archive"), &archive.body).expect("an archive");
        std::fs::write(folder.join("manifest"), &manifest).expect("a manifest");
        let mut command = std::process::Command::new(unpack[0]);
        match format {
            "tar" => command.args([unpack[1], "archive"]),
            _ => command.args([unpack[1], "-e", "archive", "."]),
        };
        assert!(command.current_dir(&folder).status().expect("an unpacker").success(), "{format}");
        let check = std::process::Command::new("sha256sum").args(["-c", "manifest"]).current_dir(&folder).output();
        assert!(check.expect("sha256sum").status.success(), "{format}");
    }
    lab.get(&format!("/v1/jobs/{}/archive?format=rar", held.job)).await.blames("format");
}
