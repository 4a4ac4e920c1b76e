//! Writes a spec as the JSON that reads back as it.

use serde_json::{Map, Value, json};

use super::ast::{Expression, Literal, OrderBy, Spec};

/// Writes a spec as a request's JSON. What has its default is left out, so the empty spec is `{}`.
pub fn to_json(spec: &Spec) -> Value {
    let Spec { expressions, order_by, include_inactive, limit, after, count } = spec;
    let mut object = Map::new();
    let mut put = |name: &str, there: bool, value: Value| {
        if there {
            object.insert(name.to_owned(), value);
        }
    };
    put("expressions", !expressions.is_empty(), expressions.iter().map(expression).collect());
    put("order_by", !order_by.is_empty(), order_by.iter().map(order).collect());
    put("include_inactive", *include_inactive, json!(true));
    put("limit", limit.is_some(), json!(limit));
    put("after", after.is_some(), json!(after));
    put("count", *count, json!(true));
    Value::Object(object)
}

fn expression(expression: &Expression) -> Value {
    let list = |of: &[Expression]| -> Value { of.iter().map(self::expression).collect() };
    let (mut object, invert) = match expression {
        Expression::And { of, invert } => (json!({"type": "and", "sub_expressions": list(of)}), invert),
        Expression::Or { of, invert } => (json!({"type": "or", "sub_expressions": list(of)}), invert),
        Expression::Exact { field, value, case_insensitive, invert } => {
            let value = literal(value);
            (json!({"type": "exact", "field": field, "value": value, "case_insensitive": case_insensitive}), invert)
        }
        Expression::Contains { field, sub_string, case_insensitive, invert } => (
            json!({"type": "contains", "field": field, "sub_string": sub_string, "case_insensitive": case_insensitive}),
            invert,
        ),
        Expression::IsNull { field, invert } => (json!({"type": "isnull", "field": field}), invert),
        Expression::Compare { field, operator, value, invert } => {
            let value = literal(value);
            (json!({"type": "compare", "field": field, "operator": operator.sign(), "value": value}), invert)
        }
    };
    if let Value::Object(fields) = &mut object {
        fields.retain(|name, value| name != "case_insensitive" || value == &json!(true));
        if *invert {
            fields.insert("invert".to_owned(), json!(true));
        }
    }
    object
}

fn literal(literal: &Literal) -> Value {
    match literal {
        Literal::Int(number) => json!(number),
        Literal::Float(number) => json!(number),
        Literal::Text(text) => json!(text),
        Literal::Bool(truth) => json!(truth),
        Literal::Time(time) => json!(time),
    }
}

fn order(order: &OrderBy) -> Value {
    let OrderBy { field, ascending, nulls_first } = order;
    let mut object = Map::from_iter([("field".to_owned(), json!(field))]);
    if !ascending {
        object.insert("ascending".to_owned(), json!(false));
    }
    if let Some(first) = nulls_first {
        object.insert("nulls_first".to_owned(), json!(first));
    }
    Value::Object(object)
}
