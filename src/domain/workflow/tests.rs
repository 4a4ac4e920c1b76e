//! Tests of the rules alone; `tests/scenarios/workflows` plays whole histories through the store.

use serde_json::{Value, json};

use super::*;
use crate::domain::ids::OutputId;
use crate::domain::template::{FromOutput, Template, import};

const EARLY: Timestamp = Timestamp(1);
const LATE: Timestamp = Timestamp(2);
const NOW: Timestamp = Timestamp(3);

fn started(progress: f64) -> MetaState {
    MetaState::Started { since: EARLY, progress }
}

fn errored(progress: f64, reason: &str) -> MetaState {
    MetaState::Errored { since: EARLY, progress, ended: LATE, reason: reason.to_owned() }
}

fn finished() -> MetaState {
    MetaState::Finished { since: EARLY, ended: LATE }
}

fn cancelled_early() -> MetaState {
    MetaState::Cancelled { since: Some(EARLY), progress: 0.5, ended: LATE }
}

fn tally(total: u32, begun: u32, finished: u32, errored: u32, progress: f64) -> Tally {
    Tally { total, finished, begun, errored, progress }
}

fn failed(child: &str, reason: &str) -> Trouble {
    Trouble::Failed { child: child.to_owned(), reason: reason.to_owned() }
}

#[test]
fn it_starts_with_its_first_child_and_stays_started() {
    let at = |before: &MetaState, tally: Tally| derive(before, &tally, None, NOW);
    assert_eq!(at(&MetaState::Created, tally(4, 0, 0, 0, 0.0)), MetaState::Created);
    assert_eq!(at(&MetaState::Created, tally(4, 1, 0, 0, 0.0)), MetaState::Started { since: NOW, progress: 0.0 });
    assert_eq!(at(&started(0.25), tally(4, 0, 0, 0, 0.0)), started(0.0));
}

#[test]
fn its_progress_is_the_mean_over_all_children_those_to_come_too() {
    let at = |tally: Tally| derive(&started(0.0), &tally, None, NOW).progress();
    assert_eq!(at(tally(4, 1, 0, 0, 0.5)), 0.125);
    assert_eq!(at(tally(4, 2, 1, 0, 1.5)), 0.375);
    assert_eq!(at(tally(3, 3, 2, 0, 3.000_000_1)), 1.0);
    assert_eq!(at(tally(4, 4, 4, 0, 4.0)), 1.0);
}

#[test]
fn it_finishes_when_all_have_and_not_while_it_is_in_trouble() {
    let all = tally(2, 2, 2, 0, 2.0);
    assert_eq!(derive(&started(0.5), &all, None, NOW), MetaState::Finished { since: EARLY, ended: NOW });
    let lack = Lack { child: "scan".to_owned(), output: "curve".to_owned(), sibling: "fit".to_owned() };
    let state = derive(&started(0.5), &tally(2, 1, 1, 0, 1.0), Some(&Trouble::Lacks(lack)), NOW);
    assert_eq!((state.phase(), state.end_time()), (Phase::Errored, Some(NOW)));
    let reason = state.error_reason().unwrap();
    assert!(["\"scan\"", "\"curve\"", "\"fit\""].iter().all(|name| reason.contains(name)), "{reason}");
}

#[test]
fn a_childs_error_is_named_and_its_end_brings_the_parent_back() {
    let one = derive(&started(0.5), &tally(2, 2, 0, 1, 1.0), Some(&failed("a", "boom")), NOW);
    assert_eq!((one.phase(), one.start_time(), one.end_time()), (Phase::Errored, Some(EARLY), Some(NOW)));
    assert_eq!(one.error_reason(), Some("The child \"a\" is errored: boom"));
    let two = derive(&one, &tally(2, 2, 0, 2, 1.0), Some(&failed("a", "boom")), Timestamp(9));
    assert_eq!(two.error_reason(), Some("2 children are errored, first \"a\": boom"));
    assert_eq!(two.end_time(), Some(NOW), "the trouble began with the first");
    assert_eq!(derive(&two, &tally(2, 1, 0, 0, 0.5), None, Timestamp(9)), started(0.25));
    // The last child finished while another was errored; that one is mended and finishes.
    assert_eq!(derive(&two, &tally(2, 2, 2, 0, 2.0), None, LATE), finished());
}

