//! What grows with the number of jobs: the time of single calls, of a start, memory, and the database.

use std::time::Instant;

use tempfile::TempDir;

use super::lists::ask;
use crate::Scale;
use crate::drive::Log;
use crate::fill::{self, Models};
use crate::lab::{Caller, Lab};
use crate::process::Server;
use crate::report::{Budget, Figure, Report};
use crate::stats::median;

/// Calls of each kind, of which the median counts.
const CALLS: usize = 40;
const MIB: f64 = 1_048_576.0;

/// The medians at one number of jobs, in microseconds, by name.
type Medians = Vec<(&'static str, f64)>;

/// Measures it.
pub(crate) async fn run(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    empty(report)?;
    let mut lab = Lab::start().await?;
    let models = Models::make(&mut lab).await?;
    let mut first: Option<Medians> = None;
    for count in scale.pick(vec![1_000, 20_000], vec![1_000, 100_000, 1_000_000]) {
        lab.restart(|data| fill::mixed(data, models, count)).await?;
        starts(&mut lab, count, report).await?;
        let medians = calls(&mut lab, count).await?;
        for (index, (step, median)) in medians.iter().enumerate() {
            let figure = Figure::new(format!("{step} at {count} jobs"), *median, "us");
            report.add(match &first {
                None => figure,
                Some(first) => {
                    let figure = figure.against("at 1,000 jobs", first[index].1);
                    let is_held_to = matches!(*step, "acquire" | "claim" | "list limit 100");
                    if is_held_to { figure.budget(Budget::RatioAtMost(1.5)) } else { figure }
                }
            });
        }
        report.add(Figure::new(
            format!("database at {count} jobs"),
            fill::database_bytes(&lab.data_dir())? / MIB,
            "MiB",
        ));
        first.get_or_insert(medians);
    }
    Ok(())
}

/// Starts of a server that has nothing yet, and its memory.
fn empty(report: &mut Report) -> anyhow::Result<()> {
    let (mut new, mut again, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..Scale::ROUNDS {
        let dir = TempDir::with_prefix("labrun-bench-")?;
        let mut server = Server::start(dir.path())?;
        new.push(server.start_up.as_secs_f64() * 1e3);
        idle.push(server.process.memory("VmRSS:")? / MIB);
        server.process.stop()?;
        let mut server = Server::start(dir.path())?;
        again.push(server.start_up.as_secs_f64() * 1e3);
        server.process.stop()?;
    }
    report.add(Figure::new("start in a new directory", median(&new), "ms"));
    report.add(Figure::new("start without jobs", median(&again), "ms").budget(Budget::AtMost(50.0)));
    report.add(Figure::new("memory after the start", median(&idle), "MiB").budget(Budget::AtMost(20.0)));
    Ok(())
}

/// Starts on so many jobs, and the memory after it.
async fn starts(lab: &mut Lab, count: i64, report: &mut Report) -> anyhow::Result<()> {
    let mut times = vec![lab.server.start_up.as_secs_f64() * 1e3];
    let mut idle = vec![lab.server.process.memory("VmRSS:")? / MIB];
    while times.len() < Scale::ROUNDS {
        lab.start_again().await?;
        times.push(lab.server.start_up.as_secs_f64() * 1e3);
        idle.push(lab.server.process.memory("VmRSS:")? / MIB);
    }
    report.add(Figure::new(format!("start at {count} jobs"), median(&times), "ms").budget(Budget::AtMost(300.0)));
    report.add(Figure::new(format!("memory after the start at {count} jobs"), median(&idle), "MiB"));
    Ok(())
}

/// Times single calls, one after the other.
async fn calls(lab: &mut Lab, count: i64) -> anyhow::Result<Medians> {
    let mut node = lab.node().await?;
    let template = lab.template;
    let has_claim = node.status("POST", format_args!("/v1/jobs/claim"), b"{}").await? == 200;
    let mut log = Log::default();
    // Free jobs are where `fill` put them.
    let mut free = (1..).map(|index| index * 20).filter(|pk| *pk > 100);
    let mut worker = lab.node().await?;
    let job = worker.begin(template).await?;
    for call in 0..CALLS {
        node.timed(&mut log, "GET", "GET", format_args!("/v1/jobs/{}", count / 2 + 1), b"").await?;
        if let Some(pk) = free.next() {
            node.timed(&mut log, "acquire", "POST", format_args!("/v1/jobs/{pk}/acquire"), b"").await?;
            node.call("POST", format_args!("/v1/jobs/{pk}/release"), b"").await?;
        }
        if has_claim {
            let pk = node.timed(&mut log, "claim", "POST", format_args!("/v1/jobs/claim"), b"{}").await?.pk()?;
            node.call("POST", format_args!("/v1/jobs/{pk}/release"), b"").await?;
        }
        let began = Instant::now();
        ask(&mut node, r#"{"limit": 100}"#).await?;
        log.note("list limit 100", began.elapsed());
        upload(&mut worker, &mut log, job, call, count).await?;
    }
    Ok(log.steps().map(|(step, times)| (step, times.percentile(0.5))).collect())
}

/// Sends a small output that no other call has sent.
async fn upload(worker: &mut Caller, log: &mut Log, job: i64, call: usize, count: i64) -> anyhow::Result<()> {
    let bytes = format!("{call} {count}");
    let path = format_args!("/v1/jobs/{job}/outputs/o{call}/bytes");
    worker.timed(log, "upload", "POST", path, bytes.as_bytes()).await.map(drop)
}
