//! Brings a database up to the schema of this binary, step by step, and refuses one that is newer.

use std::path::Path;

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
    let known = known_version();
    let is_upgrade = found > 0 && found < known;
    if is_upgrade {
        tracing::info!(
            "bringing the database from schema {found} to {known}; this can take half a minute for a million jobs"
        );
        sort_beside(connection)?;
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
    if is_upgrade {
        sort_in_memory(connection)?;
        tracing::info!("the database is at schema {known}");
    }
    Ok(())
}

/// Lets SQLite sort in files beside the database: what a step sorts can be larger than memory, and the disk of the
/// database is the one that has the room for it. SQLite itself would choose a folder of the system, which on an instrument
/// can be a small one.
fn sort_beside(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "temp_store", "FILE")?;
    folder_of(connection).map_or(Ok(()), |folder| set_folder_to_sort_in(connection, folder))
}

/// Lets SQLite sort in memory again.
fn sort_in_memory(connection: &Connection) -> rusqlite::Result<()> {
    folder_of(connection).map_or(Ok(()), |_| set_folder_to_sort_in(connection, ""))?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

/// Says where the files to sort in of all connections go; an empty name leaves that to SQLite.
fn set_folder_to_sort_in(connection: &Connection, folder: &str) -> rusqlite::Result<()> {
    // Deprecated, and the one way to say it without a variable of the environment.
    connection.pragma_update(None, "temp_store_directory", folder)
}

/// Gives the folder that a database is in; `None` for one in memory.
fn folder_of(connection: &Connection) -> Option<&str> {
    Path::new(connection.path()?).parent()?.to_str()
}

/// Gives the version that this binary brings databases to.
fn known_version() -> i64 {
    steps(SCHEMA).last().map_or(0, |(version, _)| *version)
}

/// Reads the version of a database; refuses one that is newer than this binary.
fn version(connection: &Connection) -> Result<i64, OpenError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = known_version();
    if found > known { Err(OpenError::NewerSchema { found, known }) } else { Ok(found) }
}

