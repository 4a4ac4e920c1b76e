//! Finds the peaks of a chromatogram: what a worker would do for a living.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

/// How stiff the baseline is; a larger number makes it straighter.
const BASELINE_STIFFNESS: f64 = 1e8;
/// The weight of readings above the baseline, against one minus this for those below.
const BASELINE_ASYMMETRY: f64 = 1e-2;
/// How often the baseline is fitted anew.
pub(crate) const BASELINE_PASSES: usize = 12;
/// A peak ends where the signal has fallen to this fraction of its height, or into the noise.
const EDGE_FRACTION: f64 = 0.005;
/// How many standard deviations of the noise count as within it.
const NOISE_DEVIATIONS: f64 = 3.0;

/// Readings of a detector over time.
pub(crate) struct Trace {
    /// When each reading was taken, in minutes.
    pub(crate) time_min: Vec<f64>,
    /// The readings, in milli-absorbance units.
    pub(crate) signal_mau: Vec<f64>,
}

/// A peak, measured above the baseline.
pub(crate) struct Peak {
    /// Index of the highest reading.
    pub(crate) apex: usize,
    /// Index of the first reading that belongs to it.
    pub(crate) start: usize,
    /// Index of the last reading that belongs to it.
    pub(crate) end: usize,
    /// When it is highest, in minutes.
    pub(crate) retention_min: f64,
    /// How high it is, in mAU.
    pub(crate) height_mau: f64,
    /// How far it stands out of its surroundings, in mAU.
    pub(crate) prominence_mau: f64,
    /// Its area, in mAU min.
    pub(crate) area_mau_min: f64,
    /// How wide it is at half its height, in minutes.
    pub(crate) width_half_min: f64,
}

impl Trace {
    /// Reads CSV text with a line of column names, then time and absorbance.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut trace = Self { time_min: Vec::new(), signal_mau: Vec::new() };
        for (number, line) in text.lines().enumerate().skip(1) {
            let row = line.split_once(',').and_then(|(t, y)| Some((t.parse().ok()?, y.parse().ok()?)));
            let (time, signal): (f64, f64) = row.with_context(|| format!("line {} is no reading", number + 1))?;
            trace.time_min.push(time);
            trace.signal_mau.push(signal);
        }
        ensure!(trace.time_min.len() >= 10, "there are only {} readings", trace.time_min.len());
        Ok(trace)
    }
}

/// Smooths with a parabola fitted to `window` readings around each (Savitzky and Golay); fewer at the ends.
pub(crate) fn smooth(signal: &[f64], window: usize) -> Vec<f64> {
    (0..signal.len())
        .map(|i| {
            let half = (window / 2).min(i).min(signal.len() - 1 - i);
            if half == 0 {
                return signal[i];
            }
            let m = half as f64;
            let scale = (2.0 * m - 1.0) * (2.0 * m + 1.0) * (2.0 * m + 3.0) / 3.0;
            let readings = signal[i - half..=i + half].iter().enumerate();
            readings
                .map(|(k, y)| {
                    let distance = k as f64 - m;
                    y * (3.0 * m * m + 3.0 * m - 1.0 - 5.0 * distance * distance) / scale
                })
                .sum()
        })
        .collect()
}

/// Fits a stiff curve that runs below the peaks: asymmetric least squares (Eilers and Boelens), one pass at a time.
pub(crate) struct Baseline<'a> {
    signal: &'a [f64],
    weights: Vec<f64>,
    /// The curve as it now is, a value for each reading.
    pub(crate) curve: Vec<f64>,
}

impl<'a> Baseline<'a> {
    /// Starts with a curve that takes all readings alike.
    pub(crate) fn new(signal: &'a [f64]) -> Self {
        Self { signal, weights: vec![1.0; signal.len()], curve: Vec::new() }
    }

    /// Fits the curve, then gives readings above it less weight for the next pass.
    pub(crate) fn pass(&mut self) {
        self.curve = whittaker(self.signal, &self.weights, BASELINE_STIFFNESS);
        for ((weight, y), z) in self.weights.iter_mut().zip(self.signal).zip(&self.curve) {
            *weight = if y > z { BASELINE_ASYMMETRY } else { 1.0 - BASELINE_ASYMMETRY };
        }
    }
}

/// Solves (W + stiffness D'D) z = W y, where D takes second differences: five diagonals, so by LDL' in one sweep.
fn whittaker(signal: &[f64], weights: &[f64], stiffness: f64) -> Vec<f64> {
    let n = signal.len();
    let (mut d, mut e, mut f) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    for (i, row) in (0..n.saturating_sub(2)).map(|i| (i, [1.0, -2.0, 1.0])) {
        for a in 0..3 {
            d[i + a] += stiffness * row[a] * row[a];
        }
        e[i] += stiffness * row[0] * row[1];
        e[i + 1] += stiffness * row[1] * row[2];
        f[i] += stiffness * row[0] * row[2];
    }
    let mut z: Vec<f64> = signal.iter().zip(weights).map(|(y, w)| y * w).collect();
    for i in 0..n {
        d[i] += weights[i];
        if i >= 1 {
            d[i] -= e[i - 1] * e[i - 1] * d[i - 1];
            z[i] -= e[i - 1] * z[i - 1];
        }
        if i >= 2 {
            d[i] -= f[i - 2] * f[i - 2] * d[i - 2];
            z[i] -= f[i - 2] * z[i - 2];
        }
        // From here on e and f hold the factors below the diagonal.
        if i >= 1 {
            e[i] -= e[i - 1] * d[i - 1] * f[i - 1];
        }
        e[i] /= d[i];
        f[i] /= d[i];
    }
    for i in (0..n).rev() {
        z[i] /= d[i];
        if i + 1 < n {
            z[i] -= e[i] * z[i + 1];
        }
        if i + 2 < n {
            z[i] -= f[i] * z[i + 2];
        }
    }
    z
}

