//! The table of jobs: its filter, its pages, what becomes of its rows, and what staff do to many at once.

use serde_json::json;

use crate::harness::{ADMIN, Held, Lab, USER, Visitor, attribute};

/// Makes a job with a description and labels.
async fn made(lab: &Lab, description: &str, labels: serde_json::Value) -> i64 {
    let path = format!("/v1/job-templates/{}/create-job", lab.template().await);
    let body = json!({"input_values": {}, "description": description, "labels": labels});
    lab.post(&path).json(body).await.expect(200).pk()
}

/// Writes a filter as a part of a URL.
fn list(q: &str) -> String {
    let q: String = form_urlencoded::byte_serialize(q.as_bytes()).collect();
    format!("/jobs?q={q}")
}

#[tokio::test]
async fn the_filter_finds_what_it_says_and_names_what_it_can_not_read() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let batch = lab.unique("batch");
    let (one, two) =
        (made(&lab, "Plate one", json!({"b": batch})).await, made(&lab, "other", json!({"b": batch})).await);
    lab.staff(two, "cancel").await.expect(200);
    let mine = format!("label.b:{batch}");
    for (q, is_one, is_two) in [
        (mine.clone(), true, true),
        (format!("{mine} phase:cancelled"), false, true),
        (format!("{mine} -phase:cancelled"), true, false),
        (format!("{mine} plate"), true, false),
        (format!("{mine} \"plate two\""), false, false),
        (format!("{mine} #{one}"), true, false),
        (format!("{mine} is:waiting,held age:<1h by:me"), true, false),
    ] {
        let page = user.get(&list(&q)).await.expect(200).text();
        assert_eq!(page.contains(&format!("id=\"job-{one}\"")), is_one, "{q}");
        assert_eq!(page.contains(&format!("id=\"job-{two}\"")), is_two, "{q}");
    }
    let page = user.get(&list("colour:<red>")).await.expect(200).text();
    assert!(page.contains("There is no term `colour:`"), "{page}");
    assert!(!page.contains("<red>"), "{page}");
    user.get("/jobs?after=garbage").await.expect(200);
    let count =
        user.part(&format!("/jobs/count?{}", list(&mine).split_once('?').expect("a query").1)).await.expect(200);
    assert_eq!(count.text(), "2 jobs");
    user.part("/jobs/count?q=colour%3Ared").await.expect(400);
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_double() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let batch = lab.unique("batch");
    let mut jobs = Vec::new();
    for _ in 0..120 {
        jobs.push(made(&lab, "", json!({"b": batch})).await);
    }
    let (mut seen, mut path) = (Vec::new(), list(&format!("label.b:{batch}")));
    loop {
        let page = user.get(&path).await.expect(200).text();
        seen.extend(
            page.split("id=\"job-")
                .skip(1)
                .map(|rest| rest.split('"').next().expect("a key").parse::<i64>().expect("a key")),
        );
        let Some((before, _)) = page.split_once("\" rel=\"next\"") else { break };
        path = before.rsplit('"').next().expect("a path").replace("&amp;", "&").replace("&#38;", "&");
    }
    jobs.reverse();
    assert_eq!(seen, jobs, "newest first");
}

#[tokio::test]
async fn what_people_wrote_stays_text() {
    let lab = Lab::shared().await;
    let admin = Visitor::log_in(&lab, ADMIN).await;
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let job = made(&lab, evil, json!({"b": evil})).await;
    for path in [list(&format!("#{job}")), format!("/jobs/{job}"), list(evil)] {
        let page = admin.get(&path).await.expect(200).text();
        assert!(!page.contains("<script>alert") && !page.contains("<img"), "{path}: {page}");
    }
}

#[tokio::test]
async fn rows_change_while_they_are_looked_at() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let batch = lab.unique("batch");
    let job = made(&lab, "watched", json!({"b": batch})).await;
    let page = user.get(&list(&format!("label.b:{batch}"))).await.expect(200).text();
    let stream = attribute(&page, "data-live=\"").replace("&#38;", "&").replace("&amp;", "&");
    let mut live = user.live(&stream).await;
    let first = live.until("part", |_| true).await;
    assert!(first.starts_with(&format!("<tr id=\"job-{job}\"")) && first.contains("waiting"), "{first}");
    let held = Held { job, node: lab.node(USER).await };
    lab.act(held, "acquire").await.expect(200);
    lab.act(held, "start").await.expect(200);
    lab.act(held, "progress/0.25").json(json!({})).await.expect(200);
    live.until("part", |row| row.contains("running") && row.contains("25 %")).await;
    // Somebody else's job is no news to this filter; one that passes is.
    lab.job().await;
    made(&lab, "new", json!({"b": batch})).await;
    assert_eq!(live.until("news", |_| true).await, "1");
    lab.act(held, "finish").json(json!({})).await.expect(200);
    live.until("part", |row| row.contains("finished") && row.contains("100 %")).await;
    for bad in ["keys=x", "keys=1,,2,y", &format!("keys={}", vec!["1"; 51].join(",")), "keys=&first=true&q=x%3Ay"] {
        user.get(&format!("/jobs/live?{bad}")).await.expect(400);
    }
}

/// A job in each state that matters to a deed, with its name.
async fn states(lab: &Lab) -> Vec<(&'static str, i64)> {
    let deleted = lab.job().await;
    lab.staff(deleted, "").await.expect(204);
    vec![
        ("created", lab.job().await),
        ("held", lab.held().await.job),
        ("started", lab.started().await.job),
        ("errored", lab.errored().await.job),
        ("finished", lab.finished().await.job),
        ("cancelled", lab.cancelled().await.job),
        ("deleted", deleted),
    ]
}

