//! Submitting jobs: a template is chosen, then its form is filled in.

mod fields;
mod read;
mod upload;

use askama::Template;
use serde_json::json;
use warp::http::StatusCode;
use warp::reply::Response;

use super::form::{Complaints, Form};
use super::{Frame, html, ok, see_other, show, wants_part};
use crate::domain::ids::TemplateId;
use crate::domain::template::Interface;
use crate::server::error::ApiError;
use crate::server::handlers::jobs;
use crate::server::request::Call;
use crate::store::templates::{StoredTemplate, listing};
use fields::{Field, Widget};

pub(in crate::server) use upload::upload;

/// Templates on the page.
const TEMPLATES_MAX: u32 = 200;
/// Characters of a description in the list.
const DESCRIPTION_CHARS_MAX: usize = 240;

/// The page of templates.
#[derive(Template)]
#[template(path = "submit/page.html")]
struct Page {
    frame: Frame,
    list: List,
}

/// The part of it that the search changes.
#[derive(Template)]
#[template(path = "submit/list.html")]
struct List {
    q: String,
    templates: Vec<Shown>,
    is_cut: bool,
    is_staff: bool,
}

/// A template in the list, with its other versions.
struct Shown {
    pk: TemplateId,
    name: String,
    version: i64,
    description: String,
    is_meta: bool,
    others: Vec<(TemplateId, i64)>,
}

/// The form of a template.
#[derive(Template)]
#[template(path = "submit/form.html")]
struct FormPage {
    frame: Frame,
    pk: TemplateId,
    name: String,
    version: i64,
    description: String,
    is_meta: bool,
    inputs: Vec<Field>,
    parameters: Vec<Field>,
    outputs: Vec<(String, String, String)>,
    form: Form,
    complaints: Complaints,
    /// Whether something is wrong with the fields under "more".
    is_more_open: bool,
}

impl FormPage {
    /// Gives what was filled in.
    fn value(&self, name: &str) -> &str {
        self.form.get(name).unwrap_or_default()
    }
}

/// `GET /submit?q=TEXT`.
pub(in crate::server) async fn list(call: &mut Call) -> Result<Response, ApiError> {
    let q = call.query_param("q").unwrap_or_default().trim().to_owned();
    let contains = |field: &str| json!({"type": "contains", "field": field, "sub_string": q, "case_insensitive": true});
    let mut spec = json!({"order_by": [{"field": "name"}, {"field": "version", "ascending": false}]});
    if !q.is_empty() {
        spec["expressions"] = json!([{"type": "or", "sub_expressions": [contains("name"), contains("description")]}]);
    }
    let page = call.app.store.page(&listing().parse(&spec)?, TEMPLATES_MAX).await?;
    let mut templates: Vec<Shown> = Vec::new();
    for StoredTemplate { pk, template, .. } in page.rows {
        let version = template.version.unwrap_or(1);
        match templates.last_mut().filter(|last| last.name == template.name) {
            Some(newer) => newer.others.push((pk, version)),
            None => templates.push(Shown {
                pk,
                version,
                description: show::cut(template.description.trim(), DESCRIPTION_CHARS_MAX),
                is_meta: template.meta().is_some(),
                name: template.name,
                others: Vec::new(),
            }),
        }
    }
    let list = List { q, templates, is_cut: page.next.is_some(), is_staff: call.caller()?.is_staff };
    if wants_part(call) {
        return ok(&list);
    }
    ok(&Page { frame: Frame::of(call, "Submit a job", "/submit")?, list })
}

/// `GET /submit/{PK}`: the form, with values from the query if it has them.
pub(in crate::server) async fn show_form(call: &mut Call) -> Result<Response, ApiError> {
    let form = Form::parse(call.query.as_bytes());
    ok(&form_page(call, form, Complaints::default()).await?)
}

/// `POST /submit/{PK}`: makes the job, or shows the form with what is wrong.
pub(in crate::server) async fn send(call: &mut Call) -> Result<Response, ApiError> {
    let (form, held) = read::filled(call).await?;
    let (_, interface) = call.app.store.template_interface(TemplateId(call.pk()))?;
    let made = match read::body(&form, &interface) {
        Ok(body) => jobs::make(call, &body).await,
        Err(problems) => Err(problems.into()),
    };
    // The files are named by the job now, or wait for a name.
    drop(held);
    match made {
        Ok(job) => see_other(&format!("/jobs/{}", job.pk)),
        Err(error) => {
            let complaints = Complaints::of(error)?;
            html(StatusCode::BAD_REQUEST, &form_page(call, form, complaints).await?)
        }
    }
}

async fn form_page(call: &mut Call, form: Form, complaints: Complaints) -> Result<FormPage, ApiError> {
    let (stored, interface) = call.app.store.template_interface(TemplateId(call.pk()))?;
    let Interface { inputs, outputs, parameters, .. } = &interface;
    let newest = fields::Newest::read(&call.app, inputs).await?;
    let mut shown_inputs = Vec::with_capacity(inputs.len());
    for (place, (name, input)) in inputs.iter().enumerate() {
        shown_inputs.push(fields::of_input(&call.app, place, name, input, &newest, &form, &complaints).await?);
    }
    let mut shown_parameters = Vec::with_capacity(parameters.len());
    for (place, (name, parameter)) in parameters.iter().enumerate() {
        shown_parameters.push(fields::of_parameter(&call.app, place, name, parameter, &form, &complaints).await?);
    }
    let more = ["priority", "max_attempts", "retry_delay", "timeout", "labels"];
    let template = &stored.template;
    Ok(FormPage {
        frame: Frame::of(call, format!("Submit {}", template.name), "/submit")?,
        pk: stored.pk,
        name: template.name.clone(),
        version: template.version.unwrap_or(1),
        description: template.description.trim().to_owned(),
        is_meta: template.meta().is_some(),
        inputs: shown_inputs,
        parameters: shown_parameters,
        outputs: outputs
            .iter()
            .map(|(name, output)| (name.clone(), output.type_.to_string(), output.help.clone()))
            .collect(),
        is_more_open: more.iter().any(|field| !complaints.at(field).is_empty() || form.filled(field).is_some()),
        form,
        complaints,
    })
}
