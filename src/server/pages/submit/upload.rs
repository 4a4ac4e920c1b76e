//! Files that a page sends ahead of its form, to show how far they are.

use warp::http::StatusCode;
use warp::reply::Response;

use crate::server::error::ApiError;
use crate::server::handlers::{blobs, outputs};
use crate::server::pages::form;
use crate::server::request::Call;

/// `POST /uploads`: keeps the bytes of the body, in constant memory, and tells their digest. They wait a day for a job
/// to name them.
///
/// # Errors
/// 415 for a form, whose fields would else be taken for a file.
pub(in crate::server) async fn upload(call: &mut Call) -> Result<Response, ApiError> {
    if form::is_form(call) || form::has_files(call) {
        let detail = "This takes the bytes of a file as they are (application/octet-stream).";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
    }
    let held = outputs::receive(call, None).await?;
    blobs::keep(call, &held, StatusCode::CREATED).await
}
