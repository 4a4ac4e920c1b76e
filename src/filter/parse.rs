//! Reads a list request's JSON, and names everything that is wrong with it.

use serde_json::{Map, Value};

use super::ast::{Expression, Literal, Operator, OrderBy, Spec};
use super::cursor::Cursor;
use super::{FieldInfo, Kind, Schema};
use crate::domain::fields::{Fields, Problems, array, boolean, integer, kind_of, object};
use crate::domain::time::Timestamp;

/// How deep `and` and `or` nest (contract §9).
pub const DEPTH_MAX: usize = 16;
/// How many expressions a spec has at most, nested ones and `and` and `or` themselves included (contract §9).
pub const EXPRESSIONS_MAX: usize = 200;
/// The largest `limit` (contract §9).
pub const LIMIT_MAX: u32 = 10_000;
/// How many fields a list is ordered by at most, so that a cursor fits in a header.
pub const ORDER_BY_MAX: usize = 16;
/// How many segments the path of a field is split into at most; the last one takes the rest, for names that hold dots.
const SEGMENTS_MAX: usize = 6;

/// Reads a list request.
///
/// Returns a problem for each unknown key, type, field or operator, for each value of the wrong kind, for a cursor
/// of another list, and for what is over a limit.
pub fn parse(body: &Value, schema: &dyn Schema) -> Result<Spec, Problems> {
    let mut fields = Fields::new(object(body).map_err(|sentence| Problems::one("body", sentence))?);
    let mut parser = Parser { schema, count: 0 };
    let expressions = parser.list(&mut fields, "expressions", 0).unwrap_or_default();
    let order_by = parser.order_by(&mut fields);
    let include_inactive = fields.optional("include_inactive", boolean).unwrap_or(false);
    let limit = fields.optional("limit", integer(1..=i64::from(LIMIT_MAX))).and_then(|limit| u32::try_from(limit).ok());
    let after = fields.optional("after", |value| cursor(value, schema, order_by.as_deref()));
    let count = fields.optional("count", boolean).unwrap_or(false);
    fields.finish()?;
    Ok(Spec { expressions, order_by: order_by.unwrap_or_default(), include_inactive, limit, after, count })
}

/// The name of a type of expression.
#[derive(Clone, Copy)]
enum Type {
    And,
    Or,
    Exact,
    Contains,
    IsNull,
    Compare,
}

struct Parser<'s> {
    schema: &'s dyn Schema,
    /// How many expressions were met.
    count: usize,
}

