//! The log on stderr. Lines are put together where they come up and written by a thread of their own, so that a
//! terminal or a collector that is slow, or stuck, never holds up a request.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use clap::ValueEnum;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::FormatTime;

use crate::server::time_told_of;

/// Bytes that may wait to be written; lines beyond are dropped and counted.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// How long the first of the waiting lines waits for others. Waking the thread for each line cost each request as much
/// as the rest of a cheap request (`benches/RESULTS.md`).
const GATHER: Duration = Duration::from_millis(20);

/// With this many bytes waiting, they are written at once.
const GATHER_BYTES_MAX: usize = WAITING_BYTES_MAX / 4;

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// Begins to log; what waits is written when this is dropped.
pub(super) fn begin(format: Format, level: Level) -> anyhow::Result<Logs> {
    let lines = Lines::default();
    let thread = std::thread::Builder::new().name("labrun-log".to_owned()).spawn({
        let lines = lines.clone();
        move || lines.write_all_to(&mut std::io::stderr())
    })?;
    let level = match level {
        Level::Error => tracing::Level::ERROR,
        Level::Warn => tracing::Level::WARN,
        Level::Info => tracing::Level::INFO,
        Level::Debug => tracing::Level::DEBUG,
    };
    let is_seen_by_people = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let common = tracing_subscriber::fmt().with_writer(lines.clone()).with_timer(Time);
    let common = common.with_max_level(level).with_target(false);
    match format {
        Format::Text if is_seen_by_people => common.with_ansi(true).init(),
        // As above without colours. The formatter that can do both spends most of its time on those that it leaves out.
        Format::Text => common.with_ansi(false).fmt_fields(debug_fn(write_field).delimited(" ")).init(),
        Format::Json => common.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
    }
    Ok(Logs { lines, thread: Some(thread) })
}

/// The time at the beginning of a line.
struct Time;

impl FormatTime for Time {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", time_told_of())
    }
}

/// Writes a field of a line.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn std::fmt::Debug) -> std::fmt::Result {
    match field.name() {
        "message" => write!(writer, "{value:?}"),
        name => {
            writer.write_str(name)?;
            writer.write_char('=')?;
            write!(writer, "{value:?}")
        }
    }
}

/// The log, while the program runs.
#[derive(Debug)]
pub(super) struct Logs {
    lines: Lines,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.lines.end();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Lines on their way.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<(Mutex<Waiting>, Condvar)>);

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    dropped: u64,
    has_ended: bool,
    /// Whether the thread sleeps until it is told that there is something to do.
    is_asleep: bool,
}

impl Waiting {
    fn has_work(&self) -> bool {
        !self.bytes.is_empty() || self.dropped > 0 || self.has_ended
    }
}

impl Lines {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.waiting().has_ended = true;
        self.0.1.notify_one();
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.bytes.len() + line.len() > WAITING_BYTES_MAX {
            waiting.dropped += 1;
            return;
        }
        waiting.bytes.extend_from_slice(line);
        let is_much = waiting.bytes.len() >= GATHER_BYTES_MAX;
        let wake = std::mem::take(&mut waiting.is_asleep) || is_much;
        drop(waiting);
        if wake {
            self.0.1.notify_one();
        }
    }

    /// Writes what comes, until the end; many lines at once when many wait.
    fn write_all_to(&self, out: &mut impl Write) {
        let mut bytes = Vec::new();
        loop {
            let mut waiting = self.waiting();
            while !waiting.has_work() {
                waiting.is_asleep = true;
                waiting = self.0.1.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            waiting.is_asleep = false;
            let is_little = |waiting: &mut Waiting| waiting.bytes.len() < GATHER_BYTES_MAX && !waiting.has_ended;
            let gathered = self.0.1.wait_timeout_while(waiting, GATHER, is_little);
            let mut waiting = gathered.unwrap_or_else(PoisonError::into_inner).0;
            let is_last = waiting.has_ended;
            std::mem::swap(&mut bytes, &mut waiting.bytes);
            let dropped = std::mem::take(&mut waiting.dropped);
            drop(waiting);
            // There is nowhere else to say that the log can't be written.
            drop(out.write_all(&bytes));
            if dropped > 0 {
                drop(writeln!(out, "{{\"level\":\"WARN\",\"message\":\"{dropped} lines of the log were dropped\"}}"));
            }
            bytes.clear();
            if is_last {
                return;
            }
        }
    }
}

/// One line as it is written; `tracing` hands over each in one piece.
#[derive(Debug)]
struct Line<'a>(&'a Lines);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_in_order_and_what_is_too_much_is_counted() {
        let lines = Lines::default();
        lines.push(b"one\n");
        lines.push(&vec![b'x'; WAITING_BYTES_MAX]);
        lines.push(b"two\n");
        lines.end();
        let mut out = Vec::new();
        lines.write_all_to(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "one\ntwo\n{\"level\":\"WARN\",\"message\":\"1 lines of the log were dropped\"}\n");
    }
}
