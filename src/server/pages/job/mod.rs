//! The page of one job: how it stands, what became of it, what it was given, what came out of it.

mod graph;
pub(in crate::server) mod live;
mod log;

use askama::Template;
use serde_json::Value;
use serde_json::value::RawValue;
use warp::http::HeaderValue;
use warp::reply::Response;

use super::jobs::row::node_name;
use super::show::{self, Badge, Span, When};
use super::{Frame, ok, see_other, wants_part};
use crate::domain::ids::{JobId, NodeId};
use crate::domain::lifecycle::{Phase, Transition};
use crate::server::App;
use crate::server::error::ApiError;
use crate::server::request::Call;
use crate::store::timeline::{Step, Timeline};
use crate::wire::{Attempt, Job, Output};
use graph::Drawing;

/// Transitions that the timeline shows.
const STEPS_MAX: u32 = 100;
/// Attempts that are listed, the newest.
const ATTEMPTS_MAX: usize = 50;
/// Outputs that are listed; a workflow can have any number.
const OUTPUTS_MAX: usize = 200;
/// Characters of a title, of a value that was given, and of an error.
const TITLE_CHARS_MAX: usize = 300;
const VALUE_CHARS_MAX: usize = 2_000;
const ERROR_CHARS_MAX: usize = 20_000;
/// Outputs whose previews are there from the start.
const PREVIEWED_MAX: usize = 4;
/// The largest output that is previewed from the start, in bytes.
const PREVIEWED_BYTES_MAX: i64 = 4 << 20;

/// Who looks, as the parts of the page need it.
#[derive(Debug, Clone)]
struct Looks {
    is_staff: bool,
    user: crate::domain::ids::UserId,
    csrf: String,
}

/// The page.
#[derive(Template)]
#[template(path = "job/page.html")]
struct Page {
    frame: Frame,
    pk: JobId,
    head: Head,
    graph: Option<Graph>,
    outputs: Outputs,
    steps: Steps,
    inputs: Vec<Given>,
    parameters: Vec<Given>,
    log: log::Tail,
}

/// How the job stands.
#[derive(Template)]
#[template(path = "job/head.html")]
struct Head {
    job: Job,
    looks: Looks,
    title: String,
    /// Why it failed, if it did.
    why: String,
    badge: Badge,
    percent: u8,
    is_meta: bool,
    node: Option<(NodeId, String)>,
    creator: String,
    made: When,
    took: Option<Span>,
    lease: Option<When>,
    can_cancel: bool,
    can_abort: bool,
    can_unhold: bool,
}

/// The children of a meta-job.
#[derive(Template)]
#[template(path = "job/graph.html")]
struct Graph {
    drawing: Drawing,
}

/// What came out.
#[derive(Template)]
#[template(path = "job/outputs.html")]
struct Outputs {
    pk: JobId,
    /// How many there are, also those that are not listed.
    count: usize,
    outputs: Vec<Shown>,
    total: String,
    is_over: bool,
}

/// An output in the list.
struct Shown {
    output: Output,
    size: String,
    /// Whether its preview is loaded without being asked for.
    is_open: bool,
}

/// What became of the job.
#[derive(Template)]
#[template(path = "job/steps.html")]
struct Steps {
    steps: Vec<ShownStep>,
    is_cut: bool,
    attempts: Vec<ShownAttempt>,
}

/// A transition in the timeline.
struct ShownStep {
    what: &'static str,
    kind: &'static str,
    when: When,
    /// Since the transition before it.
    after: String,
    node: Option<(NodeId, String)>,
    note: String,
}

/// An attempt in the table.
struct ShownAttempt {
    attempt: Attempt,
    node: String,
    acquired: When,
    took: Option<Span>,
    outcome: String,
}

/// An input or a parameter.
struct Given {
    name: String,
    type_name: String,
    value: String,
    /// Where its value leads to.
    href: Option<String>,
}

/// `GET /jobs/{PK}`.
pub(in crate::server) async fn show(call: &mut Call) -> Result<Response, ApiError> {
    let pk = JobId(call.pk());
    let looks = looks(call)?;
    let app = call.app.clone();
    let job = app.store.job(pk)?.ok_or_else(ApiError::not_found)?;
    let (inputs, parameters) = (given(&job.input_values), given(&job.parameter_values));
    let log = log::Tail::read(&app, &job).await?;
    let outputs = outputs(&app, &job).await?;
    let steps = steps(&app, pk).await?;
    let graph = graph(&app, &job).await?;
    let head = head(&app, job, &looks)?;
    let frame = Frame::of(call, format!("#{pk} {}", head.title), "/jobs")?;
    ok(&Page { frame, pk, head, graph, outputs, steps, inputs, parameters, log })
}

