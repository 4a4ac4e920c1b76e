//! The catalogues: hardware, cuda, docker, job-types, job-contracts, domains, licences and frameworks (contract §4).
//!
//! They differ in their tables only, so that one piece of code, driven by [`CATALOGUES`], reads and writes them all.

mod schema;
mod tables;
#[cfg(test)]
mod tests;
mod write;

use rusqlite::{Connection, Row};
use serde_json::{Map, Value};

pub use tables::{CATALOGUES, HARDWARE};

use super::filter::Resource;
use super::list::Listing;
use super::{Error, Store, found};
use crate::domain::fields::Problems;

/// One catalogue: where it is in URLs and in the database, and what its rows are made of.
#[derive(Debug)]
pub struct Catalogue {
    /// Its names in URLs.
    pub spellings: &'static [&'static str],
    /// What one of its rows is called in sentences, with its article.
    noun: &'static str,
    /// Its table, and the fields that it can be listed by.
    resource: &'static Resource,
    /// The fields behind `pk`, in the order of their JSON.
    fields: &'static [Field],
    /// The fields that no two rows have the same in.
    unique: &'static [&'static str],
    /// What must hold between the fields of a row.
    check: fn(&Map<String, Value>) -> Result<(), Problems>,
    /// A question in SQL whether something names the row with the key `?1`, beyond what foreign keys know of.
    named_by: Option<&'static str>,
}

/// A field of a catalogue's rows. Its column has the same name.
#[derive(Debug)]
struct Field {
    name: &'static str,
    kind: Kind,
    /// Whether `create` and PUT want it.
    required: bool,
    /// Whether it may be null.
    nullable: bool,
}

/// What a field holds, and so how it is stored, shown and taken.
#[derive(Debug)]
enum Kind {
    /// Text of so many characters.
    Text { chars_min: usize, chars_max: usize },
    /// Text that only staff and nodes get to see.
    Secret { chars_max: usize },
    /// A number.
    Number,
    /// True or false; false when left out.
    Flag,
    /// A row of another catalogue.
    Reference { to: &'static Catalogue, shown: Shown },
    /// The tasks of a docker image: names of contracts, kept in a table of their own; none when left out.
    Tasks,
}

/// How a reference stands in the JSON. It is taken in that form, and as a key.
#[derive(Debug)]
enum Shown {
    /// As the whole row, an object; when it is taken, the text of a column that tells rows apart will do as well, where
    /// there is one: the reference's clients write it so.
    Whole { named_by: Option<&'static str> },
    /// As this text column of the row; when it is taken, any of the further ones will do as well.
    Text { column: &'static str, also: &'static [&'static str] },
}

impl Catalogue {
    fn table(&self) -> &'static str {
        self.resource.table()
    }

    /// Gives the columns over the alias `t`, the key first, then one a field; read by [`Catalogue::read`].
    fn columns(&self) -> String {
        let mut columns = vec!["t.pk".to_owned()];
        columns.extend(self.fields.iter().map(Field::column));
        columns.join(", ")
    }

    /// Gives SQL for a whole row of plain columns as JSON text; only catalogues of such are referred to in whole.
    fn json_object(&self, alias: &str) -> String {
        let pairs: Vec<String> =
            self.fields.iter().map(|Field { name, .. }| format!("'{name}', {alias}.{name}")).collect();
        format!("json_object('pk', {alias}.pk, {})", pairs.join(", "))
    }

    /// Reads a row of [`Catalogue::columns`].
    fn read(&self, row: &Row<'_>, show_secrets: bool) -> rusqlite::Result<Map<String, Value>> {
        let mut object = Map::new();
        object.insert("pk".to_owned(), row.get::<_, i64>(0)?.into());
        for (field, index) in self.fields.iter().zip(1..) {
            let value = match &field.kind {
                Kind::Secret { .. } if !show_secrets => continue,
                Kind::Text { .. } | Kind::Secret { .. } | Kind::Reference { shown: Shown::Text { .. }, .. } => {
                    row.get::<_, Option<String>>(index)?.into()
                }
                Kind::Number => row.get::<_, f64>(index)?.into(),
                Kind::Flag => row.get::<_, bool>(index)?.into(),
                Kind::Reference { shown: Shown::Whole { .. }, .. } | Kind::Tasks => {
                    match row.get_ref(index)?.as_str_or_null()? {
                        None => Value::Null,
                        Some(text) => serde_json::from_str(text).map_err(|error| {
                            let kind = rusqlite::types::Type::Text;
                            rusqlite::Error::FromSqlConversionFailure(index, kind, Box::new(error))
                        })?,
                    }
                }
            };
            object.insert(field.name.to_owned(), value);
        }
        Ok(object)
    }
}

impl Field {
    /// Gives the column over the alias `t`, as it is shown.
    fn column(&self) -> String {
        let name = self.name;
        match &self.kind {
            Kind::Text { .. } | Kind::Secret { .. } | Kind::Number | Kind::Flag => format!("t.{name}"),
            Kind::Reference { to, shown } => {
                let value = match shown {
                    Shown::Text { column, .. } => format!("r.{column}"),
                    Shown::Whole { .. } => to.json_object("r"),
                };
                format!("(SELECT {value} FROM {} AS r WHERE r.pk = t.{name})", to.table())
            }
            Kind::Tasks => "(SELECT json_group_array(c.name ORDER BY c.pk) FROM docker_tasks AS d \
                 JOIN job_contracts AS c ON c.pk = d.contract WHERE d.docker_image = t.pk)"
                .to_owned(),
        }
    }
}

/// Says how a catalogue is listed.
pub fn listing(catalogue: &'static Catalogue, show_secrets: bool) -> Listing<Value> {
    Listing::new(catalogue.resource, catalogue.columns(), move |row| {
        Ok(Value::Object(catalogue.read(row, show_secrets)?))
    })
}

/// Reads a row.
fn read(
    connection: &Connection,
    catalogue: &Catalogue,
    pk: i64,
    show_secrets: bool,
) -> Result<Option<Map<String, Value>>, Error> {
    let sql = format!("SELECT {} FROM {} AS t WHERE t.pk = ?1", catalogue.columns(), catalogue.table());
    found(connection.prepare_cached(&sql)?.query_row([pk], |row| catalogue.read(row, show_secrets)))
}

impl Store {
    /// Says whether a catalogue has a row of this key.
    pub fn catalogue_row_exists(&self, catalogue: &Catalogue, pk: i64) -> Result<bool, Error> {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE pk = ?1)", catalogue.table());
        self.read(|connection| super::access::has(connection, &sql, pk))
    }

    /// Reads a row of a catalogue as its JSON; without `show_secrets`, fields that are secret are left out.
    pub fn catalogue_row(&self, catalogue: &Catalogue, pk: i64, show_secrets: bool) -> Result<Option<Value>, Error> {
        self.read(|connection| Ok(read(connection, catalogue, pk, show_secrets)?.map(Value::Object)))
    }

    /// Finds the hardware generation that spans a compute capability: lower bound in, upper out.
    pub fn hardware_for(&self, compute: f64) -> Result<Option<Value>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT pk FROM hardware_generations
                 WHERE min_compute_capability <= ?1 AND ?1 < max_compute_capability ORDER BY pk LIMIT 1",
            )?;
            let Some(pk) = found(statement.query_row([compute], |row| row.get(0)))? else { return Ok(None) };
            Ok(read(connection, &tables::HARDWARE, pk, false)?.map(Value::Object))
        })
    }
}
