//! Makes up specs for the tests, over fields and values that the small world has.

use proptest::prelude::*;

use super::world::{PARTS, TEXTS, TIMES};
use super::*;
use crate::domain::time::Timestamp;
use crate::filter::{Expression, Kind, Literal, Operator, OrderBy, Schema, Spec};

/// Paths to test each resource by.
pub(super) const PATHS: [(&Resource, &[&str]); 6] = [
    (
        &JOBS,
        &[
            "pk",
            "phase",
            "is_cancelled",
            "description",
            "error_reason",
            "start_time",
            "end_time",
            "progress_amount",
            "deletion_time",
            "input_values",
            "template",
            "template.pk",
            "template.name",
            "template.domain",
            "template.domain.description",
            "template.type",
            "template.licence.name",
            "template.workabletemplate",
            "template.metatemplate",
            "template.creator.username",
            "node",
            "node.pk",
            "node.ip",
            "node.index",
            "node.driver_version",
            "node.hardware_generation.generation",
            "node.hardware_generation.min_compute_capability",
            "node.current_job.outputs.name",
            "parent",
            "parent.description",
            "parent.parent.template.workabletemplate",
            "parent.parent.parent.node.ip",
            "parent.is_cancelled",
            "parent.outputs",
            "creator",
            "creator.username",
            "outputs",
            "outputs.pk",
            "outputs.name",
            "outputs.type",
        ],
    ),
    (
        &JOB_OUTPUTS,
        &[
            "pk",
            "name",
            "size",
            "deletion_time",
            "job",
            "job.phase",
            "job.node.ip",
            "job.template.domain",
            "job.outputs.type",
            "job.template.metatemplate",
            "job.parent.end_time",
            "creator.username",
        ],
    ),
    (
        &JOB_TEMPLATES,
        &[
            "pk",
            "name",
            "version",
            "domain",
            "domain.pk",
            "licence",
            "type",
            "metatemplate",
            "workabletemplate",
            "parameters",
            "nodes",
            "outputs",
            "deletion_time",
            "required_packages",
        ],
    ),
    (
        &NODES,
        &[
            "ip",
            "index",
            "driver_version",
            "gpu_mem",
            "cpu_mem",
            "last_seen",
            "current_job",
            "current_job.pk",
            "current_job.phase",
        ],
    ),
    (&USERS, &["pk", "username", "email", "is_active", "is_staff", "date_joined", "last_login"]),
    (
        &DOCKER,
        &[
            "name",
            "domain",
            "domain.name",
            "licence",
            "licence.url",
            "tasks",
            "tasks.name",
            "cpu",
            "cuda_version.version",
            "framework.name",
            "min_hardware_generation",
            "min_hardware_generation.generation",
        ],
    ),
];

fn literal(kind: Kind) -> BoxedStrategy<Literal> {
    let pick = |pool: Vec<Literal>| proptest::sample::select(pool).boxed();
    let floats = PARTS.map(Literal::Float);
    match kind {
        Kind::Int => prop_oneof![
            8 => (0_i64..9).prop_map(Literal::Int),
            1 => pick(vec![Literal::Float(2.5), Literal::Float(3.0), Literal::Float(1e300), Literal::Int(i64::MAX)]),
        ]
        .boxed(),
        Kind::Float => pick([floats.to_vec(), vec![Literal::Int(1), Literal::Int(2)]].concat()),
        Kind::Bool => any::<bool>().prop_map(Literal::Bool).boxed(),
        Kind::Time => pick(TIMES.map(|time| Literal::Time(Timestamp(time))).to_vec()),
        Kind::Text | Kind::Json => text().prop_map(Literal::Text).boxed(),
    }
}

/// Parts of texts, and texts that stand in columns of their own.
const MORE_TEXTS: [&str; 13] =
    ["created", "cancelled", "log", "spectrum", "JSON", "lab-1", "d2", "C1", "LPHA", "ss", "%", "_", "ς"];

fn text() -> impl Strategy<Value = String> {
    let pool: Vec<&str> = TEXTS.iter().chain(&MORE_TEXTS).copied().collect();
    proptest::sample::select(pool).prop_map(str::to_owned)
}

