//! Draws a chromatogram with its peaks as SVG.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use super::peaks::{Peak, Trace};

const WIDTH: f64 = 1080.0;
const HEIGHT: f64 = 600.0;
/// The space for the axes, the title and the labels: left, right, top, bottom.
const MARGINS: (f64, f64, f64, f64) = (78.0, 26.0, 66.0, 66.0);
/// How wide a label is at most, in pixels.
const LABEL_PX: f64 = 62.0;
/// The baseline bends slowly: one point in this many draws it.
const BASELINE_EVERY: usize = 10;
/// The colours of the peaks, in turns, so that neighbours can be told apart.
const FILLS: [&str; 2] = ["#4c8bb5", "#e3a33c"];

const STYLE: &str = "\
  text { font-family: 'Helvetica Neue', Helvetica, Arial, sans-serif; fill: #28323a; font-size: 14px }
  .title { font-size: 20px; font-weight: 600 } .note { fill: #69757e } .axis { font-size: 15px }
  .grid { stroke: #e6eaed } .frame { stroke: #28323a; stroke-width: 1.2; fill: none }
  .trace { fill: none; stroke: #1f3a52; stroke-width: 1.4; stroke-linejoin: round }
  .baseline { fill: none; stroke: #b3423a; stroke-width: 1.3; stroke-dasharray: 6 4 }
  .mark { stroke: #69757e; stroke-width: 1 } .label { font-size: 12.5px }";

/// Turns minutes and mAU into places on the page.
struct Scale {
    time: RangeInclusive<f64>,
    signal: RangeInclusive<f64>,
}

impl Scale {
    fn x(&self, time: f64) -> f64 {
        let (left, right, ..) = MARGINS;
        left + (time - self.time.start()) / (self.time.end() - self.time.start()) * (WIDTH - left - right)
    }

    fn y(&self, signal: f64) -> f64 {
        let (.., top, bottom) = MARGINS;
        let height = HEIGHT - top - bottom;
        HEIGHT - bottom - (signal - self.signal.start()) / (self.signal.end() - self.signal.start()) * height
    }

    /// Writes the points of a line through some readings.
    fn points(&self, readings: impl Iterator<Item = (f64, f64)>) -> String {
        readings.map(|(time, signal)| format!("{:.1},{:.1} ", self.x(time), self.y(signal))).collect()
    }
}

/// Draws the readings, the baseline and the peaks.
pub(crate) fn svg(title: &str, trace: &Trace, baseline: &[f64], peaks: &[Peak]) -> String {
    let highest = trace.signal_mau.iter().copied().fold(f64::MIN, f64::max);
    let lowest = trace.signal_mau.iter().copied().fold(0.0, f64::min);
    let step = tick_step(highest - lowest);
    // Room above the highest peak for its label.
    let top = ((highest * 1.14) / step).ceil() * step;
    let last = trace.time_min[trace.time_min.len() - 1];
    let time_step = tick_step(last - trace.time_min[0]);
    let scale = Scale { time: trace.time_min[0]..=last, signal: (lowest / step).floor() * step..=top };
    let mut page = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         role=\"img\">\n<title>{0}</title>\n<style>\n{STYLE}\n</style>\n<rect width=\"100%\" height=\"100%\" \
         fill=\"#fff\"/>\n",
        escaped(title)
    );
    axes(&mut page, &scale, time_step, step);
    for (number, peak) in peaks.iter().enumerate() {
        area(&mut page, &scale, trace, baseline, peak, FILLS[number % FILLS.len()]);
    }
    let line = |values: &[f64], every: usize| {
        scale.points(trace.time_min.iter().copied().zip(values.iter().copied()).step_by(every))
    };
    let _ = writeln!(page, "<polyline class=\"trace\" points=\"{}\"/>", line(&trace.signal_mau, 1));
    let _ = writeln!(page, "<polyline class=\"baseline\" points=\"{}\"/>", line(baseline, BASELINE_EVERY));
    for (number, peak) in (1..).zip(peaks) {
        label(&mut page, &scale, trace, number, peak);
    }
    heading(&mut page, title, trace, peaks);
    page.push_str("</svg>\n");
    page
}

fn heading(page: &mut String, title: &str, trace: &Trace, peaks: &[Peak]) {
    let (left, right, ..) = MARGINS;
    let _ = writeln!(page, "<text class=\"title\" x=\"{left}\" y=\"30\">{}</text>", escaped(title));
    let total: f64 = peaks.iter().map(|peak| peak.area_mau_min).sum();
    let readings = trace.time_min.len();
    let count = peaks.len();
    let _ = writeln!(
        page,
        "<text class=\"note\" x=\"{left}\" y=\"51\">{count} peaks, {total:.1} mAU min in all, {readings} readings</text>"
    );
    let legend = WIDTH - right - 230.0;
    let _ = writeln!(
        page,
        "<path class=\"trace\" d=\"M{legend} 46h30\"/><text x=\"{}\" y=\"51\">readings</text>\
         <path class=\"baseline\" d=\"M{} 46h30\"/><text x=\"{}\" y=\"51\">baseline</text>",
        legend + 38.0,
        legend + 130.0,
        legend + 168.0
    );
}

fn axes(page: &mut String, scale: &Scale, time_step: f64, signal_step: f64) {
    let (left, right, top, bottom) = MARGINS;
    let (end, floor) = (WIDTH - right, HEIGHT - bottom);
    for time in ticks(&scale.time, time_step) {
        let x = scale.x(time);
        let _ = writeln!(
            page,
            "<path class=\"grid\" d=\"M{x:.1} {top}V{floor}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{time}</text>",
            floor + 21.0
        );
    }
    for signal in ticks(&scale.signal, signal_step) {
        let y = scale.y(signal);
        let _ = writeln!(
            page,
            "<path class=\"grid\" d=\"M{left} {y:.1}H{end}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{signal}</text>",
            left - 9.0,
            y + 5.0
        );
    }
    let _ = writeln!(page, "<path class=\"frame\" d=\"M{left} {top}V{floor}H{end}\"/>");
    let (middle, half) = ((left + end) / 2.0, (top + floor) / 2.0);
    let _ = writeln!(
        page,
        "<text class=\"axis\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">Time (min)</text>\n\
         <text class=\"axis\" transform=\"translate(26 {half:.1}) rotate(-90)\" text-anchor=\"middle\">Absorbance (mAU)\
         </text>",
        HEIGHT - 18.0
    );
}

/// Fills the space between the readings of a peak and the baseline.
fn area(page: &mut String, scale: &Scale, trace: &Trace, baseline: &[f64], peak: &Peak, fill: &str) {
    let range = || peak.start..=peak.end;
    let over = scale.points(range().map(|i| (trace.time_min[i], trace.signal_mau[i])));
    let back = scale.points(range().rev().map(|i| (trace.time_min[i], baseline[i])));
    let _ = writeln!(page, "<polygon fill=\"{fill}\" fill-opacity=\"0.45\" points=\"{over}{back}\"/>");
}

/// Writes a peak's number and time above it.
fn label(page: &mut String, scale: &Scale, trace: &Trace, number: usize, peak: &Peak) {
    let x = scale.x(peak.retention_min);
    let y = scale.y(trace.signal_mau[peak.apex]);
    let (from, to, foot) = (y - 4.0, y - 14.0, y - 19.0);
    // A higher neighbour on one side pushes the label to the other.
    let is_taken = |reading: (&f64, &f64), from: f64, to: f64| {
        let x = scale.x(*reading.0);
        from < x && x < to && scale.y(*reading.1) < foot + 4.0
    };
    let readings = || trace.time_min.iter().zip(&trace.signal_mau);
    let left = readings().any(|reading| is_taken(reading, x - LABEL_PX / 2.0, x));
    let right = readings().any(|reading| is_taken(reading, x, x + LABEL_PX / 2.0));
    let (anchor, shift) = match (left, right) {
        (true, false) => ("start", -6.0),
        (false, true) => ("end", 6.0),
        _ => ("middle", 0.0),
    };
    let _ = writeln!(
        page,
        "<path class=\"mark\" d=\"M{x:.1} {from:.1}V{to:.1}\"/><text class=\"label\" x=\"{:.1}\" y=\"{foot:.1}\" \
         text-anchor=\"{anchor}\"><tspan font-weight=\"600\">{number}</tspan> · {:.2}</text>",
        x + shift,
        peak.retention_min
    );
}

/// Finds a round step that gives five to ten ticks.
fn tick_step(span: f64) -> f64 {
    let power = 10_f64.powf((span / 10.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps.into_iter().find(|step| span / step <= 10.0).unwrap_or(10.0 * power)
}

fn ticks(range: &RangeInclusive<f64>, step: f64) -> impl Iterator<Item = f64> {
    let first = (range.start() / step).ceil() as i64;
    let last = (range.end() / step + 1e-9).floor() as i64;
    // Rounded, so that a step of 0.1 is not written as 0.30000000000000004.
    (first..=last).map(move |k| (k as f64 * step * 1e9).round() / 1e9)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
