//! Brings a database up to the schema of this binary, step by step, and refuses one that is newer.

use rusqlite::Connection;

use super::error::OpenError;
use super::seed;

/// The whole schema, in numbered steps.
pub(super) const SCHEMA: &str = include_str!("../../schema.sql");

/// Marks a SQLite file as labrun's ("labr"), so that a foreign one is not taken over by mistake.
const APPLICATION_ID: i32 = 0x6c61_6272;

/// Applies the steps that the database has not seen yet, each in its own transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let steps = steps(SCHEMA);
    let found = version(connection)?;
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (application != 0 || tables != 0) {
        return Err(OpenError::Foreign);
    }
    for (version, sql) in steps.into_iter().filter(|(version, _)| *version > found) {
        let tx = connection.transaction()?;
        tx.execute_batch(sql)?;
        if version == 1 {
            tx.pragma_update(None, "application_id", APPLICATION_ID)?;
            seed::fill(&tx)?;
        }
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(())
}

/// Reads the version of a database; refuses one that is newer than this binary.
fn version(connection: &Connection) -> Result<i64, OpenError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = steps(SCHEMA).last().map_or(0, |(version, _)| *version);
    if found > known { Err(OpenError::NewerSchema { found, known }) } else { Ok(found) }
}

/// Refuses a database that is not of this binary's schema, for those who do not bring it up to it.
pub(super) fn check_version(connection: &Connection) -> Result<(), OpenError> {
    let found = version(connection)?;
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let known = steps(SCHEMA).last().map_or(0, |(version, _)| *version);
    match application {
        APPLICATION_ID if found == known => Ok(()),
        APPLICATION_ID => Err(OpenError::OlderSchema { found, known }),
        _ => Err(OpenError::Foreign),
    }
}

/// Cuts the schema into its steps: each begins at a line `-- vN`.
fn steps(schema: &str) -> Vec<(i64, &str)> {
    let mut marks = Vec::new();
    let mut offset = 0;
    for line in schema.split_inclusive('\n') {
        if let Some(version) = line.trim().strip_prefix("-- v").and_then(|number| number.parse().ok()) {
            marks.push((version, offset));
        }
        offset += line.len();
    }
    let ends = marks.iter().skip(1).map(|(_, at)| *at).chain([schema.len()]).collect::<Vec<_>>();
    marks.into_iter().zip(ends).filter_map(|((version, at), end)| Some((version, schema.get(at..end)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_from_one_without_gaps() {
        let versions: Vec<i64> = steps(SCHEMA).into_iter().map(|(version, _)| version).collect();
        assert_eq!(versions, (1..=i64::try_from(versions.len()).unwrap()).collect::<Vec<_>>());
    }

    #[test]
    fn a_second_run_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let before: i64 = connection.query_row("SELECT count(*) FROM job_types", [], |row| row.get(0)).unwrap();
        migrate(&mut connection).unwrap();
        let after: i64 = connection.query_row("SELECT count(*) FROM job_types", [], |row| row.get(0)).unwrap();
        assert_eq!((before, after), (27, 27));
    }

    #[test]
    fn a_newer_schema_and_a_foreign_database_are_refused() {
        let mut newer = Connection::open_in_memory().unwrap();
        migrate(&mut newer).unwrap();
        newer.pragma_update(None, "user_version", 999).unwrap();
        assert!(matches!(migrate(&mut newer), Err(OpenError::NewerSchema { found: 999, .. })));

        let mut foreign = Connection::open_in_memory().unwrap();
        foreign.execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(matches!(migrate(&mut foreign), Err(OpenError::Foreign)));
    }
}
