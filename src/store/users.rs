//! Users: who they are, and what their passwords are checked against (contract §4).

use rusqlite::{Connection, Row, params};

use super::error::is_unique_violation;
use super::filter::USERS;
use super::list::Listing;
use super::offline::Offline;
use super::{Error, Store, WriteTx, found};
use crate::domain::fields::Problems;
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;
use crate::wire;

/// The columns of a user's JSON, over `users AS t`; read by [`from_row`].
const COLUMNS: &str = "t.pk, t.username, t.first_name, t.last_name, t.email, t.is_active, t.is_staff, t.is_superuser, \
     t.date_joined, t.last_login";

/// Reads a row of [`COLUMNS`].
fn from_row(row: &Row<'_>) -> rusqlite::Result<wire::User> {
    Ok(wire::User {
        pk: row.get(0)?,
        username: row.get(1)?,
        first_name: row.get(2)?,
        last_name: row.get(3)?,
        email: row.get(4)?,
        is_active: row.get(5)?,
        is_staff: row.get(6)?,
        is_superuser: row.get(7)?,
        date_joined: row.get(8)?,
        last_login: row.get(9)?,
    })
}

/// Says how users are listed.
pub fn listing() -> Listing<wire::User> {
    Listing::new(&USERS, COLUMNS, from_row)
}

/// What a login is checked against.
pub struct Login {
    /// The user.
    pub pk: UserId,
    /// The password's hash, as a PHC string.
    pub password_hash: String,
    /// Whether the user may come in at all.
    pub is_active: bool,
    /// The count of password changes and deactivations, which goes into the tokens.
    pub credentials: i64,
}

/// A user on its way into the table, its values checked already.
pub struct NewUser {
    /// The name to log in with; its being taken is found out here.
    pub username: String,
    /// The password's hash, as a PHC string.
    pub password_hash: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// E-mail address, or empty.
    pub email: String,
    /// Whether it may log in.
    pub is_active: bool,
    /// Whether it belongs to the staff.
    pub is_staff: bool,
}

/// What is to change of a user; `None` leaves a field as it is.
#[derive(Default)]
pub struct UserChanges {
    /// The name to log in with.
    pub username: Option<String>,
    /// The new password's hash, as a PHC string; tokens from before are void.
    pub password_hash: Option<String>,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// E-mail address, or empty.
    pub email: Option<String>,
    /// Whether it may log in; tokens from before a deactivation are void.
    pub is_active: Option<bool>,
    /// Whether it belongs to the staff.
    pub is_staff: Option<bool>,
}

impl Store {
    /// Says whether there is any user.
    pub fn has_users(&self) -> Result<bool, Error> {
        self.read(|connection| Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM users)", [], |row| row.get(0))?))
    }

    /// Makes the staff user `admin`, whose password has this hash.
    ///
    /// # Errors
    /// `Invalid` when there is one already.
    pub async fn create_first_user(&self, password_hash: String) -> Result<(), Error> {
        let admin = NewUser {
            username: "admin".to_owned(),
            password_hash,
            first_name: String::new(),
            last_name: String::new(),
            email: String::new(),
            is_active: true,
            is_staff: true,
        };
        self.write(move |tx| {
            let pk = insert(tx, &admin)?;
            tx.connection().execute("UPDATE users SET is_superuser = 1 WHERE pk = ?1", [pk])?;
            Ok(())
        })
        .await
    }

