//! A row of the table of jobs.

use std::collections::HashMap;

use askama::Template;

use crate::domain::ids::{JobId, NodeId};
use crate::domain::lifecycle::Phase;
use crate::server::App;
use crate::server::error::ApiError;
use crate::server::pages::show::{Badge, Span, When, first_line};
use crate::wire::{Job, Node};

/// Characters of a description or an error that a row holds.
const CHARS_MAX: usize = 200;

/// A job as a row of the table.
#[derive(Template)]
#[template(path = "jobs/row.html")]
pub(in crate::server::pages) struct Row {
    pub(in crate::server::pages) pk: JobId,
    is_staff: bool,
    pub(in crate::server::pages) title: String,
    template: String,
    labels: Vec<String>,
    is_meta: bool,
    parent: Option<JobId>,
    node: Option<(NodeId, String)>,
    pub(in crate::server::pages) badge: Badge,
    /// From 0 to 1.
    progress: f64,
    percent: u8,
    shows_progress: bool,
    pub(in crate::server::pages) why: String,
    pub(in crate::server::pages) age: When,
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

/// Gives what people call a node, by its key.
pub(in crate::server::pages) fn node_name(app: &App, node: NodeId) -> Result<String, ApiError> {
    Ok(app.store.node(node)?.map_or_else(|| format!("node {node}"), |node| called(&node)))
}

/// Gives what people call a node: its address, and its index where there are several.
pub(in crate::server::pages) fn called(node: &Node) -> String {
    if node.index == 0 { node.ip.clone() } else { format!("{}#{}", node.ip, node.index) }
}

/// Gives what people call a job: the first line of its description, or its template.
pub(in crate::server::pages) fn title(job: &Job) -> String {
    match first_line(&job.description, CHARS_MAX) {
        empty if empty.is_empty() => template_name(job),
        title => title,
    }
}

fn template_name(job: &Job) -> String {
    format!("{} v{}", job.template.name, job.template.version)
}

fn row(app: &App, job: Job, is_staff: bool, names: &mut Names) -> Result<Row, ApiError> {
    let now = app.clock.now();
    Ok(Row {
        pk: job.pk,
        is_staff,
        title: title(&job),
        template: template_name(&job),
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
