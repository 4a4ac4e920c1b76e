//! Making jobs: the row, its first event, and for a meta-job its plan and its first children.

use rusqlite::params;

use super::events::{self, Chain, NewEvent};
use super::idempotency::IdempotencyKey;
use super::jobs::read;
use super::{Error, Store, WriteTx, templates, workflow};
use crate::domain::ids::{JobId, TemplateId, UserId};
use crate::domain::job::Policy;
use crate::domain::lifecycle::Transition;
use crate::wire;

/// A job on its way into the table, its values checked already.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// The template it is made from.
    pub template: TemplateId,
    /// A JSON object: the inputs as they are echoed.
    pub input_values: String,
    /// A JSON object: the parameters as they are echoed.
    pub parameter_values: String,
    /// What its creator says of it.
    pub description: String,
    /// A JSON object: what was asked of notifications.
    pub notifications: String,
    /// Who makes it.
    pub creator: UserId,
    /// SHA-256 (hex) of the bytes that are inputs; the caller holds them until the job is there.
    pub blobs: Vec<String>,
    /// How it is to be handed out and tried.
    pub policy: Policy,
    /// The key and the fingerprint under which a retry of the request gives the same job.
    pub idempotency: Option<IdempotencyKey>,
}

/// The place of a child in its workflow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) parent: JobId,
    pub(super) name: &'a str,
}

/// What kind of job a template makes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Workable,
    /// With how many children it will have.
    Meta(usize),
}

impl Store {
    /// Makes a job of a live template; of a meta-template, with every child that depends on nothing.
    ///
    /// # Errors
    /// `NotFound` when the template is gone, `NotNow` when it is soft-deleted, `KeyReused` when the idempotency key
    /// stands for another request, `Invalid` when the values do not fit a meta-template's children any more.
    pub async fn create_job(&self, new: NewJob) -> Result<wire::Job, Error> {
        self.write(move |tx| {
            let known = new.idempotency.as_ref().map(|key| key.find(tx.connection(), new.creator, tx.now()));
            let pk = match known.transpose()?.flatten() {
                Some(pk) => pk,
                None => create(tx, &new)?,
            };
            read(tx.connection(), pk)?.ok_or(Error::NotFound)
        })
        .await
    }
}

/// Makes a job that is nobody's child.
fn create(tx: &WriteTx<'_>, new: &NewJob) -> Result<JobId, Error> {
    let pk = match templates::live_kind(tx.connection(), new.template)?.as_str() {
        "meta" => workflow::create(tx, new)?,
        _ => insert(tx, new, Kind::Workable, None)?,
    };
    if let Some(key) = &new.idempotency {
        key.keep(tx, new.creator, pk)?;
    }
    Ok(pk)
}

/// Inserts a job in phase `created`, with its first event.
pub(super) fn insert(tx: &WriteTx<'_>, new: &NewJob, kind: Kind, place: Option<Place<'_>>) -> Result<JobId, Error> {
    let connection = tx.connection();
    let NewJob { template, input_values, parameter_values, description, notifications, creator, blobs, policy, .. } =
        new;
    let Policy { priority, max_attempts, retry_delay_s, timeout_s, hold, labels } = policy;
    let (kind, children) = match kind {
        Kind::Workable => ("workable", 0),
        Kind::Meta(children) => ("meta", children),
    };
    let (seq, chain) = (tx.next_event(), Chain::default());
    let Chain { count, last, last_step } = chain.and(seq, Transition::Create);
    connection
        .prepare_cached(
            "INSERT INTO jobs (template, kind, phase, input_values, parameter_values, description, notifications,
                 creator, creation_time, priority, max_attempts, retry_delay, timeout, on_hold, labels, children,
                 parent, child_name, events, last_event, last_step)
             VALUES (?1, ?2, 'created', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
        )?
        .execute(params![
            template,
            kind,
            input_values,
            parameter_values,
            description,
            notifications,
            creator,
            tx.now(),
            priority,
            max_attempts,
            retry_delay_s,
            timeout_s,
            hold,
            serde_json::Value::Object(labels.clone()).to_string(),
            i64::try_from(children).unwrap_or(i64::MAX),
            place.map(|place| place.parent),
            place.map(|place| place.name),
            count,
            last,
            last_step,
        ])?;
    let pk = JobId(connection.last_insert_rowid());
    for sha256 in blobs {
        connection
            .prepare_cached("INSERT INTO job_blobs (job, sha256) VALUES (?1, ?2)")?
            .execute(params![pk, sha256])?;
    }
    let created = NewEvent {
        seq,
        job: pk,
        chain,
        transition: Transition::Create,
        node: None,
        progress: 0.0,
        error: None,
        description,
        data: "{}",
    };
    // The making of a job is told to watchers alone.
    events::append(tx, &created, false)?;
    tx.note_free_job(pk);
    Ok(pk)
}
