//! One thing done to many jobs, and to the right ones.

use serde_json::{Value, json};

use crate::harness::{ADMIN, Lab, Person, USER};

fn phases(jobs: &Value) -> Vec<&str> {
    jobs.as_array().expect("an array").iter().filter_map(|job| job["phase"].as_str()).collect()
}

#[tokio::test]
async fn verbs_take_keys_and_ranges_and_tell_each_outcome() {
    let lab = Lab::start();
    let owner = Person::owner(&lab);
    for _ in 0..6 {
        lab.job().await;
    }
    let done = owner.run(&["job", "cancel", "1", "3-5"]).expect(0);
    assert_eq!(done.out, "job 1 cancelled\njob 3 cancelled\njob 4 cancelled\njob 5 cancelled\n");
    assert_eq!(done.err, "4 of 4 jobs cancelled\n");
    let again = owner.run(&["job", "cancel", "1,2", "--json"]).expect(0).json();
    assert_eq!(phases(&again), ["cancelled", "cancelled"]);
    // What fails is told, and the others are done all the same.
    let some =
        owner.run(&["job", "delete", "1", "77", "2"]).fails(3, "job 77: There is no such object. (404 not_found)");
    assert_eq!(some.out, "job 1 deleted\njob 2 deleted\n");
    owner.run(&["job", "abort", "3"]).fails(4, "406");
    let restored = owner.run(&["job", "restore", "1-2"]).expect(0);
    assert_eq!(restored.rows().len(), 2);
    assert_eq!(lab.read(1).await["deletion_time"], Value::Null);
    owner.run(&["job", "cancel"]).fails(2, "say which jobs");
    owner.run(&["job", "cancel", "5-3"]).fails(2, "from the lower key");
}

#[tokio::test]
async fn a_finished_job_is_not_said_to_be_cancelled() {
    let lab = Lab::start();
    let owner = Person::owner(&lab);
    let finished = lab.finished().await.job;
    lab.job().await;
    let ended = owner.run(&["job", "cancel", &finished.to_string()]).fails(4, "job 1: it is finished already");
    assert_eq!(ended.out, "");
    let some = owner.run(&["job", "cancel", "1-2"]).fails(4, "job 1: it is finished already\n1 of 2 jobs cancelled\n");
    assert_eq!(some.out, "job 2 cancelled\n");
    let again = owner.run(&["job", "cancel", "1-2", "--json"]).fails(4, "job 1: it is finished already");
    assert_eq!(phases(&again.json()), ["cancelled"], "to call it off once more changes nothing");
    owner.run(&["job", "cancel", "--phase", "finished", "--yes"]).fails(4, "it is finished already");
    // One that errored and may be tried again can still be called off.
    let errored = lab.errored().await.job.to_string();
    owner.run(&["job", "cancel", &errored]).expect(0);
}

#[tokio::test]
async fn a_filter_needs_a_yes_where_nobody_can_be_asked() {
    let lab = Lab::start();
    let owner = Person::owner(&lab);
    let finished = lab.finished().await.job;
    let others = [lab.job().await, lab.job().await, lab.job().await];
    owner.run(&["job", "cancel", "--phase", "created"]).fails(2, "cancel 3 jobs (2-4): say --yes");
    let dry = owner.run(&["job", "cancel", "--phase", "created", "--dry-run"]).expect(0);
    assert_eq!((dry.rows().len(), dry.err.trim()), (4, "3 jobs; nothing was done (--dry-run)"));
    let one = owner.run(&["job", "cancel", "2", "--dry-run"]).expect(0);
    assert_eq!(one.err.trim(), "1 job; nothing was done (--dry-run)");
    let dry = owner.run(&["job", "cancel", "1-2", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(phases(&dry), ["finished", "created"]);
    assert_eq!(lab.read(others[0]).await["phase"], "created");
    // Keys beside a filter narrow it down.
    let narrow = owner.run(&["job", "cancel", "1-3", "--phase", "created", "--yes"]).expect(0);
    assert_eq!(narrow.out, "job 2 cancelled\njob 3 cancelled\n");
    assert_eq!(owner.run(&["job", "cancel", "--phase", "created", "--yes", "--json"]).expect(0).json()[0]["pk"], 4);
    let none = owner.run(&["job", "cancel", "--phase", "created", "--yes"]).expect(0);
    assert_eq!((none.out.as_str(), none.err.trim()), ("", "no jobs"));
    assert_eq!(lab.read(finished).await["phase"], "finished");
    // For good: asked for, even for one.
    owner.run(&["job", "delete", "--hard", "1"]).fails(2, "delete for good 1 job (1): say --yes");
    owner.run(&["job", "delete", "--hard", "1", "-y"]).expect(0);
    owner.run(&["job", "show", "1"]).fails(3, "404");
}

#[tokio::test]
async fn jobs_are_retried_let_go_and_aborted() {
    let lab = Lab::start();
    let owner = Person::owner(&lab);
    let errored = lab.errored().await;
    let retried = owner.run(&["job", "retry", &errored.job.to_string(), "--json"]).expect(0).json();
    assert_eq!((&retried[0]["phase"], &retried[0]["node"]), (&json!("created"), &Value::Null));
    owner.run(&["job", "retry", &errored.job.to_string()]).fails(4, "this one is created");
    let started = lab.started().await.job;
    owner.run(&["job", "retry", &started.to_string()]).fails(4, "this one is started");
    owner.run(&["job", "abort", &started.to_string()]).expect(0);
    assert_eq!(lab.read(started).await["phase"], "created");
    let path = format!("/v1/job-templates/{}/create-job", lab.template().await);
    let held = lab.post(&path).json(json!({"input_values": {}, "hold": true})).await.expect(200).pk();
    assert!(owner.run(&["job", "list"]).expect(0).out.contains("created, on hold"));
    // Its creator may do this without being staff; the rest is for staff.
    let user = Person::with_token(&lab, USER).await;
    user.run(&["job", "unhold", &held.to_string()]).expect(0);
    assert_eq!(lab.read(held).await["hold"], false);
    for verb in ["cancel", "abort", "delete", "restore"] {
        user.run(&["job", verb, &held.to_string()]).fails(4, "Only staff");
    }
    Person::with_token(&lab, ADMIN).await.run(&["job", "cancel", &held.to_string()]).expect(0);
}

#[tokio::test]
async fn on_a_terminal_many_are_asked_for() {
    let lab = Lab::start();
    let jobs = [lab.job().await, lab.job().await];
    let owner = Person::owner(&lab);
    let dir = lab.server(|server| server.dir().to_owned());
    let answer = |answer: &'static str| {
        // `script` plays the terminal.
        let line = format!("{} job cancel 1-2", crate::harness::binary().display());
        let mut command = std::process::Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("LABRUN_DATA_DIR", &dir);
        command.env("LABRUN_CONFIG_DIR", owner.folder()).stdin(std::process::Stdio::piped());
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().ok()?;
        std::io::Write::write_all(&mut child.stdin.take().expect("it is piped"), answer.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        Some((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let Some((code, said)) = answer("n\n") else {
        return eprintln!("skipped: there is no `script` to play a terminal");
    };
    assert!(
        code == Some(1) && said.contains("cancel 2 jobs (1, 2)? [y/N]") && said.contains("nothing was done"),
        "{said}"
    );
    assert_eq!(lab.read(jobs[0]).await["phase"], "created");
    let (code, said) = answer("y\n").expect("it was there a moment ago");
    assert!(code == Some(0) && said.contains("2 of 2 jobs cancelled"), "{said}");
    assert_eq!(lab.read(jobs[1]).await["phase"], "cancelled");
}
