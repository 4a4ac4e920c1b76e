//! `GET /v1/jobs/{PK}/acquire`.

use crate::harness::{Held, Lab, USER};

#[tokio::test]
async fn a_free_job_is_held_by_the_caller_and_by_nobody_else() {
    let lab = Lab::shared().await;
    let held = Held { job: lab.job().await, node: lab.node(USER).await };
    let taken = lab.act(held, "acquire").await.expect(200).json();
    assert_eq!((&taken["phase"], &taken["node"]), (&"created".into(), &held.node.into()));
    let again = lab.act(held, "acquire").await.expect(200).json();
    assert_eq!(again, taken, "a second acquire by the holder changes nothing");
    let rival = Held { node: lab.node(USER).await, ..held };
    lab.act(rival, "acquire").await.refuses(406, "held");
    assert_eq!(lab.read(held.job).await, taken);
}
