//! Points in time: microseconds since 1970 UTC inside, RFC 3339 outside (contract §1).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, as whole microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Reads RFC 3339 text with any offset; digits past the microsecond are dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let Parts { to_the_second, fraction, offset_minutes } = split(text)?;
        // Parsed without its offset: the library's own points in time end a day before the year 9999 does.
        let local: jiff::civil::DateTime = to_the_second.parse().ok()?;
        let seconds = local.duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0)).as_secs();
        let micros: i64 = format!("{fraction:0<6.6}").parse().ok()?;
        Some(Self((seconds - offset_minutes * 60) * 1_000_000 + micros))
    }

    /// Gives whole seconds since 1970, rounded down.
    pub fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Writes it as HTTP has its dates (RFC 9110), in whole seconds: `Tue, 07 Jan 2025 12:00:00 GMT`.
    pub fn http_date(self) -> String {
        let time = jiff::Timestamp::from_second(self.as_seconds()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let written = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time);
        // Only a year before 0 can't be written.
        written.unwrap_or_default()
    }

    /// Gives the time `seconds` later; stops at the ends of the range.
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }
}

impl fmt::Display for Timestamp {
    /// Writes RFC 3339 in UTC with six fractional digits and `Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clamped = self.0.clamp(jiff::Timestamp::MIN.as_microsecond(), jiff::Timestamp::MAX.as_microsecond());
        let time = jiff::Timestamp::from_microsecond(clamped).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{time:.6}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "format": "date-time", "description": "RFC 3339, UTC, six fractional digits, `Z`."
        })
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

/// The parts of RFC 3339 text.
struct Parts<'a> {
    /// Date and time at the place, up to the second.
    to_the_second: &'a str,
    /// Digits behind the second's point, maybe none.
    fraction: &'a str,
    /// How far the place is ahead of UTC.
    offset_minutes: i64,
}

/// Splits RFC 3339 text. The shape is checked here, since the library reads more forms of ISO 8601, and names of time
/// zones besides.
fn split(text: &str) -> Option<Parts<'_>> {
    let has_shape = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                b'T' => matches!(byte, b'T' | b't' | b' '),
                _ => byte == wanted,
            })
    };
    let (local, offset_minutes) = match text.strip_suffix(['Z', 'z']) {
        Some(local) => (local, 0),
        None => {
            let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
            let sign = if offset.starts_with('+') { 1 } else { -1 };
            if !has_shape(offset, "+00:00") && !has_shape(offset, "-00:00") {
                return None;
            }
            let (hours, minutes): (i64, i64) = (offset[1..3].parse().ok()?, offset[4..6].parse().ok()?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (local, sign * (hours * 60 + minutes))
        }
    };
    let (to_the_second, fraction) = local.split_once('.').map_or((local, None), |(whole, rest)| (whole, Some(rest)));
    let is_fraction = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_good = has_shape(to_the_second, "0000-00-00T00:00:00") && fraction.is_none_or(is_fraction);
    is_good.then_some(Parts { to_the_second, fraction: fraction.unwrap_or_default(), offset_minutes })
}

/// Where the time comes from; tests put in one that they turn by hand.
pub trait Clock: Send + Sync {
    /// Gives the present time.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_six_digits_and_reads_any_offset() {
        let time = Timestamp::parse("2020-01-01T00:00:00+13:00").unwrap();
        assert_eq!(time.to_string(), "2019-12-31T11:00:00.000000Z");
        assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
        assert_eq!(Timestamp(1_234_567).to_string(), "1970-01-01T00:00:01.234567Z");
    }

    #[test]
    fn writes_dates_as_http_has_them() {
        assert_eq!(Timestamp(784_111_777_000_000).http_date(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn the_whole_range_of_rfc_3339_is_read() {
        for (text, expected) in [
            ("9999-12-31T23:59:59Z", 253_402_300_799_000_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000_000),
            ("0000-01-01T00:00:00+23:59", -62_167_305_540_000_000),
            ("2020-01-01t00:00:00.123456789z", 1_577_836_800_123_456),
            ("1969-12-31 23:59:59.9999999-00:00", -1),
            ("1970-01-01T00:00:00-01:30", 5_400_000_000),
        ] {
            assert_eq!(Timestamp::parse(text), Some(Timestamp(expected)), "{text:?}");
        }
    }

    #[test]
    fn garbage_is_no_time() {
        let other_forms = [
            "20200101T000000Z",
            "2020-01-01T00Z",
            "2020-01-01T00:00Z",
            "-002020-01-01T00:00:00Z",
            "2020-01-01T00:00:00Z[UTC]",
            "2020-01-01T00:00:00+01:00[Europe/Paris]",
            "2020-01-01T00:00:00",
            "2020-01-01T00:00:00+0100",
            "2020-01-01T00:00:00+24:00",
            "2020-01-01T00:00:00.Z",
            "2020-02-30T00:00:00Z",
            "2020-01-01T24:00:00Z",
            "ä",
            "試試試",
        ];
        for text in ["", "garbage", "2020-13-01T00:00:00Z", "5", "2020-01-01"].into_iter().chain(other_forms) {
            assert_eq!(Timestamp::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_ends_of_the_range_can_be_written() {
        assert!(Timestamp(i64::MAX).to_string().ends_with('Z'));
        assert!(Timestamp(i64::MIN).to_string().ends_with('Z'));
    }
}
