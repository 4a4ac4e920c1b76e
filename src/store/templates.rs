//! Job templates: rows around the documents of `domain/template`.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Value, json};

use super::error::is_reference_violation;
use super::filter::JOB_TEMPLATES;
use super::list::Listing;
use super::{Error, Store, WriteTx, found};
use crate::domain::fields::Problems;
use crate::domain::ids::{TemplateId, UserId};
use crate::domain::template::{Interface, Specific, Template, VERSION_MAX, check_meta, interface};
use crate::domain::time::Timestamp;

/// The columns of a template, over `job_templates AS t`; read by [`from_row`].
const COLUMNS: &str = "t.pk, t.name, t.version, t.description, t.scope, (SELECT name FROM domains WHERE pk = t.domain), \
     t.licence, (SELECT name FROM licences WHERE pk = t.licence), t.specific, t.creator, t.creation_time, t.deletion_time";

/// A template with what the store adds to it.
#[derive(Debug, Clone)]
pub struct StoredTemplate {
    /// Its key.
    pub pk: TemplateId,
    /// The template itself, with its version.
    pub template: Template,
    /// Key of its licence.
    pub licence: i64,
    /// Who imported it.
    pub creator: UserId,
    /// When it was imported.
    pub creation_time: Timestamp,
    /// When it was soft-deleted.
    pub deletion_time: Option<Timestamp>,
}

impl StoredTemplate {
    /// Gives the template's JSON (contract §4).
    pub fn to_json(&self) -> Value {
        let Self { pk, template, licence, creator, creation_time, deletion_time } = self;
        let mut json = json!({
            "pk": pk, "name": template.name, "version": template.version, "description": template.description,
            "scope": template.scope, "domain": template.domain, "licence": licence, "creator": creator,
            "creation_time": creation_time, "deletion_time": deletion_time,
        });
        let kind = match &template.specific {
            Specific::Workable(workable) => json!({
                "type": workable.type_, "executor_class": workable.executor_class,
                "required_packages": workable.required_packages, "parameters": workable.parameters_json(),
                "inputs": workable.inputs_json(), "outputs": workable.outputs_json(), "body": workable.body,
            }),
            Specific::Meta(meta) => json!({"nodes": meta.nodes_json(), "dependencies": meta.dependencies_json()}),
        };
        if let (Value::Object(all), Value::Object(kind)) = (&mut json, kind) {
            all.extend(kind);
        }
        json
    }
}

/// Reads a row of [`COLUMNS`].
fn from_row(row: &Row<'_>) -> rusqlite::Result<StoredTemplate> {
    let specific = serde_json::from_str(row.get_ref(8)?.as_str()?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(8, rusqlite::types::Type::Text, Box::new(error)))?;
    let template = Template {
        name: row.get(1)?,
        version: row.get(2)?,
        description: row.get(3)?,
        scope: row.get(4)?,
        domain: row.get(5)?,
        licence: row.get(7)?,
        specific,
    };
    let (licence, creator, creation_time, deletion_time) = (row.get(6)?, row.get(9)?, row.get(10)?, row.get(11)?);
    Ok(StoredTemplate { pk: row.get(0)?, template, licence, creator, creation_time, deletion_time })
}

/// Says how templates are listed.
pub fn listing() -> Listing<StoredTemplate> {
    Listing::new(&JOB_TEMPLATES, COLUMNS, from_row)
}

/// Reads a template, deleted or not.
pub(super) fn read(connection: &Connection, pk: TemplateId) -> Result<Option<StoredTemplate>, Error> {
    static SQL: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("SELECT {COLUMNS} FROM job_templates AS t WHERE t.pk = ?1"));
    found(connection.prepare_cached(&SQL)?.query_row([pk], from_row))
}

/// Reads a live template by name and version; without a version, the one with the highest.
pub(super) fn read_live(
    connection: &Connection,
    name: &str,
    version: Option<i64>,
) -> Result<Option<StoredTemplate>, Error> {
    static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        format!(
            "SELECT {COLUMNS} FROM job_templates AS t
             WHERE t.name = ?1 AND (?2 IS NULL OR t.version = ?2) AND t.deletion_time IS NULL
             ORDER BY t.version DESC LIMIT 1"
        )
    });
    found(connection.prepare_cached(&SQL)?.query_row(params![name, version], from_row))
}

