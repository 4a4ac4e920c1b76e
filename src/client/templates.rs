//! Job templates.

use serde_json::Value;

use super::{Client, ClientError};
use crate::domain::ids::TemplateId;
use crate::wire::Template;
use crate::wire::list::ListSpec;

/// Every method fails as `ClientError` tells; the statuses named are those that a right call may meet.
impl Client {
    /// Gives a template.
    pub async fn template(&self, template: TemplateId) -> Result<Template, ClientError> {
        self.get(format!("/v1/job-templates/{template}")).await
    }

    /// Lists templates.
    pub async fn templates(&self, spec: &ListSpec) -> Result<Vec<Template>, ClientError> {
        self.list("job-templates", spec).await
    }

    /// Imports a template document. For the staff. 400 when the document is not a good one (contract §7).
    pub async fn import_template(&self, document: &Value) -> Result<Template, ClientError> {
        self.post("/v1/job-templates/import".to_owned(), document).await
    }

    /// Gives the document that imports as this template. For the staff.
    pub async fn export_template(&self, template: TemplateId) -> Result<Value, ClientError> {
        self.get(format!("/v1/job-templates/{template}/export")).await
    }
}
