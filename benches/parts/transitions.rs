//! Acknowledged durable transitions per second, against SQLite by itself on the same disk.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Scale;
use crate::drive::{Log, Worker, round};
use crate::lab::{Caller, Lab};
use crate::peers::raw::RawWrites;
use crate::report::{Budget, Figure, Report};
use crate::stats::median;

/// A node that says how far it has come, again and again.
pub(crate) struct Progress {
    /// The node's connection.
    pub(crate) node: Caller,
    /// The job it works on.
    pub(crate) job: i64,
}

impl Worker for Progress {
    async fn cycle(&mut self, log: &mut Log) -> anyhow::Result<()> {
        let path = format_args!("/v1/jobs/{}/progress/0.5", self.job);
        self.node.timed(log, "progress", "POST", path, b"").await.map(drop)
    }
}

/// Gives nodes that each work on a job.
pub(crate) async fn working(lab: &mut Lab, count: usize) -> anyhow::Result<Vec<Progress>> {
    let mut workers = Vec::with_capacity(count);
    for mut node in lab.nodes(count).await? {
        let job = node.begin(lab.template).await?;
        workers.push(Progress { node, job });
    }
    Ok(workers)
}

/// Measures it.
pub(crate) async fn run(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let dir = TempDir::with_prefix("labrun-bench-")?;
    let raw = RawWrites::open(dir.path())?;
    let mut lab = Lab::start().await?;
    for connections in [1, 8, 64, 256] {
        let mut workers = working(&mut lab, connections).await?;
        let (mut ours, mut single, mut batched) = (Vec::new(), Vec::new(), Vec::new());
        let mut log = Log::default();
        for _ in 0..Scale::ROUNDS {
            ours.push(round(&mut workers, scale.round(), &mut log).await?);
            single.push(raw.round(scale.round(), 1)?);
            batched.push(raw.round(scale.round() / 2, u32::try_from(connections)?)?);
        }
        let (rate, single, batched) = (median(&ours), median(&single), median(&batched));
        let name = format!("transitions, {connections} connections");
        let figure = Figure::new(&name, rate, "/s").against("one commit per write", single);
        report.add(if connections == 64 { figure.budget(Budget::RatioAtLeast(5.0)) } else { figure });
        if connections == 1 {
            let figure = Figure::new("transition, latency of one connection, in rounds", 1e6 / rate, "us");
            report.add(figure.against("bare commit", 1e6 / single).budget(Budget::RatioAtMost(1.5)));
            latency(scale, report, &mut workers[0], &raw).await?;
        } else {
            let what = format!("the same loop, {connections} to a commit");
            report.add(Figure::new(&name, rate, "/s").against(&what, batched));
        }
        for (_, times) in log.steps() {
            report.note(format!("{name}: {}", times.summary()));
        }
    }
    Ok(())
}

/// Measures how long one connection waits for a transition, and what a bare commit takes: one of each, in turns. In rounds
/// of their own the two hang on the cores that the scheduler gives to client, server and disk, which it keeps for as long
/// as a round lasts and longer; in turns both find the same.
async fn latency(scale: Scale, report: &mut Report, worker: &mut Progress, raw: &RawWrites) -> anyhow::Result<()> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let mut log = Log::default();
    for _ in 0..Scale::ROUNDS {
        let (began, mut count) = (Instant::now(), 0);
        let (mut our_time, mut bare_time) = (Duration::ZERO, Duration::ZERO);
        while began.elapsed() < 2 * scale.round() {
            let start = Instant::now();
            raw.commit(1)?;
            let between = Instant::now();
            worker.cycle(&mut log).await?;
            our_time += between.elapsed();
            bare_time += between - start;
            count += 1;
        }
        ours.push(our_time.as_secs_f64() * 1e6 / f64::from(count));
        bare.push(bare_time.as_secs_f64() * 1e6 / f64::from(count));
    }
    let figure = Figure::new("transition, latency of one connection", median(&ours), "us");
    report.add(figure.against("bare commit, in turns", median(&bare)).budget(Budget::RatioAtMost(1.5)));
    for (_, times) in log.steps() {
        report.note(format!("transition, latency of one connection: {}", times.summary()));
    }
    Ok(())
}
