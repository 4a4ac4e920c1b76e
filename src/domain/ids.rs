//! Primary keys, one type each, so that a job's key can't be passed where a node's is wanted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Declares the newtypes; each holds a positive `i64` that is never used again after its row is gone (contract §1).
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// Key of a job.
    JobId,
    /// Key of a job output.
    OutputId,
    /// Key of a worker node.
    NodeId,
    /// Key of a user.
    UserId,
    /// Key of a job template.
    TemplateId,
    /// Key of a resumable upload.
    UploadId,
}
