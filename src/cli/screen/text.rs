//! Texts that came from elsewhere, made fit for a terminal, and figures made fit for people.

use crate::domain::time::Timestamp;

/// Gives a text on one line, with everything that could steer a terminal or turn a line around written out.
pub(crate) fn plain(text: &str) -> String {
    escaped(text, |_| false)
}

/// Gives a text as [`plain`] does, its lines and tabs kept.
pub(crate) fn plain_lines(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, keeps: impl Fn(char) -> bool) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if keeps(c) || !is_dangerous(c) => plain.push(c),
            '\n' => plain.push_str("\\n"),
            '\r' => plain.push_str("\\r"),
            '\t' => plain.push_str("\\t"),
            _ => plain.extend(c.escape_unicode()),
        }
    }
    plain
}

/// Says whether a character does something to a terminal other than being shown in its place: control characters, and
/// those that change the direction of what follows or end a line.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Gives how long ago something was, in two or three characters: `7s`, `12m`, `3h`, `40d`.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    span(now.0.saturating_sub(then.0) as f64 / 1e6)
}

/// Gives a number of seconds in its largest unit, as [`age`] does.
pub(crate) fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    match seconds {
        s if s < 60.0 => format!("{s:.0}s"),
        s if s < 3_600.0 => format!("{:.0}m", (s / 60.0).floor()),
        s if s < 86_400.0 => format!("{:.0}h", (s / 3_600.0).floor()),
        s => format!("{:.0}d", (s / 86_400.0).floor()),
    }
}

/// Gives a point in time with how long ago it was, or nothing for none.
pub(crate) fn moment(time: Option<Timestamp>, now: Timestamp) -> String {
    let Some(time) = time else { return String::new() };
    let exact = time.to_string();
    let seconds = exact.split('.').next().unwrap_or_default().replace('T', " ");
    match time > now {
        true => format!("{seconds} UTC (in {})", age(now, time)),
        false => format!("{seconds} UTC ({} ago)", age(time, now)),
    }
}

/// Gives a number of bytes with its unit.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

/// Gives a share of one in percent.
pub(crate) fn percent(share: f64) -> String {
    // Rounded down: 100 % is said of what is done, and of nothing else.
    format!("{:.0}%", (share * 100.0).floor())
}

/// Makes a log fit for a terminal as it comes, whose pieces may end in the middle of a character.
#[derive(Debug, Default)]
pub(crate) struct Terminal {
    rest: Vec<u8>,
}

impl Terminal {
    /// Gives the next piece. Colours are taken out, all else that steers a terminal is written out; what is no UTF-8
    /// becomes a replacement character.
    pub(crate) fn safe(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        // Up to the last line's end, so that no character and no colour is cut; a long line without one goes as it is.
        let end = match self.rest.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if self.rest.len() > 1 << 16 => self.rest.len(),
            None => return String::new(),
        };
        let piece: Vec<u8> = self.rest.drain(..end).collect();
        safe(&piece)
    }

    /// Gives what is left at the end.
    pub(crate) fn last(&mut self) -> String {
        safe(&std::mem::take(&mut self.rest))
    }
}

fn safe(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    plain_lines(&console::strip_ansi_codes(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_comes_through_without_its_colours_and_its_tricks() {
        let mut terminal = Terminal::default();
        let (first, rest) = "2mgrün".as_bytes().split_at(5);
        let mut out = String::new();
        for piece in [b"\x1b[3", first, rest, b"\x1b[0m\r\n50%\r\xff\x1b[2Jx\n", b"\x1b]0;title\x07\nend"] {
            out += &terminal.safe(piece);
        }
        assert_eq!(out, "grün\n50%\\r\u{fffd}x\n\n");
        assert_eq!(terminal.last(), "end");
    }

    #[test]
    fn nothing_that_steers_a_terminal_comes_through() {
        assert_eq!(plain("a\u{1b}[31mb\r\n\u{9b}2J\u{7}"), r"a\u{1b}[31mb\r\n\u{9b}2J\u{7}");
        assert_eq!(plain("evil\u{202e}gnp.exe"), r"evil\u{202e}gnp.exe");
        assert_eq!(plain("Zoë 試料 👩‍🔬 'q' \"d\" $(x)"), "Zoë 試料 👩‍🔬 'q' \"d\" $(x)");
        assert_eq!(plain_lines("a\n\tb\u{1b}c"), "a\n\tb\\u{1b}c");
    }

    #[test]
    fn times_are_told_in_one_unit() {
        for (seconds, told) in [(0.4, "0s"), (59.4, "59s"), (60.0, "1m"), (3_599.0, "59m"), (90_000.0, "1d")] {
            assert_eq!(span(seconds), told);
        }
        let time = Timestamp::parse("2026-01-02T03:04:05.6Z");
        let later = Timestamp::parse("2026-01-02T05:04:06Z").unwrap();
        assert_eq!(moment(time, later), "2026-01-02 03:04:05 UTC (2h ago)");
        assert_eq!(moment(Some(later), time.unwrap()), "2026-01-02 05:04:06 UTC (in 2h)");
        assert_eq!(percent(0.999), "99%");
    }
}
