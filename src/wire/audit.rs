//! Entries of the audit log: who did what from where.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Its key; keys rise with time and have no gaps.
    pub pk: i64,
    /// When it happened.
    pub time: Timestamp,
    /// Who did it, if that was known.
    pub user: Option<UserId>,
    /// The user's name as it was, or the name that a login tried.
    pub username: String,
    /// The address that the call came from.
    pub address: String,
    /// The action, by the name of its route.
    pub action: String,
    /// What it was done to: the path of the call.
    pub target: String,
    /// The status that was answered.
    pub status: i64,
    /// The `X-Request-Id` of the call, which the log has too.
    pub request: String,
    /// SHA-256 in hex over the entry before's and this one.
    pub hash: String,
}
