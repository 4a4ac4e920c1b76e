//! Job templates: documents in and out, and what they say of their jobs (contract §7).

use serde_json::Value;
use warp::reply::Response;

use super::lists;
use crate::domain::ids::TemplateId;
use crate::domain::template::{Query, all_parameters, export as export_document, import as import_document};
use crate::domain::template::{output_types, type_parameters};
use crate::domain::types::{Kind, parse};
use crate::server::error::ApiError;
use crate::server::request::{Call, no_content, ok};
use crate::store::templates::{StoredTemplate, listing};

/// `POST /v1/job-templates/list`.
pub(crate) async fn list(call: &mut Call) -> Result<Response, ApiError> {
    lists::list(call, listing(), |stored| stored.to_json()).await
}

/// `POST /v1/job-templates/import`.
pub(crate) async fn import(call: &mut Call) -> Result<Response, ApiError> {
    let creator = call.caller()?.user;
    let template = import_document(&call.json().await?)?;
    ok(&call.app.store.import_template(template, creator).await?.to_json())
}

/// `GET /v1/job-templates/{PK}`.
pub(crate) async fn retrieve(call: &mut Call) -> Result<Response, ApiError> {
    ok(&by_key(call)?.to_json())
}

/// `GET /v1/job-templates/{PK}/export`.
pub(crate) async fn export(call: &mut Call) -> Result<Response, ApiError> {
    ok(&export_document(&by_key(call)?.template))
}

/// `DELETE /v1/job-templates/{PK}`.
pub(crate) async fn destroy(call: &mut Call) -> Result<Response, ApiError> {
    call.app.store.set_template_deleted(TemplateId(call.pk()), true).await?;
    no_content()
}

/// `DELETE /v1/job-templates/{PK}/reinstate`.
pub(crate) async fn reinstate(call: &mut Call) -> Result<Response, ApiError> {
    ok(&call.app.store.set_template_deleted(TemplateId(call.pk()), false).await?.to_json())
}

/// `DELETE /v1/job-templates/{PK}/hard`.
pub(crate) async fn hard(call: &mut Call) -> Result<Response, ApiError> {
    ok(&call.app.store.purge_template(TemplateId(call.pk())).await?.to_json())
}

/// `GET /v1/job-templates/{PK}/get-all-parameters`.
pub(crate) async fn all_parameters_of(call: &mut Call) -> Result<Response, ApiError> {
    let (_, interface) = call.app.store.template_interface(TemplateId(call.pk()))?;
    ok(&all_parameters(&interface))
}

/// `GET /v1/job-templates/{PK}/get-types`.
pub(crate) async fn types(call: &mut Call) -> Result<Response, ApiError> {
    ok(&type_parameters(&by_key(call)?.template))
}

/// `GET /v1/job-templates/{PK}/get-outputs`.
pub(crate) async fn outputs(call: &mut Call) -> Result<Response, ApiError> {
    let (_, interface) = call.app.store.template_interface(TemplateId(call.pk()))?;
    ok(&output_types(&interface))
}

/// `GET /v1/job-templates/get-all-matching-templates/{CONTRACT}?{INPUT NAME}={TYPE}&…`.
pub(crate) async fn matching(call: &mut Call) -> Result<Response, ApiError> {
    let inputs: Vec<(String, String)> = form_urlencoded::parse(call.query.as_bytes()).into_owned().collect();
    let query = Query::parse(call.param(0), &inputs)?;
    let stored = call.app.store.live_workable_templates().await?;
    let found: Vec<Value> =
        stored.iter().filter(|stored| query.matches(&stored.template)).map(StoredTemplate::to_json).collect();
    ok(&found)
}

/// `GET /v1/job-types/get-all-values/{TYPE}`: the rows of a type that the server keeps.
pub(crate) async fn all_values(call: &mut Call) -> Result<Response, ApiError> {
    let of = parse(call.param(0)).map_err(|error| ApiError::field("type", error.to_string()))?;
    let not_resident = || ApiError::field("type", format!("{of} is not the type of something that a server keeps."));
    let kind = of.kind().filter(|kind| kind.derives_from(Kind::ServerResidentType)).ok_or_else(not_resident)?;
    let keys = call.app.store.keys_of(of.clone()).await?;
    let mut values = Vec::with_capacity(keys.len());
    for pk in keys {
        values.extend(value_of(call, kind, pk)?);
    }
    ok(&values)
}

/// Gives a row of a kept type as its own route would.
fn value_of(call: &Call, kind: Kind, pk: i64) -> Result<Option<Value>, ApiError> {
    let spelling = match kind {
        Kind::Hardware => "hardware",
        Kind::CudaVersion => "cuda",
        Kind::Domain => "domains",
        Kind::Framework => "frameworks",
        Kind::DockerImage => "docker",
        Kind::JobOutput => {
            let output = call.app.store.output(crate::domain::ids::OutputId(pk))?;
            return output.map(|output| serde_json::to_value(output).map_err(ApiError::internal)).transpose();
        }
        _ => return Ok(None),
    };
    super::catalogue::shown(call, spelling, pk)
}

fn by_key(call: &Call) -> Result<StoredTemplate, ApiError> {
    call.app.store.template(TemplateId(call.pk()))?.ok_or_else(ApiError::not_found)
}
