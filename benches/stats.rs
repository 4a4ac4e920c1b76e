//! Medians and percentiles.

use std::time::Duration;

/// Gives the median; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// Times in microseconds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Times(Vec<u32>);

impl Times {
    /// Adds one.
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// Adds all of another.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    /// Gives the time below which `part` of them lie, in microseconds; 1 gives the longest.
    pub(crate) fn percentile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (part * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().map_or(0.0, f64::from)
    }

    /// Writes p50, p99 and the longest.
    pub(crate) fn summary(&self) -> String {
        let ms = |part| self.percentile(part) / 1_000.0;
        format!("p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", ms(0.50), ms(0.99), ms(1.0))
    }
}
