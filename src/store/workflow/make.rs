//! Makes meta-jobs with their plans, and their children from these.

use rusqlite::{Row, params};
use serde_json::{Map, Value};

use super::super::create::{Kind, NewJob, Place, insert};
use super::super::references::References;
use super::super::templates::read;
use super::super::{Error, WriteTx};
use super::feeds::{all_unmade, broken, readiness_of};
use super::templates::Templates;
use crate::domain::ids::{JobId, TemplateId};
use crate::domain::job::Policy;
use crate::domain::notification::Requested;
use crate::domain::template::{Template, interface};
use crate::domain::values;
use crate::domain::workflow::{Plan, Readiness, plan};

/// Makes a meta-job that is nobody's child, with every child that depends on nothing.
///
/// # Errors
/// `Invalid` when a template below it is gone, or was replaced since the values were checked so that they do not fit.
pub(in super::super) fn create(tx: &WriteTx<'_>, new: &NewJob) -> Result<JobId, Error> {
    let connection = tx.connection();
    let template = template_of(tx, new.template)?;
    let mut templates = Templates::active(connection);
    let whole = interface(&template, &mut |name, version| templates.get(name, version).map(|(_, found)| found));
    templates.check()?;
    // Bytes that the values name were found before, and are held until the rows are there.
    let rows = References::new(connection, &|_| true);
    let checked = values::check(&whole?, &object(&new.input_values)?, &object(&new.parameter_values)?, &rows);
    rows.failure().map_or(Ok(()), Err)?;
    checked?;
    let job = insert_meta(tx, new, &template, None, &mut templates)?;
    templates.keep(tx, job)?;
    first_children(tx, job)?;
    Ok(job)
}

/// Makes these children, each with the inputs that its siblings feed.
pub(super) fn children(tx: &WriteTx<'_>, parent: JobId, due: Vec<(String, Map<String, Value>)>) -> Result<(), Error> {
    if due.is_empty() {
        return Ok(());
    }
    let family = Family::read(tx, parent)?;
    for (name, fed) in due {
        child(tx, parent, &family, &name, fed)?;
    }
    Ok(())
}

/// What children have of their parent.
struct Family {
    template: String,
    version: i64,
    requested: Requested,
    model: NewJob,
}

impl Family {
    fn read(tx: &WriteTx<'_>, parent: JobId) -> Result<Self, Error> {
        let (template, version, notifications, labels, model) = tx
            .connection()
            .prepare_cached(
                "SELECT template.name, template.version, job.notifications, job.labels, job.creator, job.priority,
                     job.max_attempts, job.retry_delay, job.timeout, job.on_hold, job.template
                 FROM jobs AS job JOIN job_templates AS template ON template.pk = job.template WHERE job.pk = ?1",
            )?
            .query_row([parent], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?, model(row)?))
            })?;
        let requested = Requested::from_json(&notifications).map_err(broken)?;
        let policy = Policy { labels: object(&labels)?, ..model.policy };
        Ok(Self { template, version, requested, model: NewJob { policy, ..model } })
    }
}

/// Reads what is the same for all children: who makes them, and how they are handed out and tried.
fn model(row: &Row<'_>) -> rusqlite::Result<NewJob> {
    Ok(NewJob {
        template: row.get(10)?,
        input_values: String::new(),
        parameter_values: String::new(),
        description: String::new(),
        notifications: String::new(),
        creator: row.get(4)?,
        // The parent is there for as long as its children are, and keeps the bytes for them.
        blobs: Vec::new(),
        policy: Policy {
            priority: row.get(5)?,
            max_attempts: row.get(6)?,
            retry_delay_s: row.get(7)?,
            timeout_s: row.get(8)?,
            hold: row.get(9)?,
            labels: Map::new(),
        },
        idempotency: None,
    })
}

