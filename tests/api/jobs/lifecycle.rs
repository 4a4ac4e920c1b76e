//! What start, progress, finish, reset, abort and cancel leave behind, beyond phase and holder.

use serde_json::{Value, json};

use crate::harness::{ADMIN, Held, Lab, USER};

#[tokio::test]
async fn start_sets_the_time_and_the_nodes_job() {
    let lab = Lab::shared().await;
    let held = lab.held().await;
    let job = lab.act(held, "start").json(json!({"send_notification": ""})).await.expect(200).json();
    assert!(job["start_time"].is_string() && job["end_time"].is_null(), "{job}");
    assert_eq!(lab.read_node(held.node).await["current_job"], held.job);
    let second = Held { job: lab.job().await, ..held };
    lab.act(second, "acquire").await.expect(200);
    lab.act(second, "start").await.refuses(406, "node_busy");
    assert_eq!(lab.read(second.job).await["phase"], "created");
}

#[tokio::test]
async fn bodies_of_start_progress_and_finish_are_looked_at_before_the_phase() {
    let lab = Lab::shared().await;
    let held = lab.held().await;
    lab.act(held, "start").json(json!({"send_notification": 1})).await.blames("send_notification");
    lab.act(held, "start").json(json!({"speed": 1})).await.blames("speed");
    lab.act(held, "finish").json(json!({"success": "yes"})).await.blames("success");
    lab.act(held, "finish").json(json!({"error": 5})).await.blames("error");
    lab.act(held, "progress/2").await.blames("progress");
    lab.act(held, "progress/0.5").json(json!([])).await.expect(400);
    lab.act(held, "progress/0.5").json(json!({"anything": {"goes": [1]}})).await.refuses(406, "wrong_phase");
}

#[tokio::test]
async fn finish_without_error_is_the_end_and_progress_is_1() {
    let lab = Lab::shared().await;
    for body in [json!({}), json!({"success": true}), json!({"success": true, "error": null, "send_notification": ""})]
    {
        let held = lab.started().await;
        lab.act(held, "progress/0.25").await.expect(200);
        let job = lab.act(held, "finish").json(body).await.expect(200).json();
        assert_eq!((&job["phase"], &job["progress_amount"]), (&json!("finished"), &json!(1.0)));
        assert!(job["end_time"].is_string() && job["error_reason"].is_null());
        assert!(lab.read_node(held.node).await["current_job"].is_null());
    }
}

#[tokio::test]
async fn what_an_action_answers_is_the_job_as_it_is_read_then() {
    let lab = Lab::shared().await;
    let held = lab.held().await;
    for action in ["start", "progress/0.25", "progress/0.75", "progress/0", "finish"] {
        if action == "progress/0.75" {
            lab.upload(held, "log", "text", "bytes").await.expect(200);
        }
        let answer = lab.act(held, action).await.expect(200).json();
        assert_eq!(answer, lab.read(held.job).await, "{action}");
    }
}

#[tokio::test]
async fn finish_with_error_keeps_the_reason_until_a_reset() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    lab.act(held, "progress/0.25").await.expect(200);
    lab.upload(held, "log", "text", "bytes").await.expect(200);
    let failed = lab.fail(held).await.expect(200).json();
    assert_eq!((&failed["phase"], &failed["error_reason"]), (&json!("errored"), &json!("the lamp is dark")));
    assert_eq!(failed["outputs"].as_array().map(Vec::len), Some(1));
    assert!(lab.read_node(held.node).await["current_job"].is_null());
    let reset = lab.act(held, "reset").await.expect(200).json();
    assert_eq!((&reset["phase"], &reset["node"]), (&json!("created"), &json!(held.node)));
    for gone in ["start_time", "end_time", "error_reason"] {
        assert!(reset[gone].is_null(), "{gone}");
    }
    assert_eq!((&reset["outputs"], &reset["progress_amount"]), (&json!([]), &json!(0.0)));
    // The name is free again, and the removed output still there by key.
    lab.act(held, "start").await.expect(200);
    lab.upload(held, "log", "text", "other bytes").await.expect(200);
    lab.get(&format!("/v1/job-outputs/{}", failed["outputs"][0]["pk"])).await.expect(200);
}

#[tokio::test]
async fn a_node_whose_job_was_aborted_must_finish_it_before_the_next() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    lab.upload(held, "log", "text", "bytes").await.expect(200);
    let aborted = lab.staff(held.job, "abort").await.expect(200).json();
    assert_eq!(
        (&aborted["phase"], &aborted["node"], &aborted["outputs"]),
        (&json!("created"), &Value::Null, &json!([]))
    );
    assert_eq!(lab.read_node(held.node).await["current_job"], held.job);
    let next = Held { job: lab.job().await, ..held };
    lab.act(next, "acquire").await.expect(200);
    lab.act(next, "start").await.refuses(406, "node_busy");
    lab.act(held, "release").await.refuses(406, "wrong_phase");
    lab.act(held, "progress/0.5").await.refuses(403, "permission_denied");
    // Another node may have it meanwhile; the first one's finish is not the second one's.
    let other = Held { job: held.job, node: lab.node(USER).await };
    lab.act(other, "acquire").await.expect(200);
    lab.act(other, "start").await.expect(200);
    let answer = lab.act(held, "finish").await.expect(200).json();
    assert_eq!((&answer["phase"], &answer["node"]), (&json!("started"), &json!(other.node)));
    lab.act(held, "finish").await.refuses(403, "permission_denied");
    lab.act(next, "start").await.expect(200);
}

#[tokio::test]
async fn a_cancelled_job_takes_the_log_of_its_worker_and_nothing_else() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    lab.act(held, "progress/0.25").await.expect(200);
    let job = lab.staff(held.job, "cancel").await.expect(200).json();
    assert_eq!((&job["is_cancelled"], &job["error_reason"]), (&json!(true), &json!("Cancelled")));
    assert_eq!((&job["node"], &job["progress_amount"]), (&json!(held.node), &json!(0.25)));
    assert!(job["end_time"].is_string());
    lab.act(held, "progress/0.5").await.refuses(406, "wrong_phase");
    lab.upload(held, "log", "text", "the last words").await.expect(200);
    lab.upload(held, "log2", "text", "x").by(ADMIN).await.expect(200);
    lab.post(&format!("/v1/jobs/{}/outputs/a/t", held.job)).by(ADMIN).bytes("x").await.expect(406);
    assert_eq!(lab.read_node(held.node).await["current_job"], held.job);
    assert_eq!(lab.act(held, "finish").await.expect(200).json()["phase"], "cancelled");
    assert!(lab.read_node(held.node).await["current_job"].is_null());
    lab.upload(held, "late", "text", "x").await.refuses(406, "wrong_phase");
    lab.act(held, "finish").await.expect(200);
}

#[tokio::test]
async fn a_node_may_hold_several_jobs_and_work_on_one_after_the_other() {
    let lab = Lab::shared().await;
    let node = lab.node(USER).await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let held = Held { job: lab.job().await, node };
        lab.act(held, "acquire").await.expect(200);
        jobs.push(held);
    }
    for held in jobs {
        lab.act(held, "start").await.expect(200);
        assert_eq!(lab.read_node(node).await["current_job"], held.job);
        lab.act(held, "finish").await.expect(200);
    }
}
