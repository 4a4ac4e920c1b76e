//! Bytes on their way out, as a request's conditional and range headers ask for them (contract §8).

use futures_util::{Stream, StreamExt};
use warp::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::reply::Response;

use super::App;
use super::download::{self, Plan};
use super::error::ApiError;
use crate::blobs::Digest;

/// Sends bytes as the request's headers ask for them. `file_name` is the value of `Content-Disposition`.
///
/// # Errors
/// 412 and 416 as the headers ask for, 404 `bytes_lost` when the bytes were found damaged and set aside.
pub(crate) async fn send(
    app: &App,
    method: &Method,
    mut headers: HeaderMap,
    digest: Digest,
    size: u64,
    file_name: &str,
) -> Result<Response, ApiError> {
    if method != Method::GET {
        // A range is defined for GET alone.
        headers.remove(RANGE);
    }
    let plan = download::plan(&headers, size, &digest);
    let (status, first, length) = match plan {
        Plan::Whole => (StatusCode::OK, 0, size),
        Plan::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Plan::NotModified => (StatusCode::NOT_MODIFIED, 0, 0),
        Plan::PreconditionFailed => {
            let detail = "The bytes are not those of the If-Match header.";
            return Err(ApiError::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail));
        }
        Plan::Unsatisfiable => {
            let detail = format!("The range lies outside the {size} bytes.");
            let range = HeaderValue::from_str(&format!("bytes */{size}")).map_err(ApiError::internal)?;
            let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", detail);
            return Err(error.with(CONTENT_RANGE, range));
        }
    };
    let mut response = Response::default();
    if status != StatusCode::NOT_MODIFIED {
        let found = app.blobs.open_read(digest).await.map_err(ApiError::internal)?;
        let Some(reader) = found else { return Err(gone(app, digest)) };
        if method != Method::HEAD {
            let pieces = shared(reader.stream(first, length));
            response = warp::reply::Reply::into_response(warp::reply::stream(pieces));
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CONTENT_DISPOSITION, HeaderValue::from_str(file_name).map_err(ApiError::internal)?);
        let digest = HeaderValue::from_str(&digest.content_digest()).map_err(ApiError::internal)?;
        // A part's own digest is not known; RFC 9530 has a field of its own for that of the whole.
        if status == StatusCode::OK {
            headers.insert("content-digest", digest.clone());
        }
        headers.insert("repr-digest", digest);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {first}-{}/{size}", first + length - 1);
        response.headers_mut().insert(CONTENT_RANGE, HeaderValue::from_str(&range).map_err(ApiError::internal)?);
    }
    let etag = HeaderValue::from_str(&download::etag(&digest)).map_err(ApiError::internal)?;
    response.headers_mut().insert(ETAG, etag);
    *response.status_mut() = status;
    Ok(response)
}

/// Tells why bytes that a row names are not there: `labrun verify --repair` set them aside, or something worse.
fn gone(app: &App, digest: Digest) -> ApiError {
    match app.store.damage_of(&digest.to_string()) {
        Ok(Some(time)) => {
            let detail = format!(
                "These bytes were found damaged on {time} and set aside; uploading the same bytes again restores them."
            );
            ApiError::new(StatusCode::NOT_FOUND, "bytes_lost", detail)
        }
        Ok(None) => ApiError::internal(format!("the bytes {digest} are gone")),
        Err(error) => error.into(),
    }
}

/// Makes a stream `Sync`, as warp wants its bodies: a mutex that is never locked, since only `&mut` reaches in.
fn shared<S: Stream + Unpin + Send>(stream: S) -> impl Stream<Item = S::Item> + Send + Sync {
    let mut stream = std::sync::Mutex::new(stream);
    futures_util::stream::poll_fn(move |context| {
        stream.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).poll_next_unpin(context)
    })
}
