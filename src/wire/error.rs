//! The body of every answer that says no (contract §1).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::fields::Problems;

/// Says what was wrong, once for people and once for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// One sentence for people.
    pub detail: String,
    /// The kind of error in snake case, for programs.
    pub code: String,
    /// What was wrong with each field, when single fields were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Problems>,
}
