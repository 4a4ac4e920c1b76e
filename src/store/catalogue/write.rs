//! Writing rows of catalogues, from the JSON of a request.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params, params_from_iter};
use serde_json::{Map, Value};

use super::{Catalogue, Field, Kind, Shown, read};
use crate::domain::fields::{Fields, Problems, array, boolean, integer, kind_of, nullable, number, text};
use crate::store::access::has;
use crate::store::error::{is_reference_violation, is_unique_violation};
use crate::store::{Error, Store, found};

/// Tasks that a docker image may have.
const TASKS_MAX: usize = 100;

/// What a body says, with its references looked up.
#[derive(Default)]
struct Written {
    columns: Vec<(&'static str, SqlValue)>,
    /// Keys of contracts.
    tasks: Option<Vec<i64>>,
}

/// A row of another catalogue, as a body names it.
enum Named {
    Nothing,
    Key(i64),
    Text(String),
}

impl Store {
    /// Makes a row from the body of a request.
    ///
    /// # Errors
    /// `Invalid` when fields are missing, bad or unknown, when they name rows that are not there, or when another row
    /// has the same in the fields that must be unique.
    pub async fn create_catalogue_row(
        &self,
        catalogue: &'static Catalogue,
        body: Map<String, Value>,
    ) -> Result<Value, Error> {
        self.write(move |tx| {
            let connection = tx.connection();
            let written = parse(connection, catalogue, &body, true, None)?;
            let names: Vec<&str> = written.columns.iter().map(|(name, _)| *name).collect();
            let places: Vec<String> = (1..=names.len()).map(|place| format!("?{place}")).collect();
            let (table, names, places) = (catalogue.table(), names.join(", "), places.join(", "));
            let values = written.columns.iter().map(|(_, value)| value);
            connection
                .prepare_cached(&format!("INSERT INTO {table} ({names}) VALUES ({places})"))?
                .execute(params_from_iter(values))
                .map_err(|error| taken(catalogue, error))?;
            settle(connection, catalogue, connection.last_insert_rowid(), written.tasks)
        })
        .await
    }

    /// Changes a row by the body of a request: `whole` wants all required fields, as PUT does. Fields that are left
    /// out stay as they are.
    ///
    /// # Errors
    /// `NotFound` when there is no such row, else as for [`Store::create_catalogue_row`].
    pub async fn update_catalogue_row(
        &self,
        catalogue: &'static Catalogue,
        pk: i64,
        body: Map<String, Value>,
        whole: bool,
    ) -> Result<Value, Error> {
        self.write(move |tx| {
            let connection = tx.connection();
            let written = parse(connection, catalogue, &body, whole, Some(pk))?;
            if !written.columns.is_empty() {
                let sets: Vec<String> =
                    written.columns.iter().zip(2..).map(|((name, _), place)| format!("{name} = ?{place}")).collect();
                let key = SqlValue::Integer(pk);
                let values = std::iter::once(&key).chain(written.columns.iter().map(|(_, value)| value));
                let (table, sets) = (catalogue.table(), sets.join(", "));
                connection
                    .prepare_cached(&format!("UPDATE {table} SET {sets} WHERE pk = ?1"))?
                    .execute(params_from_iter(values))
                    .map_err(|error| taken(catalogue, error))?;
            }
            settle(connection, catalogue, pk, written.tasks)
        })
        .await
    }

