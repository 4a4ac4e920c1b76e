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

#[tokio::test]
async fn a_lease_is_given_whatever_phase_the_job_is_taken_in() {
    let lab = Lab::shared().await;
    let errored = lab.errored().await;
    lab.act(errored, "release").await.expect(200);
    for job in [lab.job().await, errored.job] {
        let node = lab.node(USER).await;
        let reply = lab.get(&format!("/v1/jobs/{job}/acquire?lease=60")).node(node).await.expect(200);
        let expires = reply.headers.get("x-lease-expires").and_then(|value| value.to_str().ok());
        assert_eq!(expires, reply.json()["lease_expires"].as_str());
        assert!(expires.is_some(), "{reply}");
    }
}
