//! Acknowledged durable transitions per second, against SQLite by itself on the same disk.

use rustix::thread::sched_getaffinity;
use tempfile::TempDir;

use crate::Scale;
use crate::cores;
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
            let figure = Figure::new("transition, latency of one connection", 1e6 / rate, "us");
            report.add(figure.against("bare commit", 1e6 / single).budget(Budget::RatioAtMost(1.5)));
            on_one_core(scale, report, &lab, &mut workers, &raw).await?;
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

/// Measures the latency of one connection once more, with all that takes part on one core: that on which the bare commit
/// takes the least. A client, a server and a disk wake each other, and what that costs hangs on which cores the scheduler
/// gives them; the bare commit is woken by the disk alone.
async fn on_one_core(
    scale: Scale,
    report: &mut Report,
    lab: &Lab,
    workers: &mut Vec<Progress>,
    raw: &RawWrites,
) -> anyhow::Result<()> {
    let all = sched_getaffinity(None)?;
    let mut quickest = (0.0, all);
    for core in cores::each()? {
        cores::keep_harness(&core)?;
        let rate = raw.round(scale.round(), 1)?;
        if rate > quickest.0 {
            quickest = (rate, core);
        }
    }
    cores::keep_harness(&quickest.1)?;
    cores::keep_process(lab.server.process.id(), &quickest.1)?;
    let (mut ours, mut single, mut log) = (Vec::new(), Vec::new(), Log::default());
    for _ in 0..Scale::ROUNDS {
        ours.push(round(workers, scale.round(), &mut log).await?);
        single.push(raw.round(scale.round(), 1)?);
    }
    cores::keep_harness(&all)?;
    cores::keep_process(lab.server.process.id(), &all)?;
    let figure = Figure::new("transition, latency of one connection, on one core", 1e6 / median(&ours), "us");
    report.add(figure.against("bare commit there", 1e6 / median(&single)).budget(Budget::RatioAtMost(1.5)));
    for (_, times) in log.steps() {
        report.note(format!("transitions, 1 connection, on one core: {}", times.summary()));
    }
    Ok(())
}
