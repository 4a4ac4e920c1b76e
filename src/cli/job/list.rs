//! `labrun job list`.

use clap::Args;
use console::Style;
use serde_json::{Value, json};

use super::which::{Filter, is_top};
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::screen::table::{Cell, Column, Table};
use crate::cli::screen::text::{age, percent, plain, span};
use crate::client::Client;
use crate::domain::time::{Clock, SystemClock, Timestamp};
use crate::wire::{Job, Phase};

/// Jobs shown when nothing else is said.
const ROWS: u32 = 50;
/// The most rows that the server gives at a time.
const PAGE_ROWS_MAX: u32 = 10_000;

/// List jobs, newest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  labrun job list --phase started,errored --label plate=7\n  \
                        labrun job list --where 'creation_time > 2h ago' --json | jq .[].pk")]
pub(super) struct List {
    /// How many at most
    #[arg(long, value_name = "COUNT", default_value_t = ROWS, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,

    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,

    /// Sort by a field; with `-` before it, the highest first
    ///
    /// Fields: pk, phase, description, template, template.name, template.version, node, node.ip, node.index, parent,
    /// creator, creator.username, creation_time, start_time, end_time, deletion_time, progress_amount, error_reason,
    /// is_cancelled, attempt, max_attempts, retry_delay, timeout, priority, hold, lease_expires, labels.NAME. Given
    /// several times, the later ones sort what is equal by those before.
    ///
    /// Example: --order template.name --order -creation_time
    #[arg(long, value_name = "[-]FIELD", default_value = "-pk", allow_hyphen_values = true)]
    order: Vec<String>,

    /// Leave out the children of meta-jobs
    #[arg(long)]
    top: bool,

    /// Deleted ones too
    #[arg(long)]
    deleted: bool,

    // Last, since its heading holds for what follows.
    #[command(flatten)]
    filter: Filter,
}

impl List {
    pub(super) async fn run(self, client: &Client, screen: Screen) -> anyhow::Result<Exit> {
        let mut expressions = self.filter.expressions(client).await?;
        if self.top {
            expressions.push(is_top());
        }
        let order: Vec<Value> = self.order.iter().map(|field| order(field)).collect::<Result<_, _>>()?;
        let mut spec = json!({"expressions": expressions, "order_by": order, "include_inactive": self.deleted});
        if screen.wants_json() {
            if !self.all {
                spec["limit"] = self.limit.into();
            }
            let mut rows = client.whole_list("jobs", &spec).await?;
            while let Some(bytes) = rows.next().await? {
                screen.bytes(&bytes)?;
            }
            screen.line("")?;
            return Ok(Exit::Done);
        }
        spec["count"] = true.into();
        let mut left = if self.all { u64::MAX } else { self.limit.into() };
        let (mut table, now, mut shown) = (Table::new(COLUMNS), SystemClock.now(), 0);
        loop {
            spec["limit"] = left.min(PAGE_ROWS_MAX.into()).into();
            let page = client.page("jobs", &spec).await?;
            let jobs: Vec<Job> = serde_json::from_value(page.rows)?;
            shown += jobs.len() as u64;
            left = left.saturating_sub(jobs.len() as u64);
            for job in &jobs {
                table.row(row(job, now));
            }
            let total = page.total.unwrap_or(shown);
            match page.next.filter(|_| left > 0) {
                Some(next) => spec["after"] = next.into(),
                None => {
                    screen.table(&table, "jobs")?;
                    if total > shown {
                        screen.note(&format!("{shown} of {total} jobs; --all shows the rest"));
                    }
                    return Ok(Exit::Done);
                }
            }
        }
    }
}

/// Reads what to sort by.
fn order(field: &str) -> anyhow::Result<Value> {
    let (field, ascending) = field.strip_prefix('-').map_or((field, true), |field| (field, false));
    if field.is_empty() {
        return Err(Failure::usage("--order takes a field, such as -creation_time"));
    }
    Ok(json!({"field": field, "ascending": ascending}))
}

/// The columns of a table of jobs.
pub(super) const COLUMNS: &[Column] = &[
    Column::number("PK"),
    Column::text("PHASE"),
    Column::number("DONE"),
    Column::text("TEMPLATE").down_to(10),
    Column::number("NODE").rank(1),
    Column::number("AGE").rank(2),
    Column::number("TOOK").rank(4),
    Column::text("DESCRIPTION").down_to(12).rank(3),
];

/// Gives a row of [`COLUMNS`].
pub(super) fn row(job: &Job, now: Timestamp) -> Vec<Cell> {
    let took = job.start_time.map(|start| (job.end_time.unwrap_or(now).0 - start.0) as f64 / 1e6);
    let (phase, style) = phase(job);
    vec![
        job.pk.into(),
        Cell::styled(phase, style),
        percent(job.progress_amount).into(),
        format!("{}@{}", plain(&job.template.name), job.template.version).into(),
        job.node.map_or(String::new(), |node| node.to_string()).into(),
        age(job.creation_time, now).into(),
        took.map_or(String::new(), span).into(),
        plain(&job.description).into(),
    ]
}

/// Gives a job's phase with what else decides about its fate, and a colour that goes with it.
pub(super) fn phase(job: &Job) -> (String, Style) {
    let style = match job.phase {
        Phase::Created => Style::new(),
        Phase::Started => Style::new().blue(),
        Phase::Finished => Style::new().green(),
        Phase::Errored => Style::new().red(),
        Phase::Cancelled => Style::new().yellow(),
    };
    let also = match (job.deletion_time, job.hold && job.phase == Phase::Created) {
        (Some(_), _) => ", deleted",
        (None, true) => ", on hold",
        (None, false) => "",
    };
    (format!("{}{also}", job.phase.as_str()), style)
}
