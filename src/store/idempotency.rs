//! Keys that make a retry of create-job give the same job (contract §11).

use rusqlite::{Connection, params};

use super::{Error, Store, WriteTx, found};
use crate::domain::ids::{JobId, UserId};
use crate::domain::time::Timestamp;

/// How long a key is kept, in seconds.
const KEPT_S: i64 = 24 * 60 * 60;

/// A key, with what was asked for under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key, 1 to 255 characters; each user has keys of its own.
    pub key: String,
    /// SHA-256 (hex) of the request.
    pub fingerprint: String,
}

impl IdempotencyKey {
    /// Finds the job that was made under the key.
    ///
    /// # Errors
    /// `KeyReused` when it was made by another request.
    pub(super) fn find(&self, connection: &Connection, user: UserId, now: Timestamp) -> Result<Option<JobId>, Error> {
        let row: Option<(String, JobId)> = found(
            connection
                .prepare_cached(
                    "SELECT fingerprint, job FROM idempotency_keys WHERE user = ?1 AND key = ?2 AND time > ?3",
                )?
                .query_row(params![user, self.key, now.plus_seconds(-KEPT_S)], |row| Ok((row.get(0)?, row.get(1)?))),
        )?;
        match row {
            None => Ok(None),
            Some((fingerprint, job)) if fingerprint == self.fingerprint => Ok(Some(job)),
            Some(_) => Err(Error::KeyReused),
        }
    }

    /// Keeps the key for a job.
    pub(super) fn keep(&self, tx: &WriteTx<'_>, user: UserId, job: JobId) -> Result<(), Error> {
        tx.connection()
            .prepare_cached(
                "INSERT OR REPLACE INTO idempotency_keys (user, key, fingerprint, job, time) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![user, self.key, self.fingerprint, job, tx.now()])?;
        Ok(())
    }
}

/// Forgets the keys that are old enough.
pub(super) fn forget_old(tx: &WriteTx<'_>) -> Result<(), Error> {
    tx.connection()
        .prepare_cached("DELETE FROM idempotency_keys WHERE time <= ?1")?
        .execute([tx.now().plus_seconds(-KEPT_S)])?;
    Ok(())
}

impl Store {
    /// Finds the job that a user made under a key.
    ///
    /// # Errors
    /// `KeyReused` when it was made by another request.
    pub fn job_made_under(&self, key: &IdempotencyKey, user: UserId, now: Timestamp) -> Result<Option<JobId>, Error> {
        self.read(|connection| key.find(connection, user, now))
    }
}
