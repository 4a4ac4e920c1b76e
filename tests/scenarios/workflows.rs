//! Workflows (contract §6): what a user sees of them through a server, also one that is cut off in the middle; and
//! random histories of random graphs on the store, held against a small model.

mod bench;
mod histories;

use serde_json::{Value, json};

use crate::harness::{ADMIN, Held, Lab, USER};

/// A workable template with inputs and outputs of JSON.
async fn stage(lab: &Lab, name: &str, inputs: &[&str], outputs: &[&str]) {
    lab.import(bench::stage(name, inputs, outputs)).await.expect(200);
}

/// A meta-template; edges are `from.output>to.input`. Gives its key.
async fn flow(lab: &Lab, name: &str, nodes: &[(&str, &str)], edges: &[&str]) -> i64 {
    lab.import(bench::flow(name, nodes, edges)).await.expect(200).pk()
}

async fn create(lab: &Lab, template: i64) -> i64 {
    let path = format!("/v1/job-templates/{template}/create-job");
    lab.post(&path).json(json!({"input_values": {}})).await.expect(200).pk()
}

/// The children of a meta-job, in order of their making: name and job.
async fn children(lab: &Lab, parent: i64) -> Vec<(String, Value)> {
    let spec =
        json!({"expressions": [{"type": "exact", "field": "parent", "value": parent}], "include_inactive": true});
    let listed = lab.post("/v1/jobs/list").json(spec).await.expect(200).json();
    let name = |job: &Value| job["description"].as_str().and_then(|text| text.split('\'').nth(1)).map(str::to_owned);
    let children = listed.as_array().expect("a list").iter();
    children.map(|job| (name(job).expect("a name in the description"), job.clone())).collect()
}

async fn names(lab: &Lab, parent: i64) -> Vec<String> {
    children(lab, parent).await.into_iter().map(|(name, _)| name).collect()
}

async fn child(lab: &Lab, parent: i64, name: &str) -> i64 {
    let children = children(lab, parent).await;
    let found = children.iter().find(|(own, _)| own == name).unwrap_or_else(|| panic!("no child {name}"));
    found.1["pk"].as_i64().expect("a key")
}

/// Starts a child on a new node.
async fn begin(lab: &Lab, job: i64) -> Held {
    let held = Held { job, node: lab.node(USER).await };
    lab.act(held, "acquire").await.expect(200);
    lab.act(held, "start").await.expect(200);
    held
}

/// Does a child's whole work.
async fn work(lab: &Lab, job: i64, outputs: &[&str]) -> Held {
    let held = begin(lab, job).await;
    for output in outputs {
        lab.upload(held, output, "JSON", *b"{}").await.expect(200);
    }
    lab.act(held, "finish").await.expect(200);
    held
}

async fn phase(lab: &Lab, job: i64) -> String {
    lab.read(job).await["phase"].as_str().expect("a phase").to_owned()
}

/// Two in a row: `scan` gives `o` to `fit`.
pub(super) async fn row(lab: &Lab) -> i64 {
    stage(lab, "source", &[], &["o"]).await;
    stage(lab, "sink", &["i"], &["p"]).await;
    flow(lab, "row", &[("scan", "source"), ("fit", "sink")], &["scan.o>fit.i"]).await
}

#[tokio::test]
async fn a_tree_that_is_cut_off_in_the_middle_goes_on() {
    let lab = Lab::start();
    row(&lab).await;
    let top = create(&lab, flow(&lab, "top", &[("nest", "row"), ("end", "sink")], &["nest.fit:p>end.i"]).await).await;
    let nest = child(&lab, top, "nest").await;
    let restart = || {
        lab.server(|server| {
            server.kill();
            server.restart();
        })
    };

    let held = begin(&lab, child(&lab, nest, "scan").await).await;
    lab.upload(held, "o", "JSON", *b"{}").await.expect(200);
    restart();
    assert_eq!((names(&lab, top).await, names(&lab, nest).await), (vec!["nest".to_owned()], vec!["scan".to_owned()]));
    lab.act(held, "finish").await.expect(200);
    restart();
    assert_eq!(names(&lab, nest).await, ["scan", "fit"]);
    work(&lab, child(&lab, nest, "fit").await, &["p"]).await;
    restart();
    assert_eq!(
        (phase(&lab, nest).await.as_str(), names(&lab, top).await),
        ("finished", vec!["nest".into(), "end".into()])
    );
    work(&lab, child(&lab, top, "end").await, &["p"]).await;
    restart();

    let done = lab.read(top).await;
    assert_eq!((&done["phase"], &done["progress_amount"]), (&json!("finished"), &json!(1.0)));
    let outputs = done["outputs"].as_array().expect("outputs").iter().map(|output| output["name"].clone());
    assert_eq!(outputs.collect::<Vec<_>>(), ["nest:scan:o", "nest:fit:p", "end:p"]);
    let bytes = lab.get(&format!("/v1/jobs/{top}/outputs/nest:scan:o/JSON")).await.expect(200);
    assert_eq!(bytes.body, b"{}");
}

