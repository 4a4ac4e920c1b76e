//! `labrun node`: the machines that work.

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::connect::Connection;
use super::exit::{self, Exit};
use super::screen::table::{Column, Table};
use super::screen::text::{age, bytes, moment, plain};
use super::screen::{Look, Screen};
use crate::client::Client;
use crate::domain::time::{Clock, SystemClock};
use crate::wire::Node as Row;

/// List, show and delete worker nodes.
#[derive(Debug, Args)]
#[command(after_help = exit::help("labrun node list"))]
pub(super) struct Node {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List nodes, the one last seen first
    List {
        /// Only those that work on a job
        #[arg(long)]
        busy: bool,
    },
    /// Show a node
    Show {
        /// Key of the node
        #[arg(value_parser = super::key)]
        pk: i64,
    },
    /// Delete nodes that hold no unfinished job
    Delete {
        /// Keys of the nodes
        #[arg(required = true, value_parser = super::key)]
        pk: Vec<i64>,
    },
}

const COLUMNS: &[Column] = &[
    Column::number("PK"),
    Column::text("ADDRESS").down_to(10),
    Column::number("JOB"),
    Column::number("SEEN"),
    Column::number("MEMORY").rank(1),
    Column::number("GPU").rank(2),
    Column::number("OWNER").rank(3),
];

impl Node {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let (screen, client) = (self.look.screen(), self.connection.client().await?);
        match self.action {
            Action::List { busy } => list(&client, screen, busy).await?,
            Action::Show { pk } => show(&client, screen, pk).await?,
            Action::Delete { pk } => {
                let mut deleted = Vec::new();
                for pk in pk {
                    let path = format!("/v1/nodes/{pk}");
                    client.json("DELETE", &path, None).await.with_context(|| format!("node {pk}"))?;
                    match screen.wants_json() {
                        true => deleted.push(json!({"pk": pk})),
                        false => screen.line(&format!("node {pk} deleted"))?,
                    }
                }
                if screen.wants_json() {
                    screen.json(&Value::Array(deleted))?;
                }
            }
        }
        Ok(Exit::Done)
    }
}

async fn list(client: &Client, screen: Screen, busy: bool) -> anyhow::Result<()> {
    let works = busy.then(|| json!({"type": "isnull", "field": "current_job", "invert": true}));
    let order = json!([{"field": "last_seen", "ascending": false}]);
    let spec = json!({"expressions": works.into_iter().collect::<Vec<_>>(), "order_by": order});
    let rows = client.json("POST", "/v1/nodes/list", Some(&spec)).await?;
    if screen.wants_json() {
        return Ok(screen.json(&rows)?);
    }
    let (mut table, now) = (Table::new(COLUMNS), SystemClock.now());
    for node in serde_json::from_value::<Vec<Row>>(rows)? {
        table.row([
            node.pk.into(),
            format!("{}#{}", plain(&node.ip), node.index).into(),
            node.current_job.map_or(String::new(), |job| job.to_string()).into(),
            node.last_seen.map_or("never".to_owned(), |seen| age(seen, now)).into(),
            memory(Some(node.cpu_mem)).into(),
            memory(node.gpu_mem).into(),
            node.creator.into(),
        ]);
    }
    Ok(screen.table(&table, "nodes")?)
}

async fn show(client: &Client, screen: Screen, pk: i64) -> anyhow::Result<()> {
    let shown = client.json("GET", &format!("/v1/nodes/{pk}"), None).await.with_context(|| format!("node {pk}"))?;
    if screen.wants_json() {
        return Ok(screen.json(&shown)?);
    }
    let node: Row = serde_json::from_value(shown)?;
    Ok(screen.pairs(&[
        ("node", node.pk.to_string()),
        ("address", format!("{}#{}", plain(&node.ip), node.index)),
        ("works on", node.current_job.map_or("no job".to_owned(), |job| format!("job {job}"))),
        ("last seen", moment(node.last_seen, SystemClock.now())),
        ("memory", memory(Some(node.cpu_mem))),
        ("GPU memory", memory(node.gpu_mem)),
        ("GPU driver", plain(node.driver_version.as_deref().unwrap_or_default())),
        ("owner", format!("user {}", node.creator)),
    ])?)
}

fn memory(count: Option<i64>) -> String {
    count.and_then(|count| u64::try_from(count).ok()).map_or(String::new(), bytes)
}
