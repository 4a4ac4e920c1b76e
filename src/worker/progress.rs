//! How far a command says it is: in lines of its output, or in a file.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use serde_json::Value;

/// How a line of output begins that says how far the command is.
const PREFIX: &str = "labrun-progress:";
/// Most bytes of such a line; longer ones are output like any other.
pub(crate) const LINE_BYTES_MAX: usize = 16 << 10;

/// How far a command is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Progress {
    /// From 0 to 1.
    pub(crate) amount: f64,
    /// What the command says to those who watch; always an object.
    pub(crate) data: Option<Value>,
}

/// Reads a line of output, `labrun-progress: 0.42 {json}`; `None` when it is any other.
pub(crate) fn line(line: &str) -> Option<Progress> {
    said(line.strip_prefix(PREFIX)?)
}

/// Reads `0.42 {json}`. The number may also be a percentage, `42 %`; what is beyond an end counts as the end.
fn said(text: &str) -> Option<Progress> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_whitespace() || c == '%' || c == '{').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let number: f64 = number.parse().ok().filter(|number: &f64| number.is_finite())?;
    let rest = rest.trim_start();
    let (amount, rest) = match rest.strip_prefix('%') {
        Some(rest) => (number / 100.0, rest.trim_start()),
        None => (number, rest),
    };
    let data = match rest {
        "" => None,
        json => Some(serde_json::from_str::<Value>(json).ok().filter(Value::is_object)?),
    };
    Some(Progress { amount: amount.clamp(0.0, 1.0), data })
}

/// Reads the last whole line of a file of `0.42 {json}` lines. What can't be read says nothing.
pub(crate) fn file(path: &Path) -> Option<Progress> {
    // A pipe in its place must not make anybody wait.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).ok()?;
    let mut file = std::fs::File::options().read(true).custom_flags(flags).open(path).ok()?;
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let tail = LINE_BYTES_MAX as u64;
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(tail))).ok()?;
    let mut bytes = Vec::new();
    file.take(tail).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // A line that is being written is not whole yet, unless the file has never had a line's end.
    let whole = text.rfind('\n').map_or(&*text, |end| &text[..end]);
    let last = whole.lines().rev().find(|line| !line.trim().is_empty())?;
    said(last.strip_prefix(PREFIX).unwrap_or(last))
}

/// Finds lines in pieces of output as they come, in constant memory.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    begun: Vec<u8>,
    is_too_long: bool,
}

impl Lines {
    /// Takes the next piece of output; gives what the last line in it that says so says of the progress.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Option<Progress> {
        let mut last = None;
        let mut pieces = piece.split(|byte| matches!(byte, b'\n' | b'\r')).peekable();
        while let Some(part) = pieces.next() {
            if self.begun.len() + part.len() > LINE_BYTES_MAX {
                self.is_too_long = true;
                self.begun.clear();
            } else {
                self.begun.extend_from_slice(part);
            }
            if pieces.peek().is_some() {
                last = self.end().or(last);
            }
        }
        last
    }

    /// Ends a line.
    pub(crate) fn end(&mut self) -> Option<Progress> {
        let is_whole = !std::mem::take(&mut self.is_too_long);
        let said = std::str::from_utf8(&self.begun).ok().filter(|_| is_whole).and_then(line);
        self.begun.clear();
        said
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn of(amount: f64, data: Option<Value>) -> Option<Progress> {
        Some(Progress { amount, data })
    }

    #[test]
    fn a_line_says_how_far_the_command_is() {
        assert_eq!(line("labrun-progress: 0.42"), of(0.42, None));
        assert_eq!(line("labrun-progress:1e-2  {\"step\": \"a b\"} "), of(0.01, Some(json!({"step": "a b"}))));
        assert_eq!(line("labrun-progress: 42% {}"), of(0.42, Some(json!({}))));
        assert_eq!(line("labrun-progress: 7"), of(1.0, None));
        for other in [
            "labrun-progress:",
            "labrun-progress: x",
            "labrun-progress: nan",
            "labrun-progress: .5 [1]",
            " labrun-progress: 1",
            "0.5",
        ] {
            assert_eq!(line(other), None, "{other}");
        }
    }

    #[test]
    fn the_last_whole_line_of_a_file_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("progress");
        assert_eq!(file(&path), None);
        for (text, amount) in
            [("0.25", Some(0.25)), ("0.25\n0.5 {}\n", Some(0.5)), ("0.25\n0.", Some(0.25)), ("x\n", None), ("\n", None)]
        {
            std::fs::write(&path, text).unwrap();
            assert_eq!(file(&path).map(|said| said.amount), amount, "{text:?}");
        }
        std::fs::write(&path, format!("{}\n0.75\n", "x".repeat(3 * LINE_BYTES_MAX))).unwrap();
        assert_eq!(file(&path).map(|said| said.amount), Some(0.75));
    }

    proptest! {
        /// However the output is cut into pieces, the same lines are found.
        #[test]
        fn pieces_make_no_difference(cuts in proptest::collection::vec(0_usize..200, 0..8)) {
            let text = format!("a\nlabrun-progress: 0.25\r\n{}\nlabrun-progress: 0.5 {{}}\nrest", "z".repeat(90)).into_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let mut lines = Lines::default();
            let found: Vec<_> = cuts.windows(2).filter_map(|cut| lines.take(&text[cut[0]..cut[1]])).collect();
            prop_assert_eq!(found.last().map(|said| said.amount), Some(0.5));
            prop_assert!(lines.begun.len() <= LINE_BYTES_MAX);
        }
    }

    #[test]
    fn a_line_without_an_end_takes_no_memory() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            assert_eq!(lines.take(&[b'x'; 64 << 10]), None);
        }
        assert!(lines.begun.capacity() <= 4 * LINE_BYTES_MAX);
        assert_eq!(lines.take(b"labrun-progress: 1"), None);
        assert_eq!(lines.take(b"\nlabrun-progress: 1\n"), of(1.0, None));
    }
}
