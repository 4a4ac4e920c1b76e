//! The table of contract §5, box by box, through the server: who may do what to a job in which state, and what the job
//! is then. Whatever is refused leaves the job as it was.

use serde_json::Value;

use crate::harness::{ADMIN, Held, Lab, Reply, USER};

/// The states of the table's columns, an errored job once held and once free.
const STATES: [&str; 7] = ["free", "held", "started", "errored", "errored free", "finished", "cancelled"];

/// An action by a caller, and for each state the status and, where it changes the job, the phase and holder after it:
/// `+` held by the caller, `-` free, `=` as before.
const TABLE: &[(&str, [&str; 7])] = &[
    //                         free             held             started          errored          errored free     finished         cancelled
    ("acquire by holder", ["200 created +", "200 =", "200 =", "200 =", "200 errored +", "406", "406"]),
    ("acquire by other", ["200 created +", "406", "406", "406", "200 errored +", "406", "406"]),
    ("acquire by user", ["403", "403", "403", "403", "403", "403", "403"]),
    ("release by holder", ["403", "200 created -", "406", "200 errored -", "403", "406", "406"]),
    ("release by other", ["403", "403", "403", "403", "403", "403", "403"]),
    ("start by holder", ["403", "200 started =", "406", "406", "403", "406", "406"]),
    ("start by other", ["403", "403", "403", "403", "403", "403", "403"]),
    ("progress by holder", ["403", "406", "200 started =", "406", "403", "406", "406"]),
    ("progress by other", ["403", "403", "403", "403", "403", "403", "403"]),
    ("finish by holder", ["403", "406", "200 finished =", "406", "403", "406", "200 ="]),
    ("finish by other", ["403", "403", "403", "403", "403", "403", "403"]),
    ("fail by holder", ["403", "406", "200 errored =", "406", "403", "406", "200 ="]),
    ("reset by holder", ["403", "406", "406", "200 created =", "403", "406", "406"]),
    ("reset by other", ["403", "403", "403", "403", "403", "403", "403"]),
    ("abort by staff", ["200 =", "200 created -", "200 created -", "200 created -", "200 created -", "406", "406"]),
    ("abort by holder", ["403", "403", "403", "403", "403", "403", "403"]),
    (
        "cancel by staff",
        [
            "200 cancelled =",
            "200 cancelled =",
            "200 cancelled =",
            "200 cancelled =",
            "200 cancelled =",
            "200 =",
            "200 =",
        ],
    ),
    ("cancel by holder", ["403", "403", "403", "403", "403", "403", "403"]),
    ("upload by holder", ["403", "406", "200 =", "406", "403", "406", "200 ="]),
    ("upload by other", ["403", "403", "403", "403", "403", "403", "403"]),
    ("upload by staff", ["406", "406", "200 =", "406", "406", "406", "406"]),
];

/// Makes a job in a state; where nobody holds it, the node is a free one.
async fn make(lab: &Lab, state: &str) -> Held {
    match state {
        "free" => Held { job: lab.job().await, node: lab.node(USER).await },
        "held" => lab.held().await,
        "started" => lab.started().await,
        "errored" => lab.errored().await,
        "errored free" => {
            let held = lab.errored().await;
            lab.act(held, "release").await.expect(200);
            held
        }
        "finished" => lab.finished().await,
        "cancelled" => lab.cancelled().await,
        other => panic!("no such state: {other}"),
    }
}

async fn act(lab: &Lab, held: Held, action: &str, other: i64) -> Reply {
    let (verb, caller) = action.split_once(" by ").expect("an action and its caller");
    let as_node = Held { node: if caller == "other" { other } else { held.node }, ..held };
    let request = match verb {
        "abort" | "cancel" => lab.delete(&format!("/v1/jobs/{}/{verb}", held.job)).node(as_node.node),
        "progress" => lab.act(as_node, "progress/0.5"),
        "fail" => lab.fail(as_node),
        "upload" if caller == "staff" => {
            lab.post(&format!("/v1/jobs/{}/outputs/o/t", held.job)).by(ADMIN).bytes("some bytes")
        }
        "upload" => lab.upload(as_node, "o", "t", "some bytes"),
        "acquire" if caller == "user" => lab.get(&format!("/v1/jobs/{}/acquire", held.job)),
        _ => lab.act(as_node, verb),
    };
    if caller == "staff" { request.by(ADMIN).await } else { request.await }
}

