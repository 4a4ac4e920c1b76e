//! What bytes are, told by themselves and not by what their name says: a name only decides between readings of a text.

/// What bytes can be shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An image, of this media type.
    Image(&'static str),
    /// Lines of values, with this byte between them.
    Table(u8),
    Json,
    Text,
    /// No text at all.
    Bytes,
}

/// How images begin.
const IMAGES: &[(&[u8], &str)] = &[
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
];
/// Where an SVG's first tag has to stand, in bytes.
const SVG_WITHIN: usize = 1 << 10;
/// Lines that have to agree on how many values they have.
const LINES_LOOKED_AT: usize = 8;

/// Says what bytes are, from their beginning.
pub(super) fn of(head: &[u8], name: &str, type_name: &str) -> Kind {
    if let Some((_, media)) = IMAGES.iter().find(|(magic, _)| head.starts_with(magic)) {
        // Two letters alone could begin a text.
        if *media != "image/bmp" || as_text(head).is_none() {
            return Kind::Image(media);
        }
    }
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        return Kind::Image("image/webp");
    }
    let Some(text) = as_text(head) else { return Kind::Bytes };
    let begun = text.trim_start_matches('\u{feff}').trim_start();
    if is_svg(begun) {
        return Kind::Image("image/svg+xml");
    }
    let hints = format!("{} {}", name.to_lowercase(), type_name.to_lowercase());
    if begun.starts_with(['{', '[']) {
        return Kind::Json;
    }
    let delimiter = if hints.contains("tsv") { Some(b'\t') } else { delimiter(begun) };
    match delimiter {
        Some(delimiter) => Kind::Table(delimiter),
        None if hints.contains("csv") && begun.lines().count() > 1 => Kind::Table(b','),
        None => Kind::Text,
    }
}

/// Gives bytes as text, up to a character that the end cuts; `None` when they are none.
fn as_text(head: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(head.get(..error.valid_up_to())?).ok()?,
        Err(_) => return None,
    };
    let is_strange = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{c}' | '\u{1b}');
    (!text.chars().any(is_strange)).then_some(text)
}

/// Says whether a text is an SVG: its first element is, whatever comments and declarations stand before it.
fn is_svg(begun: &str) -> bool {
    if !begun.starts_with('<') {
        return false;
    }
    let mut rest = begun;
    loop {
        rest = rest.trim_start();
        let skipped = begun.len() - rest.len();
        if skipped > SVG_WITHIN {
            return false;
        }
        let end = match () {
            () if rest.starts_with("<?") => rest.find("?>").map(|at| at + 2),
            () if rest.starts_with("<!--") => rest.find("-->").map(|at| at + 3),
            () if rest.starts_with("<!DOCTYPE svg") => rest.find('>').map(|at| at + 1),
            () => {
                let name = rest.strip_prefix("<svg");
                return name.is_some_and(|behind| behind.starts_with([' ', '>', '\n', '\r', '\t', '/']));
            }
        };
        match end.and_then(|end| rest.get(end..)) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
}

/// Finds what stands between the values of lines: the same number of times in each of the first lines.
fn delimiter(text: &str) -> Option<u8> {
    let is_data = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let mut lines: Vec<&str> = text.lines().filter(is_data).take(LINES_LOOKED_AT + 1).collect();
    // The last one may be cut.
    if lines.len() > 2 {
        lines.pop();
    }
    if lines.len() < 2 {
        return None;
    }
    [b'\t', b';', b','].into_iter().find(|delimiter| {
        let count = |line: &&str| line.bytes().filter(|byte| byte == delimiter).count();
        let mut counts = lines.iter().map(count);
        counts.next().is_some_and(|first| first > 0 && counts.all(|count| count == first))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(head: &[u8]) -> Kind {
        of(head, "output", "t")
    }

    #[test]
    fn bytes_are_told_by_themselves() {
        assert_eq!(plain(b"\x89PNG\r\n\x1a\n\0\0"), Kind::Image("image/png"));
        assert_eq!(plain(b"\xff\xd8\xff\xe0"), Kind::Image("image/jpeg"));
        assert_eq!(plain(b"RIFF\0\0\0\0WEBPVP8 "), Kind::Image("image/webp"));
        assert_eq!(plain(b"BM\x36\0\0\0"), Kind::Image("image/bmp"));
        assert_eq!(plain(b"BM is what some texts begin with"), Kind::Text);
        assert_eq!(plain(b"\0\x01\x02"), Kind::Bytes);
        assert_eq!(plain(b"\xff\xfe"), Kind::Bytes);
        assert_eq!(plain(b"{\"a\": 1}"), Kind::Json);
        assert_eq!(plain("\u{feff} [1]".as_bytes()), Kind::Json);
        assert_eq!(plain(b"hello"), Kind::Text);
        // A character that the end of what was read cuts.
        assert_eq!(plain(&"µ".as_bytes()[..1]), Kind::Text);
    }

    #[test]
    fn only_an_svg_is_one() {
        for svg in [
            "<svg xmlns='x'>",
            "<?xml version='1.0'?>\n<!-- made by -->\n<!DOCTYPE svg PUBLIC \"a\">\n<svg>",
            "\u{feff}<svg/>",
        ] {
            assert_eq!(plain(svg.as_bytes()), Kind::Image("image/svg+xml"), "{svg}");
        }
        for other in ["<html><svg></svg></html>", "<svgx>", "text <svg>", "<!-- <svg> ", "<?xml"] {
            assert_eq!(plain(other.as_bytes()), Kind::Text, "{other}");
        }
        let far = format!("<!--{}--><svg>", "x".repeat(2_000));
        assert_eq!(plain(far.as_bytes()), Kind::Text);
        assert_eq!(of(b"<html><script>alert(1)</script>", "page.svg", "svg"), Kind::Text, "whatever its name says");
    }

    #[test]
    fn tables_are_found_by_their_lines() {
        assert_eq!(plain(b"a,b\n1,2\n3,4"), Kind::Table(b','));
        assert_eq!(plain(b"# note, with, commas\na;b\n1,5;2\n"), Kind::Table(b';'));
        assert_eq!(plain(b"a\tb\n1\t2\n"), Kind::Table(b'\t'));
        assert_eq!(plain(b"Dear Ada,\nthe lamp, which is old, is dark.\n"), Kind::Text);
        assert_eq!(of(b"time\n1\n2\n", "peaks", "csv"), Kind::Table(b','));
    }
}
