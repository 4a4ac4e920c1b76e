//! Acknowledged durable transitions per second, against SQLite by itself on the same disk.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::Scale;
use crate::drive::{Log, Worker, round};
use crate::lab::{Caller, Lab};
use crate::peers::raw::{AMOUNTS, RawWrites};
use crate::report::{Budget, Figure, Report};
use crate::stats::{Times, median};

/// A node that says how far it has come, again and again.
pub(crate) struct Progress {
    /// The node's connection.
    pub(crate) node: Caller,
    /// The job it works on.
    pub(crate) job: i64,
    /// How often it has said so.
    calls: usize,
}

impl Worker for Progress {
    async fn cycle(&mut self, log: &mut Log) -> anyhow::Result<()> {
        let amount = AMOUNTS[self.calls % 2];
        self.calls += 1;
        let path = format_args!("/v1/jobs/{}/progress/{amount}", self.job);
        self.node.timed(log, "progress", "POST", path, b"").await.map(drop)
    }
}

/// Gives nodes that each work on a job.
pub(crate) async fn working(lab: &mut Lab, count: usize) -> anyhow::Result<Vec<Progress>> {
    let mut workers = Vec::with_capacity(count);
    for mut node in lab.nodes(count).await? {
        let job = node.begin(lab.template).await?;
        workers.push(Progress { node, job, calls: 0 });
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
            latency(scale, report, &mut lab, &raw).await?;
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

/// Measures how long a node waits for a transition, and what a bare commit takes. Its client blocks on its socket, as
/// one that has nothing else to do does.
async fn latency(scale: Scale, report: &mut Report, lab: &mut Lab, raw: &RawWrites) -> anyhow::Result<()> {
    let Progress { node, job, .. } = working(lab, 1).await?.remove(0);
    let requests = AMOUNTS.map(|amount| node.head("POST", format_args!("/v1/jobs/{job}/progress/{amount}"), "", 0));
    let mut requests = requests.iter().cycle();
    let mut connection = node.connection.blocking()?;
    let mut times = Times::default();
    let mut call = || {
        let request = requests.next().context("there is always one more")?;
        let began = Instant::now();
        let status = connection.call(request.as_bytes())?.status;
        times.add(began.elapsed());
        ensure!(status == 200, "a transition was answered {status}");
        Ok(())
    };
    let turns = in_turns(scale.round(), &mut call, || raw.commit(1))?;
    let rounds = in_rounds(scale.round(), &mut call, || raw.commit(1))?;
    for (name, (ours, bare)) in [("", turns), (", in rounds", rounds)] {
        let figure = Figure::new(format!("transition, latency of one connection{name}"), ours, "us");
        report.add(figure.against("bare commit", bare).budget(Budget::RatioAtMost(1.5)));
    }
    report.note(format!("transition, latency of one connection: {}", times.summary()));
    Ok(())
}

/// One of each, in turns: both find the same conditions. Gives the median over the rounds of what each takes on average,
/// in microseconds.
fn in_turns(
    time: Duration,
    mut ours: impl FnMut() -> anyhow::Result<()>,
    mut bare: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<(f64, f64)> {
    let (mut our_times, mut bare_times) = (Vec::new(), Vec::new());
    for _ in 0..Scale::ROUNDS {
        let (began, mut count) = (Instant::now(), 0);
        let (mut our_time, mut bare_time) = (Duration::ZERO, Duration::ZERO);
        while began.elapsed() < 2 * time {
            let start = Instant::now();
            bare()?;
            let between = Instant::now();
            ours()?;
            our_time += between.elapsed();
            bare_time += between - start;
            count += 1;
        }
        our_times.push(our_time.as_secs_f64() * 1e6 / f64::from(count));
        bare_times.push(bare_time.as_secs_f64() * 1e6 / f64::from(count));
    }
    Ok((median(&our_times), median(&bare_times)))
}

/// Rounds of each: the two hang on the cores that the scheduler gives to client, server and disk, which it keeps for as
/// long as a round lasts and longer. Gives the same as [`in_turns`].
fn in_rounds(
    time: Duration,
    mut ours: impl FnMut() -> anyhow::Result<()>,
    mut bare: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<(f64, f64)> {
    let average = |work: &mut dyn FnMut() -> anyhow::Result<()>| {
        let (began, mut count) = (Instant::now(), 0);
        while began.elapsed() < time {
            work()?;
            count += 1;
        }
        anyhow::Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(count))
    };
    let (mut our_times, mut bare_times) = (Vec::new(), Vec::new());
    for _ in 0..Scale::ROUNDS {
        our_times.push(average(&mut ours)?);
        bare_times.push(average(&mut bare)?);
    }
    Ok((median(&our_times), median(&bare_times)))
}
