//! How far a long command is: a bar on a terminal, plain lines elsewhere.

use std::cell::RefCell;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use super::screen::remark;
use crate::care::Progress;

/// Plain lines of a part of the work, beside its beginning and its end.
const LINES: u64 = 10;

/// Shows progress on stderr.
pub(super) struct Shown {
    terminal: bool,
    part: RefCell<Part>,
}

#[derive(Default)]
struct Part {
    what: &'static str,
    bar: Option<ProgressBar>,
    done: u64,
    total: u64,
}

impl Shown {
    /// Finds out what stderr is.
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), part: RefCell::default() }
    }
}

impl Progress for Shown {
    fn begin(&self, what: &'static str, total: u64) {
        let bar = self.terminal.then(|| {
            let bar = ProgressBar::new(total);
            let style = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(what);
            bar
        });
        if bar.is_none() {
            remark(format_args!("{what}: {total} to do"));
        }
        *self.part.borrow_mut() = Part { what, bar, done: 0, total };
    }

    fn advance(&self, units: u64) {
        let mut part = self.part.borrow_mut();
        let before = part.done;
        part.done = before.saturating_add(units);
        match &part.bar {
            Some(bar) => bar.inc(units),
            None if part.total > 0 => {
                let tenth = |done: u64| done.saturating_mul(LINES) / part.total;
                if tenth(part.done) > tenth(before) && part.done < part.total {
                    remark(format_args!("{}: {} of {}", part.what, part.done, part.total));
                }
            }
            None => {}
        }
    }

    fn end(&self) {
        let part = self.part.take();
        match part.bar {
            Some(bar) => bar.finish_and_clear(),
            None => remark(format_args!("{}: done", part.what)),
        }
    }
}
