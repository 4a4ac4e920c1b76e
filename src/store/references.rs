//! Answers, for the rules of values, whether the rows that a value names are there; and lists the rows of a type.

use std::cell::RefCell;

use rusqlite::{Connection, params};

use super::{Error, Store};
use crate::domain::types::{Kind, Rows, Type};

/// The rows of the database as values refer to them. The rules ask yes or no, so that an error is kept aside until
/// [`References::failure`] is asked for it.
pub(super) struct References<'a> {
    connection: &'a Connection,
    has_blob: &'a dyn Fn(&str) -> bool,
    failed: RefCell<Option<Error>>,
}

impl<'a> References<'a> {
    pub(super) fn new(connection: &'a Connection, has_blob: &'a dyn Fn(&str) -> bool) -> Self {
        Self { connection, has_blob, failed: RefCell::new(None) }
    }

    /// Gives the error that made an answer worthless, if there was one.
    pub(super) fn failure(self) -> Option<Error> {
        self.failed.into_inner()
    }

    fn keep<T>(&self, result: Result<T, Error>, otherwise: T) -> T {
        result.unwrap_or_else(|error| {
            self.failed.replace(Some(error));
            otherwise
        })
    }
}

impl Rows for References<'_> {
    fn exists(&self, pk: i64, of: &Type) -> bool {
        self.keep(rows(self.connection, of).map(|rows| rows.iter().any(|row| row.pk == pk)), false)
    }

    fn named(&self, name: &str, of: &Type) -> bool {
        self.keep(rows(self.connection, of).map(|rows| rows.iter().any(|row| row.is_named(name))), false)
    }

    fn output_type(&self, pk: i64) -> Option<String> {
        let read = || {
            let mut statement = self
                .connection
                .prepare_cached("SELECT type FROM job_outputs WHERE pk = ?1 AND deletion_time IS NULL")?;
            super::found(statement.query_row([pk], |row| row.get(0)))
        };
        self.keep(read(), None)
    }

    fn blob(&self, sha256_hex: &str) -> bool {
        (self.has_blob)(sha256_hex)
    }
}

/// A row that a value may name.
struct Named {
    pk: i64,
    name: String,
    version: Option<String>,
}

impl Named {
    /// Says whether a name means this row: its name, or `NAME vVERSION` for rows that have a version.
    fn is_named(&self, name: &str) -> bool {
        match &self.version {
            None => self.name == name,
            Some(version) => self.name == name || name == format!("{} v{version}", self.name),
        }
    }
}

/// Gives the rows of a kept type, narrowed by its arguments; catalogues are small enough to be read whole.
fn rows(connection: &Connection, of: &Type) -> Result<Vec<Named>, Error> {
    let Some(kind) = of.kind() else { return Ok(Vec::new()) };
    let (sql, narrowing) = match kind {
        Kind::Hardware => ("SELECT pk, generation, NULL FROM hardware_generations", Vec::new()),
        Kind::CudaVersion => ("SELECT pk, version, NULL FROM cuda_versions", Vec::new()),
        // A domain goes by its description, as in `Domain<'Image Classification'>`; its two letters are taken too.
        Kind::Domain => (
            "SELECT pk, description, NULL FROM domains WHERE ?1 IS NULL OR description = ?1 OR name = ?1",
            vec![text(of, 0)],
        ),
        Kind::Framework => (
            "SELECT pk, name, version FROM frameworks WHERE (?1 IS NULL OR name = ?1) AND (?2 IS NULL OR version = ?2)",
            vec![text(of, 0), text(of, 1)],
        ),
        Kind::DockerImage => (
            "SELECT i.pk, i.name, i.version FROM docker_images AS i
                 JOIN domains AS d ON d.pk = i.domain JOIN frameworks AS f ON f.pk = i.framework
             WHERE (?1 IS NULL OR d.description = ?1 OR d.name = ?1) AND (?2 IS NULL OR f.name = ?2)
                 AND (?3 IS NULL OR f.version = ?3)",
            vec![text(&of.argument(0), 0), text(&of.argument(1), 0), text(&of.argument(1), 1)],
        ),
        _ => return Ok(Vec::new()),
    };
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(rusqlite::params_from_iter(narrowing), |row| {
        Ok(Named { pk: row.get(0)?, name: row.get(1)?, version: row.get(2)? })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Gives a type's argument where it is a text constant.
fn text(of: &Type, position: usize) -> Option<String> {
    match of.argument(position) {
        Type::Text(text) => Some(text),
        _ => None,
    }
}

impl Store {
    /// Gives the keys of all rows of a kept type, narrowed by its arguments, in order. Job outputs are those whose own
    /// type is a subtype of the argument.
    pub async fn keys_of(&self, of: Type) -> Result<Vec<i64>, Error> {
        self.read_long(move |connection| {
            if of.kind() != Some(Kind::JobOutput) {
                let mut keys: Vec<i64> = rows(connection, &of)?.into_iter().map(|row| row.pk).collect();
                keys.sort_unstable();
                return Ok(keys);
            }
            let wanted = of.argument(0);
            let mut statement = connection
                .prepare_cached("SELECT pk, type FROM job_outputs WHERE deletion_time IS NULL ORDER BY pk")?;
            let mut found = statement.query(params![])?;
            let mut keys = Vec::new();
            while let Some(row) = found.next()? {
                let given = crate::domain::types::parse(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?);
                if given.is_ok_and(|given| crate::domain::types::is_subtype(&given, &wanted)) {
                    keys.push(row.get(0)?);
                }
            }
            Ok(keys)
        })
        .await
    }
}
