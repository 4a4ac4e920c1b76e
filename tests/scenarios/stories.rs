//! The whole outcome of short stories: jobs, nodes, events, outputs and blobs as the data directory keeps them.

use serde_json::json;

use crate::harness::dump::dump;
use crate::harness::{ADMIN, Held, Lab, Server, USER};

/// Stops the server, so that all is on disk, and writes it down.
fn outcome(lab: &Lab) -> String {
    let (status, _) = lab.server(Server::stop);
    assert!(status.success(), "{status}");
    dump(&lab.server(|server| server.dir().to_owned()))
}

#[tokio::test]
async fn a_job_that_goes_well() {
    let lab = Lab::start();
    let held = lab.started().await;
    lab.act(held, "progress/0.5").json(json!({"note": "half way"})).await.expect(200);
    lab.upload(held, "table", "CSV", "mz,height\n1,2\n").await.expect(200);
    lab.upload(held, "copy", "CSV", "mz,height\n1,2\n").await.expect(200);
    lab.act(held, "finish").await.expect(200);
    insta::assert_snapshot!("goes_well", outcome(&lab));
}

#[tokio::test]
async fn a_job_that_fails_is_tried_again_and_taken_away() {
    let lab = Lab::start();
    let held = lab.started().await;
    lab.upload(held, "log", "text", "first try").await.expect(200);
    lab.fail(held).await.expect(200);
    lab.act(held, "reset").await.expect(200);
    lab.act(held, "start").await.expect(200);
    lab.upload(held, "log", "text", "second try").await.expect(200);
    lab.staff(held.job, "abort").await.expect(200);
    let other = Held { job: held.job, node: lab.node(USER).await };
    lab.act(other, "acquire").await.expect(200);
    insta::assert_snapshot!("taken_away", outcome(&lab));
}

#[tokio::test]
async fn a_job_that_is_called_off_while_it_runs_and_deleted() {
    let lab = Lab::start();
    let held = lab.started().await;
    lab.staff(held.job, "cancel").await.expect(200);
    lab.upload(held, "log", "text", "the last words").await.expect(200);
    lab.staff(held.job, "").await.expect(204);
    let doomed = lab.started().await;
    lab.upload(doomed, "bytes", "raw", "only here").await.expect(200);
    lab.staff(doomed.job, "hard").await.expect(200);
    lab.delete(&format!("/v1/nodes/{}", doomed.node)).by(ADMIN).await.expect(204);
    insta::assert_snapshot!("called_off", outcome(&lab));
}
