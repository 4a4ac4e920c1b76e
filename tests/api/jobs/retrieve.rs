//! `GET /v1/jobs/{PK}`, and what a new job is like.

use serde_json::{Value, json};

use crate::harness::{Lab, USER};

#[tokio::test]
async fn a_new_job_is_free_and_has_all_its_fields() {
    let lab = Lab::shared().await;
    let template = lab.template().await;
    let body = json!({"input_values": {}, "description": "first"});
    let made = lab.post(&format!("/v1/job-templates/{template}/create-job")).json(body).await.expect(200);
    let job = made.json();
    for key in ["parent", "start_time", "end_time", "error_reason", "node", "deletion_time"] {
        assert_eq!(job.get(key), Some(&Value::Null), "{key}");
    }
    for (key, value) in [
        ("phase", json!("created")),
        ("is_cancelled", json!(false)),
        ("progress_amount", json!(0.0)),
        ("outputs", json!([])),
        ("input_values", json!({})),
        ("parameter_values", json!({})),
        ("description", json!("first")),
        ("creator", json!(lab.user_pk(USER).await)),
    ] {
        assert_eq!(job[key], value, "{key}");
    }
    let named = lab.get(&format!("/v1/job-templates/{template}")).await.expect(200).json();
    assert_eq!(job["template"], json!({"pk": template, "name": named["name"], "version": named["version"]}));
    assert_eq!(lab.read(made.pk()).await, job);
    let time = job["creation_time"].as_str().expect("a time");
    assert!(time.len() == "2026-01-01T00:00:00.000000Z".len() && time.ends_with('Z') && time.contains('.'), "{time}");
    lab.get("/v1/jobs/999999999").await.refuses(404, "not_found");
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let lab = Lab::shared().await;
    let path = format!("/v1/jobs/{}", lab.job().await);
    let (get, head) = (lab.get(&path).await.expect(200), lab.request("HEAD", &path).await.expect(200));
    assert!(head.body.is_empty());
    assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()));
    lab.request("HEAD", "/v1/jobs/999999999").await.expect(404);
}

#[tokio::test]
async fn outputs_come_in_order_of_creation() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    for name in ["zebra", "ant", "mole"] {
        lab.upload(held, name, "t", name).await.expect(200);
    }
    let job = lab.read(held.job).await;
    let names: Vec<&str> =
        job["outputs"].as_array().expect("a list").iter().filter_map(|o| o["name"].as_str()).collect();
    assert_eq!(names, ["zebra", "ant", "mole"]);
    let keys: Vec<&String> = job["outputs"][0].as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["pk", "name", "type"]);
}