impl Parser<'_> {
    /// Reads an array of expressions, if it is there; `None` when it is not, or is bad.
    fn list<'a>(&mut self, fields: &mut Fields<'a>, name: &'a str, depth: usize) -> Option<Vec<Expression>> {
        let items = fields.optional(name, array)?;
        let mut problems = Problems::default();
        let mut expressions = Vec::new();
        for (index, item) in items.iter().enumerate() {
            self.count += 1;
            if self.count > EXPRESSIONS_MAX {
                fields.problem(name, format!("There may be at most {EXPRESSIONS_MAX} expressions in all."));
                break;
            }
            match object(item) {
                Err(sentence) => problems.add(index.to_string(), sentence),
                Ok(object) => match self.expression(object, depth) {
                    Err(inner) => problems.add_all(&index.to_string(), inner),
                    Ok(expression) => expressions.push(expression),
                },
            }
        }
        let good = problems.is_empty();
        fields.problems_within(name, problems);
        good.then_some(expressions)
    }

    /// Reads one expression inside of `depth` logical ones.
    fn expression(&mut self, object: &Map<String, Value>, depth: usize) -> Result<Expression, Problems> {
        let mut fields = Fields::new(object);
        let Some(kind) = fields.required("type", type_name) else {
            // Without a type nobody knows which of the other keys belong.
            let names: Vec<&str> = object.keys().map(String::as_str).collect();
            fields.pass_over(&names);
            return Err(fields.finish().err().unwrap_or_default());
        };
        let invert = fields.optional("invert", boolean).unwrap_or(false);
        let expression = match kind {
            Type::And => self.parts(&mut fields, depth).map(|of| Expression::And { of, invert }),
            Type::Or => self.parts(&mut fields, depth).map(|of| Expression::Or { of, invert }),
            Type::Exact => self.exact(&mut fields, invert),
            Type::Contains => self.contains(&mut fields, invert),
            Type::IsNull => self.field(&mut fields).map(|(field, _)| Expression::IsNull { field, invert }),
            Type::Compare => self.compare(&mut fields, invert),
        };
        fields.finish()?;
        expression.ok_or_else(|| Problems::one("type", "This expression can't be read."))
    }

    /// Reads the parts of an `and` or `or` that is itself inside of `depth` others.
    fn parts(&mut self, fields: &mut Fields<'_>, depth: usize) -> Option<Vec<Expression>> {
        if depth >= DEPTH_MAX {
            fields.pass_over(&["sub_expressions"]);
            fields.problem("sub_expressions", format!("Expressions may nest to depth {DEPTH_MAX} at most."));
            return None;
        }
        if fields.required("sub_expressions", array)?.is_empty() {
            fields.problem("sub_expressions", "Must not be empty.");
            return None;
        }
        self.list(fields, "sub_expressions", depth + 1)
    }

    fn exact(&self, fields: &mut Fields<'_>, invert: bool) -> Option<Expression> {
        let case_insensitive = fields.optional("case_insensitive", boolean).unwrap_or(false);
        let (field, value) = self.field_and_value(fields)?;
        Some(Expression::Exact { field, value, case_insensitive, invert })
    }

    fn contains(&self, fields: &mut Fields<'_>, invert: bool) -> Option<Expression> {
        let case_insensitive = fields.optional("case_insensitive", boolean).unwrap_or(false);
        let sub_string = fields.required("sub_string", string).map(str::to_owned);
        let (field, info) = self.field(fields)?;
        if info.kind != Kind::Text {
            fields.problem("field", format!("{field:?} holds {}, which can't contain a text.", plural(info.kind)));
            return None;
        }
        Some(Expression::Contains { field, sub_string: sub_string?, case_insensitive, invert })
    }

    fn compare(&self, fields: &mut Fields<'_>, invert: bool) -> Option<Expression> {
        let operator = fields.required("operator", operator);
        let (field, value) = self.field_and_value(fields)?;
        if matches!(value, Literal::Bool(_)) {
            fields.problem("field", format!("{field:?} holds {}, which have no order.", plural(Kind::Bool)));
            return None;
        }
        Some(Expression::Compare { field, operator: operator?, value, invert })
    }

    /// Reads `field` and a `value` of a kind that fits it.
    fn field_and_value(&self, fields: &mut Fields<'_>) -> Option<(String, Literal)> {
        let Some((field, info)) = self.field(fields) else {
            fields.pass_over(&["value"]);
            return None;
        };
        if info.kind == Kind::Json {
            fields.pass_over(&["value"]);
            fields.problem("field", format!("{field:?} holds {}: only isnull can test it.", plural(info.kind)));
            return None;
        }
        let value = fields.required("value", |value| literal(&field, info.kind, value))?;
        Some((field, value))
    }

    /// Reads `field` and finds it among those of the resource.
    fn field(&self, fields: &mut Fields<'_>) -> Option<(String, FieldInfo)> {
        let path = fields.required("field", string)?;
        let segments: Vec<&str> = path.splitn(SEGMENTS_MAX, '.').collect();
        let Some(info) = self.schema.field(&segments) else {
            fields.problem("field", format!("{} have no field {path:?} to list by.", self.schema.name()));
            return None;
        };
        Some((path.to_owned(), info))
    }

    /// Reads `order_by`; `None` when it is bad, and an empty order when it is not there.
    fn order_by(&self, fields: &mut Fields<'_>) -> Option<Vec<OrderBy>> {
        if fields.raw("order_by").is_none() {
            return Some(Vec::new());
        }
        let items = fields.optional("order_by", array)?;
        if items.len() > ORDER_BY_MAX {
            fields.problem("order_by", format!("There may be at most {ORDER_BY_MAX} fields to order by."));
            return None;
        }
        let mut problems = Problems::default();
        let mut order_by = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match object(item) {
                Err(sentence) => problems.add(index.to_string(), sentence),
                Ok(object) => match self.order(object) {
                    Err(inner) => problems.add_all(&index.to_string(), inner),
                    Ok(order) => order_by.push(order),
                },
            }
        }
        let good = problems.is_empty();
        fields.problems_within("order_by", problems);
        good.then_some(order_by)
    }

    /// Reads one element of `order_by`.
    fn order(&self, object: &Map<String, Value>) -> Result<OrderBy, Problems> {
        let mut fields = Fields::new(object);
        let ascending = fields.optional("ascending", boolean).unwrap_or(true);
        let nulls_first = fields.optional("nulls_first", boolean);
        let field = self.field(&mut fields).and_then(|(field, info)| {
            let orderable = info.kind != Kind::Json && !info.to_many;
            if !orderable {
                fields.problem("field", format!("A list can't be ordered by {field:?}."));
            }
            orderable.then_some(field)
        });
        fields.finish()?;
        let field = field.ok_or_else(|| Problems::one("field", "This field can't be read."))?;
        Ok(OrderBy { field, ascending, nulls_first })
    }
}

