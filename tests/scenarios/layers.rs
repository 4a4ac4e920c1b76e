//! The arrows between the modules point down only (ARCHITECTURE.md), and no file is too long to be seen whole.

use std::path::{Path, PathBuf};

/// What a module may use of the crate, itself aside.
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("lib", &[]),
    ("cli", &["server", "care", "store", "worker", "client", "wire", "domain"]),
    ("worker", &["client", "wire", "domain"]),
    ("client", &["wire", "domain"]),
    ("care", &["store", "blobs", "domain"]),
    ("server", &["care", "store", "blobs", "filter", "wire", "domain"]),
    ("store", &["filter", "wire", "domain"]),
    ("wire", &["domain"]),
    ("blobs", &[]),
    ("filter", &["domain"]),
    ("domain", &[]),
];

/// What the pure modules must not know of.
const PURE: &[&str] = &["domain", "filter"];
const IMPURE: &[&str] = &["warp", "tokio", "rusqlite", "hyper", "reqwest", "std::fs", "std::net", "r2d2"];

/// Lines that a source file may have.
const LINES_MAX: usize = 500;

struct Source {
    path: String,
    module: String,
    text: String,
}

/// Reads every source file, with the top module that it is part of.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the sources can be read") {
            let path = entry.expect("the sources can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).expect("it lies in src").to_string_lossy().into_owned();
                let module = inside.split('/').next().expect("a first part").trim_end_matches(".rs").to_owned();
                let text = std::fs::read_to_string(&path).expect("the sources are text");
                found.push(Source { path: inside, module, text });
            }
        }
    }
    assert!(found.len() > 30, "the sources are where this test looks");
    found
}

/// Gives the code of a line: no comment, no documentation.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Gives the top modules that a text names as `crate::NAME`, `crate::{NAME, …}` or `labrun::NAME`.
fn named(text: &str) -> Vec<String> {
    let code: String = text.lines().map(code).collect::<Vec<_>>().join("\n");
    let mut names = Vec::new();
    for root in ["crate::", "labrun::"] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                None => names.push(name(rest)),
                Some(group) => names.extend(members(group).iter().map(|member| name(member))),
            }
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Gives the word at the beginning of a text.
fn name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Gives the members of a group of names, whose opening brace is gone already.
fn members(group: &str) -> Vec<String> {
    let mut members = vec![String::new()];
    let mut depth = 0;
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => members.push(String::new()),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                members.last_mut().expect("never empty").push(c);
            }
        }
    }
    members
}

/// Says what is wrong with a file of a module.
fn wrong(module: &str, text: &str) -> Vec<String> {
    let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
        return vec![format!("the module {module} has no place in this test's table")];
    };
    let mut wrong = Vec::new();
    for used in named(text) {
        let is_module = MAY_USE.iter().any(|(name, _)| *name == used);
        if is_module && used != module && !may_use.contains(&used.as_str()) {
            wrong.push(format!("{module} must not use {used}"));
        }
    }
    if PURE.contains(&module) {
        for line in text.lines().map(code) {
            let begins = |word: &&&str| line.contains(&format!("{word}::")) || line.contains(&format!("use {word};"));
            if let Some(word) = IMPURE.iter().find(begins) {
                wrong.push(format!("{module} is pure and must not know {word}: {}", line.trim()));
            }
        }
    }
    wrong
}

#[test]
fn arrows_point_down() {
    // Unit tests in files of their own may read documents from a folder.
    let is_test = |source: &Source| source.path.ends_with("tests.rs");
    for Source { path, module, text } in sources().into_iter().filter(|source| !is_test(source)) {
        let wrong = wrong(&module, &text);
        assert!(wrong.is_empty(), "src/{path}: {}", wrong.join("; "));
    }
}

#[test]
fn an_arrow_that_points_up_is_seen() {
    for (module, text) in [
        ("domain", "use crate::wire::Job;"),
        ("blobs", "fn f() { crate::store::Store::open() }"),
        ("store", "use crate::{domain::ids::JobId, server::App};"),
        ("client", "use crate::{\n    domain::{ids, time},\n    store::Store,\n};"),
        ("filter", "use rusqlite::Connection;"),
        ("domain", "use std::fs;"),
        ("novel", ""),
    ] {
        assert_eq!(wrong(module, text).len(), 1, "{module}: {text}");
    }
    assert!(wrong("store", "use crate::{domain::{ids, time}, filter}; // crate::server").is_empty());
}

#[test]
fn no_source_file_is_too_long() {
    for Source { path, text, .. } in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "src/{path} has {lines} lines");
    }
}