    /// Removes a row.
    ///
    /// # Errors
    /// `NotFound` when there is no such row, `NotNow` when something refers to it.
    pub async fn destroy_catalogue_row(&self, catalogue: &'static Catalogue, pk: i64) -> Result<(), Error> {
        self.write(move |tx| {
            if let Some(question) = catalogue.named_by
                && has(tx.connection(), question, pk)?
            {
                return Err(in_use(catalogue));
            }
            let sql = format!("DELETE FROM {} WHERE pk = ?1", catalogue.table());
            match tx.connection().prepare_cached(&sql)?.execute([pk]) {
                Ok(0) => Err(Error::NotFound),
                Ok(_) => Ok(()),
                Err(error) if is_reference_violation(&error) => Err(in_use(catalogue)),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }
}

fn in_use(catalogue: &Catalogue) -> Error {
    let sentence = format!("Something still refers to this row: {} in use can't go.", catalogue.noun);
    Error::NotNow { code: "in_use", sentence }
}

/// Writes what stands in tables beside the row, checks the row as a whole, and gives it.
fn settle(connection: &Connection, catalogue: &Catalogue, pk: i64, tasks: Option<Vec<i64>>) -> Result<Value, Error> {
    let row = read(connection, catalogue, pk, true)?.ok_or(Error::NotFound)?;
    (catalogue.check)(&row)?;
    let Some(tasks) = tasks else { return Ok(Value::Object(row)) };
    connection.prepare_cached("DELETE FROM docker_tasks WHERE docker_image = ?1")?.execute([pk])?;
    let mut statement =
        connection.prepare_cached("INSERT OR IGNORE INTO docker_tasks (docker_image, contract) VALUES (?1, ?2)")?;
    for contract in tasks {
        statement.execute(params![pk, contract])?;
    }
    read(connection, catalogue, pk, true)?.map(Value::Object).ok_or(Error::NotFound)
}

/// Takes a body apart. `current` is the row that it is for, if there is one yet.
fn parse(
    connection: &Connection,
    catalogue: &'static Catalogue,
    body: &Map<String, Value>,
    whole: bool,
    current: Option<i64>,
) -> Result<Written, Error> {
    let mut fields = Fields::new(body);
    fields.pass_over(&["pk"]);
    let mut written = Written::default();
    for field in catalogue.fields {
        let wanted = whole && field.required;
        let value = match &field.kind {
            Kind::Text { chars_min, chars_max } => {
                fields.needed_if(wanted, field.name, or_null(field, text(*chars_min..=*chars_max)))
            }
            Kind::Secret { chars_max } => fields.needed_if(wanted, field.name, or_null(field, text(0..=*chars_max))),
            Kind::Number => fields.needed_if(wanted, field.name, or_null(field, number)),
            Kind::Flag => fields
                .needed_if(wanted, field.name, or_null(field, boolean))
                .or_else(|| current.is_none().then(|| false.into())),
            Kind::Reference { to, shown } => {
                let named = fields.needed_if(wanted, field.name, |value| named(field, shown, value));
                match named {
                    None => None,
                    Some(named) => match find(connection, catalogue, field.name, to, shown, named, current)? {
                        Ok(key) => Some(key),
                        Err(sentence) => {
                            fields.problem(field.name, sentence);
                            None
                        }
                    },
                }
            }
            Kind::Tasks => {
                let listed = fields.needed_if(wanted, field.name, tasks);
                if let Some(listed) = listed {
                    match find_contracts(connection, listed)? {
                        Ok(keys) => written.tasks = Some(keys),
                        Err(sentence) => fields.problem(field.name, sentence),
                    }
                }
                None
            }
        };
        written.columns.extend(value.map(|value| (field.name, value)));
    }
    fields.finish()?;
    Ok(written)
}

/// Takes what `kind` takes, and null if the field may be null; gives what goes into the column.
fn or_null<'v, T: Into<SqlValue>>(
    field: &Field,
    kind: impl FnOnce(&'v Value) -> Result<T, String>,
) -> impl FnOnce(&'v Value) -> Result<SqlValue, String> {
    let may_be_null = field.nullable;
    move |value| {
        if may_be_null {
            return nullable(kind)(value).map(|value| value.map_or(SqlValue::Null, Into::into));
        }
        kind(value).map(Into::into)
    }
}

/// Takes a reference in any of its forms.
fn named(field: &Field, shown: &Shown, value: &Value) -> Result<Named, String> {
    let key = integer(1..=i64::MAX);
    match (value, shown) {
        (Value::Null, _) if field.nullable => Ok(Named::Nothing),
        (Value::Number(_), _) => key(value).map(Named::Key),
        (Value::Object(row), Shown::Whole { .. }) => {
            key(row.get("pk").unwrap_or(&Value::Null)).map(Named::Key).map_err(|sentence| format!("pk: {sentence}"))
        }
        (Value::String(text), Shown::Text { .. } | Shown::Whole { named_by: Some(_) }) => Ok(Named::Text(text.clone())),
        (_, Shown::Whole { named_by: None }) => {
            Err(format!("Must be a key, or an object with a pk, not {}.", kind_of(value)))
        }
        (_, Shown::Whole { named_by: Some(column) }) => {
            Err(format!("Must be a key, a {column}, or an object with a pk, not {}.", kind_of(value)))
        }
        (_, Shown::Text { column, .. }) => Err(format!("Must be a key, or a {column}, not {}.", kind_of(value))),
    }
}

/// Looks up a reference; gives what goes into the column, or what is wrong.
fn find(
    connection: &Connection,
    catalogue: &Catalogue,
    column: &str,
    to: &Catalogue,
    shown: &Shown,
    named: Named,
    current: Option<i64>,
) -> Result<Result<SqlValue, String>, Error> {
    let key = match (&named, shown) {
        (Named::Nothing, _) => return Ok(Ok(SqlValue::Null)),
        (Named::Key(key), _) => {
            let sql = format!("SELECT pk FROM {} WHERE pk = ?1", to.table());
            found(connection.prepare_cached(&sql)?.query_row([key], |row| row.get(0)))?
        }
        (Named::Text(text), _) => {
            let (own, also): (Option<&str>, &[&str]) = match shown {
                Shown::Text { column, also } => (Some(column), also),
                Shown::Whole { named_by } => (*named_by, &[]),
            };
            let tests: Vec<String> = own.iter().chain(also).map(|name| format!("{name} = ?1")).collect();
            // The row that is referred to already goes first: a body that was read can be sent back as it is, even
            // when another row has the same text by now.
            let sql = format!(
                "SELECT pk, pk IS (SELECT {column} FROM {} WHERE pk = ?2) AS is_current FROM {} WHERE {}
                 ORDER BY is_current DESC, pk LIMIT 2",
                catalogue.table(),
                to.table(),
                tests.join(" OR "),
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement
                .query_map(params![text, current], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<Vec<(i64, bool)>, _>>()?;
            match rows.as_slice() {
                [(_, false), _] => return Ok(Err(format!("{text:?} could be any of several rows: give the key."))),
                rows => rows.first().map(|(key, _)| *key),
            }
        }
    };
    Ok(key.map(SqlValue::Integer).ok_or_else(|| match named {
        Named::Text(text) => format!("There is no {text:?}."),
        Named::Key(key) => format!("There is no row {key}."),
        Named::Nothing => "There is no such row.".to_owned(),
    }))
}

/// Takes the tasks of a docker image: names or keys of contracts.
fn tasks(value: &Value) -> Result<Vec<Named>, String> {
    let items = array(value)?;
    if items.len() > TASKS_MAX {
        return Err(format!("Must have at most {TASKS_MAX} elements."));
    }
    let one = |item: &Value| match item {
        Value::String(name) => Ok(Named::Text(name.clone())),
        Value::Number(_) => integer(1..=i64::MAX)(item).map(Named::Key),
        _ => Err(format!("Must hold names of contracts, not {}.", kind_of(item))),
    };
    items.iter().map(one).collect()
}

/// Looks up contracts; gives their keys, or what is wrong.
fn find_contracts(connection: &Connection, listed: Vec<Named>) -> Result<Result<Vec<i64>, String>, Error> {
    let mut statement = connection.prepare_cached("SELECT pk FROM job_contracts WHERE pk = ?1 OR name = ?2")?;
    let mut keys = Vec::new();
    for named in listed {
        let (key, name) = match &named {
            Named::Key(key) => (Some(*key), None),
            Named::Text(name) => (None, Some(name.as_str())),
            Named::Nothing => (None, None),
        };
        match found(statement.query_row(params![key, name], |row| row.get(0)))? {
            Some(pk) => keys.push(pk),
            None => {
                let culprit = name.map_or_else(|| key.unwrap_or_default().to_string(), |name| format!("{name:?}"));
                return Ok(Err(format!("There is no contract {culprit}.")));
            }
        }
    }
    Ok(Ok(keys))
}

/// Tells values that another row has from other failures.
fn taken(catalogue: &Catalogue, error: rusqlite::Error) -> Error {
    if !is_unique_violation(&error) {
        return error.into();
    }
    let mut problems = Problems::default();
    let fields = catalogue.unique.join(" and ");
    for field in catalogue.unique {
        problems.add(*field, format!("Another row has this {fields}."));
    }
    problems.into()
}
