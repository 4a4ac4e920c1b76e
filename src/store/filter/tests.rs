//! The rendered SQL against the oracle.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::oracle;
use super::specs::{PATHS, cases, tests_of};
use super::world::World;
use super::*;
use crate::filter::{self, Expression, Kind, OrderBy, Schema, Spec, sort_keys};

/// Runs a statement whose first column is the key; gives the keys, and the place of the last row.
fn run(world: &World, query: &Query, spec: &Spec) -> (Vec<i64>, Option<String>) {
    let page = query.page("t.pk", query.start(), spec.limit);
    let mut statement = world.db.prepare(&page.sql).unwrap_or_else(|e| panic!("{e}: {}", page.sql));
    let mut rows = statement.query(rusqlite::params_from_iter(page.params)).unwrap();
    let (mut keys, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next().unwrap() {
        let pk = row.get(0).unwrap();
        keys.push(pk);
        last = Some(query.encode(&query.cursor(row, 1, pk).unwrap()));
    }
    (keys, last)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn sql_finds_what_the_language_says((resource, spec) in cases(), seed in 0_u64..1_000, size in 1_u32..6) {
        let world = World::new(seed);
        prop_assert_eq!(&filter::parse(&filter::to_json(&spec), resource), &Ok(spec.clone()));
        let expected = oracle::list(&world, resource.table, &spec);
        let query = Query::new(resource, &spec).unwrap();
        prop_assert_eq!(&run(&world, &query, &spec).0, &expected, "{}", query.page("t.pk", None, None).sql);

        let count = query.count();
        let counted: i64 = world.db.query_row(&count.sql, rusqlite::params_from_iter(count.params), |row| row.get(0)).unwrap();
        prop_assert_eq!(usize::try_from(counted).unwrap(), expected.len());

        let (mut walked, mut page) = (Vec::new(), Spec { limit: Some(size), ..spec });
        for _ in 0..=expected.len() {
            let page_query = Query::new(resource, &filter::parse(&filter::to_json(&page), resource).unwrap()).unwrap();
            let (keys, last) = run(&world, &page_query, &page);
            walked.extend(keys);
            if last.is_none() {
                break;
            }
            page.after = last;
        }
        prop_assert_eq!(walked, expected);
    }

    #[test]
    fn a_test_and_its_inversion_share_the_rows((resource, spec) in cases(), seed in 0_u64..1_000) {
        let world = World::new(seed);
        let found = |invert| {
            let expressions = vec![Expression::Or { of: spec.expressions.clone(), invert }];
            let spec = Spec { expressions, ..spec.clone() };
            run(&world, &Query::new(resource, &spec).unwrap(), &spec).0
        };
        prop_assume!(!spec.expressions.is_empty());
        let (mut both, rest) = (found(false), found(true));
        both.extend(rest);
        both.sort_unstable();
        let everything = Spec { expressions: Vec::new(), order_by: Vec::new(), ..spec.clone() };
        prop_assert_eq!(both, run(&world, &Query::new(resource, &everything).unwrap(), &everything).0);
    }
}

#[test]
fn each_test_of_each_field_alone_and_in_order() {
    let world = World::new(7);
    for (resource, paths) in PATHS {
        for path in paths {
            let info = resource.field(&path.split('.').collect::<Vec<_>>()).expect(path);
            for expression in tests_of(path, info.kind) {
                let spec = Spec { expressions: vec![expression], include_inactive: true, ..Spec::default() };
                let found = run(&world, &Query::new(resource, &spec).unwrap(), &spec).0;
                assert_eq!(found, oracle::list(&world, resource.table, &spec), "{} {spec:?}", resource.name);
            }
            let orders = [true, false].map(|ascending| [None, Some(true), Some(false)].map(|nulls| (ascending, nulls)));
            for (ascending, nulls_first) in orders.concat() {
                let order_by = vec![OrderBy { field: (*path).to_owned(), ascending, nulls_first }];
                let spec = Spec { order_by, include_inactive: true, ..Spec::default() };
                if !info.to_many && info.kind != Kind::Json {
                    let found = run(&world, &Query::new(resource, &spec).unwrap(), &spec).0;
                    assert_eq!(found, oracle::list(&world, resource.table, &spec), "{} {spec:?}", resource.name);
                }
            }
        }
    }
}

#[test]
fn the_deepest_and_widest_spec_runs() {
    let world = World::new(1);
    let leaf = json!({"type": "contains", "field": "parent.parent.parent.node.hardware_generation.generation",
                      "sub_string": "a", "case_insensitive": true, "invert": true});
    let nested = (0..filter::DEPTH_MAX).fold(leaf.clone(), |inner, level| {
        json!({"type": if level % 2 == 0 { "and" } else { "or" }, "sub_expressions": [inner, leaf], "invert": level % 2 == 0})
    });
    let order = json!({"field": "parent.parent.parent.node.hardware_generation.generation"});
    let mut expressions = vec![nested];
    expressions.extend(vec![leaf; filter::EXPRESSIONS_MAX - 2 * filter::DEPTH_MAX - 1]);
    let fields = [
        "description",
        "phase",
        "start_time",
        "end_time",
        "node.ip",
        "node.index",
        "template.name",
        "creator.username",
    ];
    let mut order_by: Vec<Value> = fields.map(|field| json!({"field": field, "nulls_first": false})).to_vec();
    order_by.push(order);
    let body = json!({"expressions": expressions, "order_by": order_by, "include_inactive": true, "limit": 2});
    let mut spec = filter::parse(&body, &JOBS).unwrap();
    let (first, last) = run(&world, &Query::new(&JOBS, &spec).unwrap(), &spec);
    let whole = oracle::list(&world, "jobs", &spec);
    assert_eq!(first, whole[..2]);
    spec.after = last;
    assert_eq!(run(&world, &Query::new(&JOBS, &spec).unwrap(), &spec).0, whole[2..4]);

    let flat = json!({"type": "or", "sub_expressions": vec![json!({"type": "isnull", "field": "outputs.name"}); 199]});
    let spec = filter::parse(&json!({"expressions": [flat]}), &JOBS).unwrap();
    assert_eq!(run(&world, &Query::new(&JOBS, &spec).unwrap(), &spec).0, [0_i64; 0]);
}

#[test]
fn every_field_of_every_table_is_there() {
    let world = World::new(3);
    let resources = [
        &JOBS,
        &JOB_OUTPUTS,
        &JOB_TEMPLATES,
        &NODES,
        &USERS,
        &HARDWARE,
        &CUDA,
        &DOCKER,
        &JOB_TYPES,
        &JOB_CONTRACTS,
        &DOMAINS,
        &LICENCES,
        &FRAMEWORKS,
    ];
    for resource in resources {
        for field in resource.fields {
            let info = resource
                .field(&[field.name])
                .unwrap_or_else(|| resource.field(&field.name.split('.').collect::<Vec<_>>()).unwrap());
            let test = |invert| Expression::IsNull { field: field.name.to_owned(), invert };
            let ordered = info.kind != Kind::Json && !info.to_many;
            let order = OrderBy { field: field.name.to_owned(), ascending: false, nulls_first: Some(true) };
            let of = vec![test(false), test(true)];
            let spec = Spec {
                expressions: vec![Expression::Or { of, invert: false }],
                order_by: if ordered { vec![order] } else { Vec::new() },
                include_inactive: true,
                ..Spec::default()
            };
            let found = run(&world, &Query::new(resource, &spec).unwrap(), &spec).0;
            let all = world.tables.get(resource.table).map_or(0, Vec::len);
            assert_eq!(found.len(), all, "{}.{}", resource.name, field.name);
        }
    }
}

#[test]
fn a_cursor_of_another_list_is_refused() {
    let spec = Spec {
        order_by: vec![OrderBy { field: "start_time".to_owned(), ascending: true, nulls_first: None }],
        ..Spec::default()
    };
    let world = World::new(1);
    let after = run(&world, &Query::new(&JOBS, &spec).unwrap(), &spec).1;
    assert!(after.is_some() && sort_keys(&spec.order_by).len() == 2);
    assert!(Query::new(&JOBS, &Spec { after: after.clone(), ..spec }).is_ok());
    let problems = Query::new(&JOBS, &Spec { after, ..Spec::default() }).unwrap_err();
    assert!(problems.names().eq(["after"]));
}