#[test]
fn what_is_final_stays() {
    for state in [finished(), cancelled_early()] {
        assert_eq!(derive(&state, &tally(2, 1, 0, 1, 0.5), Some(&failed("a", "boom")), NOW), state);
        assert_eq!(cancelled(&state, NOW), None);
        assert!(!state.makes_children());
    }
    assert!(!errored(0.5, "boom").makes_children());
    assert!(MetaState::Created.makes_children() && started(0.0).makes_children());
}

#[test]
fn every_pair_of_standings_has_its_event() {
    use Transition as T;
    let all = [MetaState::Created, started(0.5), errored(0.5, "x"), finished(), cancelled_early()];
    let expected = [
        [None, Some(T::Start), Some(T::Error), Some(T::Finish), Some(T::Cancel)],
        [Some(T::Abort), None, Some(T::Error), Some(T::Finish), Some(T::Cancel)],
        [Some(T::Abort), Some(T::Reset), None, Some(T::Finish), Some(T::Cancel)],
    ];
    for (before, row) in all.iter().zip(expected) {
        for (after, wanted) in all.iter().zip(row) {
            assert_eq!(transition(before, after), wanted, "{before:?} to {after:?}");
        }
    }
    assert_eq!(transition(&started(0.5), &started(0.6)), Some(T::Progress));
    assert_eq!(transition(&errored(0.5, "x"), &errored(0.6, "x")), Some(T::Progress));
    assert_eq!(transition(&errored(0.5, "x"), &errored(0.5, "y")), Some(T::Error));
}

#[test]
fn a_hierarchy_is_called_off_from_its_top() {
    let off = |since, progress| Some(MetaState::Cancelled { since, progress, ended: NOW });
    assert_eq!(cancelled(&MetaState::Created, NOW), off(None, 0.0));
    assert_eq!(cancelled(&started(0.5), NOW), off(Some(EARLY), 0.5));
    assert_eq!(cancelled(&errored(0.5, "x"), NOW), off(Some(EARLY), 0.5));
    assert_eq!(cancelled(&started(0.5), NOW).unwrap().error_reason(), Some(CANCELLED_REASON));
    assert_eq!(may_cancel(false, false), Ok(()));
    assert_eq!(may_cancel(false, true), Err(Refusal::Deleted));
    assert_eq!(may_cancel(true, false), Err(Refusal::Child));
}

#[test]
fn a_child_is_removed_for_good_only_after_the_end_of_its_workflow() {
    let may: Vec<bool> = Phase::ALL.into_iter().map(|phase| may_purge(Some(phase))).collect();
    assert_eq!(may, Phase::ALL.map(Phase::is_final));
    assert!(may_purge(None));
}

fn edge(from: &str, output: FromOutput, to_input: &str, wanted: &str, is_declared: bool) -> Edge {
    Edge {
        from_node: from.to_owned(),
        from_output: output,
        is_declared,
        to_node: "join".to_owned(),
        to_input: to_input.to_owned(),
        wanted: vec![wanted.parse().unwrap()],
    }
}

fn by_name(name: &str) -> FromOutput {
    FromOutput::Name(name.to_owned())
}

fn outputs(given: &[(i64, &str, &str)]) -> Source {
    let found = |&(pk, name, type_name): &(i64, &str, &str)| Found {
        pk: OutputId(pk),
        name: name.to_owned(),
        type_name: type_name.to_owned(),
    };
    Source::Finished(given.iter().map(found).collect())
}

