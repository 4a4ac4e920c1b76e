//! SQLite, behind operations: `store.act(job, …)`, `store.list(…)`. Nothing above sees a connection or a row.
//!
//! Writes go through one thread that commits for many at once (`writer.rs`); reads go through a pool of read-only
//! connections (`readers.rs`). Then one file per table.

pub mod access;
pub mod activity;
pub mod attempts;
pub mod audit;
pub mod blobs;
mod callers;
pub mod catalogue;
pub mod claims;
mod columns;
pub mod create;
pub mod deeds;
pub mod due;
pub mod error;
pub mod events;
pub mod filter;
pub mod idempotency;
pub mod jobs;
pub mod list;
pub mod logs;
pub mod mail;
mod migrate;
pub mod nodes;
pub mod notify;
pub mod offline;
pub mod outputs;
mod readers;
mod references;
mod reserve;
pub mod retention;
mod seed;
pub mod sessions;
pub mod stats;
pub mod templates;
pub mod timeline;
pub mod tokens;
pub mod uploads;
pub mod users;
pub mod values;
pub mod workflow;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;

pub use error::{Error, OpenError};
pub use writer::WriteTx;

use crate::domain::time::Clock;
use callers::Callers;
use notify::Telling;
use readers::Readers;
use reserve::Reserve;
use writer::Writer;

/// Connections for long reads. They have a pool of their own, so that many lists at once never keep a read by key
/// waiting, which would hold up a thread that runs requests.
const LONG_READERS: u32 = 8;

/// How long the look at the database at the start may take. A larger database is looked at in part.
const START_CHECK_MAX: Duration = Duration::from_millis(100);

/// The database of one data directory. Shared by reference; closed with [`Store::close`].
#[derive(Debug)]
pub struct Store {
    path: std::path::PathBuf,
    writer: Writer,
    readers: Readers,
    long_readers: Readers,
    callers: Arc<Callers>,
    reserve: Reserve,
}

impl Store {
    /// Opens the database at `path`, making or upgrading it as needed. Jobs that ask for no notifications have none
    /// but those for watchers, and no e-mail is sent.
    ///
    /// # Errors
    /// When the file is of a newer labrun, of another program, or no database at all. Nothing is changed then.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::open_telling(path, clock, Telling::default())
    }

    /// Opens the database as [`Store::open`] does, with a say in how transitions are told.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_telling(path: &Path, clock: Arc<dyn Clock>, telling: Telling) -> Result<Self, OpenError> {
        let mut connection = readers::open_writer(path)?;
        let problems = offline::quick_check(&connection, START_CHECK_MAX).map_err(OpenError::unreadable)?;
        if let Some(problem) = problems.and_then(|problems| problems.into_iter().next()) {
            return Err(OpenError::Damaged(problem));
        }
        migrate::migrate(&mut connection)?;
        // As many as there are threads that read on the spot, and some for threads beside the runtime's.
        let threads = std::thread::available_parallelism().map_or(4, |count| count.get());
        let readers = Readers::open(path, u32::try_from(threads).unwrap_or(64) + 4)?;
        let long_readers = Readers::open(path, LONG_READERS)?;
        let callers = Arc::new(Callers::default());
        let writer = Writer::start(connection, clock, telling, callers.clone()).map_err(|error| match error {
            Error::Sqlite(error) => OpenError::Sqlite(error),
            _ => OpenError::Setting("a thread for the writer"),
        })?;
        let reserve = Reserve::keep(path.with_extension("reserve"));
        Ok(Self { path: path.to_owned(), writer, readers, long_readers, callers, reserve })
    }

    /// Says whether any row names bytes, so that their directory must be there.
    pub fn names_any_bytes(&self) -> Result<bool, Error> {
        self.read(offline::names_any)
    }

    /// Finishes what is queued and closes the database. Blocks; calls after it are told that the store is closing.
    pub fn close(&self) {
        self.writer.stop();
    }

    /// Gives the sequence number of the newest committed event, and a way to wait for a newer one.
    pub fn newest_event(&self) -> watch::Receiver<i64> {
        self.writer.events()
    }

    /// Gives the jobs that commits made free, and a way to wait for one.
    pub fn free_jobs(&self) -> &claims::FreeJobs {
        self.writer.free_jobs()
    }

    /// Runs a command in the writer and gives its result once that is on disk.
    async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTx<'_>) -> Result<T, Error> + Send + 'static,
    {
        if !self.reserve.is_kept() {
            return Err(Error::DiskFull);
        }
        self.writer.call(work).await
    }

    /// Runs a command that frees room, or tells of one that did: on a full disk too, at the expense of the reserve.
    async fn write_freeing<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTx<'_>) -> Result<T, Error> + Clone + Send + 'static,
    {
        match self.writer.call(work.clone()).await {
            Err(Error::DiskFull) if self.reserve.give_up() => self.writer.call(work).await,
            result => result,
        }
    }

    /// Reads on the calling thread. For reads of microseconds only, by key: they cost less than a change of thread.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        work(&*self.readers.get()?)
    }

    /// Reads on a thread where it may take its time.
    async fn read_long<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let readers = self.long_readers.clone();
        tokio::task::spawn_blocking(move || work(&*readers.get()?))
            .await
            .unwrap_or_else(|_| Err(Error::Broken("a long read panicked".to_owned())))
    }
}

/// Turns "no row" into `None`.
fn found<T>(result: rusqlite::Result<T>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Says how SQLite would go about a statement.
#[cfg(test)]
fn plan_of(sql: &str) -> String {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(include_str!("../../schema.sql")).unwrap();
    filter::register(&connection).unwrap();
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let parameters = vec![rusqlite::types::Value::Null; statement.parameter_count()];
    let steps = statement.query_map(rusqlite::params_from_iter(parameters), |row| row.get::<_, String>(3)).unwrap();
    steps.collect::<Result<Vec<_>, _>>().unwrap().join("; ")
}

/// Makes what jobs refer to: a user, a licence and a template of meta-jobs, each the first of its table but the licence.
#[cfg(test)]
const WHAT_JOBS_NEED: &str = "
    INSERT INTO users (username, password_hash, date_joined) VALUES ('a', '', 0);
    INSERT INTO licences (name, url) VALUES ('l', '');
    INSERT INTO job_templates (name, version, description, scope, licence, kind, specific, creator, creation_time)
        VALUES ('t', 1, '', '', (SELECT min(pk) FROM licences), 'meta', '{}', 1, 0);";