/// Gives what a template asks of its jobs; a failure to read a child's template is not taken for its absence.
pub(super) fn interface_of(connection: &Connection, template: &Template) -> Result<Result<Interface, Problems>, Error> {
    let mut failed = None;
    let interface = interface(template, &mut |name, version| lookup(connection, name, version, &mut failed));
    failed.map_or(Ok(interface), Err)
}

/// Finds a live template for the rules, which know no errors of the store.
fn lookup(connection: &Connection, name: &str, version: Option<i64>, failed: &mut Option<Error>) -> Option<Template> {
    match read_live(connection, name, version) {
        Ok(stored) => stored.map(|stored| stored.template),
        Err(error) => {
            *failed = Some(error);
            None
        }
    }
}

/// Says whether a template makes workable or meta-jobs.
///
/// # Errors
/// `NotFound` when it is gone, `NotNow` when it is soft-deleted.
pub(super) fn live_kind(connection: &Connection, pk: TemplateId) -> Result<String, Error> {
    let row: Option<(String, Option<Timestamp>)> = found(
        connection
            .prepare_cached("SELECT kind, deletion_time FROM job_templates WHERE pk = ?1")?
            .query_row([pk], |row| Ok((row.get(0)?, row.get(1)?))),
    )?;
    match row {
        None => Err(Error::NotFound),
        Some((kind, None)) => Ok(kind),
        Some((_, Some(_))) => Err(deleted()),
    }
}

fn deleted() -> Error {
    let sentence = "The template is deleted; reinstate it first.".to_owned();
    Error::NotNow { code: "deleted", sentence }
}

impl Store {
    /// Reads a template, deleted or not; `None` when there is none.
    pub fn template(&self, pk: TemplateId) -> Result<Option<StoredTemplate>, Error> {
        self.read(|connection| read(connection, pk))
    }

    /// Reads a template with what it asks of its jobs.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Invalid` when a child's template is gone.
    pub fn template_interface(&self, pk: TemplateId) -> Result<(StoredTemplate, Interface), Error> {
        self.read(|connection| {
            let stored = read(connection, pk)?.ok_or(Error::NotFound)?;
            let interface = interface_of(connection, &stored.template)??;
            Ok((stored, interface))
        })
    }

