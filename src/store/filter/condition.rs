//! Renders tests into a WHERE condition.
//!
//! SQL knows three truth values and the contract two: a null passes no test, and passes every inverted one. Where no
//! inversion stands above a test, SQL's third value ends up as "does not pass" by itself, and the test is rendered
//! plainly, so that indexes serve it. Below an inversion each test that a null could reach is rendered two-valued.

use rusqlite::types::Value;

use super::resource::{Path, Premise, Resource, Step};
use crate::domain::fields::Problems;
use crate::filter::{Expression, Kind, Literal, fold};

/// Collects the bound values, and numbers the aliases of the rows that paths lead through.
#[derive(Debug, Default)]
pub(super) struct Renderer {
    pub(super) params: Vec<Value>,
    aliases: usize,
}

/// A test of one value, as a function from the value's SQL; the flag says whether it must be two-valued.
type Test<'a> = &'a dyn Fn(&str, bool) -> String;

impl Renderer {
    /// Binds a value and gives its place-holder.
    pub(super) fn bind(&mut self, value: Value) -> String {
        self.params.push(value);
        format!("?{}", self.params.len())
    }

    /// Finds a field. A parsed spec has no unknown ones; one that was put together by hand may.
    pub(super) fn find(&mut self, resource: &'static Resource, field: &str) -> Result<Path, Problems> {
        let segments: Vec<&str> = field.split('.').collect();
        let unknown = || Problems::one("field", format!("{} have no field {field:?} to list by.", resource.name));
        let mut path = resource.resolve(&segments).ok_or_else(unknown)?;
        if let Some(member) = path.member.take() {
            let place = self.bind(Value::Text(member));
            // Looked up, and not extracted: the name may hold what a JSON path reads in its own way.
            path.sql = format!("(SELECT value FROM json_each({}) WHERE key = {place})", path.sql).into();
        }
        Ok(path)
    }

    /// Renders tests joined by AND over the rows of `t`; empty if there are none.
    pub(super) fn all(
        &mut self,
        resource: &'static Resource,
        expressions: &[Expression],
    ) -> Result<Vec<String>, Problems> {
        let mut conditions = hints(resource, expressions);
        for expression in expressions {
            conditions.push(self.expression(resource, expression, false)?);
        }
        Ok(conditions)
    }

    fn expression(
        &mut self,
        resource: &'static Resource,
        expression: &Expression,
        two_valued: bool,
    ) -> Result<String, Problems> {
        let inverts = match expression {
            Expression::And { invert, .. }
            | Expression::Or { invert, .. }
            | Expression::Exact { invert, .. }
            | Expression::Contains { invert, .. }
            | Expression::Compare { invert, .. } => *invert,
            // Asking for a value is a test of its own, which partial indexes know.
            Expression::IsNull { field, invert } => {
                let path = self.find(resource, field)?;
                return Ok(self.is_null(&path, *invert));
            }
        };
        let two_valued = two_valued || inverts;
        let sql = match expression {
            Expression::And { of, .. } => self.join(resource, of, " AND ", two_valued)?,
            Expression::Or { of, .. } => self.join(resource, of, " OR ", two_valued)?,
            Expression::Exact { field, value, case_insensitive, .. } => {
                let path = self.find(resource, field)?;
                let folds = *case_insensitive && path.info.kind == Kind::Text;
                let value = self.bind(bound(value, folds));
                let test = |x: &str, two_valued: bool| {
                    let equals = if two_valued { "IS" } else { "=" };
                    if folds { format!("fold({x}) {equals} {value}") } else { format!("{x} {equals} {value}") }
                };
                self.test(&path.steps, &path, "t", two_valued, &test)
            }
            Expression::Contains { field, sub_string, case_insensitive, .. } => {
                let path = self.find(resource, field)?;
                let folds = *case_insensitive;
                let value = self.bind(Value::Text(if folds { fold(sub_string) } else { sub_string.clone() }));
                let test = |x: &str, two_valued: bool| {
                    let text = if folds { format!("fold({x})") } else { x.to_owned() };
                    false_for_null(format!("instr({text}, {value}) > 0"), two_valued)
                };
                self.test(&path.steps, &path, "t", two_valued, &test)
            }
            Expression::Compare { field, operator, value, .. } => {
                let path = self.find(resource, field)?;
                let value = self.bind(bound(value, false));
                let sign = operator.sign();
                let test = |x: &str, two_valued: bool| false_for_null(format!("{x} {sign} {value}"), two_valued);
                self.test(&path.steps, &path, "t", two_valued, &test)
            }
            Expression::IsNull { .. } => String::new(),
        };
        Ok(if inverts { format!("NOT ({sql})") } else { sql })
    }

