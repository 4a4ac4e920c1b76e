//! Puts the parts of a list's SQL together: which rows, in which order, after which one.

use rusqlite::Row;
use rusqlite::types::{Value, ValueRef};

use super::condition::Renderer;
use super::resource::Resource;
use crate::domain::fields::Problems;
use crate::filter::{Cursor, Key, OrderBy, Spec, TEXT_CHARS_MAX, sort_keys};

/// A list request as SQL. The listed table's rows go by the alias `t`.
#[derive(Debug)]
pub struct Query {
    resource: &'static Resource,
    /// The WHERE condition.
    condition: String,
    /// The values bound in it, `?1` and on.
    params: Vec<Value>,
    /// The sort keys other than `pk`, which comes last.
    keys: Vec<SortColumn>,
    pk_ascending: bool,
    order_by: Vec<OrderBy>,
    start: Option<Cursor>,
}

/// SQL with the values for its place-holders.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The text.
    pub sql: String,
    /// The values of `?1`, `?2` and on; hand them over with `rusqlite::params_from_iter`.
    pub params: Vec<Value>,
}

/// A sort key as SQL.
#[derive(Debug)]
struct SortColumn {
    sql: String,
    nullable: bool,
    ascending: bool,
    nulls_first: bool,
}

impl Query {
    /// Renders a spec for the lists of a resource.
    ///
    /// Returns a problem when the spec was not parsed for this resource: an unknown field, or another list's cursor.
    pub fn new(resource: &'static Resource, spec: &Spec) -> Result<Self, Problems> {
        // `limit` and `count` are for the caller, who says with each statement what it wants.
        let Spec { expressions, order_by, include_inactive, limit: _, after, count: _ } = spec;
        let mut renderer = Renderer::default();
        let mut conditions = renderer.all(resource, expressions)?;
        if !include_inactive && !resource.active.is_empty() {
            conditions.push(resource.active.replace('$', "t"));
        }
        if conditions.is_empty() {
            conditions.push("1".to_owned());
        }
        let mut keys = Vec::new();
        let mut pk_ascending = true;
        for key in sort_keys(order_by) {
            if key.field == "pk" {
                pk_ascending = key.ascending;
                continue;
            }
            let path = renderer.find(resource, key.field)?;
            let sql = renderer.value(&path.steps, &path.sql, "t");
            let (ascending, nulls_first) = (key.ascending, key.nulls_first);
            keys.push(SortColumn { sql, nullable: path.info.nullable, ascending, nulls_first });
        }
        let foreign = || Problems::one("after", "Is not a cursor of this list in this order.");
        let decode = |text: &String| Cursor::decode(text, resource.name, order_by).ok_or_else(foreign);
        Ok(Self {
            resource,
            condition: conditions.join(" AND "),
            params: renderer.params,
            keys,
            pk_ascending,
            order_by: order_by.clone(),
            start: after.as_ref().map(decode).transpose()?,
        })
    }

    /// Gives the place after which the request wants the list to begin.
    pub fn start(&self) -> Option<&Cursor> {
        self.start.as_ref()
    }

    /// Says how many sort keys stand behind the caller's columns in each row of a page.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Builds the statement for a page: the caller's columns over `t`, then the sort keys, in order, of the first
    /// `limit` rows after the given place.
    pub fn page(&self, columns: &str, after: Option<&Cursor>, limit: Option<u32>) -> Statement {
        let mut params = self.params.clone();
        let mut sql = format!("SELECT {columns}");
        for (index, key) in self.keys.iter().enumerate() {
            sql.push_str(&format!(", {} AS sort_key_{index}", key.sql));
        }
        sql.push_str(&format!(" FROM {} AS t WHERE {}", self.resource.table, self.condition));
        if let Some(cursor) = after {
            sql.push_str(&format!(" AND {}", self.behind(cursor, &mut params)));
        }
        sql.push_str(" ORDER BY ");
        for (index, key) in self.keys.iter().enumerate() {
            // Naming the nulls' place where there are none would keep an index from serving.
            let nulls = match (key.nullable, key.nulls_first) {
                (false, _) => "",
                (true, true) => " NULLS FIRST",
                (true, false) => " NULLS LAST",
            };
            sql.push_str(&format!("sort_key_{index} {}{nulls}, ", direction(key.ascending)));
        }
        sql.push_str(&format!("t.pk {}", direction(self.pk_ascending)));
        if let Some(limit) = limit {
            params.push(Value::Integer(i64::from(limit)));
            sql.push_str(&format!(" LIMIT ?{}", params.len()));
        }
        Statement { sql, params }
    }

    /// Builds the statement for the first row that passes and for which `holds`, in an order of the caller's own.
    pub(in crate::store) fn first(&self, columns: &str, holds: &'static str, order: &'static str) -> Statement {
        let (table, condition) = (self.resource.table, &self.condition);
        let sql = format!("SELECT {columns} FROM {table} AS t WHERE {holds} AND {condition} ORDER BY {order} LIMIT 1");
        Statement { sql, params: self.params.clone() }
    }

