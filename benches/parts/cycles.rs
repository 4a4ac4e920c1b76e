//! Job cycles per second, against beanstalkd with a sync for each write.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::TempDir;

use crate::Scale;
use crate::drive::{Log, Worker, round};
use crate::fill::{self, Models};
use crate::lab::{Caller, Lab};
use crate::peers::beanstalkd::Beanstalkd;
use crate::report::{Budget, Figure, Report};
use crate::stats::median;

/// A node that takes free jobs by their keys, and works on them.
struct Acquiring {
    node: Caller,
    next: Arc<AtomicI64>,
}

impl Worker for Acquiring {
    async fn cycle(&mut self, log: &mut Log) -> anyhow::Result<()> {
        let job = self.next.fetch_add(1, Ordering::Relaxed);
        self.node.timed(log, "acquire", "POST", format_args!("/v1/jobs/{job}/acquire"), b"").await?;
        work(&mut self.node, log, job).await
    }
}

/// A node that is given jobs, and works on them.
struct Claiming {
    node: Caller,
}

impl Worker for Claiming {
    async fn cycle(&mut self, log: &mut Log) -> anyhow::Result<()> {
        let job = self.node.timed(log, "claim", "POST", format_args!("/v1/jobs/claim"), b"{}").await?.pk()?;
        work(&mut self.node, log, job).await
    }
}

async fn work(node: &mut Caller, log: &mut Log, job: i64) -> anyhow::Result<()> {
    node.timed(log, "start", "POST", format_args!("/v1/jobs/{job}/start"), b"").await?;
    node.timed(log, "finish", "POST", format_args!("/v1/jobs/{job}/finish"), b"{}").await?;
    Ok(())
}

/// Measures it.
pub(crate) async fn run(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let dir = TempDir::with_prefix("labrun-bench-")?;
    let beanstalkd = Beanstalkd::start(dir.path()).await?;
    if beanstalkd.is_none() {
        report.note("beanstalkd is not installed: cycles are measured alone");
    }
    let mut lab = Lab::start().await?;
    let models = Models::make(&mut lab).await?;
    let jobs_per_count = scale.pick(40_000, 400_000);
    let mut last = 10;
    for connections in [1, 8, 32, 128] {
        // Those that acquire by key take from the end, those that claim are given from the beginning.
        let first = last + jobs_per_count / 2;
        last += jobs_per_count;
        lab.restart(|data| fill::free(data, models, last)).await?;
        let next = Arc::new(AtomicI64::new(first));
        let nodes = lab.nodes(connections).await?.into_iter();
        let mut acquiring: Vec<_> = nodes.map(|node| Acquiring { node, next: next.clone() }).collect();
        let mut probe = lab.node().await?;
        let has_claim = probe.status("POST", format_args!("/v1/jobs/claim"), b"{}").await? == 200;
        let mut claiming = Vec::new();
        if has_claim {
            claiming = lab.nodes(connections).await?.into_iter().map(|node| Claiming { node }).collect();
        } else {
            report.note("this server hands out no jobs: claims are left out");
        }
        let mut producers = match &beanstalkd {
            Some(beanstalkd) => beanstalkd.workers(connections).await?,
            None => Vec::new(),
        };
        let (mut acquired, mut claimed, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        let mut log = Log::default();
        for _ in 0..Scale::ROUNDS {
            acquired.push(round(&mut acquiring, scale.round(), &mut log).await?);
            if has_claim {
                claimed.push(round(&mut claiming, scale.round(), &mut log).await?);
            }
            if beanstalkd.is_some() {
                theirs.push(round(&mut producers, scale.round(), &mut Log::default()).await?);
            }
        }
        for (step, times) in log.steps() {
            report.note(format!("cycles, {connections} connections: {step:<8} {}", times.summary()));
        }
        let mut add = |name: &str, rates: &[f64], held: bool| {
            let figure = Figure::new(format!("{name} cycles, {connections} connections"), median(rates), "/s");
            if theirs.is_empty() {
                return report.add(figure);
            }
            let figure = figure.against("beanstalkd put + reserve + delete", median(&theirs));
            report.add(if held { figure.budget(Budget::RatioAtLeast(4.0)) } else { figure });
        };
        add("acquire + start + finish", &acquired, connections == 32);
        if has_claim {
            add("claim + start + finish", &claimed, false);
        }
    }
    Ok(())
}
