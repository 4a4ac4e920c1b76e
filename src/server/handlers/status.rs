//! Routes that say how the server is.

use serde_json::json;
use warp::http::HeaderValue;
use warp::http::header::CONTENT_TYPE;
use warp::reply::Response;

use crate::server::error::ApiError;
use crate::server::metrics;
use crate::server::request::{Call, ok};

/// Says that the server answers; looks at nothing else (contract §11).
pub(crate) async fn healthz(_call: &mut Call) -> Result<Response, ApiError> {
    ok(&json!({"status": "ok"}))
}

/// Says whether it can do its work: the database is writable and the disk has headroom left; else 503.
pub(crate) async fn readyz(call: &mut Call) -> Result<Response, ApiError> {
    match metrics::ready(&call.app).await {
        Ok(()) => ok(&json!({"status": "ready"})),
        Err(sentence) => Err(ApiError::unavailable(&sentence)),
    }
}

/// Tells monitoring everything, in Prometheus' text format.
pub(crate) async fn metrics(call: &mut Call) -> Result<Response, ApiError> {
    let mut response = Response::new(metrics::render(&call.app).await?.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    Ok(response)
}

/// Describes this interface, in OpenAPI 3.1.
pub(crate) async fn openapi(_call: &mut Call) -> Result<Response, ApiError> {
    ok(&*crate::server::openapi::DOCUMENT)
}

/// Stands in the rows of paths that take no method, and so is never called.
pub(crate) async fn nothing(_call: &mut Call) -> Result<Response, ApiError> {
    Err(ApiError::method_not_allowed(""))
}
