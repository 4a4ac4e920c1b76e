//! Names of files for inputs and outputs, whose own names may hold anything.

use std::collections::HashSet;

use crate::domain::types::{Kind, Type, parse};

/// Most bytes of a name, its extension aside; file systems take 255.
const NAME_BYTES_MAX: usize = 150;
/// Most bytes of an extension.
const EXTENSION_BYTES_MAX: usize = 16;

/// Writes a name so that it is a good file name: letters, digits, blanks and `.-_+=@` stay, `_` stands for all else, and
/// neither a dot, a dash nor a blank comes first.
pub(crate) fn safe(name: &str) -> String {
    let is_kept = |c: char| c.is_alphanumeric() || " .-_+=@".contains(c);
    let mut safe: String = name.chars().map(|c| if is_kept(c) { c } else { '_' }).collect();
    if safe.is_empty() || safe.starts_with(['.', '-', ' ']) {
        safe.insert(0, '_');
    }
    let mut end = safe.len().min(NAME_BYTES_MAX);
    while !safe.is_char_boundary(end) {
        end -= 1;
    }
    safe.truncate(end);
    // A blank or dot at the end is easily overlooked.
    safe.truncate(safe.trim_end_matches([' ', '.']).len());
    safe
}

/// Gives the extension that files of a type have: the format of a `BLOB<'csv'>`, `json` for JSON, `txt` for text and
/// numbers. `None` when the type says nothing of it.
pub(crate) fn extension(type_name: &str) -> Option<String> {
    match parse(type_name).ok()? {
        Type::Known(Kind::Blob, arguments) => match arguments.into_iter().next() {
            Some(Type::Text(format)) => plain_extension(&format),
            _ => None,
        },
        Type::Known(Kind::Json | Kind::Array | Kind::Map | Kind::UfdlJsonType | Kind::FiniteJsonType, _) => {
            Some("json".to_owned())
        }
        Type::Known(Kind::Str | Kind::Int | Kind::Float | Kind::Bool | Kind::ValueType, _) => Some("txt".to_owned()),
        _ => None,
    }
}

/// Takes a format as an extension when it looks like one.
fn plain_extension(format: &str) -> Option<String> {
    let format = format.trim_start_matches('.');
    let is_plain = !format.is_empty()
        && format.len() <= EXTENSION_BYTES_MAX
        && format.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')
        && !format.ends_with('.');
    is_plain.then(|| format.to_owned())
}

/// Gives the type that a file gets which the template does not name: `BLOB<'EXTENSION'>`.
pub(crate) fn type_of_file(name: &str) -> String {
    let extension = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).and_then(|(_, e)| plain_extension(e));
    format!("BLOB<'{}'>", extension.as_deref().unwrap_or("bin"))
}

/// Puts a name and an extension together, unless the name has it already.
pub(crate) fn with_extension(name: &str, extension: Option<&str>) -> String {
    match extension {
        Some(extension) if !name.to_lowercase().ends_with(&format!(".{}", extension.to_lowercase())) => {
            format!("{name}.{extension}")
        }
        _ => name.to_owned(),
    }
}

/// Names that are taken, in one folder. Two names that differ in case only are the same to some file systems.
#[derive(Debug, Default)]
pub(crate) struct Taken(HashSet<String>);

impl Taken {
    /// Gives a good file name that nothing else in the folder has.
    pub(crate) fn name(&mut self, name: &str, extension: Option<&str>) -> String {
        let safe = safe(name);
        let mut candidate = with_extension(&safe, extension);
        let mut number = 2;
        while !self.0.insert(candidate.to_lowercase()) {
            candidate = with_extension(&format!("{safe}-{number}"), extension);
            number += 1;
        }
        candidate
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stay_readable_and_do_no_harm() {
        for (name, file) in [
            ("peaks", "peaks"),
            ("Prüfling 3 (alt).csv", "Prüfling 3 _alt_.csv"),
            ("../../etc/passwd", "_.._.._etc_passwd"),
            ("-rf", "_-rf"),
            ("..", "_"),
            ("", "_"),
            ("a\nb\0c", "a_b_c"),
        ] {
            assert_eq!(safe(name), file);
        }
    }

    #[test]
    fn types_say_how_files_end() {
        for (type_name, wanted) in [
            ("BLOB<'csv'>", Some("csv")),
            ("BLOB<'tar.gz'>", Some("tar.gz")),
            ("BLOB<'../x'>", None),
            ("BLOB", None),
            ("JSON", Some("json")),
            ("Array<int>", Some("json")),
            ("float", Some("txt")),
            ("Model", None),
            ("no type", None),
        ] {
            assert_eq!(extension(type_name).as_deref(), wanted, "{type_name}");
        }
        assert_eq!(type_of_file("plot.svg"), "BLOB<'svg'>");
        assert_eq!(type_of_file("a.tar.gz"), "BLOB<'gz'>");
        assert_eq!([type_of_file("README"), type_of_file("x.o'p")], ["BLOB<'bin'>", "BLOB<'bin'>"]);
    }

    #[test]
    fn no_two_files_have_one_name() {
        let mut taken = Taken::default();
        let names = [("a/b", Some("csv")), ("a_b", Some("csv")), ("A_B.csv", Some("csv")), ("a_b", None)];
        let files = names.map(|(name, extension)| taken.name(name, extension));
        assert_eq!(files, ["a_b.csv", "a_b-2.csv", "A_B.csv-2.csv", "a_b"]);
    }

    proptest! {
        #[test]
        fn any_name_is_one_part_of_a_path(name in ".*") {
            let safe = safe(&name);
            prop_assert!(!safe.is_empty() && safe.len() <= NAME_BYTES_MAX);
            prop_assert!(!safe.contains(['/', '\0', '\n']) && safe != "." && safe != ".." && !safe.starts_with(['.', '-']));
        }
    }
}
