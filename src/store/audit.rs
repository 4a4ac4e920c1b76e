//! The audit log: who did what from where. It can only be added to, and each row carries the hash of the one before, so
//! that a row that was changed, taken out or put in later is found by [`Store::verify_audit`].
//!
//! The hash of a row is the SHA-256, in hex, of the hash before it (64 zeros before the first) followed by the JSON
//! array `[pk, time, user, username, address, action, target, status, request]`, the time in microseconds. Whoever
//! notes the newest hash elsewhere now and then can also tell that the end was not cut off or all of it made anew.

use rusqlite::{Connection, Row, params};
use sha2::{Digest, Sha256};

use super::{Error, Store, WriteTx, found};
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;
use crate::wire::audit::AuditEntry;

const COLUMNS: &str = "pk, time, user, username, address, action, target, status, request, hash";
/// What stands for the hash before the first row.
const BEFORE_ALL: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Something that was done, or tried.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// Who did it, if that is known.
    pub user: Option<UserId>,
    /// The name that a login tried; for a known user the name is looked up.
    pub tried: Option<String>,
    /// The address that the call came from.
    pub address: String,
    /// The name of the route.
    pub action: String,
    /// The path.
    pub target: String,
    /// The status that is answered.
    pub status: u16,
    /// The request's id.
    pub request: String,
}

/// Which entries are asked for.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Only this user's.
    pub user: Option<UserId>,
    /// Only this action's.
    pub action: Option<String>,
    /// Only those after this key.
    pub after: i64,
    /// How many at most.
    pub limit: u32,
}

/// What a check of the audit log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// How many rows it has.
    pub rows: u64,
    /// The hash of the newest row.
    pub newest_hash: String,
    /// The first row that does not follow from the one before.
    pub broken_at: Option<i64>,
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        pk: row.get(0)?,
        time: row.get(1)?,
        user: row.get(2)?,
        username: row.get(3)?,
        address: row.get(4)?,
        action: row.get(5)?,
        target: row.get(6)?,
        status: row.get(7)?,
        request: row.get(8)?,
        hash: row.get(9)?,
    })
}

