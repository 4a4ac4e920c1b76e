//! Servers and workers that go away in the middle.

use serde_json::{Value, json};

use super::{GATE, gone, kept_log, output, submit, wait_for, wait_until};
use crate::harness::{Hands, Lab, Worker, shell_template, until};

/// A template whose runs wait for a file, and write the number of their process and of their attempt.
async fn gated(lab: &Lab) -> i64 {
    let body = format!(
        "echo $$ > \"$LABRUN_OUTPUTS/pid\"; echo 'labrun-progress: 0.5'\n{GATE}echo \"$LABRUN_ATTEMPT\" > \"$LABRUN_OUTPUTS/result\""
    );
    lab.import(shell_template("gated", &[("gate", "str")], &[("result", "int")], &body)).await.expect(200).pk()
}

fn begun(job: &Value) -> bool {
    job["progress_amount"] == 0.5
}

#[tokio::test]
async fn a_server_that_restarts_in_the_middle_gets_the_result_of_what_ran_on() {
    let lab = Lab::start();
    let worker = Worker::start(&lab, Hands::default()).await;
    let gate = worker.dir().with_file_name("gate");
    let job = submit(&lab, gated(&lab).await, json!({"gate": gate}), json!({})).await;
    wait_until(&lab, job, "its progress", begun).await;
    lab.server(|server| {
        server.keep_port();
        server.kill();
    });
    // It ends while the server is away.
    std::fs::write(&gate, "").expect("the gate opens");
    until("the result in the spool", || (worker.folders("spool").len() == 1).then_some(()));
    worker.says("can't be reached");
    lab.server(|server| server.restart());
    let lab = lab.reconnected();
    let done = wait_for(&lab, job, "finished").await;
    assert_eq!((&done["attempt"], output(&lab, job, "result", "int").await.as_str()), (&json!(1), "1\n"));
    until("the spool to be empty", || worker.folders("spool").is_empty().then_some(()));
    // It goes on as before.
    let next = submit(&lab, gated(&lab).await, json!({"gate": gate}), json!({})).await;
    wait_for(&lab, next, "finished").await;
    worker.says("the server is back");
}

#[tokio::test]
async fn a_worker_that_is_killed_leaves_its_job_to_another_when_the_lease_has_run_out() {
    let lab = Lab::start();
    let mut worker = Worker::start(&lab, Hands::default().with(&["--lease-s", "1"])).await;
    let gate = worker.dir().with_file_name("gate");
    let job = submit(&lab, gated(&lab).await, json!({"gate": gate}), json!({})).await;
    wait_until(&lab, job, "its progress", begun).await;
    let run = worker.folders("jobs").pop().expect("the folder of the run");
    let pid = std::fs::read_to_string(run.join("outputs/pid")).expect("the pid");
    worker.kill();
    let other = Worker::start(&lab, Hands::default().with(&["--name", "the-other"])).await;
    wait_until(&lab, job, "another attempt", |job| job["attempt"] == 2 && begun(job)).await;
    std::fs::write(&gate, "").expect("the gate opens");
    wait_for(&lab, job, "finished").await;
    assert_eq!(output(&lab, job, "result", "int").await, "2\n");
    drop(other);
    gone(pid.trim());
}

