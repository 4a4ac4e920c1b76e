//! What may stand in the name of a file that people save.

/// Says whether a character separates paths, quotes, steers, or is refused in file names by some system: a name that is
/// to be saved must not hold it.
pub fn is_unsafe(c: char) -> bool {
    let turns_direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks_line = matches!(c, '\u{2028}' | '\u{2029}');
    c.is_control() || turns_direction || breaks_line || "/\\\"<>:|?*;".contains(c)
}
