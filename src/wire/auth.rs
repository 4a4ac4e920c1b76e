//! The bodies of `/v1/auth/…` (contract §2).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Asks for a pair of tokens: the body of `POST /v1/auth/obtain`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct Credentials {
    /// Name of the user.
    pub username: String,
    /// Password of the user, in clear.
    pub password: String,
}

/// Hides the password, since requests end up in logs.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// The answer of `obtain`: one token for calls, one to get the next with.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// Goes into `Authorization: Bearer …`; runs out after minutes.
    pub access: String,
    /// Goes into `POST /v1/auth/refresh`; runs out after hours.
    pub refresh: String,
}

/// Asks for the next access token: the body of `POST /v1/auth/refresh`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct Refresh {
    /// A refresh token that `obtain` gave.
    pub refresh: String,
}

/// The answer of `refresh`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct Access {
    /// The new access token.
    pub access: String,
}

/// Asks whether a token is valid: the body of `POST /v1/auth/verify`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct Verify {
    /// A token of either kind.
    pub token: String,
}
