//! What went on lately, for the overview: how many jobs waited and ran at points in time, and what became of them.

use rusqlite::params;

use super::{Error, Store};
use crate::domain::ids::JobId;
use crate::domain::lifecycle::Phase;
use crate::domain::time::Timestamp;

/// The newest jobs that are looked at, so that the answer takes the same time however many there are.
const JOBS_MAX: i64 = 100_000;
/// Jobs that failed last, as they are told.
const FAILED_MAX: usize = 6;

/// The jobs of a span of time, cut into steps of the same length. Meta-jobs are left out: their children are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// The point in time at which it was asked for: the end of the last step.
    pub now: Timestamp,
    /// Microseconds of a step.
    pub step_us: i64,
    /// Jobs that waited at the end of each step, by their present run.
    pub waiting: Vec<i64>,
    /// Jobs that ran at the end of each step.
    pub running: Vec<i64>,
    /// Jobs that ended in each step as finished, errored, cancelled.
    pub ended: Vec<[i64; 3]>,
    /// Jobs that were made in the whole span.
    pub made: i64,
    /// The half of the jobs that started in the span waited no longer than this, in microseconds; `None` without any.
    pub median_wait_us: Option<i64>,
    /// The half of the jobs that finished in the span ran no longer than this, in microseconds; `None` without any.
    pub median_run_us: Option<i64>,
    /// Jobs that failed in the span and are still so, the newest first; a few.
    pub failed: Vec<JobId>,
    /// Whether there are older jobs that were not looked at.
    pub is_cut: bool,
}

/// What is read of a job.
struct Times {
    pk: JobId,
    made: Timestamp,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    phase: Phase,
}

impl Store {
    /// Gives what went on in the last `steps` steps of `step_us` microseconds up to `now`.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn activity(&self, now: Timestamp, step_us: i64, steps: usize) -> Result<Activity, Error> {
        self.read_long(move |connection| {
            let mut activity = Counting::new(now, step_us, steps);
            let mut statement = connection.prepare_cached(
                "SELECT pk, creation_time, start_time, end_time, phase FROM jobs
                 WHERE pk > (SELECT coalesce(max(pk), 0) FROM jobs) - ?1 AND kind = 'workable' AND deletion_time IS NULL
                     AND (end_time IS NULL OR end_time > ?2)
                 ORDER BY pk",
            )?;
            let mut rows = statement.query(params![JOBS_MAX, activity.from])?;
            while let Some(row) = rows.next()? {
                let (pk, made, started) = (row.get(0)?, row.get(1)?, row.get(2)?);
                activity.add(&Times { pk, made, started, ended: row.get(3)?, phase: row.get(4)? });
            }
            let is_cut = connection
                .prepare_cached("SELECT coalesce(max(pk) - min(pk), 0) >= ?1 FROM jobs")?
                .query_row([JOBS_MAX], |row| row.get(0))?;
            Ok(activity.finish(is_cut))
        })
        .await
    }
}

/// The count as it goes on: at each step the change against the one before.
struct Counting {
    from: Timestamp,
    of: Activity,
    waits_us: Vec<i64>,
    runs_us: Vec<i64>,
}

impl Counting {
    fn new(now: Timestamp, step_us: i64, steps: usize) -> Self {
        let length_us = step_us.saturating_mul(i64::try_from(steps).unwrap_or(i64::MAX));
        let of = Activity {
            now,
            step_us,
            waiting: vec![0; steps],
            running: vec![0; steps],
            ended: vec![[0; 3]; steps],
            made: 0,
            median_wait_us: None,
            median_run_us: None,
            failed: Vec::new(),
            is_cut: false,
        };
        Self { from: Timestamp(now.0.saturating_sub(length_us)), of, waits_us: Vec::new(), runs_us: Vec::new() }
    }

    /// Gives the step in which a time falls; `None` before the span. What the clock puts after now falls into the last.
    fn step(&self, time: Timestamp) -> Option<usize> {
        let into = time.0.saturating_sub(self.from.0);
        let last = self.of.waiting.len().checked_sub(1)?;
        (into > 0).then(|| usize::try_from((into - 1) / self.of.step_us.max(1)).unwrap_or(last).min(last))
    }