#[tokio::test]
async fn templates_that_change_meanwhile_change_nothing_for_a_workflow() {
    let lab = Lab::start();
    row(&lab).await;
    let nodes = [("first", "source"), ("nest", "outer")];
    stage(&lab, "gate", &["i"], &["o"]).await;
    flow(&lab, "outer", &[("gate", "gate"), ("fit", "sink")], &["gate.o>fit.i"]).await;
    let template = flow(&lab, "top", &nodes, &["first.o>nest.gate:i"]).await;
    let top = create(&lab, template).await;

    // Everything below is replaced by what would not fit, or removed.
    stage(&lab, "sink", &["i", "another"], &[]).await;
    let newer = json!({"version": 2});
    let mut gate = bench::stage("gate", &["quite", "different"], &[]);
    gate.as_object_mut().expect("an object").extend(newer.as_object().expect("an object").clone());
    lab.import(gate).await.expect(200);
    let outer = lab.import(bench::flow("outer", &[("only", "source")], &[])).await.expect(200).pk();
    lab.delete(&format!("/v1/job-templates/{outer}")).by(ADMIN).await.expect(204);

    work(&lab, child(&lab, top, "first").await, &["o"]).await;
    let nest = child(&lab, top, "nest").await;
    assert_eq!(names(&lab, nest).await, ["gate"]);
    let gate = lab.read(child(&lab, nest, "gate").await).await;
    assert_eq!((&gate["template"]["name"], &gate["template"]["version"]), (&json!("gate"), &json!(1)));
    // A template that children still to come are made from can't be removed for good.
    let sink = lab.post("/v1/job-templates/list").json(json!({"include_inactive": true, "expressions": [
        {"type": "exact", "field": "name", "value": "sink"}]}));
    let first_sink = sink.await.expect(200).pks()[0];
    lab.delete(&format!("/v1/job-templates/{first_sink}/hard")).by(ADMIN).await.refuses(406, "in_use");
    work(&lab, gate["pk"].as_i64().expect("a key"), &["o"]).await;
    let fit = lab.read(child(&lab, nest, "fit").await).await;
    assert_eq!(fit["template"]["pk"], first_sink);
    work(&lab, fit["pk"].as_i64().expect("a key"), &["p"]).await;
    assert_eq!(phase(&lab, top).await, "finished");
}

#[tokio::test]
async fn an_output_that_is_missing_stops_the_workflow_until_it_is_back() {
    let lab = Lab::start();
    let top = create(&lab, row(&lab).await).await;
    let held = begin(&lab, child(&lab, top, "scan").await).await;
    let output = lab.upload(held, "o", "JSON", *b"{}").await.expect(200).pk();
    lab.delete(&format!("/v1/job-outputs/{output}")).by(ADMIN).await.expect(204);
    lab.act(held, "finish").await.expect(200);
    let stopped = lab.read(top).await;
    assert_eq!(stopped["phase"], "errored");
    let reason = stopped["error_reason"].as_str().expect("a reason");
    assert!(reason.contains("\"scan\"") && reason.contains("\"o\"") && reason.contains("\"fit\""), "{reason}");
    assert_eq!(names(&lab, top).await, ["scan"]);

    lab.delete(&format!("/v1/job-outputs/{output}/reinstate")).by(ADMIN).await.expect(200);
    assert_eq!(phase(&lab, top).await, "started");
    assert_eq!(lab.read(top).await["error_reason"], Value::Null);
    assert_eq!(names(&lab, top).await, ["scan", "fit"]);
    work(&lab, child(&lab, top, "fit").await, &[]).await;
    assert_eq!(phase(&lab, top).await, "finished");
}

#[tokio::test]
async fn a_deleted_workflow_makes_no_children_before_it_is_reinstated() {
    let lab = Lab::start();
    let top = create(&lab, row(&lab).await).await;
    lab.staff(top, "").await.expect(204);
    work(&lab, child(&lab, top, "scan").await, &["o"]).await;
    assert_eq!((phase(&lab, top).await.as_str(), names(&lab, top).await), ("started", vec!["scan".to_owned()]));
    lab.staff(top, "cancel").await.refuses(406, "deleted");
    lab.staff(top, "reinstate").await.expect(200);
    assert_eq!(names(&lab, top).await, ["scan", "fit"]);
}