    /// Builds the statement for the same among some rows alone, whose keys are its last value, a JSON array. Their number
    /// decides what it costs, and no index but that of the keys may be thought of.
    pub(in crate::store) fn first_among(&self, columns: &str, holds: &'static str, order: &'static str) -> Statement {
        let (table, condition, place) = (self.resource.table, &self.condition, self.params.len() + 1);
        let sql = format!(
            "SELECT {columns} FROM {table} AS t NOT INDEXED WHERE t.pk IN (SELECT value FROM json_each(?{place}))
             AND {holds} AND {condition} ORDER BY {order} LIMIT 1"
        );
        Statement { sql, params: self.params.clone() }
    }

    /// Builds the question whether one row, by its key, passes.
    pub(in crate::store) fn only(&self, pk: i64) -> Statement {
        let mut params = self.params.clone();
        params.push(Value::Integer(pk));
        let (table, condition, place) = (self.resource.table, &self.condition, params.len());
        Statement { sql: format!("SELECT 1 FROM {table} AS t WHERE t.pk = ?{place} AND {condition}"), params }
    }

    /// Builds the statement that counts the rows that pass, whatever the page.
    pub fn count(&self) -> Statement {
        let sql = format!("SELECT count(*) FROM {} AS t WHERE {}", self.resource.table, self.condition);
        Statement { sql, params: self.params.clone() }
    }

    /// Builds the statement that counts the rows that pass, up to one more than `max`.
    pub(in crate::store) fn count_up_to(&self, max: u32) -> Statement {
        let mut params = self.params.clone();
        params.push(Value::Integer(i64::from(max) + 1));
        let (table, condition, place) = (self.resource.table, &self.condition, params.len());
        let some = format!("SELECT 1 FROM {table} AS t WHERE {condition} LIMIT ?{place}");
        Statement { sql: format!("SELECT count(*) FROM ({some})"), params }
    }

    /// Reads the place of a row of a page, whose sort keys begin at column `first_key`.
    pub fn cursor(&self, row: &Row<'_>, first_key: usize, pk: i64) -> rusqlite::Result<Cursor> {
        let mut keys = Vec::with_capacity(self.keys.len());
        for index in first_key..first_key + self.keys.len() {
            keys.push(match row.get_ref(index)? {
                ValueRef::Null | ValueRef::Blob(_) => Key::Null,
                ValueRef::Integer(number) => Key::Int(number),
                ValueRef::Real(number) => Key::Real(number),
                ValueRef::Text(text) => Key::Text(String::from_utf8_lossy(text).into_owned()),
            });
        }
        Ok(Cursor { keys, pk })
    }

    /// Writes a place as the text for `X-Next-Cursor`.
    pub fn encode(&self, cursor: &Cursor) -> String {
        cursor.encode(self.resource.name, &self.order_by)
    }

    /// Renders the condition that a row comes after the cursor's, from the last key outwards.
    fn behind(&self, cursor: &Cursor, params: &mut Vec<Value>) -> String {
        let mut bind = |value: Value| {
            params.push(value);
            format!("?{}", params.len())
        };
        let pk = bind(Value::Integer(cursor.pk));
        let mut sql = format!("t.pk {} {pk}", beyond(self.pk_ascending));
        for (key, value) in self.keys.iter().zip(&cursor.keys).rev() {
            let column = &key.sql;
            let bound = match value {
                Key::Null => None,
                Key::Int(number) => Some(bind(Value::Integer(*number))),
                Key::Real(number) => Some(bind(Value::Real(*number))),
                Key::Text(text) => Some(bind(Value::Text(text.clone()))),
                Key::Cut(text) => {
                    // The row knows the rest, unless it has changed or gone. Then rows with this beginning may come
                    // twice, but none is left out.
                    let (table, beginning) = (self.resource.table, bind(Value::Text(text.clone())));
                    Some(format!(
                        "coalesce((SELECT {column} FROM {table} AS t WHERE t.pk = {pk}
                         AND substr({column}, 1, {TEXT_CHARS_MAX}) = {beginning}), {beginning})"
                    ))
                }
            };
            sql = match (bound, key.nulls_first) {
                (None, true) => format!("({column} IS NOT NULL OR {sql})"),
                (None, false) => format!("({column} IS NULL AND {sql})"),
                (Some(value), nulls_first) => {
                    let beyond = beyond(key.ascending);
                    let nulls =
                        if key.nullable && !nulls_first { format!("{column} IS NULL OR ") } else { String::new() };
                    format!("({nulls}{column} {beyond} {value} OR ({column} = {value} AND {sql}))")
                }
            };
        }
        sql
    }
}

fn direction(ascending: bool) -> &'static str {
    if ascending { "ASC" } else { "DESC" }
}

fn beyond(ascending: bool) -> &'static str {
    if ascending { ">" } else { "<" }
}
