//! The templates of a hierarchy of meta-jobs: found once, when its top is made, and kept for what is made later.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::super::templates::{read, read_live};
use super::super::{Error, WriteTx, found};
use crate::domain::ids::{JobId, TemplateId};
use crate::domain::template::Template;

/// A template with its key.
type Keyed = (TemplateId, Template);

/// Where templates are looked for.
#[derive(Debug, Clone, Copy)]
enum Where {
    /// Among the active ones.
    Active,
    /// Among those that were found when this topmost job was made.
    KeptFor(JobId),
}

/// Finds templates by name and version, each once.
#[derive(Debug)]
pub(super) struct Templates<'a> {
    connection: &'a Connection,
    place: Where,
    known: BTreeMap<(String, Option<i64>), Option<Keyed>>,
    failed: Option<Error>,
}

impl<'a> Templates<'a> {
    /// Looks among the active templates.
    pub(super) fn active(connection: &'a Connection) -> Self {
        Self { connection, place: Where::Active, known: BTreeMap::new(), failed: None }
    }

    /// Looks among the templates that were kept for the hierarchy of a job.
    pub(super) fn kept_for(connection: &'a Connection, job: JobId) -> Result<Self, Error> {
        let top = connection
            .prepare_cached(
                "WITH RECURSIVE up (pk, parent) AS (
                     SELECT pk, parent FROM jobs WHERE pk = ?1
                     UNION ALL SELECT jobs.pk, jobs.parent FROM jobs JOIN up ON jobs.pk = up.parent)
                 SELECT pk FROM up WHERE parent IS NULL",
            )?
            .query_row([job], |row| row.get(0))?;
        Ok(Self { connection, place: Where::KeptFor(top), known: BTreeMap::new(), failed: None })
    }

    /// Finds a template for the rules, which know no errors of the store; one is kept for [`Templates::check`].
    pub(super) fn get(&mut self, name: &str, version: Option<i64>) -> Option<Keyed> {
        let key = (name.to_owned(), version);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let there = self.find(name, version).unwrap_or_else(|error| {
            self.failed = Some(error);
            None
        });
        self.known.insert(key, there.clone());
        there
    }

    fn find(&self, name: &str, version: Option<i64>) -> Result<Option<Keyed>, Error> {
        let stored = match self.place {
            Where::Active => read_live(self.connection, name, version)?,
            Where::KeptFor(top) => {
                let pk: Option<TemplateId> = found(
                    self.connection
                        .prepare_cached(
                            "SELECT template FROM workflow_templates WHERE top = ?1 AND name = ?2 AND version = ?3",
                        )?
                        .query_row(params![top, name, version.unwrap_or(0)], |row| row.get(0)),
                )?;
                pk.map(|pk| read(self.connection, pk)).transpose()?.flatten()
            }
        };
        Ok(stored.map(|stored| (stored.pk, stored.template)))
    }

    /// Gives the error that made an answer worthless, if there was one.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Keeps all that was found for the hierarchy below `top`.
    pub(super) fn keep(&self, tx: &WriteTx<'_>, top: JobId) -> Result<(), Error> {
        for ((name, version), there) in &self.known {
            if let Some((template, _)) = there {
                tx.connection()
                    .prepare_cached(
                        "INSERT INTO workflow_templates (top, name, version, template) VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![top, name, version.unwrap_or(0), template])?;
            }
        }
        Ok(())
    }
}
