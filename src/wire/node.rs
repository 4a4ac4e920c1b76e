//! Worker nodes (contract §4).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{JobId, NodeId, UserId};
use crate::domain::time::Timestamp;

/// A worker node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Its key; calls made for it carry it as `Node-Id`.
    pub pk: NodeId,
    /// Address or name of its machine, 1 to 39 characters.
    pub ip: String,
    /// Tells apart the nodes of one machine, 0 to 32,767.
    pub index: i64,
    /// Version of its graphics driver, at most 16 characters.
    pub driver_version: Option<String>,
    /// Key of its GPU's hardware generation.
    pub hardware_generation: Option<i64>,
    /// Memory of its GPU, in bytes.
    pub gpu_mem: Option<i64>,
    /// Memory of its machine, in bytes.
    pub cpu_mem: i64,
    /// When it last called.
    pub last_seen: Option<Timestamp>,
    /// The job it works on.
    pub current_job: Option<JobId>,
    /// The user who made it, and who alone may act for it beside the staff.
    pub creator: UserId,
}

/// Asks for a node: the body of `POST /v1/nodes/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewNode {
    /// Address or name of its machine, 1 to 39 characters.
    pub ip: String,
    /// Tells apart the nodes of one machine, 0 to 32,767.
    pub index: i64,
    /// Version of its graphics driver, at most 16 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_version: Option<String>,
    /// Key of its GPU's hardware generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_generation: Option<i64>,
    /// Memory of its GPU, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_mem: Option<i64>,
    /// Memory of its machine, in bytes.
    pub cpu_mem: i64,
}
