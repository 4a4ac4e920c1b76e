//! The list language once more, over JSON rows in memory: what the SQL is held against.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::world::{Row, World};
use crate::filter::{Expression, Literal, Operator, Spec, fold, sort_keys};

/// Which table a reference leads to.
fn target(table: &str, field: &str) -> &'static str {
    match (table, field) {
        (_, "template") => "job_templates",
        (_, "parent" | "current_job" | "job") => "jobs",
        (_, "node") => "nodes",
        (_, "creator") => "users",
        (_, "hardware_generation" | "min_hardware_generation") => "hardware_generations",
        (_, "domain") => "domains",
        (_, "licence") => "licences",
        (_, "framework") => "frameworks",
        (_, "cuda_version") => "cuda_versions",
        (_, "contract") => "job_contracts",
        _ => panic!("{table}.{field} is no reference"),
    }
}

/// Gives the values at the end of a path: one, or any number over a to-many one.
fn values(world: &World, table: &str, row: &Row, path: &[&str]) -> Vec<Value> {
    let of_kind = |kind: &str| if row["kind"] == kind { row["pk"].clone() } else { Value::Null };
    let element = |path: &[&str], own: &'static str| if path.len() > 1 { path[1].to_owned() } else { own.to_owned() };
    match (table, path) {
        ("jobs", ["is_cancelled"]) => vec![json!(i32::from(row["phase"] == "cancelled"))],
        ("jobs", ["outputs", ..]) => {
            let mine = |output: &&Row| output["job"] == row["pk"] && output["deletion_time"].is_null();
            world.tables["job_outputs"].iter().filter(mine).map(|output| output[&element(path, "pk")].clone()).collect()
        }
        ("docker_images", ["tasks", ..]) => {
            let mine = |task: &&Row| task["docker_image"] == row["pk"];
            let tasks = world.tables["docker_tasks"].iter().filter(mine);
            tasks.flat_map(|task| values(world, "docker_tasks", task, &["contract", "name"])).collect()
        }
        ("job_templates", ["workabletemplate" | "parameters" | "inputs" | "outputs"]) => vec![of_kind("workable")],
        ("job_templates", ["metatemplate" | "nodes" | "dependencies"]) => vec![of_kind("meta")],
        ("job_templates", ["domain"]) => values(world, table, row, &["domain", "name"]),
        ("docker_images", ["domain"]) => values(world, table, row, &["domain", "description"]),
        ("docker_images", ["licence"]) => values(world, table, row, &["licence", "name"]),
        (_, [field]) => vec![row[*field].clone()],
        // Nobody's outputs are none, rather than one that is null.
        (_, [field, .., "outputs" | "tasks"] | [field, .., "outputs", _]) if row[*field].is_null() => Vec::new(),
        (_, [field, _, ..]) if row[*field].is_null() => vec![Value::Null],
        (_, [field, rest @ ..]) => {
            let target = target(table, field);
            let found =
                world.tables[target].iter().find(|other| other["pk"] == row[*field]).expect("the row referred to");
            values(world, target, found, rest)
        }
        (_, []) => Vec::new(),
    }
}

/// Compares a value that is there with a literal, or with another such value.
fn order(value: &Value, other: &Value) -> Ordering {
    match (value.as_str(), other.as_str()) {
        (Some(text), Some(other)) => text.chars().cmp(other.chars()),
        _ => match (value.as_i64(), other.as_i64()) {
            (Some(number), Some(other)) => number.cmp(&other),
            _ => value.as_f64().partial_cmp(&other.as_f64()).expect("numbers"),
        },
    }
}

fn constant(literal: &Literal) -> Value {
    match literal {
        Literal::Int(number) => json!(number),
        Literal::Float(number) => json!(number),
        Literal::Text(text) => json!(text),
        Literal::Bool(truth) => json!(i32::from(*truth)),
        Literal::Time(time) => json!(time.0),
    }
}

fn folded(value: &Value, folds: bool) -> Value {
    value.as_str().filter(|_| folds).map_or_else(|| value.clone(), |text| json!(fold(text)))
}

/// Says whether a row passes a test.
fn passes(world: &World, table: &str, row: &Row, expression: &Expression) -> bool {
    let all = |field: &str| values(world, table, row, &field.split('.').collect::<Vec<_>>());
    let any =
        |field: &str, test: &dyn Fn(&Value) -> bool| all(field).iter().any(|value| !value.is_null() && test(value));
    let (found, invert) = match expression {
        Expression::And { of, invert } => (of.iter().all(|part| passes(world, table, row, part)), invert),
        Expression::Or { of, invert } => (of.iter().any(|part| passes(world, table, row, part)), invert),
        Expression::Exact { field, value, case_insensitive: folds, invert } => {
            let value = folded(&constant(value), *folds);
            (any(field, &|x| order(&folded(x, *folds), &value).is_eq()), invert)
        }
        Expression::Contains { field, sub_string, case_insensitive: folds, invert } => {
            let part = folded(&json!(sub_string), *folds);
            (any(field, &|x| folded(x, *folds).as_str().unwrap().contains(part.as_str().unwrap())), invert)
        }
        Expression::IsNull { field, invert } => match field.rsplit('.').next() {
            Some("outputs" | "tasks") if table != "job_templates" => (all(field).is_empty(), invert),
            _ => (all(field).iter().any(Value::is_null), invert),
        },
        Expression::Compare { field, operator, value, invert } => {
            let value = constant(value);
            let holds = |x: &Value| match operator {
                Operator::Less => order(x, &value).is_lt(),
                Operator::Greater => order(x, &value).is_gt(),
                Operator::LessOrEqual => order(x, &value).is_le(),
                Operator::GreaterOrEqual => order(x, &value).is_ge(),
            };
            (any(field, &holds), invert)
        }
    };
    found != *invert
}

/// Gives the keys of the rows that pass, in order.
pub(super) fn list(world: &World, table: &str, spec: &Spec) -> Vec<i64> {
    let active = |row: &Row| match table {
        "users" => row["is_active"] == 1,
        "jobs" | "job_outputs" | "job_templates" => row["deletion_time"].is_null(),
        _ => true,
    };
    let passes = |row: &&Row| {
        (spec.include_inactive || active(row)) && spec.expressions.iter().all(|test| passes(world, table, row, test))
    };
    let mut rows: Vec<&Row> = world.tables[table].iter().filter(passes).collect();
    rows.sort_by(|a, b| {
        let by_key = sort_keys(&spec.order_by).into_iter().map(|key| {
            let path: Vec<&str> = key.field.split('.').collect();
            let (a, b) = (values(world, table, a, &path).remove(0), values(world, table, b, &path).remove(0));
            match (a.is_null(), b.is_null(), key.nulls_first, key.ascending) {
                (true, true, _, _) => Ordering::Equal,
                (true, false, true, _) | (false, true, false, _) => Ordering::Less,
                (true, false, false, _) | (false, true, true, _) => Ordering::Greater,
                (false, false, _, true) => order(&a, &b),
                (false, false, _, false) => order(&b, &a),
            }
        });
        by_key.fold(Ordering::Equal, Ordering::then)
    });
    rows.iter().map(|row| row["pk"].as_i64().unwrap()).collect()
}