#[tokio::test]
async fn a_child_is_removed_for_good_with_the_whole_or_after_its_end() {
    let lab = Lab::start();
    let template = row(&lab).await;
    let top = create(&lab, template).await;
    let scan = child(&lab, top, "scan").await;
    lab.staff(scan, "hard").await.refuses(406, "child_job");
    lab.staff(top, "cancel").await.expect(200);
    lab.staff(scan, "hard").await.expect(200);
    assert_eq!(names(&lab, top).await, Vec::<String>::new());
    assert_eq!(phase(&lab, top).await, "cancelled");

    let other = create(&lab, template).await;
    let held = work(&lab, child(&lab, other, "scan").await, &["o"]).await;
    lab.staff(other, "hard").await.expect(200);
    lab.get(&format!("/v1/jobs/{}", held.job)).await.expect(404);
    // The one output is left that the top of the cancelled tree never had.
    assert_eq!(lab.post("/v1/job-outputs/list").await.expect(200).json(), json!([]));
}

#[tokio::test]
async fn cancel_tells_of_every_job_once_and_leaves_the_worker_to_finish() {
    let lab = Lab::start();
    row(&lab).await;
    let top = create(&lab, flow(&lab, "top", &[("nest", "row"), ("solo", "source")], &[]).await).await;
    let (nest, solo) = (child(&lab, top, "nest").await, child(&lab, top, "solo").await);
    let scan = child(&lab, nest, "scan").await;
    work(&lab, solo, &["o"]).await;
    let held = begin(&lab, scan).await;
    for below in [nest, scan, solo] {
        lab.staff(below, "cancel").await.refuses(406, "child_job");
    }
    lab.staff(scan, "").await.expect(204);
    lab.staff(top, "cancel").await.expect(200);
    lab.staff(top, "cancel").await.expect(200);
    let database = bench::open(&lab.server(|server| server.dir().join("labrun.db")));
    let events: Vec<(i64, Option<i64>)> =
        bench::rows(&database, "SELECT job, node FROM events WHERE transition = 'cancel' ORDER BY seq", |row| {
            Ok((row.get(0)?, row.get(1)?))
        });
    assert_eq!(events, [(top, None), (nest, None), (scan, Some(held.node))]);
    assert_eq!(phase(&lab, solo).await, "finished");
    assert_eq!(lab.read_node(held.node).await["current_job"], scan);
    lab.act(held, "finish").await.expect(200);
    assert_eq!(lab.read_node(held.node).await["current_job"], Value::Null);
    assert_eq!((phase(&lab, scan).await.as_str(), names(&lab, nest).await), ("cancelled", vec!["scan".to_owned()]));
}

#[tokio::test]
async fn children_are_handed_out_as_their_parent_is() {
    let lab = Lab::start();
    let template = row(&lab).await;
    let body = json!({"input_values": {}, "priority": 7, "hold": true, "labels": {"plate": "P-1"}, "max_attempts": 2});
    let top = lab.post(&format!("/v1/job-templates/{template}/create-job")).json(body).await.expect(200).pk();
    let scan = child(&lab, top, "scan").await;
    let job = lab.read(scan).await;
    assert_eq!((&job["priority"], &job["hold"], &job["labels"]), (&json!(7), &json!(true), &json!({"plate": "P-1"})));
    lab.post(&format!("/v1/jobs/{top}/unhold")).await.expect(200);
    let held = begin(&lab, scan).await;
    // The first attempt fails and is tried again at once: the workflow does not stop for it.
    lab.fail(held).await.expect(200);
    assert_eq!((phase(&lab, scan).await.as_str(), phase(&lab, top).await.as_str()), ("created", "started"));
    let again = begin(&lab, scan).await;
    lab.fail(again).await.expect(200);
    let stopped = lab.read(top).await;
    assert_eq!(stopped["phase"], "errored");
    assert_eq!(stopped["error_reason"], "The child \"scan\" is errored: the lamp is dark");
    lab.staff(scan, "abort").await.expect(200);
    assert_eq!(phase(&lab, top).await, "started");
}

#[tokio::test]
async fn a_waiting_claim_hears_of_a_child_whose_parent_came_to_pass_its_filter() {
    let lab = Lab::start();
    stage(&lab, "early", &[], &[]).await;
    stage(&lab, "late", &[], &[]).await;
    let template = flow(&lab, "pair", &[("first", "early"), ("second", "late")], &[]).await;
    let top = create(&lab, template).await;
    let (first, second) = (child(&lab, top, "first").await, child(&lab, top, "second").await);
    let filter = json!({"expressions": [{"type": "exact", "field": "parent.phase", "value": "started"}]});
    let claim = json!({"filter": filter, "wait": 60});
    let node = lab.node(USER).await;
    let waiting = async { lab.post("/v1/jobs/claim").node(node).json(claim).await };
    // The claim is in its place in the queue when a later one of one try has been answered; until the server has read it,
    // the try of another may come before it.
    let go_on = async {
        for _ in 0..2 {
            let other = lab.node(USER).await;
            lab.post("/v1/jobs/claim").node(other).json(json!({"filter": filter})).await.expect(204);
        }
        begin(&lab, first).await
    };
    let (given, _) = futures_util::future::join(waiting, go_on).await;
    assert_eq!(given.expect(200).pk(), second);
}