/// Gives the hash that an entry must have after the one before it.
fn hash_after(before: &str, entry: &AuditEntry) -> String {
    let AuditEntry { pk, time: Timestamp(time), user, username, address, action, target, status, request, hash: _ } =
        entry;
    let user = user.map(|UserId(user)| user);
    let fields = serde_json::json!([pk, time, user, username, address, action, target, status, request]);
    let digest = Sha256::new().chain_update(before).chain_update(fields.to_string()).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn newest(connection: &Connection) -> Result<(i64, String), Error> {
    let row = connection
        .prepare_cached("SELECT pk, hash FROM audit ORDER BY pk DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(found(row)?.unwrap_or_else(|| (0, BEFORE_ALL.to_owned())))
}

fn append(tx: &WriteTx<'_>, new: NewEntry) -> Result<(), Error> {
    let connection = tx.connection();
    let NewEntry { user, tried, address, action, target, status, request } = new;
    let username: Option<String> = match user {
        None => None,
        Some(user) => found(
            connection.prepare_cached("SELECT username FROM users WHERE pk = ?1")?.query_row([user], |row| row.get(0)),
        )?,
    };
    let (last, before) = newest(connection)?;
    let mut entry = AuditEntry {
        pk: last + 1,
        time: tx.now(),
        user,
        username: username.or(tried).unwrap_or_default(),
        address,
        action,
        target,
        status: status.into(),
        request,
        hash: String::new(),
    };
    entry.hash = hash_after(&before, &entry);
    let AuditEntry { pk, time, user, username, address, action, target, status, request, hash } = entry;
    let sql = format!("INSERT INTO audit ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
    connection
        .prepare_cached(&sql)?
        .execute(params![pk, time, user, username, address, action, target, status, request, hash])?;
    Ok(())
}

impl Store {
    /// Appends an entry.
    ///
    /// # Errors
    /// When it can't be kept.
    pub async fn audit(&self, new: NewEntry) -> Result<(), Error> {
        self.audit_all(vec![new]).await
    }

    /// Appends entries, all of them or none.
    ///
    /// # Errors
    /// When they can't be kept.
    pub async fn audit_all(&self, all: Vec<NewEntry>) -> Result<(), Error> {
        self.write_freeing(move |tx| all.into_iter().try_for_each(|new| append(tx, new))).await
    }

    /// Reads entries, oldest first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn audit_entries(&self, question: Question) -> Result<Vec<AuditEntry>, Error> {
        self.read_long(move |connection| {
            let Question { user, action, after, limit } = question;
            let sql = format!(
                "SELECT {COLUMNS} FROM audit WHERE pk > ?1 AND (?2 IS NULL OR user = ?2) AND (?3 IS NULL OR action = ?3)
                 ORDER BY pk LIMIT ?4"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![after, user, action, limit], from_row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Checks that every row follows from the one before, and that none is missing between them.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn verify_audit(&self) -> Result<AuditReport, Error> {
        self.read(verify)
    }
}

/// Follows the chain from the first row to the last.
pub(super) fn verify(connection: &Connection) -> Result<AuditReport, Error> {
    let sql = format!("SELECT {COLUMNS} FROM audit ORDER BY pk");
    let mut statement = connection.prepare(&sql)?;
    let mut report = AuditReport { rows: 0, newest_hash: BEFORE_ALL.to_owned(), broken_at: None };
    let mut last = 0;
    for entry in statement.query_map([], from_row)? {
        let entry = entry?;
        let follows = entry.pk == last + 1 && entry.hash == hash_after(&report.newest_hash, &entry);
        if !follows && report.broken_at.is_none() {
            report.broken_at = Some(entry.pk);
        }
        report.rows += 1;
        last = entry.pk;
        report.newest_hash = entry.hash;
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::time::SystemClock;
    use crate::store::offline::Offline;

    fn login(name: &str) -> NewEntry {
        NewEntry {
            user: None,
            tried: Some(name.to_owned()),
            address: "192.0.2.1".to_owned(),
            action: "auth.obtain".to_owned(),
            target: "/v1/auth/obtain".to_owned(),
            status: 401,
            request: "r-1".to_owned(),
        }
    }

    async fn kept(dir: &tempfile::TempDir) -> Store {
        let store = Store::open(&dir.path().join("labrun.db"), Arc::new(SystemClock)).unwrap();
        for name in ["ada", "bob", "eve"] {
            store.audit(login(name)).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn rows_follow_from_each_other_and_can_be_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let store = kept(&dir).await;
        let report = store.verify_audit().unwrap();
        assert_eq!((report.rows, report.broken_at), (3, None));
        let question = Question { after: 1, limit: 1, ..Question::default() };
        let entries = store.audit_entries(question).await.unwrap();
        assert_eq!(entries.iter().map(|entry| entry.username.as_str()).collect::<Vec<_>>(), ["bob"]);
        let none = Question { action: Some("users.create".to_owned()), limit: 10, ..Question::default() };
        assert_eq!(store.audit_entries(none).await.unwrap(), []);
        store.close();
    }

    #[tokio::test]
    async fn a_row_that_is_changed_taken_out_or_put_in_is_found() {
        for (tamper, broken_at) in [
            ("UPDATE audit SET username = 'mallory' WHERE pk = 2", 2),
            ("UPDATE audit SET time = time + 1 WHERE pk = 3", 3),
            ("DELETE FROM audit WHERE pk = 2", 3),
            ("DELETE FROM audit WHERE pk = 1", 2),
            (
                "INSERT INTO audit SELECT 4, time, user, username, address, action, target, status, request, hash FROM audit WHERE pk = 3",
                4,
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let store = kept(&dir).await;
            store.close();
            let raw = Connection::open(dir.path().join("labrun.db")).unwrap();
            if !tamper.starts_with("INSERT") {
                assert!(raw.execute(tamper, []).is_err(), "the triggers refuse: {tamper}");
            }
            raw.execute_batch("DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_shortened").unwrap();
            raw.execute(tamper, []).unwrap();
            assert_eq!(verify(&raw).unwrap().broken_at, Some(broken_at), "{tamper}");
            let told = Offline::open(&dir.path().join("labrun.db")).unwrap().problems().unwrap();
            let expected = format!("entry {broken_at} of the audit log does not follow from the one before it");
            assert_eq!(told, [expected], "{tamper}");
        }
    }
}