    /// Reads all live workable templates, for a search that SQL can't make.
    pub async fn live_workable_templates(&self) -> Result<Vec<StoredTemplate>, Error> {
        self.read_long(|connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM job_templates AS t WHERE t.kind = 'workable' AND t.deletion_time IS NULL \
                 ORDER BY t.pk"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([], from_row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Stores an imported template. A live one of the same name and version is soft-deleted by it; without a version
    /// it takes one above the highest.
    ///
    /// # Errors
    /// `Invalid` when a meta-template does not fit its children.
    pub async fn import_template(&self, template: Template, creator: UserId) -> Result<StoredTemplate, Error> {
        self.write(move |tx| {
            let pk = insert(tx, template, creator)?;
            read(tx.connection(), pk)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Soft-deletes a template, or takes that back. Doing so again changes nothing.
    ///
    /// # Errors
    /// `NotNow` when the name and version are taken by a live one.
    pub async fn set_template_deleted(&self, pk: TemplateId, deleted: bool) -> Result<StoredTemplate, Error> {
        self.write(move |tx| {
            let time = deleted.then(|| tx.now());
            let changed = tx
                .connection()
                .prepare_cached(
                    "UPDATE job_templates SET deletion_time = ?2
                     WHERE pk = ?1 AND (deletion_time IS NULL) = (?2 IS NOT NULL)",
                )?
                .execute(params![pk, time]);
            match changed {
                Err(error) if super::error::is_unique_violation(&error) => {
                    let sentence = "Another live template has this name and version; delete that one first.".to_owned();
                    Err(Error::NotNow { code: "name_taken", sentence })
                }
                other => {
                    other?;
                    read(tx.connection(), pk)?.ok_or(Error::NotFound)
                }
            }
        })
        .await
    }

    /// Removes a template for good, and gives it as it was.
    ///
    /// # Errors
    /// `NotNow` when it has jobs.
    pub async fn purge_template(&self, pk: TemplateId) -> Result<StoredTemplate, Error> {
        self.write(move |tx| {
            let was = read(tx.connection(), pk)?.ok_or(Error::NotFound)?;
            match tx.connection().prepare_cached("DELETE FROM job_templates WHERE pk = ?1")?.execute([pk]) {
                Err(error) if is_reference_violation(&error) => {
                    let sentence = "The template has jobs; hard-delete those first.".to_owned();
                    Err(Error::NotNow { code: "in_use", sentence })
                }
                other => {
                    other?;
                    Ok(was)
                }
            }
        })
        .await
    }
}

/// Inserts a template, with the domain and licence that it names if they are new.
fn insert(tx: &WriteTx<'_>, template: Template, creator: UserId) -> Result<TemplateId, Error> {
    let connection = tx.connection();
    let mut failed = None;
    let checked = check_meta(&template, &mut |name, version| lookup(connection, name, version, &mut failed));
    if let Some(error) = failed {
        return Err(error);
    }
    checked?;
    let Template { name, version, description, scope, domain, licence, specific } = template;
    let version = match version {
        Some(version) => version,
        None => highest_version(connection, &name)?
            .checked_add(1)
            .filter(|version| *version <= VERSION_MAX)
            .ok_or_else(|| Problems::one("version", "There is no version above the highest; give one."))?,
    };
    connection
        .prepare_cached(
            "UPDATE job_templates SET deletion_time = ?3 WHERE name = ?1 AND version = ?2 AND deletion_time IS NULL",
        )?
        .execute(params![name, version, tx.now()])?;
    let domain = domain.map(|name| domain_named(connection, &name)).transpose()?;
    let licence = licence_named(connection, &licence)?;
    let (kind, workable) = match &specific {
        Specific::Workable(workable) => ("workable", Some(workable)),
        Specific::Meta(_) => ("meta", None),
    };
    let json = serde_json::to_string(&specific).map_err(|error| Error::Broken(error.to_string()))?;
    connection
        .prepare_cached(
            "INSERT INTO job_templates (name, version, description, scope, domain, licence, kind, type, executor_class,
                 required_packages, body, specific, creator, creation_time)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            name,
            version,
            description,
            scope,
            domain,
            licence,
            kind,
            workable.map(|workable| &workable.type_),
            workable.map(|workable| &workable.executor_class),
            workable.map(|workable| &workable.required_packages),
            workable.map(|workable| &workable.body),
            json,
            creator,
            tx.now()
        ])?;
    Ok(TemplateId(connection.last_insert_rowid()))
}

/// Gives the highest version that a name ever had, so that a deleted one's number does not come again; 0 when none.
fn highest_version(connection: &Connection, name: &str) -> Result<i64, Error> {
    Ok(connection
        .prepare_cached("SELECT coalesce(max(version), 0) FROM job_templates WHERE name = ?1")?
        .query_row([name], |row| row.get(0))?)
}

/// Gives the key of a domain, which is made if it is new.
fn domain_named(connection: &Connection, name: &str) -> Result<i64, Error> {
    connection.prepare_cached("INSERT OR IGNORE INTO domains (name, description) VALUES (?1, ?1)")?.execute([name])?;
    Ok(connection.prepare_cached("SELECT pk FROM domains WHERE name = ?1")?.query_row([name], |row| row.get(0))?)
}

/// Gives the key of a licence, which is made if it is new.
fn licence_named(connection: &Connection, name: &str) -> Result<i64, Error> {
    let find = |connection: &Connection| {
        let mut statement = connection.prepare_cached("SELECT pk FROM licences WHERE name = ?1")?;
        statement.query_row([name], |row| row.get::<_, i64>(0)).optional()
    };
    if let Some(pk) = find(connection)? {
        return Ok(pk);
    }
    connection.prepare_cached("INSERT INTO licences (name, url) VALUES (?1, '')")?.execute([name])?;
    Ok(connection.last_insert_rowid())
}
