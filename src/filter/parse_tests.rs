//! What a list request may say, and what is said of one that may not.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::filter::{Key, SortKey, sort_keys, to_json};

/// A small resource with a field of every kind.
struct Toys;

impl Schema for Toys {
    fn name(&self) -> &str {
        "toys"
    }

    fn field(&self, path: &[&str]) -> Option<FieldInfo> {
        let (kind, nullable, to_many) = match path.join(".").as_str() {
            "pk" => (Kind::Int, false, false),
            "name" => (Kind::Text, false, false),
            "weight" => (Kind::Float, true, false),
            "sold" => (Kind::Bool, false, false),
            "made" => (Kind::Time, true, false),
            "extra" => (Kind::Json, false, false),
            "maker.name" | "a.b.c.d.e.f" => (Kind::Text, true, false),
            "parts.name" => (Kind::Text, true, true),
            _ => return None,
        };
        Some(FieldInfo { kind, nullable, to_many })
    }
}

fn exact(field: &str, value: Value) -> Value {
    json!({"type": "exact", "field": field, "value": value})
}

fn compare(field: &str, operator: &str, value: Value) -> Value {
    json!({"type": "compare", "field": field, "operator": operator, "value": value})
}

fn one(expression: Value) -> Value {
    json!({"expressions": [expression]})
}

#[test]
fn the_empty_object_is_the_empty_spec() {
    assert_eq!(parse(&json!({}), &Toys), Ok(Spec::default()));
    assert_eq!(parse(&json!({"expressions": [], "order_by": []}), &Toys), Ok(Spec::default()));
    assert_eq!(to_json(&Spec::default()), json!({}));
}

#[test]
fn every_part_is_read() {
    let body = json!({
        "expressions": [
            {"type": "or", "invert": true, "sub_expressions": [
                {"type": "exact", "field": "name", "value": "x", "case_insensitive": true},
                {"type": "contains", "field": "parts.name", "sub_string": "", "invert": false},
                {"type": "is_null", "field": "extra"},
            ]},
            compare("made", ">=", json!("2020-01-01T00:00:00+13:00")),
            exact("pk", json!(1.5)),
            exact("weight", json!(2)),
            exact("sold", json!(false)),
        ],
        "order_by": [{"field": "made", "ascending": false, "nulls_first": true}, {"field": "name"}],
        "include_inactive": true, "limit": 10_000, "count": true,
    });
    let field = str::to_owned;
    let expected = Spec {
        expressions: vec![
            Expression::Or {
                of: vec![
                    Expression::Exact {
                        field: field("name"),
                        value: Literal::Text("x".to_owned()),
                        case_insensitive: true,
                        invert: false,
                    },
                    Expression::Contains {
                        field: field("parts.name"),
                        sub_string: String::new(),
                        case_insensitive: false,
                        invert: false,
                    },
                    Expression::IsNull { field: field("extra"), invert: false },
                ],
                invert: true,
            },
            Expression::Compare {
                field: field("made"),
                operator: Operator::GreaterOrEqual,
                value: Literal::Time(Timestamp(1_577_790_000_000_000)),
                invert: false,
            },
            plain_exact("pk", Literal::Float(1.5)),
            plain_exact("weight", Literal::Int(2)),
            plain_exact("sold", Literal::Bool(false)),
        ],
        order_by: vec![
            OrderBy { field: field("made"), ascending: false, nulls_first: Some(true) },
            OrderBy { field: field("name"), ascending: true, nulls_first: None },
        ],
        include_inactive: true,
        limit: Some(10_000),
        after: None,
        count: true,
    };
    assert_eq!(parse(&body, &Toys), Ok(expected));
}

fn plain_exact(field: &str, value: Literal) -> Expression {
    Expression::Exact { field: field.to_owned(), value, case_insensitive: false, invert: false }
}

