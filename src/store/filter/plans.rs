//! The rendered SQL itself: what no path reaches, what is bound, and how SQLite would go about it.

use serde_json::{Value, json};

use super::world::World;
use super::*;
use crate::filter::{self, Cursor, Expression, Spec};

#[test]
fn secrets_can_not_be_reached() {
    let secret = [
        (&USERS, "password_hash"),
        (&USERS, "password"),
        (&USERS, "credentials"),
        (&DOCKER, "registry_username"),
        (&DOCKER, "registry_password"),
        (&JOBS, "creator.password_hash"),
        (&JOBS, "creator.credentials"),
        (&JOBS, "creator.email"),
        (&JOBS, "node.creator.password_hash"),
        (&JOBS, "rowid"),
        (&JOBS, "outputs.creator.password_hash"),
        (&JOBS, "template.specific"),
        (&JOBS, "notifications"),
    ];
    for (resource, field) in secret {
        let body = json!({"expressions": [{"type": "isnull", "field": field}]});
        assert!(filter::parse(&body, resource).is_err(), "{field}");
        let by_hand = Expression::IsNull { field: field.to_owned(), invert: false };
        let spec = Spec { expressions: vec![by_hand], ..Spec::default() };
        assert!(Query::new(resource, &spec).is_err(), "{field}");
    }
}

/// SQLite's plan for a page of the jobs that pass.
fn plan(world: &World, expressions: Value, after: Option<&Cursor>) -> String {
    let spec = filter::parse(&json!({"expressions": expressions}), &JOBS).unwrap();
    let page = Query::new(&JOBS, &spec).unwrap().page("t.*", after, Some(100));
    let mut statement = world.db.prepare(&format!("EXPLAIN QUERY PLAN {}", page.sql)).unwrap();
    let lines = statement.query_map(rusqlite::params_from_iter(page.params), |row| row.get::<_, String>(3)).unwrap();
    lines.collect::<Result<Vec<String>, _>>().unwrap().join("; ")
}

#[test]
fn plain_questions_are_answered_by_an_index() {
    let exact = |field: &str, value: Value| json!([{"type": "exact", "field": field, "value": value}]);
    let launcher = json!([{"type": "and", "sub_expressions": [
        {"type": "isnull", "field": "start_time"}, {"type": "isnull", "field": "error_reason"},
        {"type": "isnull", "field": "node"}, {"type": "isnull", "field": "template.workabletemplate", "invert": true},
    ]}]);
    let by_phase = json!([{"type": "exact", "field": "phase", "value": "created"}, {"type": "isnull", "field": "node"},
                          {"type": "isnull", "field": "template.workabletemplate", "invert": true}]);
    let table = [
        (launcher, "jobs_free"),
        (by_phase, "jobs_free"),
        (exact("pk", json!(5)), "SEARCH t USING INTEGER PRIMARY KEY (rowid=?)"),
        (json!([{"type": "compare", "field": "pk", "operator": ">", "value": 5}]), "PRIMARY KEY (rowid>?)"),
        (exact("node", json!(5)), "jobs_by_node (node=?)"),
        (exact("node.pk", json!(5)), "jobs_by_node (node=?)"),
        (exact("parent", json!(5)), "jobs_by_parent (parent=?)"),
        (exact("template", json!(5)), "jobs_by_template (template=?)"),
    ];
    let world = World::new(1);
    let after = Cursor { keys: Vec::new(), pk: 3 };
    for (expressions, index) in table {
        let first = plan(&world, expressions.clone(), None);
        assert!(first.contains(index), "{expressions}: {first}");
        for plan in [first, plan(&world, expressions.clone(), Some(&after))] {
            assert!(plan.starts_with("SEARCH t") || plan.contains(index), "{expressions}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{expressions} is sorted: {plan}");
        }
    }
}

#[test]
fn no_text_of_the_caller_is_in_the_sql() {
    let evil = "x' OR 1=1 --";
    let body = json!({"expressions": [{"type": "exact", "field": "description", "value": evil},
        {"type": "contains", "field": "outputs.name", "sub_string": evil, "case_insensitive": true, "invert": true},
        {"type": "compare", "field": "template.name", "operator": "<", "value": evil}]});
    let page = Query::new(&JOBS, &filter::parse(&body, &JOBS).unwrap()).unwrap().page("t.pk", None, Some(5));
    assert!(!page.sql.contains("OR 1=1") && page.params.len() == 4, "{}", page.sql);
}
