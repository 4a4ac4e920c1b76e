//! Holds the values of a new job against its template and the rows that they name.

use serde_json::{Map, Value};

use super::references::References;
use super::{Error, Store, templates};
use crate::domain::fields::Problems;
use crate::domain::ids::TemplateId;
use crate::domain::template::Specific;
use crate::domain::values::{Checked, check};

/// What came of checking a new job's values.
#[derive(Debug)]
pub struct CheckedJob {
    /// The values as they are echoed, or what is wrong with them.
    pub values: Result<Checked, Problems>,
    /// The names of a meta-template's children; `None` for a workable template.
    pub children: Option<Vec<String>>,
}

impl Store {
    /// Checks the values of a new job. `has_blob` says whether bytes (SHA-256 in hex) are there.
    ///
    /// # Errors
    /// `NotFound` when the template is gone, `Invalid` when a child's template is.
    pub fn check_values(
        &self,
        template: TemplateId,
        inputs: &Map<String, Value>,
        parameters: &Map<String, Value>,
        has_blob: &dyn Fn(&str) -> bool,
    ) -> Result<CheckedJob, Error> {
        self.read(|connection| {
            let stored = templates::read(connection, template)?.ok_or(Error::NotFound)?;
            let interface = templates::interface_of(connection, &stored.template)??;
            let rows = References::new(connection, has_blob);
            let values = check(&interface, inputs, parameters, &rows);
            if let Some(error) = rows.failure() {
                return Err(error);
            }
            let children = match &stored.template.specific {
                Specific::Workable(_) => None,
                Specific::Meta(meta) => Some(meta.nodes.iter().map(|(name, _)| name.clone()).collect()),
            };
            Ok(CheckedJob { values, children })
        })
    }
}