/// Refuses a database that is not of this binary's schema, for those who do not bring it up to it.
pub(super) fn check_version(connection: &Connection) -> Result<(), OpenError> {
    let found = version(connection)?;
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let known = known_version();
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
    use rusqlite::OptionalExtension;

    use super::*;
    use crate::store::WHAT_JOBS_NEED;

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

    /// A database as the steps before one leave it, with a job and two events.
    fn before(version: usize) -> Connection {
        before_on(Connection::open_in_memory().unwrap(), version)
    }

    /// The same in a database that is still empty.
    fn before_on(connection: Connection, version: usize) -> Connection {
        for (_, sql) in &steps(SCHEMA)[..version - 1] {
            connection.execute_batch(sql).unwrap();
        }
        connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        connection.pragma_update(None, "user_version", version - 1).unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        connection.execute_batch(WHAT_JOBS_NEED).unwrap();
        connection
            .execute_batch(
                "INSERT INTO jobs (template, kind, phase, input_values, parameter_values, description, creator,
                     creation_time) VALUES (1, 'meta', 'created', '{}', '{}', '', 1, 0);
                 INSERT INTO events (seq, job, time, transition, progress, description)
                     VALUES (1, 1, 0, 'create', 0, ''), (2, 1, 0, 'start', 0, '');",
            )
            .unwrap();
        connection
    }

    #[test]
    fn step_4_keeps_the_rows_and_what_is_checked_of_them() {
        let mut connection = before(4);
        migrate(&mut connection).unwrap();
        let count: i64 = connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 2);
        let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        let event = |transition: &str| {
            let sql = "INSERT INTO events (job, number, time, transition, progress, description)
                       VALUES (1, 1, 0, ?1, 0, '')";
            connection.execute(sql, [transition]).is_ok()
        };
        for transition in
            ["create", "acquire", "release", "start", "progress", "finish", "error", "reset", "abort", "cancel"]
        {
            assert!(event(transition), "{transition}");
        }
        assert!(!event("vanish"));
        let phase = |phase: &str, start: Option<i64>, end: Option<i64>, error: Option<&str>, progress: f64| {
            let sql =
                "UPDATE jobs SET phase = ?1, start_time = ?2, end_time = ?3, error_reason = ?4, progress_amount = ?5";
            connection.execute(sql, rusqlite::params![phase, start, end, error, progress]).is_ok()
        };
        assert!(phase("started", Some(1), None, None, 0.5));
        assert!(!phase("started", None, None, None, 0.5));
        assert!(!phase("started", Some(1), Some(2), None, 0.5));
        assert!(phase("errored", Some(1), Some(2), Some("x"), 0.5));
        assert!(!phase("errored", None, Some(2), Some("x"), 0.5));
        assert!(phase("finished", Some(1), Some(2), None, 1.0));
        assert!(!phase("finished", Some(1), None, None, 1.0));
        assert!(phase("cancelled", None, Some(2), Some("Cancelled"), 0.0));
        assert!(phase("created", None, None, None, 0.0));
        assert!(!phase("created", None, Some(2), None, 0.0));
        assert!(!phase("gone", None, None, None, 0.0));
        let outcome = |outcome: &str| {
            let sql =
                "INSERT OR REPLACE INTO job_attempts (job, number, acquired, ended, outcome) VALUES (1, 1, 0, 1, ?1)";
            connection.execute(sql, [outcome]).is_ok()
        };
        for name in ["released", "finished", "errored", "aborted", "cancelled", "lease_expired", "timed_out"] {
            assert!(outcome(name), "{name}");
        }
        assert!(!outcome("lost"));
    }

    #[test]
    fn a_place_in_the_event_log_is_used_once_even_if_its_job_is_gone() {
        use crate::store::events::last_place;
        let mut connection = before(4);
        // Gone before the step, when SQLite counted.
        connection.execute("INSERT INTO events SELECT 7, 1, 0, 'start', NULL, 0, NULL, '', '{}'", []).unwrap();
        connection.execute("DELETE FROM events WHERE seq = 7", []).unwrap();
        migrate(&mut connection).unwrap();
        assert_eq!(last_place(&connection).unwrap(), 7);
        connection
            .execute_batch(
                "INSERT INTO events (seq, job, number, previous, previous_step, time, transition, progress, description)
                     VALUES (9, 1, 3, 2, 2, 0, 'progress', 0, '');
                 UPDATE jobs SET events = 3, last_event = 9;
                 DELETE FROM jobs;",
            )
            .unwrap();
        let left: i64 = connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
        assert_eq!((left, last_place(&connection).unwrap()), (0, 9));
    }

    #[test]
    fn step_5_keeps_the_rows_and_finds_what_is_due_of_live_jobs_alone() {
        let mut connection = before(5);
        let workable = "INSERT INTO job_templates (name, version, description, scope, licence, kind, type, executor_class,
                 required_packages, body, specific, creator, creation_time)
                 VALUES ('w', 1, '', '', 1, 'workable', '', '', '', '', '{}', 1, 0);
             INSERT INTO nodes (ip, \"index\", cpu_mem, creator) VALUES ('n', 0, 1, 1);
             INSERT INTO jobs (template, kind, phase, node, lease, lease_expires, input_values, parameter_values, description,
                 creator, creation_time, deletion_time)
                 VALUES (2, 'workable', 'created', 1, 1.5, 7, '{}', '{}', '', 1, 0, NULL),
                        (2, 'workable', 'created', 1, 1.5, 8, '{}', '{}', '', 1, 0, 5);";
        connection.execute_batch(workable).unwrap();
        migrate(&mut connection).unwrap();
        let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        let due = "SELECT count(*) FROM jobs INDEXED BY jobs_by_lease
                   WHERE lease_expires IS NOT NULL AND deletion_time IS NULL";
        assert_eq!(connection.query_row(due, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
        let phase = |phase: &str, node: Option<i64>, start: Option<i64>, end: Option<i64>, error: Option<&str>| {
            let sql = "UPDATE jobs SET phase = ?1, node = ?2, start_time = ?3, end_time = ?4, error_reason = ?5,
                           progress_amount = (?1 = 'finished') WHERE pk = 2";
            connection.execute(sql, rusqlite::params![phase, node, start, end, error]).is_ok()
        };
        assert!(phase("started", Some(1), Some(1), None, None));
        assert!(phase("errored", Some(1), Some(1), Some(2), Some("x")));
        assert!(!phase("errored", None, Some(1), Some(2), Some("x")), "a lease without a holder");
        assert!(!phase("finished", Some(1), Some(1), Some(2), None), "a lease at the end");
        assert!(!phase("cancelled", Some(1), Some(1), Some(2), Some("Cancelled")), "a lease at the end");
    }

    #[test]
    fn step_6_links_the_events_of_each_job_and_lets_them_go_with_it() {
        let mut connection = before(6);
        // Children that have their events between those of their parent, one of which has not had any.
        connection
            .execute_batch(
                "INSERT INTO jobs (template, kind, parent, child_name, phase, input_values, parameter_values, description,
                     creator, creation_time)
                     VALUES (1, 'meta', 1, 'a', 'created', '{}', '{}', '', 1, 0),
                            (1, 'meta', 1, 'b', 'created', '{}', '{}', '', 1, 0),
                            (1, 'meta', NULL, NULL, 'created', '{}', '{}', '', 1, 0);
                 INSERT INTO events (seq, job, time, transition, node, progress, error, description, data)
                     VALUES (4, 2, 5, 'create', NULL, 0, NULL, 'd', '{}'), (5, 1, 6, 'progress', 7, 0.5, 'e', 'f', '{\"x\":1}'),
                            (8, 2, 5, 'start', NULL, 0, NULL, '', '{}'), (9, 1, 5, 'progress', NULL, 0, NULL, '', '{}'),
                            (10, 2, 5, 'progress', NULL, 0, NULL, '', '{}'), (11, 1, 5, 'error', NULL, 0, NULL, '', '{}'),
                            (12, 2, 5, 'progress', NULL, 0, NULL, '', '{}'), (13, 4, 5, 'create', NULL, 0, NULL, '', '{}');",
            )
            .unwrap();
        migrate(&mut connection).unwrap();
        let rows = |sql: &str| -> Vec<String> {
            let mut statement = connection.prepare(sql).unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        };
        let links = "SELECT concat_ws(' ', seq, job, number, coalesce(previous, '-'), coalesce(previous_step, '-'))
                     FROM events ORDER BY seq";
        let expected = [
            "1 1 1 - -",
            "2 1 2 1 1",
            "4 2 1 - -",
            "5 1 3 2 2",
            "8 2 2 4 4",
            "9 1 4 5 2",
            "10 2 3 8 8",
            "11 1 5 9 2",
            "12 2 4 10 8",
            "13 4 1 - -",
        ];
        assert_eq!(rows(links), expected);
        let ends = "SELECT concat_ws(' ', pk, events, coalesce(last_event, '-'), coalesce(last_step, '-')) FROM jobs";
        assert_eq!(rows(ends), ["1 5 11 11", "2 4 12 8", "3 0 - -", "4 1 13 13"]);
        let whole = "SELECT concat_ws(' ', time, transition, node, progress, error, description, data) FROM events
                     WHERE seq = 5";
        assert_eq!(rows(whole), ["6 progress 7 0.5 e f {\"x\":1}"]);
        assert_eq!(rows("PRAGMA integrity_check"), ["ok"]);
        connection.execute("DELETE FROM jobs WHERE pk = 1", []).unwrap();
        assert_eq!(rows(links), ["13 4 1 - -"]);
    }

    #[test]
    fn files_to_sort_in_are_for_the_upgrade_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = before_on(Connection::open(folder.path().join("labrun.db")).unwrap(), 6);
        let set = |connection: &Connection| -> (i64, Option<String>) {
            let store = connection.query_row("PRAGMA temp_store", [], |row| row.get(0)).unwrap();
            let directory = connection.query_row("PRAGMA temp_store_directory", [], |row| row.get(0));
            (store, directory.optional().unwrap())
        };
        assert_eq!(set(&connection), (0, None));
        migrate(&mut connection).unwrap();
        assert_eq!(set(&connection), (2, None));
        sort_beside(&connection).unwrap();
        // SQLite says the name of the database without links.
        let beside = folder.path().canonicalize().unwrap().to_str().map(str::to_owned);
        assert_eq!(set(&connection), (1, beside));
        sort_in_memory(&connection).unwrap();
        assert_eq!(set(&connection), (2, None));
    }

    /// What is written at every transition must not cost SQLite a table of its own; see step 4.
    #[test]
    fn rows_of_transitions_are_checked_without_tables_for_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        for sql in [
            "INSERT INTO events (seq, job, number, time, transition, progress, description)
             VALUES (1, 1, 1, 1, 'start', 0, '')",
            "INSERT INTO job_attempts (job, number, acquired, ended, outcome) VALUES (1, 1, 1, 1, 'finished')",
            "UPDATE job_attempts SET ended = 1, outcome = 'finished' WHERE job = 1 AND number = 1",
            "UPDATE jobs SET phase = 'started', start_time = 1, end_time = NULL, error_reason = NULL, progress_amount = 0,
                 lease = NULL, lease_expires = NULL
             WHERE pk = 1",
        ] {
            let mut statement = connection.prepare(&format!("EXPLAIN {sql}")).unwrap();
            let steps: Vec<String> =
                statement.query_map([], |row| row.get(1)).unwrap().collect::<Result<_, _>>().unwrap();
            assert!(steps.iter().any(|step| step == "Insert" || step == "IdxInsert"), "{sql}: {steps:?}");
            assert!(!steps.iter().any(|step| step == "OpenEphemeral"), "{sql}: {steps:?}");
        }
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
