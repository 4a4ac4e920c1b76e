//! What a download's conditional and range headers ask for (RFC 9110), and the name it is saved under. Pure.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use warp::http::HeaderMap;
use warp::http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};

use crate::blobs::Digest;
use crate::domain::file_name::is_unsafe;

/// How to answer a download (contract §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// 200 with all bytes.
    Whole,
    /// 206 with the bytes from `first` to `last`, both included and both below the size.
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// 304 without a body.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416, with the size in `Content-Range`.
    Unsatisfiable,
}

/// Decides how to answer a request with these headers for bytes of this size and digest.
///
/// The order is that of RFC 9110, section 13.2.2. There is no modification time, so that conditions on dates are
/// passed over, and an `If-Range` with a date never holds.
pub fn plan(headers: &HeaderMap, size: u64, digest: &Digest) -> Plan {
    let opaque = digest.to_string();
    if headers.contains_key(IF_MATCH) && !any_tag(headers, IF_MATCH, |tag| !tag.weak && tag.opaque == opaque) {
        return Plan::PreconditionFailed;
    }
    if any_tag(headers, IF_NONE_MATCH, |tag| tag.opaque == opaque) {
        return Plan::NotModified;
    }
    let mut ranges = headers.get_all(RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Plan::Whole };
    if headers.contains_key(IF_RANGE) && !if_range_holds(headers, &opaque) {
        return Plan::Whole;
    }
    match range.to_str() {
        Ok(range) => plan_range(range, size),
        Err(_) => Plan::Whole,
    }
}

/// Writes the strong `ETag` of bytes: their SHA-256 in quotes.
pub fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// An entity tag; `opaque` stands between its quotes.
struct Tag<'a> {
    weak: bool,
    opaque: &'a str,
}

/// Says whether a field is `*` or lists a tag that passes. What can't be read of a list counts as not there.
fn any_tag(headers: &HeaderMap, name: HeaderName, passes: impl Fn(&Tag) -> bool) -> bool {
    headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).any(|line| {
        let mut rest = line.trim();
        if rest == "*" {
            return true;
        }
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let Some((tag, behind)) = take_tag(rest) else { return false };
            if passes(&tag) {
                return true;
            }
            rest = behind;
        }
    })
}

/// Takes a tag off the beginning of a text. Commas may stand inside the quotes, so that a list can't just be split.
fn take_tag(text: &str) -> Option<(Tag<'_>, &str)> {
    let (weak, quoted) = match text.strip_prefix("W/") {
        Some(quoted) => (true, quoted),
        None => (false, text),
    };
    let (opaque, behind) = quoted.strip_prefix('"')?.split_once('"')?;
    Some((Tag { weak, opaque }, behind))
}

/// Says whether `If-Range` is exactly this tag; a weak one never is.
fn if_range_holds(headers: &HeaderMap, opaque: &str) -> bool {
    let mut lines = headers.get_all(IF_RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    match line.to_str().ok().and_then(|line| take_tag(line.trim())) {
        Some((tag, behind)) => !tag.weak && tag.opaque == opaque && behind.is_empty(),
        None => false,
    }
}

/// Plans a `Range`: one range of bytes is honoured; several, other units and invalid ones give the whole.
fn plan_range(range: &str, size: u64) -> Plan {
    let Some((unit, specs)) = range.split_once('=') else { return Plan::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Plan::Whole;
    }
    // Empty members of a list count for nothing (RFC 9110, section 5.6.1).
    let mut specs = specs.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty());
    let (Some(spec), None) = (specs.next(), specs.next()) else { return Plan::Whole };
    let Some((first, last)) = spec.split_once('-') else { return Plan::Whole };
    match (first, last) {
        ("", last) => match digits(last) {
            None => Plan::Whole,
            Some(0) => Plan::Unsatisfiable,
            // The last bytes of nothing are all of it, and 206 can't say so.
            Some(_) if size == 0 => Plan::Whole,
            Some(count) => Plan::Part { first: size.saturating_sub(count), last: size - 1 },
        },
        (first, last) => {
            let last = if last.is_empty() { Some(u64::MAX) } else { digits(last) };
            match (digits(first), last) {
                (Some(first), Some(last)) if first > last => Plan::Whole,
                (Some(first), Some(_)) if first >= size => Plan::Unsatisfiable,
                (Some(first), Some(last)) => Plan::Part { first, last: last.min(size - 1) },
                _ => Plan::Whole,
            }
        }
    }
}

/// Reads decimal digits and nothing else; a number too large for the type is as good as its largest.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

/// What most file systems take for a name.
const FILE_NAME_BYTES_MAX: usize = 255;

/// How much of it an extension may have.
const EXTENSION_BYTES_MAX: usize = 64;

