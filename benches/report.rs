//! The figures: a table on stdout and a file for programs.

use anyhow::Context;
use serde::Serialize;

/// What a figure has to meet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Budget {
    /// Its ratio is at least this.
    RatioAtLeast(f64),
    /// Its ratio is at most this.
    RatioAtMost(f64),
    /// Its value is at most this.
    AtMost(f64),
}

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    /// What it is measured against.
    against: Option<String>,
    /// The value over that of what it is measured against.
    ratio: Option<f64>,
    budget: Option<String>,
    met: Option<bool>,
}

impl Figure {
    /// Makes a figure that stands alone.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, against: None, ratio: None, budget: None, met: None }
    }

    /// Sets it against another value of the same unit.
    pub(crate) fn against(mut self, what: &str, value: f64) -> Self {
        self.against = Some(format!("{what}: {}", plain(value)));
        self.ratio = Some(self.value / value);
        self
    }

    /// Holds it to a budget.
    pub(crate) fn budget(mut self, budget: Budget) -> Self {
        let ratio = self.ratio.unwrap_or(f64::NAN);
        let (text, met) = match budget {
            Budget::RatioAtLeast(least) => (format!("ratio >= {least}"), ratio >= least),
            Budget::RatioAtMost(most) => (format!("ratio <= {most}"), ratio <= most),
            Budget::AtMost(most) => (format!("<= {most} {}", self.unit), self.value <= most),
        };
        self.budget = Some(text);
        self.met = Some(met);
        self
    }

    fn line(&self) -> String {
        let mut line = format!("{:<62} {:>12} {:<6}", self.name, plain(self.value), self.unit);
        if let (Some(against), Some(ratio)) = (&self.against, self.ratio) {
            line += &format!(" {ratio:>8.2} x {against}");
        }
        if let (Some(budget), Some(met)) = (&self.budget, self.met) {
            line += &format!("  [{budget}: {}]", if met { "met" } else { "MISSED" });
        }
        line
    }
}

/// All figures of a run, printed as they come.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
    notes: Vec<String>,
}

impl Report {
    /// Adds a figure.
    pub(crate) fn add(&mut self, figure: Figure) {
        println!("{}", figure.line());
        self.figures.push(figure);
    }

    /// Says something beside the figures, such as what was left out.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        println!("-- {note}");
        self.notes.push(note);
    }

    /// Prints the table and writes the file.
    pub(crate) fn finish(&self) -> anyhow::Result<()> {
        println!("\n== all figures");
        for figure in &self.figures {
            println!("{}", figure.line());
        }
        for note in &self.notes {
            println!("-- {note}");
        }
        let missed = self.figures.iter().filter(|figure| figure.met == Some(false)).count();
        let held = self.figures.iter().filter(|figure| figure.met.is_some()).count();
        println!("{} of {held} budgets met", held - missed);
        // Not below the binary's own directory, which differs between benches and programs.
        let target = std::path::Path::new(env!("CARGO_BIN_EXE_labrun")).ancestors().nth(2);
        let file = target.context("the binary lies in target/release")?.join("labrun-bench.json");
        std::fs::write(&file, serde_json::to_vec_pretty(&self.figures)?)
            .with_context(|| format!("{} can't be written", file.display()))
    }
}

/// Writes a number with the digits that matter.
fn plain(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        large if large >= 100.0 => format!("{value:.0}"),
        middling if middling >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
