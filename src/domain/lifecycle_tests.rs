//! The transition table of contract §5, written out a second time as text and compared pair by pair.

use super::*;

const KEEPER: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);
const THEN: Timestamp = Timestamp(10);
const NOW: Timestamp = Timestamp(20);

/// Every standing a job can have, by name.
fn states() -> Vec<(&'static str, State)> {
    let errored = |holder| State::Errored { holder, since: THEN, progress: 0.5, ended: THEN, reason: "boom".into() };
    let cancelled = |holder, since| State::Cancelled { holder, since, progress: 0.0, ended: THEN };
    vec![
        ("created, free", State::Created { holder: None }),
        ("created, held", State::Created { holder: Some(KEEPER) }),
        ("started", State::Started { holder: KEEPER, since: THEN, progress: 0.25 }),
        ("errored, free", errored(None)),
        ("errored, held", errored(Some(KEEPER))),
        ("finished", State::Finished { holder: Some(KEEPER), since: THEN, ended: THEN }),
        ("cancelled, free", cancelled(None, None)),
        ("cancelled, held", cancelled(Some(KEEPER), Some(THEN))),
    ]
}

/// Every action by every kind of caller, by name.
fn actions() -> Vec<(String, Action)> {
    let mut all = Vec::new();
    for (who, node) in [("keeper", KEEPER), ("other", OTHER)] {
        for (what, work) in [("idle", Work::Nothing), ("on this", Work::ThisJob), ("on another", Work::AnotherJob)] {
            let by = Actor { node, work };
            let named = |action: &str| format!("{action} by {who} {what}");
            all.push((named("acquire"), Action::Acquire(by)));
            all.push((named("release"), Action::Release(by)));
            all.push((named("start"), Action::Start(by)));
            all.push((named("progress"), Action::Progress(by, 0.75)));
            all.push((named("finish"), Action::Finish(by, None)));
            all.push((named("error"), Action::Finish(by, Some("bang".into()))));
            all.push((named("reset"), Action::Reset(by)));
            all.push((named("add output"), Action::AddOutput { actor: Some(by), staff: false }));
        }
    }
    all.push(("abort".into(), Action::Abort));
    all.push(("cancel".into(), Action::Cancel));
    all.push(("add output by staff".into(), Action::AddOutput { actor: None, staff: true }));
    all.push(("add output by nobody".into(), Action::AddOutput { actor: None, staff: false }));
    all
}

/// Says in a few words what came of a step.
fn told(result: Result<Outcome, Refusal>) -> String {
    match result {
        Ok(Outcome::Unchanged) => "unchanged".into(),
        Ok(Outcome::NodeFreed) => "node freed".into(),
        Ok(Outcome::Change(Change { next, transition, removes_outputs, node })) => {
            let holder = next.holder().map_or("free".to_owned(), |node| format!("held by {node}"));
            let outputs = if removes_outputs { ", outputs removed" } else { "" };
            let node = match node {
                NodeChange::Keep => "",
                NodeChange::Works => ", node works",
                NodeChange::Freed => ", node freed",
            };
            let times = format!("{:?}-{:?}", next.start_time().map(|t| t.0), next.end_time().map(|t| t.0));
            format!(
                "{} -> {} {holder} {} {times}{outputs}{node}",
                transition.as_str(),
                next.phase().as_str(),
                next.progress()
            )
        }
        Err(refusal) => format!("refused: {refusal:?}"),
    }
}

#[test]
fn every_pair_of_state_and_action() {
    let mut table = String::new();
    for deleted in [false, true] {
        for (state_name, state) in states() {
            table.push_str(&format!("{state_name}{}\n", if deleted { ", deleted" } else { "" }));
            for (action_name, action) in actions() {
                let came = told(step(&state, deleted, action, NOW));
                table.push_str(&format!("  {action_name}: {came}\n"));
            }
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn nobody_but_the_holder_moves_a_held_job_on() {
    for (name, state) in states() {
        for (action_name, action) in actions() {
            let by_other = action_name.contains("by other") && !action_name.starts_with("acquire");
            if !by_other {
                continue;
            }
            let came = step(&state, false, action, NOW);
            let harmless = matches!(came, Err(_) | Ok(Outcome::NodeFreed));
            assert!(harmless, "{action_name} when {name}: {came:?}");
        }
    }
}

#[test]
fn a_final_state_never_changes() {
    for (name, state) in states().into_iter().filter(|(_, state)| state.phase().is_final()) {
        for (action_name, action) in actions() {
            let came = step(&state, false, action, NOW);
            assert!(!matches!(came, Ok(Outcome::Change(_))), "{action_name} when {name}: {came:?}");
        }
    }
}

#[test]
fn a_deleted_job_never_changes() {
    for (name, state) in states() {
        for (action_name, action) in actions() {
            let came = step(&state, true, action, NOW);
            assert!(matches!(came, Err(_) | Ok(Outcome::NodeFreed)), "{action_name} when {name}: {came:?}");
        }
    }
}

#[test]
fn names_of_phases_and_transitions_read_back() {
    for phase in Phase::ALL {
        assert_eq!(Phase::parse(phase.as_str()), Some(phase));
    }
    for transition in Transition::ALL {
        assert_eq!(Transition::parse(transition.as_str()), Some(transition));
    }
    assert_eq!((Phase::parse("nope"), Transition::parse("nope")), (None, None));
}
