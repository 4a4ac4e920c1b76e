//! The whole data directory as text, to compare with what a test expects of it.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};

/// Writes down jobs, nodes, events, outputs and blobs. Keys are counted from 1 in the order of the rows, with a letter
/// for their kind; of times it only says that they are there.
pub(crate) fn dump(dir: &Path) -> String {
    let database = open(dir);
    let mut names = Names::default();
    let mut out = String::new();
    section(
        &mut out,
        "jobs",
        &database,
        "SELECT pk, phase, node, start_time, end_time, progress_amount, error_reason,
         deletion_time, description FROM jobs ORDER BY pk",
        |row| {
            Ok(format!(
                "{} {} by {}{}{}{} {}{} {:?}",
                names.key("j", row.get(0)?),
                row.get::<_, String>(1)?,
                names.optional("n", row.get(2)?),
                flag(row, 3, " start")?,
                flag(row, 4, " end")?,
                flag(row, 7, " deleted")?,
                row.get::<_, f64>(5)?,
                row.get::<_, Option<String>>(6)?.map(|reason| format!(" ({reason})")).unwrap_or_default(),
                row.get::<_, String>(8)?,
            ))
        },
    );
    section(&mut out, "nodes", &database, "SELECT pk, current_job FROM nodes ORDER BY pk", |row| {
        Ok(format!("{} works on {}", names.key("n", row.get(0)?), names.optional("j", row.get(1)?)))
    });
    section(
        &mut out,
        "events",
        &database,
        "SELECT job, transition, node, progress, error, data FROM events
         ORDER BY seq",
        |row| {
            Ok(format!(
                "{} {} by {} {}{} {}",
                names.key("j", row.get(0)?),
                row.get::<_, String>(1)?,
                names.optional("n", row.get(2)?),
                row.get::<_, f64>(3)?,
                row.get::<_, Option<String>>(4)?.map(|error| format!(" ({error})")).unwrap_or_default(),
                row.get::<_, String>(5)?,
            ))
        },
    );
    section(
        &mut out,
        "outputs",
        &database,
        "SELECT pk, job, name, type, size, sha256, deletion_time FROM job_outputs
         ORDER BY pk",
        |row| {
            Ok(format!(
                "{} of {}: {:?} {:?} {} bytes {}{}",
                names.key("o", row.get(0)?),
                names.key("j", row.get(1)?),
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
                row.get::<_, i64>(4)?,
                &row.get::<_, String>(5)?[..12],
                flag(row, 6, " deleted")?,
            ))
        },
    );
    out.push_str("blobs\n");
    for (name, size) in files(&dir.join("blobs")) {
        let short: String = name.chars().take(13).collect();
        writeln!(out, "  {short} {size} bytes").expect("a string takes text");
    }
    out
}

/// Opens the database of a data directory for reading, whether a server runs on it or not.
pub(crate) fn open(dir: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(dir.join("labrun.db"), flags).expect("the database can be read")
}

/// Lists the files below a directory with their sizes, by name.
pub(crate) fn files(dir: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder can be read") {
            let path = entry.expect("a folder can be read").path();
            // A file may go between the two looks.
            let Ok(meta) = path.metadata() else { continue };
            if meta.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("it lies below").to_string_lossy().into_owned();
                found.push((name, meta.len()));
            }
        }
    }
    found.sort();
    found
}

fn section(
    out: &mut String,
    title: &str,
    database: &Connection,
    sql: &str,
    mut line: impl FnMut(&Row<'_>) -> rusqlite::Result<String>,
) {
    writeln!(out, "{title}").expect("a string takes text");
    let mut statement = database.prepare(sql).expect("the query fits the schema");
    let lines = statement.query_map([], |row| line(row)).expect("the query runs");
    for line in lines {
        writeln!(out, "  {}", line.expect("the columns are as expected")).expect("a string takes text");
    }
}

fn flag(row: &Row<'_>, index: usize, text: &'static str) -> rusqlite::Result<&'static str> {
    Ok(if row.get::<_, Option<i64>>(index)?.is_some() { text } else { "" })
}

/// Short names for keys, in the order in which they are met.
#[derive(Default)]
struct Names(HashMap<(&'static str, i64), usize>);

impl Names {
    fn key(&mut self, kind: &'static str, pk: i64) -> String {
        let next = 1 + self.0.keys().filter(|(of, _)| *of == kind).count();
        let number = self.0.entry((kind, pk)).or_insert(next);
        format!("{kind}{number}")
    }

    fn optional(&mut self, kind: &'static str, pk: Option<i64>) -> String {
        pk.map_or("-".to_owned(), |pk| self.key(kind, pk))
    }
}