/// Finds the peaks that stand out by `prominence_mau` or more, in order of time.
pub(crate) fn find(trace: &Trace, smoothed: &[f64], baseline: &[f64], prominence_mau: f64) -> Vec<Peak> {
    let height: Vec<f64> = smoothed.iter().zip(baseline).map(|(y, z)| y - z).collect();
    let apexes: Vec<(usize, f64)> = (1..height.len().saturating_sub(1))
        .filter(|&i| height[i] > height[i - 1] && height[i] >= height[i + 1])
        .map(|i| (i, prominence(&height, i)))
        .filter(|&(_, prominence)| prominence >= prominence_mau)
        .collect();
    let within_noise = NOISE_DEVIATIONS * noise(&trace.signal_mau);
    let bounds = |k: usize| {
        let before = if k == 0 { 0 } else { valley(&height, apexes[k - 1].0, apexes[k].0) };
        let after =
            if k + 1 == apexes.len() { height.len() - 1 } else { valley(&height, apexes[k].0, apexes[k + 1].0) };
        let apex = apexes[k].0;
        let edge = (height[apex] * EDGE_FRACTION).max(within_noise);
        let start = (before..apex).rev().find(|&i| height[i] < edge).unwrap_or(before);
        let end = (apex..after).find(|&i| height[i] < edge).unwrap_or(after);
        (start, end)
    };
    let measure = |(k, &(apex, prominence_mau)): (usize, &(usize, f64))| {
        let (start, end) = bounds(k);
        let above = |i: usize| trace.signal_mau[i] - baseline[i];
        let step = |i: usize| (above(i) + above(i + 1)) / 2.0 * (trace.time_min[i + 1] - trace.time_min[i]);
        Peak {
            apex,
            start,
            end,
            retention_min: trace.time_min[apex],
            height_mau: height[apex],
            prominence_mau,
            area_mau_min: (start..end).map(step).sum(),
            width_half_min: width_at(&height, &trace.time_min, apex, height[apex] / 2.0),
        }
    };
    apexes.iter().enumerate().map(measure).collect()
}

/// Estimates the standard deviation of the noise from the median difference of neighbours, which peaks hardly move.
fn noise(signal: &[f64]) -> f64 {
    let mut differences: Vec<f64> = signal.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    differences.sort_by(f64::total_cmp);
    differences[differences.len() / 2] / (0.6745 * 2_f64.sqrt())
}

/// How far one must climb down from a maximum, on the side where that is less, before a higher point is reached.
fn prominence(height: &[f64], apex: usize) -> f64 {
    let deepest = |walk: &mut dyn Iterator<Item = &f64>| {
        walk.take_while(|y| **y <= height[apex]).fold(height[apex], |low, y| low.min(*y))
    };
    let left = deepest(&mut height[..apex].iter().rev());
    let right = deepest(&mut height[apex + 1..].iter());
    height[apex] - left.max(right)
}

fn valley(height: &[f64], from: usize, to: usize) -> usize {
    (from..=to).min_by(|&a, &b| height[a].total_cmp(&height[b])).unwrap_or(from)
}

fn width_at(height: &[f64], time: &[f64], apex: usize, level: f64) -> f64 {
    // The place between two readings, one above the level and one below, where a straight line crosses it.
    let crossing = |inner: usize, outer: usize| {
        let part = (height[inner] - level) / (height[inner] - height[outer]);
        time[inner] + part * (time[outer] - time[inner])
    };
    let left = (0..apex).rev().find(|&i| height[i] < level).map_or(time[0], |i| crossing(i + 1, i));
    let right = (apex + 1..height.len()).find(|&i| height[i] < level);
    right.map_or(time[time.len() - 1], |i| crossing(i - 1, i)) - left
}

/// Writes the peaks as CSV text.
pub(crate) fn table(trace: &Trace, peaks: &[Peak]) -> String {
    let total: f64 = peaks.iter().map(|peak| peak.area_mau_min).sum();
    let mut text =
        "peak,retention_min,height_mau,prominence_mau,area_mau_min,area_percent,width_half_min,start_min,end_min\n"
            .to_owned();
    for (number, peak) in (1..).zip(peaks) {
        let (start, end) = (trace.time_min[peak.start], trace.time_min[peak.end]);
        let Peak { retention_min, height_mau, prominence_mau, area_mau_min, width_half_min, .. } = peak;
        let percent = 100.0 * area_mau_min / total;
        let _ = writeln!(
            text,
            "{number},{retention_min:.4},{height_mau:.3},{prominence_mau:.3},{area_mau_min:.4},{percent:.2},\
             {width_half_min:.4},{start:.4},{end:.4}"
        );
    }
    text
}
