//! How things are written for people: times, spans, sizes, phases.

use crate::domain::lifecycle::Phase;
use crate::domain::time::Timestamp;
use crate::wire::Job;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A point in time, for a `<time>` whose text the script keeps up to date.
#[derive(Debug, Clone)]
pub(super) struct When {
    /// RFC 3339.
    pub(super) iso: String,
    /// How long ago that was.
    pub(super) ago: String,
    /// Date and time to the second, UTC.
    pub(super) full: String,
}

impl When {
    /// Writes a time as seen from `now`.
    pub(super) fn new(time: Timestamp, now: Timestamp) -> Self {
        let iso = time.to_string();
        let full = match (iso.get(..10), iso.get(11..19)) {
            (Some(date), Some(clock)) => format!("{date} {clock} UTC"),
            _ => iso.clone(),
        };
        Self { ago: ago(time, now), full, iso }
    }
}

/// How long something took, or takes so far.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// When it began, if it still goes on; the script counts on from there.
    pub(super) since: Option<String>,
    /// The span so far.
    pub(super) text: String,
}

impl Span {
    /// Writes the span between two times, up to `now` if there is no second.
    pub(super) fn new(from: Timestamp, to: Option<Timestamp>, now: Timestamp) -> Self {
        let since = to.is_none().then(|| from.to_string());
        Self { since, text: span(to.unwrap_or(now).0.saturating_sub(from.0)) }
    }
}

/// Says how long ago a time was.
pub(super) fn ago(time: Timestamp, now: Timestamp) -> String {
    match now.as_seconds().saturating_sub(time.as_seconds()) {
        seconds if seconds < 10 => "just now".to_owned(),
        seconds if seconds < MINUTE => format!("{seconds} s ago"),
        seconds if seconds < HOUR => format!("{} min ago", seconds / MINUTE),
        seconds if seconds < 2 * DAY => format!("{} h ago", seconds / HOUR),
        seconds => format!("{} d ago", seconds / DAY),
    }
}

/// Writes a span of so many microseconds.
pub(super) fn span(us: i64) -> String {
    let seconds = us.max(0) / 1_000_000;
    match seconds {
        0 => format!("{} ms", us.max(0) / 1_000),
        _ if seconds < MINUTE => format!("{seconds} s"),
        _ if seconds < HOUR => format!("{} min {:02} s", seconds / MINUTE, seconds % MINUTE),
        _ if seconds < 2 * DAY => format!("{} h {:02} min", seconds / HOUR, seconds % HOUR / MINUTE),
        _ => format!("{} d {:02} h", seconds / DAY, seconds % DAY / HOUR),
    }
}

/// Writes a number of bytes, in the units of file managers.
pub(super) fn bytes(count: i64) -> String {
    if count < 1_000 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        if value < 999.5 {
            break;
        }
        value /= 1_000.0;
        unit = next;
    }
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// Writes a number with thin gaps between thousands.
pub(super) fn count(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) && digit.is_ascii_digit() && !text.ends_with('-') {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Gives a text up to so many characters; what is cut off shows.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
    }
}

/// Gives the first line of a text, up to so many characters.
pub(super) fn first_line(text: &str, chars_max: usize) -> String {
    cut(text.trim().lines().next().unwrap_or_default(), chars_max)
}

/// A phase as it is shown: a word, and the class and icon of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Badge {
    pub(super) word: &'static str,
    /// The class, and the icon's name.
    pub(super) kind: &'static str,
}

impl Badge {
    /// Shows where a job stands. One that is created may be free, on hold, or held by a node, which people want to know.
    pub(super) fn of(job: &Job) -> Self {
        match job.phase {
            Phase::Created if job.node.is_some() => Self { word: "held", kind: "held" },
            Phase::Created if job.hold => Self { word: "on hold", kind: "hold" },
            phase => Self::of_phase(phase),
        }
    }

    /// Shows a phase alone.
    pub(super) fn of_phase(phase: Phase) -> Self {
        let (word, kind) = match phase {
            Phase::Created => ("waiting", "created"),
            Phase::Started => ("running", "started"),
            Phase::Finished => ("finished", "finished"),
            Phase::Errored => ("failed", "errored"),
            Phase::Cancelled => ("cancelled", "cancelled"),
        };
        Self { word, kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_ages_have_two_units_at_the_most() {
        let second = 1_000_000;
        for (us, text) in [
            (-5, "0 ms"),
            (12_345, "12 ms"),
            (59 * second, "59 s"),
            (61 * second, "1 min 01 s"),
            (3_661 * second, "1 h 01 min"),
            (90_000 * 2 * second, "2 d 02 h"),
        ] {
            assert_eq!(span(us), text);
        }
        let now = Timestamp(1_000_000 * second);
        let before = |seconds: i64| ago(now.plus_seconds(-seconds), now);
        assert_eq!(
            [before(-9), before(45), before(119), before(7_200), before(200_000)],
            ["just now", "45 s ago", "1 min ago", "2 h ago", "2 d ago"]
        );
    }

    #[test]
    fn sizes_and_counts_can_be_read() {
        for (size, text) in [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (9_949, "9.9 kB"), (9_951, "10 kB")] {
            assert_eq!(bytes(size), text);
        }
        assert_eq!([bytes(999_600), bytes(16 << 30), bytes(i64::MAX)], ["1.0 MB", "17 GB", "9.2 EB"]);
        assert_eq!([count(7), count(1_234), count(1_234_567)], ["7", "1\u{202f}234", "1\u{202f}234\u{202f}567"]);
    }
}
