//! Resumable uploads (tus 1.0.0), as they are shown to people and programs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{JobId, OutputId, UploadId, UserId};
use crate::domain::time::Timestamp;

/// An upload that comes in pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upload {
    /// Its key.
    pub pk: UploadId,
    /// The job that it adds an output to; none for bytes that nothing names yet.
    pub job: Option<JobId>,
    /// The output's name.
    pub name: Option<String>,
    /// The output's type.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// How long it will be, in bytes.
    pub size: u64,
    /// How many bytes are here and on disk.
    pub received: u64,
    /// The SHA-256 in hex: what was announced, or what all of its bytes have.
    pub sha256: Option<String>,
    /// Who began it.
    pub creator: UserId,
    /// When it was begun.
    pub creation_time: Timestamp,
    /// When it is forgotten.
    pub expiry_time: Timestamp,
    /// When all of it was here, and what it was for was done.
    pub finished_time: Option<Timestamp>,
    /// The output that came of it.
    pub output: Option<OutputId>,
}