    /// Reads a user's name.
    pub fn username(&self, pk: UserId) -> Result<Option<String>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT username FROM users WHERE pk = ?1")?;
            found(statement.query_row([pk], |row| row.get(0)))
        })
    }

    /// Reads a user, active or not.
    pub fn user(&self, pk: UserId) -> Result<Option<wire::User>, Error> {
        self.read(|connection| read(connection, pk))
    }

    /// Reads the user of exactly this name, active or not.
    pub fn user_by_name(&self, name: &str) -> Result<Option<wire::User>, Error> {
        static SQL: std::sync::LazyLock<String> =
            std::sync::LazyLock::new(|| format!("SELECT {COLUMNS} FROM users AS t WHERE t.username = ?1"));
        self.read(|connection| found(connection.prepare_cached(&SQL)?.query_row([name], from_row)))
    }

    /// Reads what a login under this name is checked against.
    pub fn login(&self, name: &str) -> Result<Option<Login>, Error> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT pk, password_hash, is_active, credentials FROM users WHERE username = ?1")?;
            found(statement.query_row([name], |row| {
                Ok(Login {
                    pk: row.get(0)?,
                    password_hash: row.get(1)?,
                    is_active: row.get(2)?,
                    credentials: row.get(3)?,
                })
            }))
        })
    }

    /// Makes a user.
    ///
    /// # Errors
    /// `Invalid` when the name is taken.
    pub async fn create_user(&self, new: NewUser) -> Result<wire::User, Error> {
        self.write(move |tx| {
            let pk = insert(tx, &new)?;
            read(tx.connection(), pk)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Changes a user. A new password or a deactivation voids the user's tokens.
    ///
    /// # Errors
    /// `NotFound` when there is no such user, `Invalid` when the name is taken, `NotNow` when no active staff user
    /// would be left (contract §4).
    pub async fn update_user(&self, pk: UserId, changes: UserChanges) -> Result<wire::User, Error> {
        self.write(move |tx| {
            tx.note_changed_callers();
            update(tx, pk, &changes)?;
            read(tx.connection(), pk)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Writes down when users last logged in; never takes a time back.
    pub async fn set_last_logins(&self, times: Vec<(UserId, Timestamp)>) -> Result<(), Error> {
        self.write(move |tx| {
            let mut statement = tx.connection().prepare_cached(
                "UPDATE users SET last_login = ?2 WHERE pk = ?1 AND (last_login IS NULL OR last_login < ?2)",
            )?;
            for (user, time) in times {
                statement.execute(params![user, time])?;
            }
            Ok(())
        })
        .await
    }
}

impl Offline {
    /// Reads who was first of the staff users that may come in, and the count that goes into that user's tokens.
    pub fn first_active_staff(&self) -> Result<Option<(UserId, i64)>, Error> {
        let sql = "SELECT pk, credentials FROM users WHERE is_active = 1 AND is_staff = 1 ORDER BY pk LIMIT 1";
        found(self.connection().query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))))
    }
}

fn read(connection: &Connection, pk: UserId) -> Result<Option<wire::User>, Error> {
    static SQL: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("SELECT {COLUMNS} FROM users AS t WHERE t.pk = ?1"));
    found(connection.prepare_cached(&SQL)?.query_row([pk], from_row))
}

fn insert(tx: &WriteTx<'_>, new: &NewUser) -> Result<UserId, Error> {
    let NewUser { username, password_hash, first_name, last_name, email, is_active, is_staff } = new;
    tx.connection()
        .prepare_cached(
            "INSERT INTO users (username, password_hash, first_name, last_name, email, is_active, is_staff, date_joined)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![username, password_hash, first_name, last_name, email, is_active, is_staff, tx.now()])
        .map_err(taken)?;
    Ok(UserId(tx.connection().last_insert_rowid()))
}

fn update(tx: &WriteTx<'_>, pk: UserId, changes: &UserChanges) -> Result<(), Error> {
    let UserChanges { username, password_hash, first_name, last_name, email, is_active, is_staff } = changes;
    tx.connection()
        .prepare_cached(
            "UPDATE users SET
                 username = coalesce(?2, username),
                 password_hash = coalesce(?3, password_hash),
                 credentials = credentials + (?3 IS NOT NULL OR (is_active AND coalesce(?7, 1) = 0)),
                 first_name = coalesce(?4, first_name),
                 last_name = coalesce(?5, last_name),
                 email = coalesce(?6, email),
                 is_active = coalesce(?7, is_active),
                 is_staff = coalesce(?8, is_staff)
             WHERE pk = ?1",
        )?
        .execute(params![pk, username, password_hash, first_name, last_name, email, is_active, is_staff])
        .map_err(taken)?;
    let someone_left: bool = tx
        .connection()
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM users WHERE is_active AND is_staff)")?
        .query_row([], |row| row.get(0))?;
    if someone_left {
        return Ok(());
    }
    // The error takes the change back.
    let sentence = "This is the last active staff user; make another one first.".to_owned();
    Err(Error::NotNow { code: "last_staff_user", sentence })
}

/// Tells a taken name from other failures.
fn taken(error: rusqlite::Error) -> Error {
    if is_unique_violation(&error) {
        return Problems::one("username", "Another user has this name.").into();
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::time::SystemClock;

    const ADMIN: UserId = UserId(1);

    async fn store_with_admin(dir: &tempfile::TempDir) -> Store {
        let store = Store::open(&dir.path().join("labrun.db"), Arc::new(SystemClock)).unwrap();
        assert!(!store.has_users().unwrap());
        store.create_first_user("hash".to_owned()).await.unwrap();
        assert!(store.has_users().unwrap());
        store
    }

    fn staff(username: &str) -> NewUser {
        NewUser {
            username: username.to_owned(),
            password_hash: "hash".to_owned(),
            first_name: String::new(),
            last_name: String::new(),
            email: String::new(),
            is_active: true,
            is_staff: true,
        }
    }

    #[tokio::test]
    async fn the_last_active_staff_user_stays_whatever_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_with_admin(&dir).await;
        let deactivated = || UserChanges { is_active: Some(false), ..UserChanges::default() };
        let demoted = || UserChanges { is_staff: Some(false), ..UserChanges::default() };
        for changes in [deactivated(), demoted()] {
            let refused = store.update_user(ADMIN, changes).await;
            assert!(matches!(refused, Err(Error::NotNow { code: "last_staff_user", .. })), "{refused:?}");
        }
        let admin = store.user(ADMIN).unwrap().unwrap();
        assert!(admin.is_active && admin.is_staff);

        // Inactive staff is nobody to rely on; active staff is.
        let other = store.create_user(NewUser { is_active: false, ..staff("grace") }).await.unwrap().pk;
        store.update_user(ADMIN, demoted()).await.unwrap_err();
        store.update_user(other, UserChanges { is_active: Some(true), ..UserChanges::default() }).await.unwrap();
        store.update_user(ADMIN, demoted()).await.unwrap();
        store.update_user(other, deactivated()).await.unwrap_err();
    }

    #[tokio::test]
    async fn new_passwords_and_deactivations_void_tokens_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_with_admin(&dir).await;
        let ada = store.create_user(staff("ada")).await.unwrap().pk;
        let count = || store.login("ada").unwrap().unwrap().credentials;
        let change = |changes| store.update_user(ada, changes);
        let first = count();
        change(UserChanges { email: Some("a@b".to_owned()), ..UserChanges::default() }).await.unwrap();
        change(UserChanges { is_active: Some(true), ..UserChanges::default() }).await.unwrap();
        assert_eq!(count(), first);
        change(UserChanges { password_hash: Some("other".to_owned()), ..UserChanges::default() }).await.unwrap();
        assert_eq!(count(), first + 1);
        change(UserChanges { is_active: Some(false), ..UserChanges::default() }).await.unwrap();
        assert_eq!(count(), first + 2);
        change(UserChanges { is_active: Some(true), ..UserChanges::default() }).await.unwrap();
        assert_eq!(count(), first + 2);
    }

    #[tokio::test]
    async fn a_taken_name_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_with_admin(&dir).await;
        let Err(Error::Invalid(problems)) = store.create_user(staff("admin")).await else { panic!("it was taken") };
        assert!(problems.names().eq(["username"]));
    }

    #[tokio::test]
    async fn last_logins_never_go_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_with_admin(&dir).await;
        store.set_last_logins(vec![(ADMIN, Timestamp(20))]).await.unwrap();
        store.set_last_logins(vec![(ADMIN, Timestamp(10)), (UserId(99), Timestamp(10))]).await.unwrap();
        assert_eq!(store.user(ADMIN).unwrap().unwrap().last_login, Some(Timestamp(20)));
    }
}