/// The characters that stand for themselves in `filename*` (`attr-char` of RFC 8187).
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Writes `Content-Disposition` for a download named `NAME` or `NAME.EXTENSION` (contract §8).
///
/// The name is made safe to save on any system: it holds no separators, quotes, control characters or ones that turn
/// the direction of writing, has no dots at its beginning, at most 255 bytes, and is never empty.
pub fn content_disposition(name: &str, extension: Option<&str>) -> String {
    let extension = extension.map(|extension| safe(extension, EXTENSION_BYTES_MAX)).filter(|safe| !safe.is_empty());
    let suffix = extension.map(|extension| format!(".{extension}")).unwrap_or_default();
    let mut file_name = safe(name, FILE_NAME_BYTES_MAX - suffix.len());
    if file_name.is_empty() {
        file_name.push_str("output");
    }
    file_name.push_str(&suffix);
    // Some readers decode percent signs in the plain form as well.
    let plain: String = file_name.chars().map(|c| if c.is_ascii() && c != '%' { c } else { '_' }).collect();
    let full = utf8_percent_encode(&file_name, ATTR_CHAR);
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{full}")
}

/// Makes a text safe as part of a file name, and cuts it to so many bytes.
fn safe(text: &str, bytes_max: usize) -> String {
    let text = text.trim_start_matches(|c: char| c == '.' || c.is_whitespace());
    let mut safe: String = text.chars().map(|c| if is_unsafe(c) { '_' } else { c }).collect();
    while safe.len() > bytes_max {
        safe.pop();
    }
    // Windows drops these from the end by itself, and then the extension is another.
    safe.truncate(safe.trim_end_matches(|c: char| c == '.' || c.is_whitespace()).len());
    safe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use warp::http::HeaderValue;

    use super::*;

    const SIZE: u64 = 36;

    fn digest() -> Digest {
        Digest::of(b"0123456789abcdefghijklmnopqrstuvwxyz")
    }

    fn planned(size: u64, headers: &[(&'static str, &str)]) -> Plan {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        plan(&map, size, &digest())
    }

    #[test]
    fn a_range_is_the_part_it_names() {
        for (range, first, last) in [
            ("bytes=0-0", 0, 0),
            ("bytes=0-9", 0, 9),
            ("bytes=10-", 10, 35),
            ("bytes=-6", 30, 35),
            ("bytes=35-35", 35, 35),
            ("bytes=30-9999", 30, 35),
            ("bytes=0-", 0, 35),
            ("bytes=-9999", 0, 35),
            ("Bytes=0-1", 0, 1),
            ("bytes= 0-1 ,", 0, 1),
            ("bytes=007-08", 7, 8),
            ("bytes=0-99999999999999999999999", 0, 35),
            ("bytes=-99999999999999999999999", 0, 35),
        ] {
            assert_eq!(planned(SIZE, &[("range", range)]), Plan::Part { first, last }, "{range}");
        }
    }

    #[test]
    fn a_range_outside_is_unsatisfiable() {
        for range in ["bytes=36-", "bytes=36-36", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(planned(SIZE, &[("range", range)]), Plan::Unsatisfiable, "{range}");
        }
        assert_eq!(planned(0, &[("range", "bytes=0-")]), Plan::Unsatisfiable);
        assert_eq!(planned(0, &[("range", "bytes=-5")]), Plan::Whole);
    }

    #[test]
    fn an_invalid_range_or_several_give_the_whole() {
        for range in [
            "lines=1-2",
            "bytes=9-1",
            "bytes=a-b",
            "bytes",
            "bytes=",
            "bytes=1-2-3",
            "bytes=-",
            "bytes=--1",
            "bytes=+1-2",
            "bytes=1 - 2",
            "bytes=0-1,5-6",
            "bytes=0x1-2",
            "",
        ] {
            assert_eq!(planned(SIZE, &[("range", range)]), Plan::Whole, "{range}");
        }
        assert_eq!(planned(SIZE, &[("range", "bytes=0-1"), ("range", "bytes=2-3")]), Plan::Whole);
        assert_eq!(planned(SIZE, &[]), Plan::Whole);
    }

    #[test]
    fn if_none_match_compares_weakly() {
        let tag = etag(&digest());
        let weak = format!("W/{tag}");
        let listed = format!("\"no,pe\",, W/\"other\" , {tag}");
        for value in [tag.as_str(), &weak, &listed, "*", " * "] {
            assert_eq!(planned(SIZE, &[("if-none-match", value)]), Plan::NotModified, "{value}");
            assert_eq!(planned(SIZE, &[("if-none-match", "\"x\""), ("if-none-match", value)]), Plan::NotModified);
            assert_eq!(planned(SIZE, &[("if-none-match", value), ("range", "bytes=99-")]), Plan::NotModified);
        }
        let upper = tag.to_uppercase();
        for value in ["\"nope\"", "", "garbage", tag.trim_matches('"'), &tag[..60], &upper, "\"*\""] {
            assert_eq!(planned(SIZE, &[("if-none-match", value)]), Plan::Whole, "{value}");
        }
    }

    #[test]
    fn if_match_compares_strongly_and_comes_first() {
        let tag = etag(&digest());
        let listed = format!("\"nope\", {tag}");
        for value in [tag.as_str(), &listed, "*"] {
            assert_eq!(planned(SIZE, &[("if-match", value)]), Plan::Whole, "{value}");
        }
        for value in ["\"nope\"", &format!("W/{tag}"), "", "garbage"] {
            assert_eq!(planned(SIZE, &[("if-match", value)]), Plan::PreconditionFailed, "{value}");
            assert_eq!(planned(SIZE, &[("if-match", value), ("if-none-match", "*")]), Plan::PreconditionFailed);
        }
        assert_eq!(planned(SIZE, &[("if-match", &tag), ("if-none-match", &tag)]), Plan::NotModified);
    }

    #[test]
    fn if_range_must_be_the_strong_tag() {
        let tag = etag(&digest());
        let part = Plan::Part { first: 0, last: 3 };
        assert_eq!(planned(SIZE, &[("range", "bytes=0-3"), ("if-range", &tag)]), part);
        let (weak, two) = (format!("W/{tag}"), format!("{tag}, {tag}"));
        for value in ["\"nope\"", &weak, &two, "Tue, 01 Jan 2030 00:00:00 GMT", "*", ""] {
            assert_eq!(planned(SIZE, &[("range", "bytes=0-3"), ("if-range", value)]), Plan::Whole, "{value}");
            assert_eq!(planned(SIZE, &[("range", "bytes=99-"), ("if-range", value)]), Plan::Whole, "{value}");
        }
        assert_eq!(planned(SIZE, &[("if-range", &tag)]), Plan::Whole);
    }

    #[test]
    fn file_names_are_safe() {
        for (name, extension, plain, full) in [
            ("sample", Some("zip"), "sample.zip", "sample.zip"),
            ("sample", Some(".tar.gz"), "sample.tar.gz", "sample.tar.gz"),
            ("sample", Some(""), "sample", "sample"),
            ("sample", Some("../x"), "sample._x", "sample._x"),
            ("quo\"te", None, "quo_te", "quo_te"),
            ("a\\b", None, "a_b", "a_b"),
            ("../../up", None, "_.._up", "_.._up"),
            ("new/line\r\n", None, "new_line__", "new_line__"),
            ("semi;colon", None, "semi_colon", "semi_colon"),
            ("plate 7", None, "plate 7", "plate%207"),
            ("100%", None, "100_", "100%25"),
            ("µM", Some("csv"), "_M.csv", "%C2%B5M.csv"),
            ("it's (a) test", None, "it's (a) test", "it%27s%20%28a%29%20test"),
            ("\u{202e}gpj.exe", None, "_gpj.exe", "_gpj.exe"),
            (".bashrc", None, "bashrc", "bashrc"),
            ("v1. ", Some("x"), "v1.x", "v1.x"),
            ("", None, "output", "output"),
            ("...", Some("zip"), "output.zip", "output.zip"),
        ] {
            let expected = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{full}");
            assert_eq!(content_disposition(name, extension), expected, "{name:?} {extension:?}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_inside_the_size(range in "(bytes=)?[0-9]{0,21}-?[0-9]{0,21}", size in 0..100_u64, any_size: u64) {
            for size in [size, any_size] {
                if let Plan::Part { first, last } = planned(size, &[("range", &range)]) {
                    prop_assert!(first <= last && last < size, "{range} of {size}: {first}-{last}");
                }
            }
        }

        #[test]
        fn every_small_range_is_the_slice_it_names(first in 0..12_u64, last in 0..12_u64, size in 0..12_u64) {
            let expected = match () {
                () if first > last => Plan::Whole,
                () if first >= size => Plan::Unsatisfiable,
                () => Plan::Part { first, last: last.min(size - 1) },
            };
            prop_assert_eq!(planned(size, &[("range", &format!("bytes={first}-{last}"))]), expected);
        }

        #[test]
        fn no_header_panics(value in "[ -~\u{80}-\u{ff}]{0,60}", tags in "[\"W/*, ]{0,20}") {
            for value in [value, tags] {
                for name in ["range", "if-range", "if-match", "if-none-match"] {
                    planned(SIZE, &[(name, &value), ("range", "bytes=0-0")]);
                }
            }
        }

        #[test]
        fn any_name_makes_one_safe_header(name: String, extension: Option<String>) {
            let value = content_disposition(&name, extension.as_deref());
            prop_assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{value}");
            prop_assert_eq!(value.matches('"').count(), 2);
            let plain = value.split('"').nth(1).unwrap();
            prop_assert!(!plain.is_empty() && !plain.starts_with('.') && !plain.contains(['/', '\\']));
            prop_assert!(plain.len() <= FILE_NAME_BYTES_MAX);
            let full = value.split_once("UTF-8''").unwrap().1;
            let decoded = percent_encoding::percent_decode_str(full).decode_utf8().unwrap();
            prop_assert!(!decoded.is_empty() && decoded.len() <= FILE_NAME_BYTES_MAX);
            prop_assert!(!decoded.chars().any(is_unsafe));
        }
    }
}
