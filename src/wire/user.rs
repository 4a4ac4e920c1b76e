//! Users (contract §4).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

/// A user; the password is never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// Its key.
    pub pk: UserId,
    /// The name to log in with.
    pub username: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// E-mail address.
    pub email: String,
    /// Whether it may log in.
    pub is_active: bool,
    /// Whether it belongs to the staff.
    pub is_staff: bool,
    /// Kept for older clients; gives no further rights.
    pub is_superuser: bool,
    /// When it was made.
    pub date_joined: Timestamp,
    /// When it last logged in.
    pub last_login: Option<Timestamp>,
}

/// Asks for a user: the body of `POST /v1/users/create`.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct NewUser {
    /// The name to log in with.
    pub username: String,
    /// The password, 8 characters or more.
    pub password: String,
    /// First name.
    #[serde(default)]
    pub first_name: String,
    /// Last name.
    #[serde(default)]
    pub last_name: String,
    /// E-mail address.
    #[serde(default)]
    pub email: String,
    /// Whether it belongs to the staff.
    #[serde(default)]
    pub is_staff: bool,
}