/// Makes one child; if it is a meta-job, with its own first children. The depth is bounded by that of the templates.
fn child(tx: &WriteTx<'_>, parent: JobId, family: &Family, name: &str, fed: Map<String, Value>) -> Result<(), Error> {
    let (template, input_values, parameter_values): (TemplateId, String, String) = tx
        .connection()
        .prepare_cached(
            "SELECT template, input_values, parameter_values FROM workflow_children WHERE parent = ?1 AND name = ?2",
        )?
        .query_row(params![parent, name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut inputs = object(&input_values)?;
    inputs.extend(fed);
    let new = NewJob {
        template,
        input_values: Value::Object(inputs).to_string(),
        parameter_values,
        description: format!("child job '{name}' of meta-job {} v{}", family.template, family.version),
        notifications: family.requested.for_child(name).to_json(),
        ..family.model.clone()
    };
    let place = Place { parent, name };
    let is_meta: bool = tx
        .connection()
        .prepare_cached("SELECT kind = 'meta' FROM job_templates WHERE pk = ?1")?
        .query_row([template], |row| row.get(0))?;
    if !is_meta {
        return insert(tx, &new, Kind::Workable, Some(place)).map(drop);
    }
    let mut templates = Templates::kept_for(tx.connection(), parent)?;
    let job = insert_meta(tx, &new, &template_of(tx, template)?, Some(place), &mut templates)?;
    first_children(tx, job)
}

/// Inserts a meta-job with its plan.
fn insert_meta(
    tx: &WriteTx<'_>,
    new: &NewJob,
    template: &Template,
    place: Option<Place<'_>>,
    templates: &mut Templates<'_>,
) -> Result<JobId, Error> {
    let (inputs, parameters) = (object(&new.input_values)?, object(&new.parameter_values)?);
    let planned =
        plan(template, &inputs, &parameters, &mut |name, version| templates.get(name, version).map(|(_, found)| found));
    templates.check()?;
    let plan = planned?;
    let job = insert(tx, new, Kind::Meta(plan.children.len()), place)?;
    save(tx, job, &plan, templates)?;
    Ok(job)
}

/// Saves the plan of a meta-job.
fn save(tx: &WriteTx<'_>, job: JobId, plan: &Plan, templates: &mut Templates<'_>) -> Result<(), Error> {
    let connection = tx.connection();
    for (position, child) in (0_i64..).zip(&plan.children) {
        let (template, _) = templates
            .get(&child.template, child.version)
            .ok_or_else(|| Error::Broken(format!("the template {:?} of a workflow is gone", child.template)))?;
        let [inputs, parameters] = [&child.inputs, &child.parameters].map(|o| Value::Object(o.clone()).to_string());
        connection
            .prepare_cached(
                "INSERT INTO workflow_children (parent, name, position, template, input_values, parameter_values)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![job, child.name, position, template, inputs, parameters])?;
    }
    for edge in &plan.edges {
        let json = serde_json::to_string(edge).map_err(broken)?;
        connection
            .prepare_cached(
                "INSERT INTO workflow_edges (parent, to_node, to_input, from_node, edge) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![job, edge.to_node, edge.to_input, edge.from_node, json])?;
    }
    Ok(())
}

/// Makes the children of a new meta-job that depend on nothing.
fn first_children(tx: &WriteTx<'_>, job: JobId) -> Result<(), Error> {
    let unmade = all_unmade(tx.connection(), job)?;
    let answers = readiness_of(tx.connection(), job, unmade)?.into_iter();
    let due = answers.filter_map(|(name, readiness)| match readiness {
        Readiness::Ready(inputs) => Some((name, inputs)),
        Readiness::Waits | Readiness::Lacks(_) => None,
    });
    children(tx, job, due.collect())
}

fn template_of(tx: &WriteTx<'_>, pk: TemplateId) -> Result<Template, Error> {
    Ok(read(tx.connection(), pk)?.ok_or(Error::NotFound)?.template)
}

/// Reads a JSON object of ours.
fn object(text: &str) -> Result<Map<String, Value>, Error> {
    serde_json::from_str(text).map_err(broken)
}