/// Reads the name of a type of expression.
fn type_name(value: &Value) -> Result<Type, String> {
    match string(value)? {
        "and" => Ok(Type::And),
        "or" => Ok(Type::Or),
        "exact" => Ok(Type::Exact),
        "contains" => Ok(Type::Contains),
        "isnull" | "is_null" => Ok(Type::IsNull),
        "compare" => Ok(Type::Compare),
        other => Err(format!("There is no type {other:?}; there are and, or, exact, contains, isnull and compare.")),
    }
}

/// Reads the sign of a relation.
fn operator(value: &Value) -> Result<Operator, String> {
    let sign = string(value)?;
    let found = Operator::ALL.into_iter().find(|operator| operator.sign() == sign);
    found.ok_or_else(|| format!("There is no operator {sign:?}; there are <, >, <= and >=."))
}

/// Reads a value to test a field of this kind against.
fn literal(field: &str, kind: Kind, value: &Value) -> Result<Literal, String> {
    let found = match kind {
        Kind::Int | Kind::Float => match value.as_i64() {
            Some(number) => Some(Literal::Int(number)),
            None => value.as_f64().filter(|number| number.is_finite()).map(Literal::Float),
        },
        Kind::Text => value.as_str().map(|text| Literal::Text(text.to_owned())),
        Kind::Bool => value.as_bool().map(Literal::Bool),
        Kind::Time => value.as_str().and_then(Timestamp::parse).map(Literal::Time),
        Kind::Json => None,
    };
    found.ok_or_else(|| match (kind, value) {
        (Kind::Time, Value::String(text)) => format!("{field:?} holds {}, and {text:?} is none.", plural(kind)),
        _ => format!("{field:?} holds {}, and can't be tested against {}.", plural(kind), kind_of(value)),
    })
}

/// Reads a cursor and says whether it is one of this list; it stays a text in the spec.
fn cursor(value: &Value, schema: &dyn Schema, order_by: Option<&[OrderBy]>) -> Result<String, String> {
    let text = string(value)?;
    // When the order is bad there is nothing to hold the cursor against, and the request fails without it.
    let good = order_by.is_none_or(|order_by| Cursor::decode(text, schema.name(), order_by).is_some());
    if good { Ok(text.to_owned()) } else { Err("Is not a cursor of this list in this order.".to_owned()) }
}

/// Takes a text of any length, with any characters: it is only ever compared.
fn string(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("Must be a text, not {}.", kind_of(value)))
}

/// Says what a field of this kind holds, for people.
fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Int | Kind::Float => "numbers",
        Kind::Text => "texts",
        Kind::Bool => "true or false",
        Kind::Time => "times (RFC 3339)",
        Kind::Json => "objects",
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
