//! The worker's part: takes a free job, does it, hands in what came out.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result};
use labrun::client::Client;
use labrun::domain::ids::{JobId, NodeId};
use labrun::wire::job::{Finish, ParameterValue};
use labrun::wire::list::{ListSpec, exact, is_null};
use labrun::wire::node::NewNode;
use labrun::wire::template::Kind;
use labrun::wire::{Job, Output};
use serde_json::{Value, json};

use super::peaks::{self, BASELINE_PASSES, Baseline, Trace};
use super::plot;

/// How many characters the progress bar has.
const BAR_CHARS: usize = 32;

/// A worker that is logged in and has a node of its own.
pub(crate) struct Worker {
    client: Client,
    node: NodeId,
}

/// The two outputs of a job.
pub(crate) struct Results {
    /// The table of peaks.
    pub(crate) table: Output,
    /// The plot.
    pub(crate) plot: Output,
}

impl Worker {
    /// Makes a node for this machine.
    pub(crate) async fn new(client: Client) -> Result<Self> {
        let new = NewNode { ip: "127.0.0.1".to_owned(), cpu_mem: 8 << 30, ..NewNode::default() };
        let node = client.create_node(&new).await?.pk;
        Ok(Self { client: client.for_node(node), node })
    }

    /// Gives the node's key.
    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// Acquires and starts the oldest free job. When another worker is faster, the next one is tried.
    pub(crate) async fn take(&self) -> Result<Option<Job>> {
        let free = ListSpec::default().with(exact("phase", "created")).with(is_null("node"));
        for job in self.client.jobs(&free).await? {
            match self.client.acquire(job.pk).await {
                Ok(_) => return Ok(Some(self.client.start(job.pk).await?)),
                Err(error) if error.status() == Some(406) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Does a job to its end. An error in it becomes the job's error.
    pub(crate) async fn run(&self, job: &Job) -> Result<Results> {
        let results = self.find_peaks(job).await;
        let error = results.as_ref().err().map(|error| format!("{error:#}"));
        let how = Finish { success: Some(error.is_none()), error };
        let ended = self.client.finish(job.pk, &how).await;
        let results = results?;
        ended?;
        Ok(results)
    }

    async fn find_peaks(&self, job: &Job) -> Result<Results> {
        let inputs = job.inputs()?;
        let path = inputs.get("chromatogram").and_then(|input| input.value.as_str()).context("no chromatogram")?;
        let window = self.parameter(job, "window_points").await?;
        let prominence_mau = self.parameter(job, "prominence_mau").await?;
        let text = tokio::fs::read_to_string(path).await.with_context(|| format!("can't read {path}"))?;
        let trace = Trace::parse(&text)?;
        self.progress(job.pk, 0.1, "read").await?;

        let smoothed = peaks::smooth(&trace.signal_mau, window as usize);
        self.progress(job.pk, 0.2, "smoothed").await?;
        let mut baseline = Baseline::new(&smoothed);
        for pass in 1..=BASELINE_PASSES {
            baseline.pass();
            let amount = 0.2 + 0.6 * pass as f64 / BASELINE_PASSES as f64;
            self.progress(job.pk, amount, &format!("baseline, pass {pass} of {BASELINE_PASSES}")).await?;
        }
        let found = peaks::find(&trace, &smoothed, &baseline.curve, prominence_mau);
        self.progress(job.pk, 0.85, &format!("found {} peaks", found.len())).await?;

        let table = peaks::table(&trace, &found);
        let title = Path::new(path).file_stem().map_or("chromatogram".into(), |stem| stem.to_string_lossy());
        let plot = plot::svg(&format!("Peaks of {title}, job {}", job.pk), &trace, &baseline.curve, &found);
        let table = self.hand_in(job.pk, "peaks", "csv", &table).await?;
        self.progress(job.pk, 0.95, "table uploaded").await?;
        let plot = self.hand_in(job.pk, "plot", "svg", &plot).await?;
        self.progress(job.pk, 1.0, "plot uploaded").await?;
        if std::io::stdout().is_terminal() {
            println!();
        }
        Ok(Results { table, plot })
    }

    /// Hands in a result as a file, however long: a large one goes up in pieces, over whatever breaks in between.
    async fn hand_in(&self, job: JobId, name: &str, format: &str, result: &str) -> Result<Output> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join(name);
        tokio::fs::write(&file, result).await?;
        Ok(self.client.upload_file(job, name, &format!("BLOB<'{format}'>"), &file, |_, _| ()).await?)
    }

    /// Gives a number that the job was given, or else the template's default.
    async fn parameter(&self, job: &Job, name: &str) -> Result<f64> {
        let given = match job.parameters()?.remove(name) {
            Some(ParameterValue::Text(text)) => Some(Value::String(text)),
            Some(ParameterValue::Typed(typed)) => Some(typed.value),
            None => match self.client.template(job.template.pk).await?.kind {
                Kind::Workable(mut template) => template.parameters.remove(name).and_then(|p| p.default),
                Kind::Meta(_) => None,
            },
        };
        let number = given.and_then(|value| value.as_f64().or_else(|| value.as_str()?.parse().ok()));
        number.with_context(|| format!("the parameter {name} is no number"))
    }

    /// Tells the server how far the job is, and draws what the server then says.
    async fn progress(&self, job: JobId, amount: f64, step: &str) -> Result<()> {
        let job = self.client.progress(job, amount, Some(&json!({"step": step}))).await?;
        let full = (job.progress_amount * BAR_CHARS as f64).round() as usize;
        let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR_CHARS.saturating_sub(full)));
        let line = format!("  [{bar}] {:>4.0} %  {step:<28}", 100.0 * job.progress_amount);
        // A terminal shows one line that grows; a log gets a line for each step.
        let mut out = std::io::stdout();
        if out.is_terminal() {
            write!(out, "\r{line}")?
        } else {
            writeln!(out, "{}", line.trim_end())?
        }
        out.flush()?;
        Ok(())
    }
}
