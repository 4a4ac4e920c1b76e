//! Random histories of many jobs and nodes, played on the server and on a small model of contract §5 that knows
//! nothing of the server's code. After each step both must agree on the answer's status, on the job and on every node;
//! at the end the event log, replayed, must lead to the same states.

mod model;
mod replay;

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Lab, OTHER, Reply, USER};
use model::{Caller, Model, NODES, Step, Verb, World};

const HISTORIES: u32 = 64;
const STEPS_MAX: usize = 45;
/// Jobs that a history may have at a time.
const JOBS_MAX: usize = 3;

/// Names for outputs, and what may be in them.
const NAMES: [&str; 2] = ["table", "plot"];
const CONTENTS: [&str; 2] = ["some bytes", "other bytes"];

fn verbs() -> impl Strategy<Value = Verb> {
    prop_oneof![
        // Mostly whatever the job is ready for, so that histories go deep.
        60 => any::<u8>().prop_map(|choice| Verb::Onward { choice }),
        4 => Just(Verb::Create),
        7 => Just(Verb::Acquire),
        2 => Just(Verb::Release),
        7 => Just(Verb::Start),
        3 => (0..=4_u8).prop_map(|quarters| Verb::Progress { quarters }),
        3 => Just(Verb::Finish { fails: false }),
        4 => Just(Verb::Finish { fails: true }),
        3 => Just(Verb::Reset),
        2 => Just(Verb::Abort),
        2 => Just(Verb::Cancel),
        2 => Just(Verb::SoftDelete),
        2 => Just(Verb::Reinstate),
        1 => Just(Verb::HardDelete),
        5 => (0..NAMES.len(), 0..CONTENTS.len()).prop_map(|(name, content)| Verb::AddOutput { name, content }),
        1 => (0..NAMES.len()).prop_map(|name| Verb::DeleteOutput { name }),
    ]
}

fn callers() -> impl Strategy<Value = Caller> {
    prop_oneof![
        // Mostly whoever may.
        9 => Just(Caller::Fitting),
        3 => (0..NODES).prop_map(Caller::Node),
        1 => Just(Caller::Staff),
        1 => (0..NODES).prop_map(Caller::StaffFor),
        1 => Just(Caller::User),
        1 => Just(Caller::Thief),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (verbs(), callers(), 0..JOBS_MAX).prop_map(|(verb, caller, job)| Step { verb, caller, job });
    proptest::collection::vec(step, 1..=STEPS_MAX)
}

#[test]
fn the_server_and_the_model_agree_on_every_history() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let lab = Lab::start();
    let config = Config {
        cases: HISTORIES,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(5),
        max_shrink_iters: 200,
        ..Config::default()
    };
    let met = std::cell::RefCell::new(HashSet::new());
    let mut runner = TestRunner::new(config);
    let result = runner.run(&steps(), |steps| runtime.block_on(play(&lab, &steps, &met)));
    if let Err(failure) = result {
        panic!("{failure}");
    }
    // Histories that never get anywhere would agree on everything.
    let met = met.into_inner();
    for wanted in [
        "acquire 200",
        "start 200",
        "start 406",
        "finish 200",
        "finish 403",
        "reset 200",
        "release 200",
        "abort 200",
        "abort 406",
        "cancel 200",
        "output 200",
        "output 400",
        "output 406",
        "progress 200",
        "hard 200",
        "acquire 404",
        "acquire 406",
        "release 406",
        "reinstate 200",
        "delete 204",
    ] {
        assert!(met.contains(wanted), "no history met {wanted}; they met {met:?}");
    }
    replay::check(&lab.server(|server| server.dir().to_owned()));
}

/// Plays one history.
async fn play(lab: &Lab, steps: &[Step], met: &std::cell::RefCell<HashSet<String>>) -> Result<(), TestCaseError> {
    let mut nodes = Vec::new();
    for index in 0..NODES {
        nodes.push(lab.node(if index == NODES - 1 { OTHER } else { USER }).await);
    }
    let mut world = World { nodes, jobs: Vec::new() };
    let mut model = Model::default();
    let first = Step { verb: Verb::Create, caller: Caller::User, job: 0 };
    for (number, step) in std::iter::once(&first).chain(steps).enumerate() {
        let (verb, caller) = model.resolve(step);
        let step = &Step { verb, ..step.clone() };
        let Some(reply) = send(lab, &mut world, step, caller).await else { continue };
        let wanted = model.take(step, caller);
        met.borrow_mut().insert(format!("{} {}", step.verb.name(), reply.status));
        let context = format!("step {number} of {steps:?}, {step:?} by {caller:?}: {reply}");
        prop_assert_eq!(reply.status, wanted, "{}", context);
        agree(lab, &world, &model, step.job, &context).await?;
    }
    for index in 0..world.jobs.len() {
        agree(lab, &world, &model, index, "at the end").await?;
    }
    Ok(())
}

