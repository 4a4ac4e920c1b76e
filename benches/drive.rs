//! Load: many connections, each going through its cycles until the round is over.

use std::time::{Duration, Instant};

use crate::stats::Times;

/// What one connection does again and again.
pub(crate) trait Worker: 'static {
    /// Goes through one cycle and notes how long its steps took.
    async fn cycle(&mut self, log: &mut Log) -> anyhow::Result<()>;
}

/// How long the steps of cycles took, by name.
#[derive(Debug, Default)]
pub(crate) struct Log(Vec<(&'static str, Times)>);

impl Log {
    /// Notes a step.
    pub(crate) fn note(&mut self, step: &'static str, time: Duration) {
        self.times(step).add(time);
    }

    /// Gives the steps in the order in which they first came.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&'static str, &Times)> {
        self.0.iter().map(|(step, times)| (*step, times))
    }

    /// Adds all of another.
    pub(crate) fn append(&mut self, other: Self) {
        for (step, mut times) in other.0 {
            self.times(step).append(&mut times);
        }
    }

    fn times(&mut self, step: &'static str) -> &mut Times {
        let index = self.0.iter().position(|(name, _)| *name == step).unwrap_or_else(|| {
            self.0.push((step, Times::default()));
            self.0.len() - 1
        });
        &mut self.0[index].1
    }
}

/// Lets all workers go through cycles for a time. Gives cycles per second and adds to the log; a cycle that is under
/// way at the end is finished, and the time counts up to the end of the last one.
pub(crate) async fn round<W: Worker>(workers: &mut Vec<W>, time: Duration, log: &mut Log) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut tasks = Vec::new();
    for mut worker in workers.drain(..) {
        tasks.push(tokio::task::spawn_local(async move {
            let mut log = Log::default();
            let mut cycles = 0_u64;
            while began.elapsed() < time {
                worker.cycle(&mut log).await?;
                cycles += 1;
            }
            anyhow::Ok((worker, log, cycles))
        }));
    }
    let mut cycles = 0;
    for task in tasks {
        let (worker, its_log, its_cycles) = task.await??;
        workers.push(worker);
        log.append(its_log);
        cycles += its_cycles;
    }
    Ok(cycles as f64 / began.elapsed().as_secs_f64())
}
