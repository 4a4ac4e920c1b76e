//! The page of a job.

use serde_json::json;

use crate::harness::{ADMIN, Held, Lab, OTHER, USER, Visitor};

#[tokio::test]
async fn the_page_tells_what_became_of_the_job() {
    let lab = Lab::shared().await;
    let admin = Visitor::log_in(&lab, ADMIN).await;
    let held = lab.started().await;
    lab.post(&format!("/v1/jobs/{}/log", held.job)).node(held.node).bytes("line one\nline <two>\n").await.expect(200);
    lab.upload(held, "table", "csv", "a,b\n1,2\n").await.expect(200);
    lab.fail(held).await.expect(200);
    let page = admin.get(&format!("/jobs/{}", held.job)).await.expect(200).text();
    for text in
        ["the lamp is dark", "failed", "Created", "Acquired", "Started", "Failed", "line &#60;two&#62;", "table", "8 B"]
    {
        assert!(page.contains(text), "{text} is not in the page: {page}");
    }
    assert_eq!(admin.get(&format!("/jobs/{}/log", held.job)).await.expect(200).text(), "line one\nline <two>\n");
    let bytes = admin.get(&format!("/jobs/{}/archive?format=zip", held.job)).await.expect(200).body;
    assert!(bytes.starts_with(b"PK"));
    let lines = admin.get(&format!("/jobs/{}/manifest", held.job)).await.expect(200).text();
    assert!(lines.ends_with("  table\n"), "{lines}");
}

#[tokio::test]
async fn the_page_changes_with_the_job_and_its_log_goes_on_where_it_was() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let held = lab.held().await;
    let path = format!("/jobs/{}", held.job);
    let page = user.get(&path).await.expect(200).text();
    let place = crate::harness::attribute(&page, "data-place=\"").to_owned();
    let mut live = user.live(&format!("{path}/live?place={place}")).await;
    live.until("part", |html| html.contains("id=\"job-head\"") && html.contains("held")).await;
    lab.act(held, "start").await.expect(200);
    live.until("part", |html| html.contains("running")).await;
    let write = |text: &'static [u8]| lab.post(&format!("/v1/jobs/{}/log", held.job)).node(held.node).bytes(text);
    write(b"one \xc2").await.expect(200);
    assert_eq!(live.until("log", |_| true).await, "\"one \"");
    write(b"\xb5M\n").await.expect(200);
    assert_eq!(live.until("log", |_| true).await, "\"\u{b5}M\\n\"");
    // A browser that comes again with the place it had gets the rest alone.
    write(b"two\n").await.expect(200);
    let mut again = user.live(&format!("{path}/live?place=1.8")).await;
    assert_eq!(again.until("log", |_| true).await, "\"two\\n\"");
    // An output is no transition, and seen all the same.
    lab.upload(held, "late", "t", "x").await.expect(200);
    live.until("part", |html| html.contains("id=\"job-outputs\"") && html.contains("late")).await;
    lab.act(held, "finish").json(json!({})).await.expect(200);
    live.until("part", |html| html.contains("finished")).await;
    lab.staff(held.job, "hard").await.expect(200);
    while live.next().await.is_some() {}
}

#[tokio::test]
async fn a_new_attempt_begins_a_new_log() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let held = lab.started().await;
    lab.post(&format!("/v1/jobs/{}/log", held.job)).node(held.node).bytes("old\n").await.expect(200);
    let mut live = user.live(&format!("/jobs/{}/live?place=1.4", held.job)).await;
    live.until("part", |_| true).await;
    lab.staff(held.job, "abort").await.expect(200);
    let next = Held { job: held.job, node: lab.node(USER).await };
    lab.act(next, "acquire").await.expect(200);
    lab.post(&format!("/v1/jobs/{}/log", held.job)).node(next.node).bytes("new\n").await.expect(200);
    live.until("part", |html| html.contains("<pre id=\"log\"")).await;
    assert_eq!(live.until("log", |_| true).await, "\"new\\n\"");
}

#[tokio::test]
async fn what_is_on_hold_is_let_go_by_its_creator() {
    let lab = Lab::shared().await;
    let path = format!("/v1/job-templates/{}/create-job", lab.template().await);
    let job = lab.post(&path).json(json!({"input_values": {}, "hold": true})).await.expect(200).pk();
    let (user, other) = (Visitor::log_in(&lab, USER).await, Visitor::log_in(&lab, OTHER).await);
    assert!(user.get(&format!("/jobs/{job}")).await.expect(200).text().contains("on hold"));
    other.post(&format!("/jobs/{job}/unhold"), &[]).await.expect(403);
    assert_eq!(lab.read(job).await["hold"], true);
    user.post(&format!("/jobs/{job}/unhold"), &[]).await.expect(303);
    assert_eq!(lab.read(job).await["hold"], false);
}

#[tokio::test]
async fn a_workflow_shows_its_children_made_and_unmade() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let stage = lab.unique("stage");
    lab.import(json!({
        "name": stage, "version": 1, "description": "", "scope": "public", "licence": "Apache 2.0",
        "specific": {"job_type": "", "executor_class": "x", "required_packages": "", "parameters": {}, "framework": "",
            "body": "", "inputs": [], "outputs": [{"name": "o", "type": "JSON", "help": ""}]},
    }))
    .await
    .expect(200);
    let last = lab.unique("last");
    lab.import(json!({
        "name": last, "version": 1, "description": "", "scope": "public", "licence": "Apache 2.0",
        "specific": {"job_type": "", "executor_class": "x", "required_packages": "", "parameters": {}, "framework": "",
            "body": "", "inputs": [{"name": "i", "types": ["JobOutput<JSON>"], "options": "", "help": ""}]},
    }))
    .await
    .expect(200);
    let flow = lab.import(json!({
        "name": lab.unique("flow"), "version": 1, "description": "", "scope": "public", "licence": "Apache 2.0",
        "specific": {"nodes": {"first": {"name": stage}, "second": {"name": last}}, "dependencies": [
            {"from_node": "first", "from_output": "o", "to_node": "second", "to_input": "i"}]},
    }));
    let flow = flow.await.expect(200).pk();
    let path = format!("/v1/job-templates/{flow}/create-job");
    let job = lab.post(&path).json(json!({"input_values": {}})).await.expect(200).pk();
    let page = user.get(&format!("/jobs/{job}")).await.expect(200).text();
    for text in ["first, waiting, 0 %", "not made yet", "class=\"edge\"", "workflow"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let mut live = user.live(&format!("/jobs/{job}/live")).await;
    live.until("part", |html| html.contains("id=\"job-graph\"")).await;
    let spec = json!({"expressions": [{"type": "exact", "field": "parent", "value": job}]});
    let first = lab.post("/v1/jobs/list").json(spec).await.expect(200).pks()[0];
    let held = Held { job: first, node: lab.node(USER).await };
    lab.act(held, "acquire").await.expect(200);
    live.until("part", |html| html.contains("first, held")).await;
    lab.act(held, "start").await.expect(200);
    lab.upload(held, "o", "JSON", "{}").await.expect(200);
    lab.act(held, "finish").json(json!({})).await.expect(200);
    live.until("part", |html| html.contains("first, finished") && html.contains("second, waiting")).await;
}
