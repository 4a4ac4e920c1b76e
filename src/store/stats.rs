//! What the store can tell monitoring: counters that the writer keeps as it goes, and questions that are asked only when
//! somebody looks (contract §11, `/metrics` and `/readyz`).

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Error, Store, WriteTx};
use crate::domain::time::Timestamp;

/// Counts values by size. Counting is two additions without a lock, so that hot paths can afford it.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for what is above all of them.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Histogram {
    /// Makes one with the upper bounds of its buckets, in rising order.
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a time, in microseconds.
    pub fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Gives the upper bounds with how many values were not above each, then all values' number and sum.
    pub fn read(&self) -> (Vec<(u64, u64)>, u64, u64) {
        let mut total = 0;
        let mut count_up = |count: &AtomicU64| {
            total += count.load(Ordering::Relaxed);
            total
        };
        let buckets = self.bounds.iter().zip(&self.counts).map(|(bound, count)| (*bound, count_up(count))).collect();
        if let Some(above) = self.counts.last() {
            count_up(above);
        }
        (buckets, total, self.sum.load(Ordering::Relaxed))
    }
}

/// Bounds of the time of a commit, in microseconds: a disk with a cache that survives power cuts to a tired SD card.
const COMMIT_US: &[u64] = &[100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];
/// Bounds of how many commands share a commit.
const BATCH: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// What the writer counts.
#[derive(Debug)]
pub struct WriterStats {
    /// Commands that went into the queue.
    pub(super) queued: AtomicU64,
    /// Commands that left the queue.
    pub(super) taken: AtomicU64,
    /// Commands that the full queue did not take.
    pub(super) refused: AtomicU64,
    /// Transactions that could not be committed.
    pub(super) lost: AtomicU64,
    /// How long commits took, in microseconds.
    pub commit_us: Histogram,
    /// How many commands shared each commit.
    pub batch: Histogram,
    /// Whether commits are quick at present.
    pub(super) pace: Pace,
}

/// How long transactions usually wait of late, for the database and for their commit, in microseconds. A single slow one
/// says little of the next, which is mostly as quick as those before: it counts as one that took twice as long as a brisk
/// one may.
#[derive(Debug)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    /// A commit under this does not hold up a thread's other work noticeably.
    const BRISK_US: u64 = 500;
    const SLOW_US: u64 = 2 * Self::BRISK_US;

    /// Notes how long a transaction waited. Only one at a time does so.
    pub(super) fn note(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min(Self::SLOW_US);
        let usual = self.0.load(Ordering::Relaxed);
        self.0.store((7 * usual + us) / 8, Ordering::Relaxed);
    }

    /// Says whether the next commit will very likely be brisk. Before the first one nothing is known, and it says no.
    pub(super) fn is_brisk(&self) -> bool {
        self.0.load(Ordering::Relaxed) < Self::BRISK_US
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self(AtomicU64::new(Self::SLOW_US))
    }
}

impl Default for WriterStats {
    fn default() -> Self {
        let zero = AtomicU64::default;
        let (commit_us, batch) = (Histogram::new(COMMIT_US), Histogram::new(BATCH));
        let pace = Pace::default();
        Self { queued: zero(), taken: zero(), refused: zero(), lost: zero(), commit_us, batch, pace }
    }
}

impl WriterStats {
    /// Gives how many commands wait.
    pub fn queue_length(&self) -> u64 {
        // Read in this order, so that a command can't be seen to leave before it came.
        let taken = self.taken.load(Ordering::Acquire);
        self.queued.load(Ordering::Acquire).saturating_sub(taken)
    }

    /// Gives how many commands the full queue did not take.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Gives how many transactions could not be committed.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Counts one more.
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Release);
    }
}

/// What has to be asked of the database.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// How many jobs that are not deleted are in each phase.
    pub jobs_by_phase: Vec<(String, i64)>,
    /// When the oldest job was made that waits for a node.
    pub oldest_free: Option<Timestamp>,
    /// Bytes of all outputs, those that outputs share counted once.
    pub blob_bytes: i64,
    /// Size of the write-ahead log, in bytes.
    pub wal_bytes: u64,
    /// Size of the database itself, in bytes.
    pub database_bytes: u64,
}

impl Store {
    /// Gives what the writer counts.
    pub fn writer_stats(&self) -> &WriterStats {
        self.writer.stats()
    }

    /// Asks the database. Takes time in proportion to the number of jobs and outputs: callers keep the answer a while.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn gauges(&self) -> Result<Gauges, Error> {
        let path = self.path.clone();
        self.read_long(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT phase, count(*) FROM jobs WHERE deletion_time IS NULL GROUP BY phase ORDER BY phase",
            )?;
            let jobs_by_phase =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
            let oldest_free = connection
                .prepare_cached(
                    "SELECT min(creation_time) FROM (SELECT creation_time FROM jobs WHERE phase = 'created'
                     AND node IS NULL AND kind = 'workable' AND deletion_time IS NULL ORDER BY pk LIMIT 1)",
                )?
                .query_row([], |row| row.get(0))?;
            let blob_bytes = connection
                .prepare_cached("SELECT coalesce(sum(size), 0) FROM (SELECT size FROM job_outputs GROUP BY sha256)")?
                .query_row([], |row| row.get(0))?;
            let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |found| found.len());
            let wal_bytes = size(path.with_extension("db-wal"));
            Ok(Gauges { jobs_by_phase, oldest_free, blob_bytes, wal_bytes, database_bytes: size(path) })
        })
        .await
    }

    /// Writes a row and waits until it is on disk: says that writes are possible.
    ///
    /// # Errors
    /// What keeps the database from being written.
    pub async fn check_writable(&self) -> Result<(), Error> {
        self.write(|tx: &WriteTx<'_>| {
            tx.connection()
                .prepare_cached(
                    "INSERT INTO health (one, checked) VALUES (1, ?1) ON CONFLICT DO UPDATE SET checked = ?1",
                )?
                .execute([tx.now()])?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_commit_among_brisk_ones_is_forgiven_and_slow_ones_in_a_row_are_not() {
        let (quick, slow) = (Duration::from_micros(100), Duration::from_millis(10));
        let pace = Pace::default();
        let until = |is_brisk: bool, took| {
            let notes = (1..100).find(|_| {
                pace.note(took);
                pace.is_brisk() == is_brisk
            });
            notes.unwrap()
        };
        assert!(!pace.is_brisk());
        assert_eq!(until(true, quick), 7);
        (0..100).for_each(|_| pace.note(quick));
        pace.note(slow);
        assert!(pace.is_brisk());
        (0..100).for_each(|_| pace.note(quick));
        assert_eq!(until(false, slow), 5);
        (0..100).for_each(|_| pace.note(slow));
        assert_eq!(until(true, quick), 6);
        // A disk that is always somewhat too slow is never taken for a brisk one.
        (0..100).for_each(|_| pace.note(Duration::from_micros(600)));
        assert!(!pace.is_brisk());
    }

    #[test]
    fn values_fall_into_the_first_bucket_that_holds_them() {
        let histogram = Histogram::new(&[1, 10]);
        for value in [0, 1, 2, 10, 11, 100] {
            histogram.observe(value);
        }
        assert_eq!(histogram.read(), (vec![(1, 2), (10, 4)], 6, 124));
    }
}