    fn add(&mut self, job: &Times) {
        let step = |time: Timestamp| self.step(time);
        let (made, left_queue) = (step(job.made), job.started.or(job.ended).map(step));
        let (started, ended) = (job.started.map(step), job.ended.map(step));
        mark(&mut self.of.waiting, made, left_queue);
        if let Some(started) = started {
            mark(&mut self.of.running, started, ended);
        }
        if self.step(job.made).is_some() {
            self.of.made += 1;
        }
        if let Some(started) = job.started.filter(|started| self.step(*started).is_some()) {
            self.waits_us.push(started.0.saturating_sub(job.made.0));
        }
        let Some(step) = job.ended.and_then(|ended| self.step(ended)) else { return };
        let kind = match job.phase {
            Phase::Finished => 0,
            Phase::Errored => 1,
            Phase::Cancelled | Phase::Created | Phase::Started => 2,
        };
        if let Some(count) = self.of.ended.get_mut(step).and_then(|kinds| kinds.get_mut(kind)) {
            *count += 1;
        }
        if job.phase == Phase::Errored {
            self.of.failed.push(job.pk);
        }
        if let (Phase::Finished, Some(started), Some(ended)) = (job.phase, job.started, job.ended) {
            self.runs_us.push(ended.0.saturating_sub(started.0));
        }
    }

    fn finish(mut self, is_cut: bool) -> Activity {
        for counts in [&mut self.of.waiting, &mut self.of.running] {
            let mut there = 0;
            for count in counts {
                there += *count;
                *count = there;
            }
        }
        let Activity { failed, .. } = &mut self.of;
        failed.reverse();
        failed.truncate(FAILED_MAX);
        let (median_wait_us, median_run_us) = (median(self.waits_us), median(self.runs_us));
        Activity { median_wait_us, median_run_us, is_cut, ..self.of }
    }
}

/// Notes that there is one more from a step on (from the first, if it came before the span), and one less from another on.
fn mark(changes: &mut [i64], from: Option<usize>, until: Option<Option<usize>>) {
    if let Some(change) = changes.get_mut(from.unwrap_or(0)) {
        *change += 1;
    }
    if let Some(change) = until.and_then(|until| changes.get_mut(until.unwrap_or(0))) {
        *change -= 1;
    }
}

fn median(mut values: Vec<i64>) -> Option<i64> {
    let middle = values.len().checked_sub(1)? / 2;
    let (_, median, _) = values.select_nth_unstable(middle);
    Some((*median).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(pk: i64, made: i64, started: Option<i64>, ended: Option<i64>, phase: Phase) -> Times {
        Times {
            pk: JobId(pk),
            made: Timestamp(made),
            started: started.map(Timestamp),
            ended: ended.map(Timestamp),
            phase,
        }
    }

    #[test]
    fn jobs_are_counted_where_they_were() {
        // Steps end at 110, 120, 130, 140.
        let mut counting = Counting::new(Timestamp(140), 10, 4);
        counting.add(&job(1, 50, Some(60), Some(115), Phase::Finished));
        counting.add(&job(2, 105, Some(118), None, Phase::Started));
        counting.add(&job(3, 111, None, None, Phase::Created));
        counting.add(&job(4, 112, None, Some(131), Phase::Cancelled));
        counting.add(&job(5, 110, Some(121), Some(125), Phase::Errored));
        counting.add(&job(6, 500, None, None, Phase::Created));
        let found = counting.finish(false);
        assert_eq!(found.waiting, [2, 3, 2, 2]);
        assert_eq!(found.running, [1, 1, 1, 1]);
        assert_eq!(found.ended, [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]);
        assert_eq!((found.made, found.failed), (5, vec![JobId(5)]));
        assert_eq!((found.median_wait_us, found.median_run_us), (Some(11), Some(55)));
    }

    #[tokio::test]
    async fn an_empty_store_had_no_activity() {
        let dir = tempfile::tempdir().unwrap();
        let clock = std::sync::Arc::new(crate::domain::time::SystemClock);
        let store = Store::open(&dir.path().join("labrun.db"), clock).unwrap();
        let found = store.activity(Timestamp(1_000), 10, 3).await.unwrap();
        assert_eq!((found.waiting, found.made, found.is_cut), (vec![0; 3], 0, false));
        assert_eq!(found.median_run_us, None);
        store.close();
    }
}
