//! What the database knows of bytes: who refers to them, and since when nobody does (contract §8, §11).

use rusqlite::params;

use super::{Error, Store, WriteTx, found};
use crate::domain::time::Timestamp;

/// Says whether an output, deleted or not, or a job's input names bytes.
const IS_NAMED: &str = "EXISTS (SELECT 1 FROM job_outputs WHERE sha256 = ?1)
    OR EXISTS (SELECT 1 FROM job_blobs WHERE sha256 = ?1)";

/// How the database stands to bytes that are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// An output or a job's input names them.
    Named,
    /// Nothing names them, but they may still wait for somebody to do so.
    Waiting,
    /// The database has never heard of them, or not since their last name went.
    Unknown,
}

/// Every digest here is a SHA-256 in lower-case hex. Reads see committed rows only.
impl Store {
    /// Says how the database stands to bytes.
    pub fn standing_of_bytes(&self, sha256: &str) -> Result<Standing, Error> {
        self.read(|connection| {
            let sql = standing_sql();
            let (named, waiting): (bool, bool) =
                connection.prepare_cached(sql)?.query_row([sha256], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(match (named, waiting) {
                (true, _) => Standing::Named,
                (false, true) => Standing::Waiting,
                (false, false) => Standing::Unknown,
            })
        })
    }

    /// Lets bytes wait for a name from now on, which they have until the sweep's grace time is over.
    pub async fn await_name(&self, sha256: String) -> Result<(), Error> {
        self.write(move |tx| await_name(tx, &sha256)).await
    }

    /// Notes that the sweep met bytes that nothing refers to. Those that were met before keep their time.
    pub async fn note_unreferenced(&self, digests: Vec<String>) -> Result<(), Error> {
        self.write(move |tx| {
            let mut statement = tx.connection().prepare_cached(&format!(
                "INSERT INTO unreferenced_blobs (sha256, since) SELECT ?1, ?2 WHERE NOT ({IS_NAMED})
                 ON CONFLICT (sha256) DO NOTHING"
            ))?;
            for sha256 in digests {
                statement.execute(params![sha256, tx.now()])?;
            }
            Ok(())
        })
        .await
    }

    /// Gives bytes that have waited since `before` or longer, at most `limit`, and forgets that they wait. Whoever
    /// asks removes them, unless they have a name or wait anew.
    pub async fn take_expired(&self, before: Timestamp, limit: u32) -> Result<Vec<String>, Error> {
        self.write_freeing(move |tx| {
            // A time in the future, from before the clock was set back, might never pass: it is brought to now.
            tx.connection()
                .prepare_cached("UPDATE unreferenced_blobs SET since = ?1 WHERE since > ?1")?
                .execute([tx.now()])?;
            let mut statement = tx.connection().prepare_cached(
                "DELETE FROM unreferenced_blobs WHERE sha256 IN (
                     SELECT sha256 FROM unreferenced_blobs WHERE since <= ?1 ORDER BY since LIMIT ?2)
                 RETURNING sha256",
            )?;
            let taken = statement.query_map(params![before, limit], |row| row.get(0))?;
            Ok(taken.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Gives the time at which bytes were found damaged and set aside, if they were.
    pub fn damage_of(&self, sha256: &str) -> Result<Option<Timestamp>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT found_time FROM damaged_blobs WHERE sha256 = ?1")?;
            found(statement.query_row([sha256], |row| row.get(0)))
        })
    }
}

/// Carries out [`Store::await_name`] inside a transaction.
pub(super) fn await_name(tx: &WriteTx<'_>, sha256: &str) -> Result<(), Error> {
    tx.connection()
        .prepare_cached(
            "INSERT INTO unreferenced_blobs (sha256, since) VALUES (?1, ?2)
             ON CONFLICT (sha256) DO UPDATE SET since = excluded.since",
        )?
        .execute(params![sha256, tx.now()])?;
    Ok(())
}

/// Gives the question behind [`Store::standing_of_bytes`]; built once, since the text is the statement cache's key.
fn standing_sql() -> &'static str {
    static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        format!("SELECT {IS_NAMED}, EXISTS (SELECT 1 FROM unreferenced_blobs WHERE sha256 = ?1)")
    });
    &SQL
}
