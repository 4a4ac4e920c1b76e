//! Bytes by their SHA-256 (contract §11).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known about bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blob {
    /// Their SHA-256, in lower-case hex.
    pub sha256: String,
    /// How long they are, in bytes.
    pub size: u64,
}