fn test_of(resource: &'static Resource, path: &'static str) -> BoxedStrategy<Expression> {
    let kind = resource.field(&path.split('.').collect::<Vec<_>>()).expect(path).kind;
    let field = path.to_owned();
    let operators = proptest::sample::select(Operator::ALL.to_vec());
    (literal(kind), text(), operators, any::<bool>(), any::<bool>(), 0..4)
        .prop_map(move |(value, sub_string, operator, case_insensitive, invert, which)| {
            let field = field.clone();
            match which {
                0 if kind == Kind::Text => Expression::Contains { field, sub_string, case_insensitive, invert },
                1 if kind != Kind::Bool && kind != Kind::Json => Expression::Compare { field, operator, value, invert },
                2 | 3 if kind != Kind::Json => Expression::Exact { field, value, case_insensitive, invert },
                _ => Expression::IsNull { field, invert },
            }
        })
        .boxed()
}

fn spec_of(resource: &'static Resource, paths: &'static [&'static str]) -> impl Strategy<Value = Spec> {
    let tests = proptest::sample::select(paths).prop_flat_map(move |path| test_of(resource, path));
    let expressions = tests.prop_recursive(3, 12, 3, |inner| {
        (proptest::collection::vec(inner, 1..4), any::<bool>(), any::<bool>()).prop_map(|(of, all, invert)| match all {
            true => Expression::And { of, invert },
            false => Expression::Or { of, invert },
        })
    });
    let orderable = move |path: &&str| {
        let info = resource.field(&path.split('.').collect::<Vec<_>>()).expect(path);
        !info.to_many && info.kind != Kind::Json
    };
    let orderable: Vec<&str> = paths.iter().copied().filter(orderable).collect();
    let order = (proptest::sample::select(orderable), any::<bool>(), any::<Option<bool>>());
    let order =
        order.prop_map(|(field, ascending, nulls_first)| OrderBy { field: field.to_owned(), ascending, nulls_first });
    let expressions = proptest::collection::vec(expressions, 0..3);
    let orders = proptest::collection::vec(order, 0..4);
    (expressions, orders, any::<bool>()).prop_map(|(expressions, order_by, include_inactive)| Spec {
        expressions,
        order_by,
        include_inactive,
        ..Spec::default()
    })
}

pub(super) fn cases() -> impl Strategy<Value = (&'static Resource, Spec)> {
    (0..PATHS.len()).prop_flat_map(|which| {
        let (resource, paths) = PATHS[which];
        spec_of(resource, paths).prop_map(move |spec| (resource, spec))
    })
}

/// Every test of one field that the pools have, plain and inverted.
pub(super) fn tests_of(path: &str, kind: Kind) -> Vec<Expression> {
    let literals: Vec<Literal> = match kind {
        Kind::Int => (0..17).map(Literal::Int).chain([2.5, 3.0, -1e300].map(Literal::Float)).collect(),
        Kind::Float => PARTS.map(Literal::Float).into_iter().chain([Literal::Int(1)]).collect(),
        Kind::Bool => vec![Literal::Bool(true), Literal::Bool(false)],
        Kind::Time => TIMES.map(|time| Literal::Time(Timestamp(time))).to_vec(),
        Kind::Text => TEXTS.iter().chain(&MORE_TEXTS).map(|text| Literal::Text((*text).to_owned())).collect(),
        Kind::Json => Vec::new(),
    };
    let mut tests = Vec::new();
    for invert in [false, true] {
        let field = || path.to_owned();
        tests.push(Expression::IsNull { field: field(), invert });
        for value in &literals {
            for case_insensitive in [false, true] {
                tests.push(Expression::Exact { field: field(), value: value.clone(), case_insensitive, invert });
                if let Literal::Text(text) = value {
                    tests.push(Expression::Contains {
                        field: field(),
                        sub_string: text.clone(),
                        case_insensitive,
                        invert,
                    });
                }
            }
            if kind != Kind::Bool {
                let compare = |operator| Expression::Compare { field: field(), operator, value: value.clone(), invert };
                tests.extend(Operator::ALL.map(compare));
            }
        }
    }
    tests
}