/// Does a step on the server; `None` when there is nothing to do it to.
async fn send(lab: &Lab, world: &mut World, step: &Step, caller: Caller) -> Option<Reply> {
    if step.verb == Verb::Create {
        if world.jobs.len() >= JOBS_MAX {
            return None;
        }
        let path = format!("/v1/job-templates/{}/create-job", lab.template().await);
        let reply = lab.post(&path).json(json!({"input_values": {}})).await;
        world.jobs.push(reply.pk());
        return Some(reply);
    }
    let job = *world.jobs.get(step.job)?;
    let (method, tail, body) = step.verb.request(&NAMES);
    let mut request = lab.request(method, &format!("/v1/jobs/{job}{tail}"));
    request = match (&step.verb, body) {
        (Verb::AddOutput { content, .. }, _) => request.bytes(CONTENTS[*content]),
        (_, Some(body)) => request.json(body),
        (_, None) => request,
    };
    let node = |index: usize| world.nodes[index];
    Some(match caller {
        Caller::User => request.by(USER).await,
        Caller::Node(index) => request.by(if index == NODES - 1 { OTHER } else { USER }).node(node(index)).await,
        Caller::Staff => request.by(ADMIN).await,
        Caller::StaffFor(index) => request.by(ADMIN).node(node(index)).await,
        Caller::Thief => request.by(OTHER).node(node(0)).await,
        Caller::Fitting => unreachable!("the model has named somebody"),
    })
}

/// Compares a job and all nodes with the model.
async fn agree(lab: &Lab, world: &World, model: &Model, index: usize, context: &str) -> Result<(), TestCaseError> {
    let Some(&pk) = world.jobs.get(index) else { return Ok(()) };
    let reply = lab.get(&format!("/v1/jobs/{pk}")).await;
    match model.jobs[index].as_ref() {
        None => prop_assert_eq!(reply.status, 404, "{}", context),
        Some(job) => {
            prop_assert_eq!(reply.status, 200, "{}", context);
            let shown = reply.json();
            prop_assert_eq!(&shown["phase"], job.phase.name(), "{}", context);
            let holder = job.holder.map_or(Value::Null, |node| world.nodes[node].into());
            prop_assert_eq!(&shown["node"], &holder, "{}", context);
            prop_assert_eq!(&shown["progress_amount"], &json!(job.progress), "{}", context);
            prop_assert_eq!(shown["deletion_time"].is_null(), !job.deleted, "{}", context);
            let names: Vec<&str> =
                shown["outputs"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
            let wanted: Vec<&str> = job.outputs.iter().map(|(name, _)| NAMES[*name]).collect();
            prop_assert_eq!(names, wanted, "{}", context);
            form(&shown, context)?;
        }
    }
    for (number, &node) in world.nodes.iter().enumerate() {
        let current = lab.read_node(node).await["current_job"].clone();
        let wanted = model.current[number].map_or(Value::Null, |job| world.jobs[job].into());
        prop_assert_eq!(&current, &wanted, "node {}: {}", number, context);
    }
    Ok(())
}

/// Checks what holds for a job in any state.
fn form(job: &Value, context: &str) -> Result<(), TestCaseError> {
    let phase = job["phase"].as_str().unwrap_or_default();
    let ended = matches!(phase, "finished" | "errored" | "cancelled");
    prop_assert_eq!(!job["end_time"].is_null(), ended, "end_time: {}", context);
    prop_assert_eq!(!job["error_reason"].is_null(), matches!(phase, "errored" | "cancelled"), "reason: {}", context);
    prop_assert_eq!(&job["is_cancelled"], &json!(phase == "cancelled"), "is_cancelled: {}", context);
    prop_assert!(phase == "cancelled" || job["start_time"].is_null() == (phase == "created"), "start: {}", context);
    let has_outputs = job["outputs"].as_array().is_some_and(|outputs| !outputs.is_empty());
    prop_assert!(!has_outputs || phase != "created", "outputs of a created job: {}", context);
    Ok(())
}
