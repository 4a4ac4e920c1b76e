//! The log of a job on its page: the end of it as the page is drawn, then what is written.

use crate::domain::ids::JobId;
use crate::server::App;
use crate::server::error::ApiError;
use crate::server::pages::live::{Ended, Live};
use crate::server::pages::show;
use crate::wire::Job;

/// How much of a log's end the page begins with, in bytes.
const TAIL_BYTES: i64 = 64 << 10;

/// How far a log was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The attempt whose log it is.
    pub(super) attempt: i64,
    /// Bytes from its beginning.
    pub(super) bytes: i64,
}

impl Place {
    /// Reads what [`Place::text`] wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (attempt, bytes) = text.split_once('.')?;
        let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
        Some(Self { attempt: number(attempt)?, bytes: number(bytes)? })
    }

    /// Writes it, as the id of an event.
    pub(super) fn text(self) -> String {
        format!("{}.{}", self.attempt, self.bytes)
    }
}

/// The end of a log.
pub(super) struct Tail {
    pub(super) text: String,
    /// How much there is before it.
    pub(super) before: Option<String>,
    pub(super) place: String,
}

impl Tail {
    /// Reads the end of a job's log.
    pub(super) async fn read(app: &App, job: &Job) -> Result<Self, ApiError> {
        let part = app.store.log_tail(job.pk, TAIL_BYTES).await?;
        let length = i64::try_from(part.bytes.len()).unwrap_or(0);
        let before = part.end - length;
        let mut text = Text::default();
        let mut tail = text.take(&part.bytes);
        if before > 0 {
            // Begins with a whole line.
            tail = tail.split_once('\n').map_or(tail.clone(), |(_, rest)| rest.to_owned());
        }
        let place = Place { attempt: part.attempt, bytes: part.end - text.waiting() };
        Ok(Self { text: tail, before: (before > 0).then(|| show::bytes(before)), place: place.text() })
    }
}

/// Makes text of bytes that come in pieces, which may cut a character in two.
#[derive(Debug, Default)]
struct Text(Vec<u8>);

impl Text {
    /// Gives the text up to the last whole character; what is no text becomes a sign that says so.
    fn take(&mut self, bytes: &[u8]) -> String {
        self.0.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.0) {
            Ok(_) => self.0.len(),
            // The end of the bytes cuts a character, of which the rest may come.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            // Bad bytes stand before; the end may be cut all the same.
            Err(_) => {
                let last = self.0.iter().rposition(|byte| byte.is_ascii() || *byte >= 0xc0);
                let is_cut = |last: &usize| {
                    let end = std::str::from_utf8(self.0.get(*last..).unwrap_or_default());
                    end.is_err_and(|error| error.error_len().is_none())
                };
                last.filter(is_cut).unwrap_or(self.0.len())
            }
        };
        let rest = self.0.split_off(whole);
        let taken = std::mem::replace(&mut self.0, rest);
        String::from_utf8_lossy(&taken).into_owned()
    }

    /// Gives how many bytes wait for the rest of their character.
    fn waiting(&self) -> i64 {
        i64::try_from(self.0.len()).unwrap_or(0)
    }
}

/// Sends what was written to the log of a job behind a place, and moves the place there.
pub(super) async fn send(live: &mut Live, job: JobId, place: &mut Place) -> Result<(), Ended> {
    let mut text = Text::default();
    loop {
        let part = live.app.store.read_log(job, Some(place.attempt), place.bytes + text.waiting()).await;
        // Gone for good, or not to be read now: the next change tells.
        let Ok(part) = part else { return Ok(()) };
        let mut piece = String::new();
        if part.cut_bytes > 0 {
            piece = format!("\n[{} bytes are cut out here]\n", part.cut_bytes);
        }
        piece.push_str(&text.take(&part.bytes));
        place.bytes = part.end - text.waiting();
        if !piece.is_empty() {
            let data = serde_json::to_string(&piece).map_err(|_| Ended)?;
            live.send("log", Some(place.text()), &data).await?;
        }
        if !part.more {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_are_cut_come_whole() {
        let whole = "µM – 試料 🧪";
        for cut in 0..=whole.len() {
            let (one, other) = whole.as_bytes().split_at(cut);
            let mut text = Text::default();
            let first = text.take(one);
            assert!(whole.starts_with(&first), "{first}");
            assert_eq!(format!("{first}{}", text.take(other)), whole);
            assert_eq!(text.waiting(), 0);
        }
    }

    #[test]
    fn what_is_no_text_is_passed_on_as_a_sign() {
        let mut text = Text::default();
        assert_eq!(text.take(b"a\xff\xfeb"), "a\u{fffd}\u{fffd}b");
        assert_eq!(text.take(b"c\xe2\x82"), "c");
        assert_eq!(text.take(b"d"), "\u{fffd}d");
        assert_eq!(text.take(b"\x80\x80\x80\x80"), "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
    }

    #[test]
    fn places_come_back() {
        let place = Place { attempt: 3, bytes: 1 << 40 };
        assert_eq!(Place::parse(&place.text()), Some(place));
        for text in ["", "1", "1.", ".1", "-1.0", "1.-1", "a.b", "1.2.3"] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }
}