/// Leaves what an upload changes.
fn without_outputs(mut job: Value) -> Value {
    job["outputs"] = Value::Null;
    job
}

#[tokio::test]
async fn every_box_of_the_table_is_as_the_contract_has_it() {
    let lab = Lab::shared().await;
    let other = lab.node(USER).await;
    for (action, row) in TABLE {
        for (state, wanted) in STATES.iter().zip(row) {
            let held = make(&lab, state).await;
            let before = lab.read(held.job).await;
            let reply = act(&lab, held, action, other).await;
            let what = format!("{action} on {state}");
            let mut parts = wanted.split(' ');
            let status: u16 = parts.next().and_then(|code| code.parse().ok()).expect("a status");
            assert_eq!(reply.status, status, "{what}: {reply}");
            let after = lab.read(held.job).await;
            match (parts.next(), parts.next()) {
                (None | Some("="), _) => assert_eq!(without_outputs(after), without_outputs(before), "{what}"),
                (Some(phase), holder) => {
                    assert_eq!(after["phase"], phase, "{what}");
                    let caller = if action.ends_with("other") { other } else { held.node };
                    let holder = match holder {
                        Some("+") => caller.into(),
                        Some("-") => Value::Null,
                        _ => before["node"].clone(),
                    };
                    assert_eq!(after["node"], holder, "{what}");
                    assert_eq!(reply.json(), after, "{what}: the answer is the job as it now is");
                }
            }
            if action.starts_with("acquire") && status == 200 {
                lab.staff(held.job, "abort").await.expect(200);
            }
        }
    }
}

#[tokio::test]
async fn every_action_on_a_deleted_job_is_406_and_the_worker_gets_out() {
    let lab = Lab::shared().await;
    let other = lab.node(USER).await;
    for state in STATES {
        let held = make(&lab, state).await;
        lab.staff(held.job, "").await.expect(204);
        let before = lab.read(held.job).await;
        for (action, _) in TABLE {
            let reply = act(&lab, held, action, other).await;
            let is_out = action.starts_with("finish by holder") && ["started", "cancelled"].contains(&state);
            assert!(
                reply.status == 403 || reply.status == 406 || (is_out && reply.status == 200),
                "{action} on {state}: {reply}"
            );
            assert_eq!(lab.read(held.job).await, before, "{action} on deleted {state}");
            if is_out {
                reply.expect(200);
                assert!(lab.read_node(held.node).await["current_job"].is_null());
            }
        }
    }
}

#[tokio::test]
async fn every_verb_is_taken_by_post_as_well_and_never_cached() {
    let lab = Lab::shared().await;
    let post = |held: Held, verb: &str| lab.post(&format!("/v1/jobs/{}/{verb}", held.job)).node(held.node);
    let held = Held { job: lab.job().await, node: lab.node(USER).await };
    for verb in ["acquire", "release", "acquire", "start"] {
        let reply = post(held, verb).await.expect(200);
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{verb}");
    }
    lab.fail(held).await.expect(200);
    post(held, "reset").await.expect(200);
    lab.get(&format!("/v1/jobs/{}/release", held.job)).node(held.node).await.expect(200);
    for verb in ["abort", "cancel", "reinstate"] {
        post(held, verb).by(ADMIN).await.expect(200);
    }
    // A HEAD must not take a job.
    let free = lab.job().await;
    lab.request("HEAD", &format!("/v1/jobs/{free}/acquire")).node(held.node).await.expect(405);
    assert!(lab.read(free).await["node"].is_null());
}

#[tokio::test]
async fn refusals_of_what_changes_state_are_kept_by_no_cache_either() {
    let lab = Lab::shared().await;
    let (held, rival) = (lab.held().await, lab.node(USER).await);
    let acquire = |job: i64| lab.get(&format!("/v1/jobs/{job}/acquire"));
    for (request, status) in [
        (acquire(held.job).anonymous(), 401),
        (acquire(held.job).header("node-id", "x"), 400),
        (acquire(i64::MAX).node(rival), 404),
        (acquire(held.job), 403),
        (acquire(held.job).node(rival), 406),
        (lab.get(&format!("/v1/jobs/{}/release", held.job)).anonymous(), 401),
        (lab.get("/v1/nodes/ping").anonymous(), 401),
        (lab.get("/v1/nodes/ping"), 403),
        (lab.delete(&format!("/v1/jobs/{}/abort", held.job)), 403),
    ] {
        let reply = request.await.expect(status);
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply}");
    }
}
