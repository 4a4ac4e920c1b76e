//! API tokens: long-lived, for workers and scripts that should not hold a password.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{NodeId, UserId};
use crate::domain::time::Timestamp;

/// What is known about an API token; the token itself is shown once, when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiToken {
    /// Its key.
    pub pk: i64,
    /// Whose it is: calls with it are this user's.
    pub user: UserId,
    /// What people call it, 1 to 100 characters.
    pub name: String,
    /// The one node it may act for; calls with it need no `Node-Id`.
    pub node: Option<NodeId>,
    /// Whether it may only read.
    pub read_only: bool,
    /// Who made it.
    pub creator: UserId,
    /// When it was made.
    pub creation_time: Timestamp,
    /// When it runs out; never, when null.
    pub expiry_time: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_time: Option<Timestamp>,
}

/// A new token: all that is known about it, and the token, which is shown this once.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct MadeApiToken {
    /// What is known about it, beside the token in the JSON.
    #[serde(flatten)]
    pub about: ApiToken,
    /// Goes into `Authorization: Bearer …`.
    pub token: String,
}

/// Asks for a token: the body of `POST /v1/auth/tokens`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewApiToken {
    /// What people call it, 1 to 100 characters.
    pub name: String,
    /// Whose it is; the caller's when left out. Only staff make tokens for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The one node it may act for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Whether it may only read.
    #[serde(default)]
    pub read_only: bool,
    /// Seconds until it runs out, 1 to 3,153,600,000; never, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<i64>,
}
