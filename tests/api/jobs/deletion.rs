//! `DELETE /v1/jobs/{PK}`, `…/reinstate`, `…/hard`.

use serde_json::json;

use crate::harness::{ADMIN, Lab};

#[tokio::test]
async fn soft_delete_hides_a_job_from_lists_and_nothing_else() {
    let lab = Lab::shared().await;
    let held = lab.finished().await;
    let before = lab.read(held.job).await;
    for _ in 0..2 {
        assert!(lab.staff(held.job, "").await.expect(204).body.is_empty());
    }
    let mut deleted = lab.read(held.job).await;
    assert!(deleted["deletion_time"].is_string());
    let spec = json!({"expressions": [{"type": "exact", "field": "pk", "value": held.job}]});
    assert!(lab.post("/v1/jobs/list").json(spec.clone()).await.expect(200).pks().is_empty());
    let mut all = spec.clone();
    all["include_inactive"] = json!(true);
    assert_eq!(lab.post("/v1/jobs/list").json(all).await.expect(200).json(), json!([deleted]));
    let path = format!("/v1/jobs/{}", held.job);
    deleted["description"] = json!("renamed");
    assert_eq!(lab.patch(&path).by(ADMIN).json(json!({"description": "renamed"})).await.expect(200).json(), deleted);
    for _ in 0..2 {
        let back = lab.staff(held.job, "reinstate").await.expect(200).json();
        assert!(back["deletion_time"].is_null());
    }
    assert_eq!(lab.post("/v1/jobs/list").json(spec).await.expect(200).json()[0]["phase"], before["phase"]);
}

#[tokio::test]
async fn hard_delete_gives_the_job_and_takes_all_that_is_its() {
    let lab = Lab::start();
    let held = lab.started().await;
    let output = lab.upload(held, "o", "t", "only here").await.expect(200).pk();
    let before = lab.read(held.job).await;
    assert_eq!(lab.staff(held.job, "hard").await.expect(200).json(), before);
    for path in [format!("/v1/jobs/{}", held.job), format!("/v1/job-outputs/{output}")] {
        lab.get(&path).await.refuses(404, "not_found");
    }
    assert!(lab.read_node(held.node).await["current_job"].is_null());
    for verb in ["hard", "reinstate", "abort", "cancel", ""] {
        lab.staff(held.job, verb).await.refuses(404, "not_found");
    }
    lab.act(held, "finish").await.refuses(404, "not_found");
    let dir = lab.server(|server| server.dir().to_owned());
    let blobs = dir.join("blobs");
    crate::harness::until("the bytes to go", || crate::harness::dump::files(&blobs).is_empty().then_some(()));
    let events: i64 = crate::harness::dump::open(&dir)
        .query_row("SELECT count(*) FROM events WHERE job = ?1", [held.job], |row| row.get(0))
        .expect("the events can be counted");
    assert_eq!(events, 0);
    assert!(lab.job().await > held.job, "a key is never used twice");
    let next = lab.started().await;
    assert!(lab.upload(next, "o", "t", "x").await.expect(200).pk() > output);
}

#[tokio::test]
async fn a_deleted_job_can_be_hard_deleted() {
    let lab = Lab::shared().await;
    let job = lab.job().await;
    lab.staff(job, "").await.expect(204);
    assert!(lab.staff(job, "hard").await.expect(200).json()["deletion_time"].is_string());
}