    fn join(
        &mut self,
        resource: &'static Resource,
        of: &[Expression],
        with: &str,
        two_valued: bool,
    ) -> Result<String, Problems> {
        let parts: Result<Vec<String>, Problems> =
            of.iter().map(|part| self.expression(resource, part, two_valued)).collect();
        Ok(format!("({})", parts?.join(with)))
    }

    fn is_null(&mut self, path: &Path, invert: bool) -> String {
        if path.whole {
            let any = self.test(&path.steps, path, "t", true, &|_, _| "1".to_owned());
            return if invert { any } else { format!("NOT {any}") };
        }
        if let (Some(present), true) = (path.present, path.steps.is_empty()) {
            let present = present.replace('$', "t");
            return if invert { present } else { format!("NOT ({present})") };
        }
        if path.info.to_many {
            let any = self.test(&path.steps, path, "t", true, &|x, _| format!("{x} IS NULL"));
            return if invert { format!("NOT {any}") } else { any };
        }
        let value = self.value(&path.steps, &path.sql, "t");
        format!("{value} IS {}", if invert { "NOT NULL" } else { "NULL" })
    }

    /// Renders a test of the value at the end of `steps`; of any of the values, if a step leads to many rows.
    fn test(&mut self, steps: &[Step], path: &Path, alias: &str, two_valued: bool, test: Test<'_>) -> String {
        if !steps.iter().any(|step| matches!(step, Step::Many { .. })) {
            let value = self.value(steps, &path.sql, alias);
            return test(&value, two_valued && path.info.nullable);
        }
        let Some((first, rest)) = steps.split_first() else { return "0".to_owned() };
        let inner = self.alias();
        let (table, link) = match first {
            Step::One { resource, link } => (resource.table, format!("{inner}.pk = {}", link.replace('$', alias))),
            Step::Many { resource, column } => {
                let active = if resource.active.is_empty() { "1" } else { resource.active };
                (resource.table, format!("{inner}.{column} = {alias}.pk AND {}", active.replace('$', &inner)))
            }
        };
        // EXISTS is two-valued by itself, and within it a null may count as "does not pass".
        let condition = self.test(rest, path, &inner, false, test);
        format!("EXISTS (SELECT 1 FROM {table} AS {inner} WHERE {link} AND {condition})")
    }

    /// Renders the value at the end of steps to one row each, looked up by primary key.
    pub(super) fn value(&mut self, steps: &[Step], sql: &str, alias: &str) -> String {
        match steps.split_first() {
            Some((Step::One { resource, link }, rest)) => {
                let inner = self.alias();
                let value = self.value(rest, sql, &inner);
                let link = link.replace('$', alias);
                format!("(SELECT {value} FROM {} AS {inner} WHERE {inner}.pk = {link})", resource.table)
            }
            Some((Step::Many { .. }, _)) => "NULL".to_owned(),
            // The brackets keep a CASE and the like together under the test's operator.
            None if sql.contains(' ') && !sql.starts_with('(') => format!("({})", sql.replace('$', alias)),
            None => sql.replace('$', alias),
        }
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("t{}", self.aliases)
    }
}

fn false_for_null(sql: String, two_valued: bool) -> String {
    if two_valued { format!("coalesce({sql}, 0)") } else { sql }
}

fn bound(literal: &Literal, folds: bool) -> Value {
    match literal {
        Literal::Int(number) => Value::Integer(*number),
        Literal::Float(number) => Value::Real(*number),
        Literal::Text(text) => Value::Text(if folds { fold(text) } else { text.clone() }),
        Literal::Bool(truth) => Value::Integer(i64::from(*truth)),
        Literal::Time(time) => Value::Integer(time.0),
    }
}

/// Gives what follows from the tests joined by AND.
fn hints(resource: &Resource, expressions: &[Expression]) -> Vec<String> {
    let holds = |hint: &&super::resource::Hint| hint.when.iter().all(|premise| is_among(premise, expressions));
    resource.hints.iter().filter(holds).map(|hint| hint.sql.replace('$', "t")).collect()
}

/// Says whether a premise is one of the tests, or part of an AND among them.
fn is_among(premise: &Premise, expressions: &[Expression]) -> bool {
    expressions.iter().any(|expression| match (expression, premise) {
        (Expression::And { of, invert: false }, _) => is_among(premise, of),
        (Expression::IsNull { field, invert: false }, Premise::Null(name)) => field == name,
        (
            Expression::Exact { field, value: Literal::Text(text), case_insensitive: false, invert: false },
            Premise::Equal(name, constant),
        ) => field == name && text == constant,
        _ => false,
    })
}