#[test]
fn what_is_wrong_is_named() {
    let x = exact("pk", json!(1));
    let with = |name: &str, value: Value| {
        let mut object = x.clone();
        object[name] = value;
        one(object)
    };
    let table = [
        (json!(5), "body"),
        (json!({"foo": 1}), "foo"),
        (json!({"expressions": {}}), "expressions"),
        (json!({"expressions": null}), "expressions"),
        (one(json!("x")), "expressions.0"),
        (one(json!({"field": "pk", "value": 1})), "expressions.0.type"),
        (one(json!({"type": "nope", "field": "pk"})), "nope"),
        (one(json!({"type": 5})), "type"),
        (one(exact("nope", json!(1))), "nope"),
        (one(exact("", json!(1))), "field"),
        (one(exact(".", json!(1))), "field"),
        (one(exact("name.", json!("x"))), "name."),
        (one(json!({"type": "exact", "field": 5, "value": 1})), "expressions.0.field"),
        (one(json!({"type": "exact", "field": "pk"})), "value"),
        (one(exact("pk", json!([1]))), "pk"),
        (one(exact("pk", json!("abc"))), "pk"),
        (one(exact("pk", json!(true))), "pk"),
        (one(exact("name", Value::Null)), "name"),
        (one(exact("sold", json!("maybe"))), "sold"),
        (one(exact("made", json!("garbage"))), "garbage"),
        (one(exact("made", json!(5))), "made"),
        (one(exact("extra", json!({}))), "extra"),
        (with("extra", json!(1)), "extra"),
        (with("invert", json!("yes")), "invert"),
        (with("case_insensitive", json!(1)), "case_insensitive"),
        (one(json!({"type": "contains", "field": "name", "sub_string": 5})), "sub_string"),
        (one(json!({"type": "contains", "field": "name"})), "sub_string"),
        (one(json!({"type": "contains", "field": "pk", "sub_string": "1"})), "pk"),
        (one(json!({"type": "isnull", "field": "name", "case_insensitive": true})), "case_insensitive"),
        (one(compare("pk", "=", json!(1))), "\"=\""),
        (one(compare("pk", "<", json!(true))), "pk"),
        (one(compare("sold", "<", json!(true))), "sold"),
        (one(json!({"type": "and"})), "sub_expressions"),
        (one(json!({"type": "or", "sub_expressions": []})), "sub_expressions"),
        (one(json!({"type": "or", "sub_expressions": [x, exact("nope", json!(1))]})), "sub_expressions.1.field"),
        (json!({"order_by": "pk"}), "order_by"),
        (json!({"order_by": [5]}), "order_by.0"),
        (json!({"order_by": [{}]}), "order_by.0.field"),
        (json!({"order_by": [{"field": "-pk"}]}), "-pk"),
        (json!({"order_by": [{"field": "parts.name"}]}), "parts.name"),
        (json!({"order_by": [{"field": "extra"}]}), "extra"),
        (json!({"order_by": [{"field": "pk", "x": 1}]}), "x"),
        (json!({"order_by": [{"field": "pk", "ascending": null}]}), "ascending"),
        (json!({"order_by": vec![json!({"field": "pk"}); ORDER_BY_MAX + 1]}), "order_by"),
        (json!({"include_inactive": null}), "include_inactive"),
        (json!({"limit": 0}), "limit"),
        (json!({"limit": 10_001}), "limit"),
        (json!({"limit": 1.5}), "limit"),
        (json!({"limit": 5, "after": "garbage"}), "after"),
        (json!({"limit": 5, "after": 5}), "after"),
        (json!({"count": "yes"}), "count"),
    ];
    for (body, word) in table {
        let problems = parse(&body, &Toys).expect_err(&body.to_string());
        assert!(problems.sentence().contains(word), "{body}: {} does not name {word:?}", problems.sentence());
        assert_eq!(problems.names().count(), 1, "{body}: {}", problems.sentence());
    }
}

/// An expression inside of `depth` logical ones.
fn nested(depth: usize) -> Value {
    let wrap = |inner, level| json!({"type": if level % 2 == 0 { "and" } else { "or" }, "sub_expressions": [inner]});
    (0..depth).fold(exact("pk", json!(1)), wrap)
}

#[test]
fn nesting_has_an_end() {
    assert!(parse(&one(nested(DEPTH_MAX)), &Toys).is_ok());
    for depth in [DEPTH_MAX + 1, 110] {
        let problems = parse(&one(nested(depth)), &Toys).expect_err("too deep");
        assert!(problems.sentence().contains("depth 16"), "{}", problems.sentence());
    }
}

#[test]
fn nested_expressions_count_too() {
    let tests = |count| json!(vec![exact("pk", json!(1)); count]);
    let some = |count| one(json!({"type": "or", "sub_expressions": tests(count)}));
    assert!(parse(&json!({"expressions": tests(EXPRESSIONS_MAX)}), &Toys).is_ok());
    assert!(parse(&some(EXPRESSIONS_MAX - 1), &Toys).is_ok());
    for body in [json!({"expressions": tests(EXPRESSIONS_MAX + 1)}), some(EXPRESSIONS_MAX), some(50_000)] {
        let problems = parse(&body, &Toys).expect_err("too many");
        assert!(problems.sentence().contains("at most 200 expressions"), "{}", problems.sentence());
    }
}

