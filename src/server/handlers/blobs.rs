//! Bytes by their SHA-256, before or without any output that names them (contract §11).

use warp::http::StatusCode;
use warp::reply::Response;

use super::outputs::{announced_digest, receive};
use crate::blobs::{Digest, Held};
use crate::server::download::content_disposition;
use crate::server::error::ApiError;
use crate::server::request::{Call, json};
use crate::server::send::send;
use crate::wire::Blob;

/// `PUT /v1/blobs/{SHA256}`: 200 at once if the bytes are here, else 201 once they are durable. Either way they wait
/// a day for something to name them.
pub(crate) async fn put(call: &mut Call) -> Result<Response, ApiError> {
    let digest = digest_in_path(call)?;
    if announced_digest(&call.headers)?.is_some_and(|announced| announced != digest) {
        return Err(ApiError::bad_request("digest_mismatch", "The digest header and the path differ."));
    }
    if let Some(held) = call.app.blobs.hold(digest).await.map_err(ApiError::internal)? {
        let response = keep(call, &held, StatusCode::OK).await?;
        if !call.expects_continue() {
            // The client sends already. It would never see an answer on a connection that is cut under it.
            call.body.drain().await;
        }
        return Ok(response);
    }
    let held = receive(call, Some(digest)).await?;
    keep(call, &held, StatusCode::CREATED).await
}

/// `GET` and `HEAD /v1/blobs/{SHA256}`.
pub(crate) async fn get(call: &mut Call) -> Result<Response, ApiError> {
    let digest = digest_in_path(call)?;
    let size = call.app.blobs.size_of(digest).await.map_err(ApiError::internal)?.ok_or_else(ApiError::not_found)?;
    let file_name = content_disposition(&digest.to_string(), None);
    send(&call.app, &call.method, call.headers.clone(), digest, size, &file_name).await
}

/// Writes down that the bytes wait for a name, which is what keeps them from the sweep once the hold is gone.
pub(in crate::server) async fn keep(call: &mut Call, held: &Held, status: StatusCode) -> Result<Response, ApiError> {
    let sha256 = held.digest().to_string();
    call.app.store.await_name(sha256.clone()).await?;
    Ok(json(status, &Blob { sha256, size: held.size_bytes() }))
}

fn digest_in_path(call: &Call) -> Result<Digest, ApiError> {
    call.param(0).parse().map_err(|_| ApiError::no_such_path())
}