/// `POST /jobs/{PK}/unhold`: lets a job that is on hold go.
pub(in crate::server) async fn unhold(call: &mut Call) -> Result<Response, ApiError> {
    let job = JobId(call.pk());
    call.app.store.unhold_job(job).await?;
    let mut response = see_other(&format!("/jobs/{job}"))?;
    if wants_part(call) {
        response = Response::default();
        response.headers_mut().insert("hx-refresh", HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn looks(call: &Call) -> Result<Looks, ApiError> {
    let caller = call.caller()?;
    let csrf = call.session.as_ref().map(|session| session.csrf.clone()).unwrap_or_default();
    Ok(Looks { is_staff: caller.is_staff, user: caller.user, csrf })
}

fn is_meta(app: &App, pk: JobId) -> Result<bool, ApiError> {
    Ok(app.store.job_access(pk)?.is_some_and(|access| access.is_meta))
}

fn head(app: &App, job: Job, looks: &Looks) -> Result<Head, ApiError> {
    let now = app.clock.now();
    let is_meta = is_meta(app, job.pk)?;
    let is_live = job.deletion_time.is_none();
    let is_over = matches!(job.phase, Phase::Finished | Phase::Cancelled);
    let is_taken = job.node.is_some() || job.phase == Phase::Started || job.phase == Phase::Errored;
    Ok(Head {
        title: match show::cut(job.description.trim(), TITLE_CHARS_MAX) {
            empty if empty.is_empty() => job.template.name.clone(),
            title => title,
        },
        why: match &job.error_reason {
            Some(reason) if !job.is_cancelled => show::cut(reason, ERROR_CHARS_MAX),
            _ => String::new(),
        },
        badge: Badge::of(&job),
        percent: (job.progress_amount * 100.0) as u8,
        is_meta,
        node: job.node.map(|node| Ok::<_, ApiError>((node, node_name(app, node)?))).transpose()?,
        creator: app.store.username(job.creator)?.unwrap_or_default(),
        made: When::new(job.creation_time, now),
        took: job.start_time.map(|start| Span::new(start, job.end_time, now)),
        lease: job.lease_expires.map(|expires| When::new(expires, now)),
        can_cancel: looks.is_staff && is_live && !is_over && job.parent.is_none(),
        can_abort: looks.is_staff && is_live && !is_over && is_taken && !is_meta,
        can_unhold: (looks.is_staff || looks.user == job.creator) && job.hold && job.phase == Phase::Created,
        looks: looks.clone(),
        job,
    })
}

async fn graph(app: &App, job: &Job) -> Result<Option<Graph>, ApiError> {
    if !is_meta(app, job.pk)? {
        return Ok(None);
    }
    let drawing = Drawing::of(&app.store.graph(job.pk).await?);
    Ok(Some(Graph { drawing }))
}

async fn outputs(app: &App, job: &Job) -> Result<Outputs, ApiError> {
    let outputs = app.store.live_outputs(job.pk).await?;
    let total = show::bytes(outputs.iter().map(|output| output.size).sum());
    let count = outputs.len();
    let shown = outputs.into_iter().take(OUTPUTS_MAX).enumerate().map(|(place, output)| Shown {
        size: show::bytes(output.size),
        is_open: place < PREVIEWED_MAX && output.size <= PREVIEWED_BYTES_MAX,
        output,
    });
    let is_over = matches!(job.phase, Phase::Finished | Phase::Cancelled | Phase::Errored);
    Ok(Outputs { pk: job.pk, count, outputs: shown.collect(), total, is_over })
}

async fn steps(app: &App, pk: JobId) -> Result<Steps, ApiError> {
    let now = app.clock.now();
    let Timeline { steps, is_cut } = app.store.timeline(pk, STEPS_MAX).await?;
    let mut shown = Vec::with_capacity(steps.len());
    let mut before = None;
    for Step { time, transition, node, error, data } in steps {
        let (what, kind) = words(transition);
        let after = before.map(|before: i64| show::span(time.0 - before)).unwrap_or_default();
        before = Some(time.0);
        let reason = serde_json::from_str::<Value>(&data).ok();
        let reason = reason.and_then(|data| data.get("reason")?.as_str().map(|reason| reason.replace('_', " ")));
        let note = if transition == Transition::Error { error.or(reason) } else { reason };
        let node = node.map(|node| Ok::<_, ApiError>((node, node_name(app, node)?))).transpose()?;
        let note = show::cut(&note.unwrap_or_default(), TITLE_CHARS_MAX);
        shown.push(ShownStep { what, kind, when: When::new(time, now), after, node, note });
    }
    let mut attempts = Vec::new();
    let all = app.store.attempts(pk).await?;
    let earlier = all.len().saturating_sub(ATTEMPTS_MAX);
    for attempt in all.into_iter().skip(earlier) {
        attempts.push(ShownAttempt {
            node: attempt.node.map(|node| node_name(app, node)).transpose()?.unwrap_or_default(),
            acquired: When::new(attempt.acquired, now),
            took: attempt.started.map(|started| Span::new(started, attempt.ended, now)),
            outcome: attempt.outcome.as_deref().unwrap_or("under way").replace('_', " "),
            attempt,
        });
    }
    Ok(Steps { steps: shown, is_cut, attempts })
}

/// Gives how a transition is spoken of, and the icon of the phase that it leads to.
fn words(transition: Transition) -> (&'static str, &'static str) {
    match transition {
        Transition::Create => ("Created", "created"),
        Transition::Acquire => ("Acquired", "held"),
        Transition::Release => ("Released", "created"),
        Transition::Start => ("Started", "started"),
        Transition::Progress => ("Progress", "started"),
        Transition::Finish => ("Finished", "finished"),
        Transition::Error => ("Failed", "errored"),
        Transition::Reset => ("Reset", "created"),
        Transition::Abort => ("Aborted", "created"),
        Transition::Cancel => ("Cancelled", "cancelled"),
    }
}

/// Reads inputs or parameters as they were given: each a text, or an object of value and type.
fn given(values: &RawValue) -> Vec<Given> {
    let Ok(Value::Object(values)) = serde_json::from_str(values.get()) else { return Vec::new() };
    let as_text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let one = |(name, value): (String, Value)| {
        let type_name = value.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let value = value.get("value").unwrap_or(&value).clone();
        let text = as_text(&value);
        let href = match &value {
            Value::String(text) if type_name.starts_with("BLOB") => {
                let hex = text.strip_prefix("sha256:").filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
                hex.map(|hex| format!("/blobs/{hex}"))
            }
            Value::Number(pk) if type_name.starts_with("JobOutput") => Some(format!("/outputs/{pk}")),
            _ => None,
        };
        Given { name, type_name, value: show::cut(&text, VALUE_CHARS_MAX), href }
    };
    values.into_iter().map(one).collect()
}
