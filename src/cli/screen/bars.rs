//! Bars for what takes its time: on a terminal, and nothing elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::text::plain;

/// How often a bar moves by itself, so that one sees that the program lives.
const TICK: Duration = Duration::from_millis(200);
/// The steps of a bar that shows a share.
const STEPS: u64 = 1_000;

/// Bars below each other on stderr.
#[derive(Debug)]
pub(crate) struct Bars(Option<MultiProgress>);

/// A bar; dropped, it goes away.
#[derive(Debug)]
pub(crate) struct Bar(Option<ProgressBar>);

impl Bars {
    /// Finds out whether there is a terminal to draw on.
    pub(crate) fn new() -> Self {
        Self(std::io::stderr().is_terminal().then(MultiProgress::new))
    }

    /// Adds a bar for bytes.
    pub(crate) fn bytes(&self, name: &str) -> Bar {
        self.bar(0, name, "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    }

    /// Adds a bar for a share of one, with a word about it.
    pub(crate) fn share(&self, name: &str) -> Bar {
        self.bar(STEPS, name, "{prefix} {bar:30} {percent:>3}% {wide_msg}")
    }

    fn bar(&self, total: u64, name: &str, template: &str) -> Bar {
        Bar(self.0.as_ref().map(|bars| {
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = bars.add(ProgressBar::new(total).with_style(style).with_prefix(plain(name)));
            bar.enable_steady_tick(TICK);
            bar
        }))
    }
}

impl Bar {
    /// Says whether it can be seen.
    pub(crate) fn is_drawn(&self) -> bool {
        self.0.is_some()
    }

    /// Shows how many bytes of how many are done.
    pub(crate) fn done(&self, done: u64, total: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    /// Shows a share of one, with a word about it that is plain already.
    pub(crate) fn show(&self, share: f64, what: &str) {
        if let Some(bar) = &self.0 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 1,000")]
            bar.set_position((share.clamp(0.0, 1.0) * STEPS as f64) as u64);
            bar.set_message(what.to_owned());
        }
    }

    /// Changes the word about it.
    pub(crate) fn note(&self, what: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(what.to_owned());
        }
    }

    /// Leaves the bar as it is, with a last word; without one it goes away.
    pub(crate) fn end(&self, how: &str) {
        if let Some(bar) = &self.0 {
            if how.is_empty() { bar.finish_and_clear() } else { bar.abandon_with_message(how.to_owned()) }
        }
    }
}
