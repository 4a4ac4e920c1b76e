//! `labrun demo`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::Value;
use tokio::sync::watch;

use super::Exit;
use super::job::watch;
use super::screen::{Look, Screen};
use crate::client::Client;
use crate::domain::ids::JobId;
use crate::server::{Running, Settings};
use crate::wire::Template;
use crate::wire::job::{NewJob, ParameterValue, TypedValue};
use crate::worker::{self, Stopping, Worker};

/// The template and the data of the example.
const TEMPLATE: &str = include_str!("../../examples/data/peaks.json");
const CHROMATOGRAM: &[u8] = include_bytes!("../../examples/data/chromatogram.csv");
/// How far peaks must stand out, in mAU: a job each.
const PROMINENCES_MAU: [&str; 3] = ["1", "20", "50"];
/// How long the jobs may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// See it all in ten seconds: a server, a worker and three jobs, in a temporary folder.
///
/// Finds the peaks of the chromatogram in examples/data, three times, and shows what one would type to do the same.
/// Nothing is left behind.
#[derive(Debug, Args)]
pub(super) struct Demo {
    #[command(flatten)]
    look: Look,
}

impl Demo {
    /// Shows everything, then removes it.
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let runtime = tokio::runtime::Runtime::new().context("the runtime can't be started")?;
        runtime.block_on(demo(self.look.screen()))
    }
}

async fn demo(screen: Screen) -> anyhow::Result<Exit> {
    let began = Instant::now();
    let folder =
        tempfile::Builder::new().prefix("labrun-demo-").tempdir().context("no temporary folder can be made")?;
    typed(screen, "labrun serve")?;
    let server = Running::start(Settings::new(folder.path().join("data"))).await?;
    screen.line(&format!("a server listens on http://{}", server.address()))?;
    let outcome = tokio::select! {
        outcome = work(screen, &server, folder.path()) => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    server.stop().await;
    folder.close().context("the temporary folder can't be removed")?;
    let exit = outcome?;
    let seconds = began.elapsed().as_secs_f64();
    screen.line(&format!(
        "\nDone in {seconds:.1} s. The server and the worker have stopped, and their folder is gone."
    ))?;
    Ok(exit)
}

/// Runs a worker beside the jobs.
async fn work(screen: Screen, server: &Running, folder: &Path) -> anyhow::Result<Exit> {
    let password = server.made_password().context("a new data directory has no user yet")?;
    let client = Client::login(&format!("http://{}", server.address()), "admin", password).await?;
    typed(screen, "labrun work")?;
    let settings = worker::Settings { slots: 2, ..worker::Settings::new(folder.join("work")) };
    let worker = Worker::start(client.clone(), settings).await?;
    screen.line(&format!(
        "a worker runs two jobs at a time, as nodes {}",
        joined(worker.nodes().iter().map(|node| node.pk))
    ))?;
    let (stop, stopping) = watch::channel(Stopping::Not);
    let working = tokio::spawn(worker.run(stopping));
    let outcome = jobs(screen, &client).await;
    stop.send_replace(Stopping::Now);
    working.await.context("the worker broke down")??;
    outcome
}

/// Submits three jobs, watches them, and shows what came out.
async fn jobs(screen: Screen, client: &Client) -> anyhow::Result<Exit> {
    let document: Value = serde_json::from_str(TEMPLATE)?;
    let template = client.import_template(&document).await?;
    let chromatogram = client.put_blob(CHROMATOGRAM.into()).await?;
    let mut made = Vec::new();
    for prominence in PROMINENCES_MAU {
        let input = "--input chromatogram=@examples/data/chromatogram.csv";
        typed(
            screen,
            &format!("labrun job submit examples/data/peaks.json {input} --param prominence_mau={prominence}"),
        )?;
        let job = submit(client, &template, &chromatogram.sha256, prominence).await?;
        screen.line(&format!("job {job} made from {}@{}", template.name, template.version))?;
        made.push(job);
    }
    typed(screen, &format!("labrun job watch {}", joined(made.iter())))?;
    let exit = watch(&made, PATIENCE, client, screen).await?;
    for (job, prominence) in made.into_iter().zip(PROMINENCES_MAU) {
        typed(screen, &format!("labrun job fetch {job}"))?;
        let table = client.download(job, "peaks", "BLOB<'csv'>").await?;
        let table = String::from_utf8_lossy(&table);
        let rows: Vec<_> = table.lines().skip(1).filter_map(|row| row.split(',').nth(1)).collect();
        ensure!(!rows.is_empty(), "job {job} found no peaks, and there are some");
        screen.line(&format!("{} peaks stand out by {prominence} mAU, at {} min", rows.len(), rows.join(", ")))?;
    }
    Ok(exit)
}

async fn submit(client: &Client, template: &Template, sha256: &str, prominence: &str) -> anyhow::Result<JobId> {
    let input = TypedValue::new(format!("sha256:{sha256}"), "BLOB<'csv'>");
    let prominence: f64 = prominence.parse().context("a prominence is a number")?;
    let new = NewJob {
        input_values: [("chromatogram".to_owned(), input)].into(),
        parameter_values: [("prominence_mau".to_owned(), ParameterValue::Typed(TypedValue::new(prominence, "float")))]
            .into(),
        ..NewJob::default()
    };
    Ok(client.create_job(template.pk, &new).await?.pk)
}

/// Shows what one would type oneself.
fn typed(screen: Screen, command: &str) -> std::io::Result<()> {
    screen.line(&format!("\n{}", screen.paint(&format!("$ {command}"), console::Style::new().bold())))
}

fn joined<T: std::fmt::Display>(keys: impl Iterator<Item = T>) -> String {
    keys.map(|key| key.to_string()).collect::<Vec<_>>().join(" ")
}
