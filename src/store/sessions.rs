//! Those who are logged in to the pages. Only the SHA-256 of a session's secret is kept.

use rusqlite::params;

use super::{Error, Store, found};
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

/// A session as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Who logged in.
    pub user: UserId,
    /// The user's count of password changes and deactivations at that time.
    pub credentials: i64,
    /// When that was.
    pub creation_time: Timestamp,
    /// When it was last used, some minutes late at the most.
    pub last_used: Timestamp,
}

impl Store {
    /// Keeps a new session, and forgets those that were last used before `stale`.
    ///
    /// # Errors
    /// When it can't be kept.
    pub async fn begin_session(&self, sha256: String, session: Session, stale: Timestamp) -> Result<(), Error> {
        self.write(move |tx| {
            let Session { user, credentials, creation_time, last_used } = session;
            tx.connection().prepare_cached("DELETE FROM page_sessions WHERE last_used < ?1")?.execute([stale])?;
            tx.connection()
                .prepare_cached(
                    "INSERT INTO page_sessions (sha256, user, credentials, creation_time, last_used)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![sha256, user, credentials, creation_time, last_used])?;
            Ok(())
        })
        .await
    }

    /// Reads a session; `None` when there is none, or it has ended.
    pub fn session(&self, sha256: &str) -> Result<Option<Session>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT user, credentials, creation_time, last_used FROM page_sessions WHERE sha256 = ?1",
            )?;
            found(statement.query_row([sha256], |row| {
                let (user, credentials) = (row.get(0)?, row.get(1)?);
                Ok(Session { user, credentials, creation_time: row.get(2)?, last_used: row.get(3)? })
            }))
        })
    }

    /// Writes down that a session was used; never takes a time back, and never brings one back that has ended.
    pub async fn session_used(&self, sha256: String, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| {
            tx.connection()
                .prepare_cached("UPDATE page_sessions SET last_used = ?2 WHERE sha256 = ?1 AND last_used < ?2")?
                .execute(params![sha256, now])?;
            Ok(())
        })
        .await
    }

    /// Ends a session. Ending one that is not there changes nothing.
    pub async fn end_session(&self, sha256: String) -> Result<(), Error> {
        self.write(move |tx| {
            tx.connection().prepare_cached("DELETE FROM page_sessions WHERE sha256 = ?1")?.execute([sha256])?;
            Ok(())
        })
        .await
    }

    /// Ends all sessions of a user.
    pub async fn end_sessions_of(&self, user: UserId) -> Result<(), Error> {
        self.write(move |tx| {
            tx.connection().prepare_cached("DELETE FROM page_sessions WHERE user = ?1")?.execute([user])?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::time::SystemClock;

    #[tokio::test]
    async fn a_session_lasts_until_it_is_ended_or_stale() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("labrun.db"), Arc::new(SystemClock)).unwrap();
        store.create_first_user("hash".to_owned()).await.unwrap();
        let key = |digit: &str| digit.repeat(64);
        let at = |time| Session {
            user: UserId(1),
            credentials: 1,
            creation_time: Timestamp(time),
            last_used: Timestamp(time),
        };
        for digit in ["a", "b", "c"] {
            store.begin_session(key(digit), at(10), Timestamp(0)).await.unwrap();
        }
        store.session_used(key("b"), Timestamp(20)).await.unwrap();
        store.session_used(key("b"), Timestamp(15)).await.unwrap();
        assert_eq!(store.session(&key("b")).unwrap().unwrap().last_used, Timestamp(20));
        store.end_session(key("a")).await.unwrap();
        store.session_used(key("a"), Timestamp(30)).await.unwrap();
        assert_eq!(store.session(&key("a")).unwrap(), None);
        store.begin_session(key("d"), at(21), Timestamp(20)).await.unwrap();
        assert_eq!(store.session(&key("c")).unwrap(), None, "it was stale");
        assert!(store.session(&key("b")).unwrap().is_some());
        store.end_sessions_of(UserId(1)).await.unwrap();
        assert_eq!((store.session(&key("b")).unwrap(), store.session(&key("d")).unwrap()), (None, None));
        store.close();
    }
}
