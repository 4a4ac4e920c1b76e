//! API tokens: long-lived, for programs that should not hold a password. Only their SHA-256 is kept.

use rusqlite::{Connection, Row, params};

use super::{Error, Store, found};
use crate::domain::fields::Problems;
use crate::domain::ids::{NodeId, UserId};
use crate::domain::time::Timestamp;
use crate::wire::token::ApiToken;

const COLUMNS: &str = "pk, user, name, node, read_only, creator, creation_time, expiry_time, revoked_time";

/// What a new token is to be.
#[derive(Debug, Clone)]
pub struct NewApiToken {
    /// Whose it is: calls with it are this user's.
    pub user: UserId,
    /// What people call it.
    pub name: String,
    /// The SHA-256 of the token, in hex.
    pub sha256: String,
    /// The one node it may act for.
    pub node: Option<NodeId>,
    /// Whether it may only read.
    pub read_only: bool,
    /// Who makes it.
    pub creator: UserId,
    /// When it runs out.
    pub expiry_time: Option<Timestamp>,
}

/// What a call with a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Whose call it is.
    pub user: UserId,
    /// The one node it may be made for.
    pub node: Option<NodeId>,
    /// Whether it may only read.
    pub read_only: bool,
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<ApiToken> {
    Ok(ApiToken {
        pk: row.get(0)?,
        user: row.get(1)?,
        name: row.get(2)?,
        node: row.get(3)?,
        read_only: row.get(4)?,
        creator: row.get(5)?,
        creation_time: row.get(6)?,
        expiry_time: row.get(7)?,
        revoked_time: row.get(8)?,
    })
}

fn by_key(connection: &Connection, pk: i64) -> Result<Option<ApiToken>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM api_tokens WHERE pk = ?1");
    found(connection.prepare_cached(&sql)?.query_row([pk], from_row))
}

impl Store {
    /// Keeps a new token.
    ///
    /// # Errors
    /// 400 when the user or the node is not there, or the node is neither the user's nor the user staff.
    pub async fn create_api_token(&self, new: NewApiToken) -> Result<ApiToken, Error> {
        self.write(move |tx| {
            let connection = tx.connection();
            let NewApiToken { user, name, sha256, node, read_only, creator, expiry_time } = &new;
            let is_staff: Option<bool> = found(
                connection
                    .prepare_cached("SELECT is_staff FROM users WHERE pk = ?1")?
                    .query_row([user], |row| row.get(0)),
            )?;
            let Some(is_staff) = is_staff else { return Err(Problems::one("user", "There is no such user.").into()) };
            if let Some(node) = node {
                let owner: Option<UserId> = found(
                    connection
                        .prepare_cached("SELECT creator FROM nodes WHERE pk = ?1")?
                        .query_row([node], |row| row.get(0)),
                )?;
                if !owner.is_some_and(|owner| is_staff || owner == *user) {
                    return Err(Problems::one("node", "The user has no such node.").into());
                }
            }
            connection
                .prepare_cached(
                    "INSERT INTO api_tokens (user, name, sha256, node, read_only, creator, creation_time, expiry_time)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )?
                .execute(params![user, name, sha256, node, read_only, creator, tx.now(), expiry_time])?;
            by_key(connection, connection.last_insert_rowid())?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Gives what a token with this SHA-256 may do at this time; `None` when there is none, or not any more.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn api_token_grant(&self, sha256: &str, now: Timestamp) -> Result<Option<Grant>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT user, node, read_only FROM api_tokens
                 WHERE sha256 = ?1 AND revoked_time IS NULL AND (expiry_time IS NULL OR expiry_time > ?2)",
            )?;
            found(statement.query_row(params![sha256, now], |row| {
                Ok(Grant { user: row.get(0)?, node: row.get(1)?, read_only: row.get(2)? })
            }))
        })
    }

    /// Reads a token's row.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn api_token(&self, pk: i64) -> Result<Option<ApiToken>, Error> {
        self.read(|connection| by_key(connection, pk))
    }

    /// Lists the tokens of a user, or of all, the revoked ones too.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn api_tokens(&self, user: Option<UserId>) -> Result<Vec<ApiToken>, Error> {
        self.read_long(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM api_tokens WHERE ?1 IS NULL OR user = ?1 ORDER BY pk");
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([user], from_row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Makes a token void from now on; one that is void already stays so.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn revoke_api_token(&self, pk: i64) -> Result<ApiToken, Error> {
        self.write(move |tx| {
            tx.connection()
                .prepare_cached("UPDATE api_tokens SET revoked_time = ?2 WHERE pk = ?1 AND revoked_time IS NULL")?
                .execute(params![pk, tx.now()])?;
            by_key(tx.connection(), pk)?.ok_or(Error::NotFound)
        })
        .await
    }
}
