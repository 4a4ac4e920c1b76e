//! Whole lifecycles per second: create, acquire, start, three times progress, an output of 64 KiB, finish.

use std::time::Instant;

use anyhow::ensure;

use crate::Scale;
use crate::drive::{Log, Worker, round};
use crate::lab::{Caller, Lab, NEW_JOB};
use crate::peers::files;
use crate::report::{Budget, Figure, Report};
use crate::stats::median;

/// Whole lifecycles per second of the Django reference, which the budget is set by.
const REFERENCE_PER_S: f64 = 5.0;
const OUTPUT_BYTES: usize = 64 << 10;

/// A node that goes through whole lifecycles.
struct Lifecycles {
    node: Caller,
    template: i64,
    /// Other bytes each time, so that all of them have to be written.
    output: Vec<u8>,
    count: u64,
}

impl Worker for Lifecycles {
    async fn cycle(&mut self, log: &mut Log) -> anyhow::Result<()> {
        let Self { node, template, output, count } = self;
        *count += 1;
        output[8..16].copy_from_slice(&count.to_le_bytes());
        let began = Instant::now();
        let path = format_args!("/v1/job-templates/{template}/create-job");
        let job = node.timed(log, "create", "POST", path, NEW_JOB.as_bytes()).await?.pk()?;
        node.timed(log, "acquire", "POST", format_args!("/v1/jobs/{job}/acquire"), b"").await?;
        node.timed(log, "start", "POST", format_args!("/v1/jobs/{job}/start"), b"").await?;
        for progress in ["0.25", "0.5", "0.75"] {
            let path = format_args!("/v1/jobs/{job}/progress/{progress}");
            node.timed(log, "progress", "POST", path, b"").await?;
        }
        let path = format_args!("/v1/jobs/{job}/outputs/curve/JSON");
        node.timed(log, "output", "POST", path, output).await?;
        let done = node.timed(log, "finish", "POST", format_args!("/v1/jobs/{job}/finish"), b"{}").await?;
        ensure!(done.pk()? == job, "another job was finished");
        log.note("whole", began.elapsed());
        Ok(())
    }
}

/// Measures it.
pub(crate) async fn run(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let mut lab = Lab::start().await?;
    let disk = tempfile::TempDir::with_prefix("labrun-bench-")?;
    let block = files::block(OUTPUT_BYTES);
    for connections in [1, 8, 32, 128] {
        let mut workers = Vec::new();
        for (index, node) in lab.nodes(connections).await?.into_iter().enumerate() {
            let mut output = block.clone();
            output[..8].copy_from_slice(&((connections * 1_000 + index) as u64).to_le_bytes());
            workers.push(Lifecycles { node, template: lab.template, output, count: 0 });
        }
        let (mut rates, mut plain) = (Vec::new(), Vec::new());
        let mut log = Log::default();
        for _ in 0..Scale::ROUNDS {
            rates.push(round(&mut workers, scale.round(), &mut log).await?);
            let began = Instant::now();
            let mut count = 0;
            while began.elapsed() < scale.round() / 4 {
                files::write_and_sync(disk.path(), &block, OUTPUT_BYTES as u64)?;
                count += 1;
            }
            plain.push(f64::from(count) / began.elapsed().as_secs_f64());
        }
        let name = format!("lifecycles, {connections} connections");
        let figure = Figure::new(&name, median(&rates), "/s").against("the Django reference", REFERENCE_PER_S);
        report.add(if connections == 32 { figure.budget(Budget::RatioAtLeast(200.0)) } else { figure });
        let what = "files of 64 KiB, each and its name synced, one after the other";
        report.add(Figure::new(&name, median(&rates), "/s").against(what, median(&plain)));
        for (step, times) in log.steps() {
            report.note(format!("{name}: {step:<8} {}", times.summary()));
        }
    }
    Ok(())
}
