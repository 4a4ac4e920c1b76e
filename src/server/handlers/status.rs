//! Routes that say how the server is.

use serde_json::json;
use warp::reply::Response;

use crate::server::error::ApiError;
use crate::server::request::{Call, ok};

/// Says that the server answers; looks at nothing else (contract §11).
pub(crate) async fn healthz(_call: &mut Call) -> Result<Response, ApiError> {
    ok(&json!({"status": "ok"}))
}

/// Stands in the rows of paths that take no method, and so is never called.
pub(crate) async fn nothing(_call: &mut Call) -> Result<Response, ApiError> {
    Err(ApiError::method_not_allowed(""))
}