#[test]
fn only_what_decides_the_order_is_a_sort_key() {
    let by = |field: &str, ascending, nulls_first| OrderBy { field: field.to_owned(), ascending, nulls_first };
    let order = [by("made", false, None), by("made", true, Some(true)), by("pk", false, None), by("name", true, None)];
    let keys = [
        SortKey { field: "made", ascending: false, nulls_first: false },
        SortKey { field: "pk", ascending: false, nulls_first: false },
    ];
    assert_eq!(sort_keys(&order), keys);
    assert_eq!(sort_keys(&[]), [SortKey { field: "pk", ascending: true, nulls_first: true }]);
}

fn literals(kind: Kind) -> BoxedStrategy<Literal> {
    let float = any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Literal::Float);
    match kind {
        Kind::Int | Kind::Float => prop_oneof![any::<i64>().prop_map(Literal::Int), float].boxed(),
        Kind::Text => any::<String>().prop_map(Literal::Text).boxed(),
        Kind::Bool => any::<bool>().prop_map(Literal::Bool).boxed(),
        _ => (-1_000_000_000_000_000..4_000_000_000_000_000_i64).prop_map(|t| Literal::Time(Timestamp(t))).boxed(),
    }
}

fn expressions() -> impl Strategy<Value = Expression> {
    let fields = prop_oneof![
        Just(("pk", Kind::Int)),
        Just(("weight", Kind::Float)),
        Just(("parts.name", Kind::Text)),
        Just(("sold", Kind::Bool)),
        Just(("made", Kind::Time)),
    ];
    let operators = proptest::sample::select(Operator::ALL.to_vec());
    let tests = (fields, operators, any::<bool>(), any::<bool>(), any::<String>(), 0..4).prop_flat_map(
        |((field, kind), operator, case_insensitive, invert, sub_string, which)| {
            literals(kind).prop_map(move |value| {
                let (field, text) = (field.to_owned(), sub_string.clone());
                match which {
                    0 => Expression::IsNull { field, invert },
                    1 => Expression::Contains { field: "name".to_owned(), sub_string: text, case_insensitive, invert },
                    2 if kind != Kind::Bool => Expression::Compare { field, operator, value, invert },
                    _ => Expression::Exact { field, value, case_insensitive, invert },
                }
            })
        },
    );
    tests.prop_recursive(6, 60, 4, |inner| {
        let of = proptest::collection::vec(inner, 1..4);
        (of, any::<bool>(), any::<bool>()).prop_map(|(of, all, invert)| match all {
            true => Expression::And { of, invert },
            false => Expression::Or { of, invert },
        })
    })
}

fn specs() -> impl Strategy<Value = Spec> {
    let order = (proptest::sample::select(vec!["pk", "made", "maker.name"]), any::<bool>(), any::<Option<bool>>());
    let order =
        order.prop_map(|(field, ascending, nulls_first)| OrderBy { field: field.to_owned(), ascending, nulls_first });
    let orders = proptest::collection::vec(order, 0..4);
    let tests = proptest::collection::vec(expressions(), 0..3);
    (tests, orders, any::<[bool; 3]>(), proptest::option::of(1..=LIMIT_MAX)).prop_map(
        |(expressions, order_by, [include_inactive, count, goes_on], limit)| {
            let keys = vec![Key::Text("k".to_owned()); sort_keys(&order_by).len() - 1];
            let after = goes_on.then(|| Cursor { keys, pk: 5 }.encode("toys", &order_by));
            Spec { expressions, order_by, include_inactive, limit, after, count }
        },
    )
}

fn any_json() -> impl Strategy<Value = Value> {
    let words = vec!["and", "or", "exact", "isnull", "compare", "pk", "name", "<", "made"];
    let keys =
        vec!["type", "field", "value", "sub_expressions", "expressions", "order_by", "operator", "limit", "after"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        proptest::sample::select(words).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let key = proptest::sample::select(keys.clone()).prop_map(str::to_owned);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::hash_map(key, inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(spec in specs()) {
        prop_assert_eq!(parse(&to_json(&spec), &Toys), Ok(spec));
    }

    #[test]
    fn a_refusal_says_why(body in any_json()) {
        if let Err(problems) = parse(&body, &Toys) {
            prop_assert!(!problems.is_empty());
        }
    }
}
