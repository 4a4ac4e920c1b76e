//! What a command left in its folder of outputs.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::names::{extension, safe, type_of_file, with_extension};
use super::spool::Upload;

/// The folder of outputs within that of a run.
pub(crate) const FOLDER: &str = "outputs";
/// Most files that are kept which the template does not name.
const UNDECLARED_MAX: usize = 1_000;
/// Most characters of an output's name (contract §8).
const NAME_CHARS_MAX: usize = 200;

/// The files that become outputs, and what was left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Collected {
    /// The outputs.
    pub(crate) uploads: Vec<Upload>,
    /// What was passed over, in sentences for the log.
    pub(crate) notes: Vec<String>,
}

/// Finds the declared outputs, `{name: type}`, and whatever else is there.
///
/// The output NAME is the file NAME, or NAME with the extension of its type. A file that the template does not name
/// becomes an output by its whole name, of type `BLOB<'EXTENSION'>`.
///
/// # Errors
/// A sentence that names the output that is missing, or that can't be told.
pub(crate) fn collect(run_dir: &Path, declared: &BTreeMap<String, String>) -> Result<Collected, String> {
    let folder = run_dir.join(FOLDER);
    let mut collected = Collected::default();
    let mut used = HashSet::new();
    for (name, type_name) in declared {
        let file = declared_file(&folder, name, type_name)?;
        if !used.insert(file.clone()) {
            return Err(format!("the output {name:?} and another one of the template would both be the file {file:?}"));
        }
        collected.add(name, type_name, &file);
    }
    let entries =
        std::fs::read_dir(&folder).map_err(|error| format!("the folder of outputs can't be read: {error}"))?;
    let mut others: Vec<_> =
        entries.flatten().filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry))).collect();
    others.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (file, entry) in others.into_iter().filter(|(file, _)| !used.contains(file)) {
        let is_file = entry.metadata().is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            collected.notes.push(format!("outputs/{file} is no plain file and is not kept"));
        } else if collected.uploads.len() >= declared.len() + UNDECLARED_MAX {
            collected.notes.push(format!("there are more than {UNDECLARED_MAX} files in outputs that the template does not name; the rest is not kept"));
            break;
        } else if file.chars().count() > NAME_CHARS_MAX || file.chars().any(char::is_control) {
            collected
                .notes
                .push(format!("outputs/{} has a name that no output can have, and is not kept", file.escape_debug()));
        } else {
            collected.add(&file, &type_of_file(&file), &file);
        }
    }
    Ok(collected)
}

impl Collected {
    fn add(&mut self, name: &str, type_name: &str, file: &str) {
        let file = Path::new(FOLDER).join(file);
        self.uploads.push(Upload { name: name.to_owned(), type_name: type_name.to_owned(), file });
    }
}

/// Finds the file of a declared output.
fn declared_file(folder: &Path, name: &str, type_name: &str) -> Result<String, String> {
    let plain = safe(name);
    let extended = with_extension(&plain, extension(type_name).as_deref());
    let mut found = Vec::new();
    for file in if plain == extended { vec![plain.clone()] } else { vec![plain.clone(), extended.clone()] } {
        match folder.join(&file).symlink_metadata() {
            Ok(metadata) if metadata.is_file() => found.push(file),
            Ok(_) => {
                return Err(format!(
                    "the output {name:?} must be a plain file, and {file:?} is a folder, a link or something else"
                ));
            }
            Err(_) => {}
        }
    }
    match <[String; 1]>::try_from(found) {
        Ok([file]) => Ok(file),
        Err(none) if none.is_empty() => {
            let files = if plain == extended { format!("{plain:?}") } else { format!("{plain:?} or {extended:?}") };
            Err(format!(
                "the output {name:?} is missing: the command ended well, but wrote no file {files} into LABRUN_OUTPUTS"
            ))
        }
        Err(_) => Err(format!("the output {name:?} is there twice, as {plain:?} and as {extended:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, type_name)| ((*name).to_owned(), (*type_name).to_owned())).collect()
    }

    fn run_with(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(FOLDER)).unwrap();
        for file in files {
            std::fs::write(dir.path().join(FOLDER).join(file), "x").unwrap();
        }
        dir
    }

    #[test]
    fn declared_files_are_found_by_name_or_name_and_extension_and_others_are_kept() {
        let dir = run_with(&["peaks.csv", "plot", "a_b", "extra.tar.gz", ".hidden"]);
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("outputs/link")).unwrap();
        std::fs::create_dir(dir.path().join("outputs/below")).unwrap();
        let declared = declared(&[("peaks", "BLOB<'csv'>"), ("plot", "BLOB<'svg'>"), ("a/b", "Model")]);
        let collected = collect(dir.path(), &declared).unwrap();
        let found: Vec<_> = collected
            .uploads
            .iter()
            .map(|u| (u.name.as_str(), u.type_name.as_str(), u.file.to_str().unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                ("a/b", "Model", "outputs/a_b"),
                ("peaks", "BLOB<'csv'>", "outputs/peaks.csv"),
                ("plot", "BLOB<'svg'>", "outputs/plot"),
                (".hidden", "BLOB<'bin'>", "outputs/.hidden"),
                ("extra.tar.gz", "BLOB<'gz'>", "outputs/extra.tar.gz"),
            ]
        );
        assert_eq!(collected.notes.len(), 2, "{:?}", collected.notes);
    }

    #[test]
    fn an_output_that_is_missing_or_unclear_is_named() {
        for (files, part) in
            [(&[][..], "\"peaks\" is missing"), (&["peaks", "peaks.csv"], "twice"), (&["Peaks.csv"], "missing")]
        {
            let dir = run_with(files);
            let error = collect(dir.path(), &declared(&[("peaks", "BLOB<'csv'>")])).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let dir = run_with(&[]);
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("outputs/peaks")).unwrap();
        assert!(collect(dir.path(), &declared(&[("peaks", "str")])).unwrap_err().contains("plain file"));
        let dir = run_with(&["a_b"]);
        assert!(collect(dir.path(), &declared(&[("a/b", "Model"), ("a_b", "Model")])).unwrap_err().contains("both"));
    }
}
