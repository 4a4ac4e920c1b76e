//! Job outputs (contract §4, §8).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{JobId, OutputId, UserId};
use crate::domain::time::Timestamp;

/// What is known about an output's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Its key.
    pub pk: OutputId,
    /// The job that made it.
    pub job: JobId,
    /// Its name, 1 to 200 characters.
    pub name: String,
    /// Its type, 1 to 500 characters.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The user whose node uploaded it.
    pub creator: UserId,
    /// When it was uploaded.
    pub creation_time: Timestamp,
    /// When it was soft-deleted.
    pub deletion_time: Option<Timestamp>,
    /// How long it is, in bytes.
    pub size: i64,
    /// The SHA-256 of its bytes, in lower-case hex.
    pub sha256: String,
}
