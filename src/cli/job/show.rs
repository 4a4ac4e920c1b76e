//! `labrun job show`.

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use super::list::phase;
use crate::cli::exit::Exit;
use crate::cli::screen::Screen;
use crate::cli::screen::table::{Column, Table};
use crate::cli::screen::text::{bytes, moment, percent, plain, plain_lines};
use crate::client::Client;
use crate::domain::time::{Clock, SystemClock};
use crate::wire::job::ParameterValue;
use crate::wire::list::{ListSpec, exact};
use crate::wire::{Attempt, Job};

/// Show all that is known about a job.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  labrun job show 12")]
pub(super) struct Show {
    /// Key of the job
    #[arg(value_parser = crate::cli::key)]
    pk: i64,
}

const OUTPUTS: &[Column] = &[
    Column::text("OUTPUT").down_to(12),
    Column::text("TYPE").down_to(10).rank(1),
    Column::number("SIZE"),
    Column::text("SHA-256").down_to(12).rank(2),
];

const ATTEMPTS: &[Column] = &[
    Column::number("ATTEMPT"),
    Column::number("NODE"),
    Column::text("ACQUIRED").rank(1),
    Column::text("OUTCOME"),
    Column::text("ERROR").down_to(16).rank(2),
];

impl Show {
    pub(super) async fn run(self, client: &Client, screen: Screen) -> anyhow::Result<Exit> {
        let shown = client.json("GET", &format!("/v1/jobs/{}", self.pk), None).await;
        let shown = shown.with_context(|| format!("job {}", self.pk))?;
        if screen.wants_json() {
            screen.json(&shown)?;
            return Ok(Exit::Done);
        }
        let job: Job = serde_json::from_value(shown)?;
        pairs(&job, screen)?;
        self.tables(&job, client, screen).await?;
        Ok(Exit::Done)
    }

    async fn tables(&self, job: &Job, client: &Client, screen: Screen) -> anyhow::Result<()> {
        if !job.outputs.is_empty() {
            let spec = ListSpec::default().with(exact("job.pk", self.pk));
            let mut table = Table::new(OUTPUTS);
            for output in client.outputs(&spec).await? {
                table.row([
                    plain(&output.name).into(),
                    plain(&output.type_name).into(),
                    bytes(u64::try_from(output.size).unwrap_or_default()).into(),
                    plain(&output.sha256).into(),
                ]);
            }
            screen.line("")?;
            screen.table(&table, "outputs")?;
        }
        if job.attempt > 0 {
            let mut table = Table::new(ATTEMPTS);
            let attempts = client.json("GET", &format!("/v1/jobs/{}/attempts", self.pk), None).await?;
            for attempt in serde_json::from_value::<Vec<Attempt>>(attempts)? {
                let Attempt { number, node, acquired, started: _, ended: _, outcome, error } = attempt;
                table.row([
                    number.into(),
                    node.map_or(String::new(), |node| node.to_string()).into(),
                    moment(Some(acquired), SystemClock.now()).into(),
                    plain(outcome.as_deref().unwrap_or("under way")).into(),
                    plain(&error.unwrap_or_default()).into(),
                ]);
            }
            screen.line("")?;
            screen.table(&table, "attempts")?;
        }
        Ok(())
    }
}

fn pairs(job: &Job, screen: Screen) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let (phase, style) = phase(job);
    let number = |wanted: bool, number: String| if wanted { number } else { String::new() };
    let inputs = job.inputs()?.into_iter().map(|(name, value)| value_line(&name, &value.value, &value.type_name));
    let parameters = job.parameters()?.into_iter().map(|(name, value)| match value {
        ParameterValue::Text(text) => format!("{} = {}", plain(&name), plain(&text)),
        ParameterValue::Typed(typed) => value_line(&name, &typed.value, &typed.type_name),
    });
    let labels = job.labels.iter().map(|(name, value)| format!("{}={}", plain(name), plain(value)));
    let template = &job.template;
    screen.pairs(&[
        ("job", job.pk.to_string()),
        ("template", format!("{}@{} (key {})", plain(&template.name), template.version, template.pk)),
        ("description", plain_lines(&job.description)),
        ("phase", screen.paint(&phase, style)),
        ("progress", percent(job.progress_amount)),
        ("error", plain_lines(job.error_reason.as_deref().unwrap_or_default())),
        ("parent", job.parent.map_or(String::new(), |parent| parent.to_string())),
        ("node", job.node.map_or(String::new(), |node| node.to_string())),
        ("creator", format!("user {}", job.creator)),
        ("created", moment(Some(job.creation_time), now)),
        ("started", moment(job.start_time, now)),
        ("ended", moment(job.end_time, now)),
        ("deleted", moment(job.deletion_time, now)),
        ("lease until", moment(job.lease_expires, now)),
        ("priority", number(job.priority != 0, job.priority.to_string())),
        ("attempts", number(job.max_attempts > 1, format!("{} of {}", job.attempt, job.max_attempts))),
        ("time-out", job.timeout.map_or(String::new(), |seconds| format!("{seconds} s"))),
        ("labels", labels.collect::<Vec<_>>().join("\n")),
        ("inputs", inputs.collect::<Vec<_>>().join("\n")),
        ("parameters", parameters.collect::<Vec<_>>().join("\n")),
    ])?;
    Ok(())
}

/// Writes a value with its name and type; a text without its quotes.
fn value_line(name: &str, value: &Value, type_name: &str) -> String {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("{} = {} ({})", plain(name), plain(&value), plain(type_name))
}
