//! `labrun job watch`: every outcome has its exit code, and a broken connection loses nothing.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::json;

use super::document;
use crate::harness::{Held, Lab, Person, Proxy, Server, until};

/// A watcher that runs, and what it says line by line.
struct Watcher {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Watcher {
    fn begin(person: &Person, arguments: &[&str]) -> Self {
        Self::of(person.command(&[&["job", "watch"], arguments].concat()))
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line");
        line
    }

    /// Gives the exit code once it has ended.
    fn code(mut self) -> Option<i32> {
        let child = &mut self.child;
        until("the watcher's end", || child.try_wait().expect("a child can be asked")).code()
    }
}

#[tokio::test]
async fn the_exit_code_tells_how_jobs_ended() {
    let lab = Lab::start();
    let owner = Person::owner(&lab);
    let (finished, errored, cancelled) = (lab.finished().await, lab.errored().await, lab.cancelled().await);
    let watch = |held: &[Held]| {
        let keys: Vec<String> = held.iter().map(|held| held.job.to_string()).collect();
        owner.run(&[vec!["job".to_owned(), "watch".to_owned()], keys].concat())
    };
    assert_eq!(watch(&[finished]).expect(0).out, "job 1 finished\n");
    assert!(watch(&[errored]).expect(10).out.starts_with("job 2 errored: "));
    assert_eq!(watch(&[cancelled]).expect(11).out, "job 3 cancelled\n");
    watch(&[finished, cancelled]).expect(11);
    watch(&[finished, cancelled, errored]).expect(10);
    let json = owner.run(&["job", "watch", "1,3", "--json"]).expect(11);
    let lines: Vec<serde_json::Value> =
        json.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(json!([lines[0]["phase"], lines[1]["phase"]]), json!(["finished", "cancelled"]));
    owner.run(&["job", "watch", "77"]).fails(3, "job 77");
    owner.run(&["job", "watch"]).fails(2, "required");
}

/// Somebody with a token of the one who made the jobs, behind a wire that can be cut.
async fn behind(proxy: &Proxy, lab: &Lab) -> Person {
    let token = lab.post("/v1/auth/tokens").json(json!({"name": "watcher"})).await.expect(201).json();
    let token = token["token"].as_str().expect("a token");
    Person::new().with("LABRUN_SERVER", proxy.address()).with("LABRUN_TOKEN", token)
}

#[tokio::test]
async fn transitions_are_told_as_they_come_also_those_of_a_time_without_connection() {
    let lab = Lab::start();
    let held = lab.started().await;
    let proxy = Proxy::before(lab.port());
    let person = behind(&proxy, &lab).await;
    let (job, node) = (held.job, held.node);
    let mut watcher = Watcher::begin(&person, &[&job.to_string()]);
    assert_eq!(watcher.line(), format!("job {job} 0% runs on node {node}\n"));
    let progress = |amount: &str| lab.post(&format!("/v1/jobs/{job}/progress/{amount}")).node(node);
    progress("0.25").await.expect(200);
    assert_eq!(watcher.line(), format!("job {job} 25% runs on node {node}\n"));
    // The same tenth is not told again.
    progress("0.26").await.expect(200);
    progress("0.5").await.expect(200);
    assert_eq!(watcher.line(), format!("job {job} 50% runs on node {node}\n"));
    // The server goes away and comes back; meanwhile, for the watcher, the job fails and is put back.
    proxy.hang_up_and_redirect(1);
    lab.server(Server::restart);
    lab.fail(held).await.expect(200);
    lab.staff(job, "abort").await.expect(200);
    proxy.hang_up_and_redirect(lab.port());
    assert!(watcher.line().starts_with(&format!("job {job} errored: ")));
    assert_eq!(watcher.line(), format!("job {job} taken away from its node, waits for another\n"));
    lab.act(held, "acquire").await.expect(200);
    assert_eq!(watcher.line(), format!("job {job} acquired on node {node}\n"));
    lab.act(held, "start").await.expect(200);
    lab.act(held, "finish").await.expect(200);
    assert_eq!(watcher.line(), format!("job {job} runs on node {node}\n"));
    assert_eq!(watcher.line(), format!("job {job} finished\n"));
    assert_eq!(watcher.code(), Some(0));
}

#[tokio::test]
async fn a_job_that_is_tried_again_by_itself_is_watched_on() {
    let lab = Lab::start();
    let path = format!("/v1/job-templates/{}/create-job", lab.template().await);
    let job = lab.post(&path).json(json!({"input_values": {}, "max_attempts": 2})).await.expect(200).pk();
    let held = Held { job, node: lab.node(crate::harness::USER).await };
    let person = Person::owner(&lab);
    let mut watcher = Watcher::begin(&person, &[&job.to_string()]);
    assert_eq!(watcher.line(), format!("job {job} waits for a node\n"));
    for _ in 0..2 {
        lab.act(held, "acquire").await.expect(200);
        lab.act(held, "start").await.expect(200);
        lab.fail(held).await.expect(200);
        // The second time for good.
    }
    assert_eq!(watcher.code(), Some(10));
}

#[tokio::test]
async fn a_server_that_stays_away_is_given_up() {
    let lab = Lab::start();
    let held = lab.started().await;
    let proxy = Proxy::before(lab.port());
    let person = behind(&proxy, &lab).await;
    let mut watcher = Watcher::begin(&person, &[&held.job.to_string(), "--patience-s", "1"]);
    watcher.line();
    proxy.hang_up_and_redirect(1);
    assert_eq!(watcher.code(), Some(5));
}

#[tokio::test]
async fn a_submitted_job_is_watched_to_its_end() {
    let lab = Lab::start();
    lab.import(document("peaks", None)).await.expect(200);
    let owner = Person::owner(&lab);
    std::fs::write(owner.folder().join("t.csv"), "x").expect("a file can be written");
    let submit = ["job", "submit", "peaks", "-i", "table=@t.csv", "--watch"];
    let mut watcher = Watcher::of(owner.command(&submit));
    assert_eq!(watcher.line(), "job 1 made from peaks@1\n");
    lab.staff(1, "cancel").await.expect(200);
    until("its last line", || (watcher.line() == "job 1 cancelled\n").then_some(()));
    assert_eq!(watcher.code(), Some(11));
}