#[tokio::test]
async fn a_worker_that_starts_again_gives_back_what_was_cut_off_and_ends_what_is_left_of_it() {
    let lab = Lab::start();
    let folder = tempfile::tempdir().expect("a folder");
    let hands = Hands::default().with(&["--name", "again"]).on(folder.path());
    let mut worker = Worker::start(&lab, hands.clone()).await;
    let gate = folder.path().join("gate");
    let job = submit(&lab, gated(&lab).await, json!({"gate": gate}), json!({})).await;
    wait_until(&lab, job, "its progress", begun).await;
    let run = worker.folders("jobs").pop().expect("the folder of the run");
    let pid = std::fs::read_to_string(run.join("outputs/pid")).expect("the pid");
    worker.kill();
    let worker = Worker::start(&lab, hands).await;
    worker.says("was cut off");
    gone(pid.trim());
    // The same worker does it anew, without waiting for the end of the lease.
    wait_until(&lab, job, "another attempt", |job| job["attempt"] == 2 && begun(job)).await;
    std::fs::write(&gate, "").expect("the gate opens");
    wait_for(&lab, job, "finished").await;
    assert_eq!(output(&lab, job, "result", "int").await, "2\n");
    assert_eq!(lab.post("/v1/nodes/list").await.expect(200).json().as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_worker_that_starts_again_delivers_its_spool_and_sets_aside_what_comes_too_late() {
    let lab = Lab::start();
    let folder = tempfile::tempdir().expect("a folder");
    let hands = Hands::default().with(&["--slots", "2", "--name", "spooler"]).on(folder.path());
    let mut worker = Worker::start(&lab, hands.clone()).await;
    let gate = folder.path().join("gate");
    let template = gated(&lab).await;
    let jobs = [
        submit(&lab, template, json!({"gate": gate}), json!({})).await,
        submit(&lab, template, json!({"gate": gate}), json!({})).await,
    ];
    for job in jobs {
        wait_until(&lab, job, "its progress", begun).await;
    }
    lab.server(|server| {
        server.keep_port();
        server.kill();
    });
    std::fs::write(&gate, "").expect("the gate opens");
    until("both results in the spool", || (worker.folders("spool").len() == 2).then_some(()));
    worker.kill();
    lab.server(|server| server.restart());
    let lab = lab.reconnected();
    // One of the jobs is taken away meanwhile and done by another worker.
    let [kept, late] = jobs;
    lab.staff(late, "abort").await.expect(200);
    let mut other = Worker::start(&lab, Hands::default().with(&["--name", "the-other", "--once"])).await;
    assert!(other.wait().success());
    assert_eq!(lab.read(late).await["phase"], "finished");

    // With one slot only: what the other slot's node has done is delivered all the same.
    let hands = Hands { arguments: vec!["--slots".into(), "1".into(), "--name".into(), "spooler".into()], ..hands };
    let worker = Worker::start(&lab, hands).await;
    assert_eq!(wait_for(&lab, kept, "finished").await["attempt"], 1);
    assert_eq!(output(&lab, kept, "result", "int").await, "1\n");
    assert!(kept_log(&lab, kept).await.contains("labrun-progress"));
    worker.says("came too late");
    let aside = until("the late result aside", || worker.folders("refused").pop());
    assert_eq!(std::fs::read_to_string(aside.join("outputs/result")).expect("it is all there"), "1\n");
    assert!(std::fs::read_to_string(aside.join("refused.txt")).expect("why").contains("attempt 2"));
    assert_eq!(output(&lab, late, "result", "int").await, "2\n", "what was done later stays");
    until("the spool to be empty", || worker.folders("spool").is_empty().then_some(()));
    // Both nodes are free for other jobs.
    for node in lab.post("/v1/nodes/list").await.expect(200).json().as_array().expect("nodes") {
        assert_eq!(node["current_job"], Value::Null, "{node}");
    }
}

#[tokio::test]
async fn a_worker_waits_for_a_server_that_is_not_there_yet() {
    let lab = Lab::start();
    let template = lab.import(shell_template("quick", &[], &[], "true")).await.expect(200).pk();
    let job = submit(&lab, template, json!({}), json!({})).await;
    lab.username(crate::harness::USER).await;
    lab.server(|server| {
        server.keep_port();
        server.kill();
    });
    let worker = Worker::start(&lab, Hands::default()).await;
    worker.says("waiting for the server");
    lab.server(|server| server.restart());
    let lab = lab.reconnected();
    wait_for(&lab, job, "finished").await;
}

#[tokio::test]
async fn a_worker_that_runs_once_gives_up_on_a_server_that_is_not_there() {
    let lab = Lab::start();
    lab.username(crate::harness::USER).await;
    lab.server(|server| server.kill());
    let mut worker = Worker::start(&lab, Hands::default().with(&["--once"])).await;
    assert_eq!(worker.wait().code(), Some(5), "{}", worker.said());
    let said = worker.said();
    assert!(said.contains("without --once") && said.contains("is a server running at http"), "{said}");
}