#[test]
fn a_child_is_due_when_all_its_inputs_are_there() {
    let left = edge("a", by_name("o"), "left", "JobOutput<JSON>", true);
    let right = edge("b", by_name("o"), "right", "JobOutput<JSON>", true);
    let ask = |a: &Source, b: &Source| readiness(&[Feed { edge: &left, source: a }, Feed { edge: &right, source: b }]);
    let (a, b) = (outputs(&[(7, "o", "JSON")]), outputs(&[(8, "x", "JSON"), (9, "o", "JSON")]));
    assert_eq!(readiness(&[]), Readiness::Ready(serde_json::Map::new()));
    assert_eq!(ask(&Source::Unfinished, &Source::Unfinished), Readiness::Waits);
    assert_eq!(ask(&a, &Source::Unfinished), Readiness::Waits);
    assert_eq!(ask(&Source::Unfinished, &b), Readiness::Waits);
    let value = |pk: i64| json!({"value": pk, "type": "JobOutput<JSON>"});
    let expected = json!({"left": value(7), "right": value(9)});
    assert_eq!(ask(&a, &b), Readiness::Ready(expected.as_object().unwrap().clone()));
    let lack = Lack { child: "b".to_owned(), output: "o".to_owned(), sibling: "join".to_owned() };
    assert_eq!(ask(&Source::Unfinished, &outputs(&[])), Readiness::Lacks(lack));
}

#[test]
fn the_output_that_fits_is_passed_on() {
    let typed = |of: &str| FromOutput::Typed { value: "o".to_owned(), type_: of.parse().unwrap() };
    let two = [(1, "o", "str"), (2, "o", "Array< float >")];
    for (output, is_declared, given, expected) in [
        (by_name("o"), true, &two[..], Some((2, "JobOutput<Array<float>>"))),
        (by_name("o"), true, &two[..1], None),
        (by_name("o"), false, &two[..1], Some((1, "JobOutput<str>"))),
        (by_name("o"), false, &two[..], Some((2, "JobOutput<Array<float>>"))),
        (by_name("o"), false, &[(3, "o", "no type at all")], Some((3, "JobOutput<no type at all>"))),
        (by_name("o"), true, &[(3, "o", "no type at all")], None),
        (typed("str"), false, &two[..], Some((1, "JobOutput<str>"))),
        (typed("int"), false, &two[..], None),
    ] {
        let edge = edge("a", output, "i", "JobOutput<Array<float>>", is_declared);
        let chosen = match readiness(&[Feed { edge: &edge, source: &outputs(given) }]) {
            Readiness::Ready(inputs) => Some(inputs["i"].clone()),
            Readiness::Lacks(_) => None,
            Readiness::Waits => panic!("nothing is left to wait for"),
        };
        let expected = expected.map(|(pk, of)| json!({"value": pk, "type": of}));
        assert_eq!(chosen, expected, "{edge:?} of {given:?}");
    }
}

fn template(text: &str) -> Template {
    import(serde_json::from_str::<Value>(text).unwrap().as_object().unwrap()).unwrap()
}

#[test]
fn a_plan_holds_all_that_the_children_will_need() {
    let pipeline = template(include_str!("../../../tests/data/templates/decay_pipeline.json"));
    let parts = [
        template(include_str!("../../../tests/data/templates/shaker_run.json")),
        template(include_str!("../../../tests/data/templates/decay_fit.json")),
    ];
    let given = json!({"run:speed_rpm": "50", "refine:seed": "9"});
    let mut lookup = |name: &str, _| parts.iter().find(|part| part.name == name).cloned();
    let made = plan(&pipeline, &Default::default(), given.as_object().unwrap(), &mut lookup).unwrap();
    let meta = pipeline.meta().unwrap();
    assert!(made.children.iter().map(|child| &child.name).eq(meta.nodes.iter().map(|(name, _)| name)));
    assert_eq!(made.edges.len(), meta.dependencies.len());
    let refine = made.children.iter().find(|child| child.name == "refine").unwrap();
    assert_eq!(Value::Object(refine.parameters.clone()), json!({"seed": "9", "terms": {"value": 3, "type": "int"}}));
    assert!(made.edges.iter().all(|edge| !edge.wanted.is_empty()), "{:?}", made.edges);

    for edge in &made.edges {
        let text = serde_json::to_string(edge).unwrap();
        assert_eq!(&serde_json::from_str::<Edge>(&text).unwrap(), edge);
    }
    let problems = plan(&pipeline, &Default::default(), &Default::default(), &mut |_, _| None).unwrap_err();
    assert!(problems.sentence().contains("run"), "{}", problems.sentence());
    assert_eq!(plan(&parts[0], &Default::default(), &Default::default(), &mut |_, _| None).unwrap(), Plan::default());
}