#[tokio::test]
async fn the_question_says_what_the_deed_then_does() {
    let lab = Lab::shared().await;
    let admin = Visitor::log_in(&lab, ADMIN).await;
    for (deed, changing) in [
        ("cancel", &["created", "held", "started", "errored"][..]),
        ("abort", &["held", "started", "errored"]),
        ("delete", &["created", "held", "started", "errored", "finished", "cancelled"]),
        ("restore", &["deleted"]),
    ] {
        let jobs = states(&lab).await;
        let keys: Vec<String> = jobs.iter().map(|(_, job)| job.to_string()).collect();
        let mut fields = vec![("deed", deed)];
        fields.extend(keys.iter().map(|key| ("job", key.as_str())));
        let before = snapshots(&lab, &jobs).await;
        let question = admin.post("/jobs/preview", &fields).await.expect(200).text();
        assert_eq!(snapshots(&lab, &jobs).await, before, "{deed}: a question changes nothing");
        let chosen = attribute(&question, r#"name="jobs" value=""#).to_owned();
        let expected: Vec<String> =
            jobs.iter().filter(|(state, _)| changing.contains(state)).map(|(_, job)| job.to_string()).collect();
        assert_eq!(chosen, expected.join(","), "{deed}");
        // All of them are sent, as by somebody who was slow: those that do not allow it stay as they are.
        let answer = admin.post("/jobs/chosen", &[("deed", deed), ("jobs", &keys.join(","))]).await.expect(200);
        assert!(answer.text().contains("job"), "{answer}");
        for ((state, job), before) in jobs.iter().zip(before) {
            let changed = lab.read(*job).await != before;
            assert_eq!(changed, changing.contains(state), "{deed} of a job that is {state}");
        }
    }
}

async fn snapshots(lab: &Lab, jobs: &[(&'static str, i64)]) -> Vec<serde_json::Value> {
    let mut read = Vec::new();
    for (_, job) in jobs {
        read.push(lab.read(*job).await);
    }
    read
}

#[tokio::test]
async fn a_whole_filter_is_acted_on_and_the_audit_log_names_each_job() {
    let lab = Lab::start();
    let admin = Visitor::log_in(&lab, ADMIN).await;
    let mut jobs = Vec::new();
    for _ in 0..60 {
        jobs.push(made(&lab, "", json!({"b": "1"})).await);
    }
    let other = made(&lab, "", json!({"b": "2"})).await;
    let question =
        admin.post("/jobs/preview", &[("deed", "cancel"), ("all", "1"), ("q", "label.b:1")]).await.expect(200);
    assert!(question.text().contains("Cancel 60 jobs"), "{question}");
    let chosen = attribute(&question.text(), r#"name="jobs" value=""#).to_owned();
    let part = admin.post("/jobs/chosen", &[("deed", "cancel"), ("jobs", &chosen)]).header("hx-request", "true").await;
    assert!(part.text().contains("60 jobs cancelled."), "{part}");
    assert_eq!(part.header("hx-trigger-after-settle"), Some("labrun:done"));
    for job in &jobs {
        assert_eq!(lab.read(*job).await["phase"], "cancelled");
    }
    assert_eq!(lab.read(other).await["phase"], "created");
    let entries = lab.get("/v1/audit?action=jobs.cancel").by(ADMIN).await.expect(200).json();
    let mut named: Vec<String> = entries
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["target"].as_str().expect("a text").to_owned())
        .collect();
    let mut expected: Vec<String> = jobs.iter().map(|job| format!("POST /v1/jobs/{job}/cancel")).collect();
    named.sort();
    expected.sort();
    assert_eq!(named, expected);
    let previews = lab.get("/v1/audit?action=pages.jobs.preview").by(ADMIN).await.expect(200).json();
    assert_eq!(previews, json!([]), "a question is nothing to keep");
}

#[tokio::test]
async fn those_who_are_not_staff_can_not_act() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let job = lab.job().await;
    let key = job.to_string();
    let page = user.get(&list(&format!("#{job}"))).await.expect(200).text();
    assert!(!page.contains("name=\"deed\"") && !page.contains("name=\"job\""), "{page}");
    let page = user.get(&format!("/jobs/{job}")).await.expect(200).text();
    assert!(!page.contains("name=\"deed\""), "{page}");
    let refused = user.post("/jobs/chosen", &[("deed", "cancel"), ("jobs", &key)]).await.expect(403);
    assert!(refused.text().contains("Only staff may do this."), "{refused}");
    user.post("/jobs/preview", &[("deed", "cancel"), ("job", &key)]).await.expect(403);
    assert_eq!(lab.read(job).await["phase"], "created");
}

#[tokio::test]
async fn forms_that_say_nonsense_are_refused() {
    let lab = Lab::shared().await;
    let admin = Visitor::log_in(&lab, ADMIN).await;
    for fields in [
        &[("deed", "burn"), ("jobs", "1")][..],
        &[("jobs", "1")],
        &[("deed", "cancel"), ("jobs", "1,x")],
        &[("deed", "cancel"), ("jobs", "99999999999999999999")],
    ] {
        admin.post("/jobs/chosen", fields).await.expect(400);
    }
    admin.post("/jobs/preview", &[("deed", "cancel"), ("all", "1"), ("q", "x:y")]).await.expect(400);
    let gone = admin.post("/jobs/chosen", &[("deed", "cancel"), ("jobs", "987654321")]).await.expect(200);
    assert!(gone.text().contains("no job cancelled"), "{gone}");
    let empty = admin.post("/jobs/preview", &[("deed", "delete"), ("job", "987654321")]).await.expect(200);
    assert!(empty.text().contains("gone for good"), "{empty}");
}
