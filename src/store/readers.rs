//! Opening connections, and the pool of read-only ones.

use std::path::Path;
use std::time::Duration;

use r2d2::Pool;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, OpenFlags};

use super::error::{Error, OpenError};

/// Statements kept prepared per connection; the default of 16 would be turned over all the time.
const STATEMENTS_KEPT: usize = 192;
/// How long a read waits for a free connection before it is told that the store is overloaded.
const CHECK_OUT_MS: u64 = 5_000;
/// The write-ahead log is cut back to this size once it has been checkpointed.
const JOURNAL_BYTES_MAX: i64 = 64 << 20;

/// A connection on loan from the pool.
pub(super) type Reader = r2d2::PooledConnection<SqliteConnectionManager>;

/// The read-only connections. WAL lets them read while the writer writes; none of them ever waits for it.
#[derive(Debug, Clone)]
pub(super) struct Readers(Pool<SqliteConnectionManager>);

impl Readers {
    /// Opens the pool; the database must be there already.
    pub(super) fn open(path: &Path, count: u32) -> Result<Self, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let manager = SqliteConnectionManager::file(path).with_flags(flags).with_init(|connection| {
            prepare(connection)?;
            connection.pragma_update(None, "query_only", true)
        });
        let pool = Pool::builder()
            .max_size(count)
            .min_idle(Some(1))
            // A local file does not go away between two uses, and the test would cost as much as a read.
            .test_on_check_out(false)
            .connection_timeout(Duration::from_millis(CHECK_OUT_MS))
            .build(manager)?;
        Ok(Self(pool))
    }

    /// Takes a connection.
    pub(super) fn get(&self) -> Result<Reader, Error> {
        self.0.get().map_err(|_| Error::Busy)
    }
}

/// Opens the one connection that writes, and makes sure that it is as durable as promised.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    make_private(path)?;
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL syncs the log at every commit: a reply after a commit is a reply about what is on disk.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES_MAX)?;
    prepare(&connection)?;
    let text = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, String>(0));
    let number = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    if text("journal_mode")? != "wal" {
        return Err(OpenError::Setting("journal_mode=WAL"));
    }
    if number("synchronous")? != 2 {
        return Err(OpenError::Setting("synchronous=FULL"));
    }
    if number("foreign_keys")? != 1 {
        return Err(OpenError::Setting("foreign_keys=ON"));
    }
    Ok(connection)
}

/// Makes the file before SQLite does, readable by its owner only; the log beside it takes over its rights.
fn make_private(path: &Path) -> rusqlite::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    made.map(drop).map_err(|error| {
        let failure = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        rusqlite::Error::SqliteFailure(failure, Some(error.to_string()))
    })
}

/// Sets what every connection needs.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    super::filter::register(connection)
}
