//! The reads behind permissions: who a token or a `Node-Id` stands for, and how a caller stands to an object.

use rusqlite::Connection;

use super::{Error, Store, found};
use crate::domain::ids::{JobId, NodeId, UserId};

/// A user, as a token is checked against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserAccess {
    /// Whether the user may come in at all.
    pub is_active: bool,
    /// Whether the user is staff.
    pub is_staff: bool,
    /// The count of password changes and deactivations; a token of another count is void.
    pub credentials: i64,
}

/// A job, as calls for it are checked against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobAccess {
    /// The node that holds it.
    pub holder: Option<NodeId>,
    /// Whether it is a meta-job.
    pub is_meta: bool,
    /// Who made it.
    pub creator: UserId,
}

/// The tables whose rows paths name by key.
#[derive(Debug, Clone, Copy)]
pub enum Table {
    /// Job outputs.
    Outputs,
    /// Job templates.
    Templates,
    /// Nodes.
    Nodes,
    /// Users.
    Users,
}

impl Store {
    /// Reads what a token of this user is checked against.
    pub fn user_access(&self, user: UserId) -> Result<Option<UserAccess>, Error> {
        let read = |connection: &Connection| {
            let mut statement =
                connection.prepare_cached("SELECT is_active, is_staff, credentials FROM users WHERE pk = ?1")?;
            found(statement.query_row([user], |row| {
                Ok(UserAccess { is_active: row.get(0)?, is_staff: row.get(1)?, credentials: row.get(2)? })
            }))
        };
        self.callers.user(user, || self.read(read))
    }

    /// Reads who made a node.
    pub fn node_creator(&self, node: NodeId) -> Result<Option<UserId>, Error> {
        let read = |connection: &Connection| {
            let mut statement = connection.prepare_cached("SELECT creator FROM nodes WHERE pk = ?1")?;
            found(statement.query_row([node], |row| row.get(0)))
        };
        self.callers.node_creator(node, || self.read(read))
    }

    /// Reads what calls for a job are checked against; `None` when there is no such job.
    pub fn job_access(&self, job: JobId) -> Result<Option<JobAccess>, Error> {
        let read = |connection: &Connection| {
            let mut statement =
                connection.prepare_cached("SELECT node, kind = 'meta', creator FROM jobs WHERE pk = ?1")?;
            found(statement.query_row([job], |row| {
                Ok(JobAccess { holder: row.get(0)?, is_meta: row.get(1)?, creator: row.get(2)? })
            }))
        };
        self.callers.job(job, || self.read(read))
    }

    /// Says whether a job is the `current_job` of a node.
    pub fn works_on(&self, node: NodeId, job: JobId) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM nodes WHERE pk = ?1 AND current_job = ?2)";
        self.read(|connection| Ok(connection.prepare_cached(sql)?.query_row([node.0, job.0], |row| row.get(0))?))
    }

    /// Says whether a row is there.
    pub fn exists(&self, table: Table, pk: i64) -> Result<bool, Error> {
        let sql = match table {
            Table::Outputs => "SELECT EXISTS (SELECT 1 FROM job_outputs WHERE pk = ?1)",
            Table::Templates => "SELECT EXISTS (SELECT 1 FROM job_templates WHERE pk = ?1)",
            Table::Nodes => "SELECT EXISTS (SELECT 1 FROM nodes WHERE pk = ?1)",
            Table::Users => "SELECT EXISTS (SELECT 1 FROM users WHERE pk = ?1)",
        };
        self.read(|connection| has(connection, sql, pk))
    }
}

/// Runs a question about one key.
pub(super) fn has(connection: &Connection, sql: &str, pk: i64) -> Result<bool, Error> {
    Ok(connection.prepare_cached(sql)?.query_row([pk], |row| row.get(0))?)
}
