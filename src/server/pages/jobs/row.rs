//! A row of the table of jobs.

use std::collections::HashMap;

use askama::Template;

use crate::domain::ids::{JobId, NodeId};
use crate::domain::lifecycle::Phase;
use crate::server::App;
use crate::server::error::ApiError;
use crate::server::pages::show::{Badge, Span, When, first_line};
use crate::wire::Job;

/// Characters of a description or an error that a row holds.
const CHARS_MAX: usize = 200;

/// A job as a row of the table.
#[derive(Template)]
#[template(path = "jobs/row.html")]
pub(in crate::server::pages) struct Row {
    pub(in crate::server::pages) pk: JobId,
    is_staff: bool,
    title: String,
    template: String,
    labels: Vec<String>,
    is_meta: bool,
    parent: Option<JobId>,
    node: Option<(NodeId, String)>,
    badge: Badge,
    /// From 0 to 1.
    progress: f64,
    percent: u8,
    shows_progress: bool,
    why: String,
    age: When,
    took: Option<Span>,
    is_deleted: bool,
}

/// Makes rows of jobs.
pub(in crate::server::pages) fn rows(app: &App, jobs: Vec<Job>, is_staff: bool) -> Result<Vec<Row>, ApiError> {
    let mut names = Names::default();
    jobs.into_iter().map(|job| row(app, job, is_staff, &mut names)).collect()
}

/// The names of nodes, each asked for once.
#[derive(Default)]
struct Names(HashMap<NodeId, String>);

impl Names {
    fn of(&mut self, app: &App, node: NodeId) -> Result<String, ApiError> {
        if let Some(name) = self.0.get(&node) {
            return Ok(name.clone());
        }
        let name = node_name(app, node)?;
        self.0.insert(node, name.clone());
        Ok(name)
    }
}

/// Gives what people call a node: its address, and its index where there are several.
pub(in crate::server::pages) fn node_name(app: &App, node: NodeId) -> Result<String, ApiError> {
    Ok(match app.store.node(node)? {
        None => format!("node {node}"),
        Some(node) if node.index == 0 => node.ip,
        Some(node) => format!("{} [{}]", node.ip, node.index),
    })
}

fn row(app: &App, job: Job, is_staff: bool, names: &mut Names) -> Result<Row, ApiError> {
    let now = app.clock.now();
    let template = format!("{} v{}", job.template.name, job.template.version);
    Ok(Row {
        pk: job.pk,
        is_staff,
        title: match first_line(&job.description, CHARS_MAX) {
            empty if empty.is_empty() => template.clone(),
            title => title,
        },
        template,
        labels: job.labels.iter().map(|(name, value)| format!("{name}: {value}")).collect(),
        is_meta: app.store.job_access(job.pk)?.is_some_and(|access| access.is_meta),
        parent: job.parent,
        node: job.node.map(|node| Ok::<_, ApiError>((node, names.of(app, node)?))).transpose()?,
        badge: Badge::of(&job),
        progress: job.progress_amount,
        // Rounded down: 100 % is said of what is done.
        percent: (job.progress_amount * 100.0) as u8,
        shows_progress: job.phase != Phase::Created,
        why: match job.phase {
            Phase::Errored => first_line(job.error_reason.as_deref().unwrap_or_default(), CHARS_MAX),
            _ => String::new(),
        },
        age: When::new(job.creation_time, now),
        took: job.start_time.map(|start| Span::new(start, job.end_time, now)),
        is_deleted: job.deletion_time.is_some(),
    })
}
