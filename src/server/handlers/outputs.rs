//! Job outputs: streamed in, streamed out (contract §8).

use warp::http::header::CONTENT_LENGTH;
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::Response;

use super::claims::attempt_said;
use super::lists;
use crate::blobs::{Digest, Held, WriteError};
use crate::domain::ids::{JobId, OutputId};
use crate::server::download::content_disposition;
use crate::server::error::ApiError;
use crate::server::request::{Call, TUS_RESUMABLE, no_content, ok};
use crate::server::send::send;
use crate::server::tasks::{Pulse, reclaim};
use crate::store::outputs::{Adder, NewOutput, listing};
use crate::wire::Output;

const NAME_CHARS_MAX: usize = 200;
const TYPE_CHARS_MAX: usize = 500;

/// `POST /v1/job-outputs/list`.
pub(crate) async fn list(call: &mut Call) -> Result<Response, ApiError> {
    lists::list(call, listing(), |output| output).await
}

/// `GET /v1/job-outputs/{PK}`.
pub(crate) async fn retrieve(call: &mut Call) -> Result<Response, ApiError> {
    ok(&by_key(call)?)
}

/// `GET /v1/jobs/{PK}/outputs/{NAME}/{TYPE}/info`.
pub(crate) async fn info(call: &mut Call) -> Result<Response, ApiError> {
    ok(&by_name(call)?)
}

/// `POST /v1/jobs/{PK}/outputs/{NAME}/{TYPE}`: bytes first, then the row, then the answer. With the header
/// `Tus-Resumable` it begins an upload in pieces.
pub(crate) async fn add(call: &mut Call) -> Result<Response, ApiError> {
    if call.headers.contains_key(TUS_RESUMABLE) {
        return super::uploads::begin_output(call).await;
    }
    let job = JobId(call.pk());
    let (name, type_name) = named_output(call)?;
    let expected = announced_digest(&call.headers)?;
    let by = adder(call)?;
    // Asked again by the writer; asked here so that bytes that can't be taken are not read.
    call.app.store.may_add_output(job, by, call.app.clock.now())?;

    let held = match call.query_param("blob") {
        Some(text) => known_bytes(call, &text, expected).await?,
        None => receive(call, expected).await?,
    };
    // The lease runs on from the last of the bytes, however long it took to write them down.
    super::jobs::note_sign_of_life(call);
    let sha256 = held.digest().to_string();
    let size = i64::try_from(held.size_bytes()).map_err(ApiError::internal)?;
    let new = NewOutput { job, name, type_name, size, sha256: sha256.clone() };
    let added = call.app.store.add_output(new, by).await;
    drop(held);
    if added.is_err() {
        reclaim(&call.app, vec![sha256]);
    }
    ok(&added?)
}

/// Takes a hold on the bytes that `?blob=sha256:HEX` names, so that they need not be sent again (contract §11).
async fn known_bytes(call: &mut Call, text: &str, expected: Option<Digest>) -> Result<Held, ApiError> {
    let digest = text.strip_prefix("sha256:").and_then(|hex| hex.parse::<Digest>().ok());
    let digest = digest.ok_or_else(|| ApiError::field("blob", "Must be sha256: and 64 hex digits."))?;
    if expected.is_some_and(|expected| expected != digest) {
        return Err(ApiError::bad_request("digest_mismatch", "The digest header and the blob named differ."));
    }
    let held = call.app.blobs.hold(digest).await.map_err(ApiError::internal)?;
    let held = held.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "no_such_blob", "The server does not have these bytes; send them.")
    })?;
    if call.app.output_bytes_max.is_some_and(|limit_bytes| held.size_bytes() > limit_bytes) {
        return Err(ApiError::too_large(call.app.output_bytes_max.unwrap_or_default()));
    }
    Ok(held)
}

/// Takes the body's bytes; when this returns they are durable. As they come they renew the leases of the caller's node.
///
/// # Errors
/// 413, 507 and the 400 of a digest that is not that of the bytes. Nothing is kept then.
pub(in crate::server) async fn receive(call: &mut Call, expected: Option<Digest>) -> Result<Held, ApiError> {
    let mut writer = call.app.blobs.writer(call.app.output_bytes_max);
    if let Some(length) = content_length(&call.headers) {
        writer.announce(length).map_err(write_error)?;
    }
    if let Some(expected) = expected {
        writer.expect(expected);
    }
    let mut pulse = Pulse::of(call.caller().ok().and_then(|caller| caller.node));
    while let Some(piece) = call.body.next().await? {
        pulse.beat(&call.app);
        writer.write(piece).await.map_err(write_error)?;
    }
    writer.finish().await.map_err(write_error)
}

/// `GET /v1/jobs/{PK}/outputs/{NAME}/{TYPE}`.
pub(crate) async fn get(call: &mut Call) -> Result<Response, ApiError> {
    let output = by_name(call)?;
    send_output(call, &output, None).await
}

/// `POST` or `GET /v1/job-outputs/{PK}/download`.
pub(crate) async fn download(call: &mut Call) -> Result<Response, ApiError> {
    let output = by_key(call)?;
    let body = if call.method == Method::POST { call.json().await? } else { Default::default() };
    let extension = match body.get("filetype") {
        None => None,
        Some(serde_json::Value::String(filetype)) => Some(filetype.clone()),
        Some(other) => {
            let kind = crate::domain::fields::kind_of(other);
            return Err(ApiError::field("filetype", format!("Must be a text, not {kind}.")));
        }
    };
    send_output(call, &output, extension.as_deref()).await
}

/// `DELETE /v1/jobs/{PK}/outputs/{NAME}/{TYPE}`.
pub(crate) async fn delete(call: &mut Call) -> Result<Response, ApiError> {
    let (name, type_name) = (call.param(1).to_owned(), call.param(2).to_owned());
    ok(&call.app.store.delete_live_output(JobId(call.pk()), name, type_name).await?)
}

/// `DELETE /v1/job-outputs/{PK}`.
pub(crate) async fn destroy(call: &mut Call) -> Result<Response, ApiError> {
    call.app.store.set_output_deleted(OutputId(call.pk()), true).await?;
    no_content()
}

/// `DELETE /v1/job-outputs/{PK}/reinstate`.
pub(crate) async fn reinstate(call: &mut Call) -> Result<Response, ApiError> {
    ok(&call.app.store.set_output_deleted(OutputId(call.pk()), false).await?)
}

/// `DELETE /v1/job-outputs/{PK}/hard`.
pub(crate) async fn hard(call: &mut Call) -> Result<Response, ApiError> {
    let was = call.app.store.purge_output(OutputId(call.pk())).await?;
    reclaim(&call.app, vec![was.sha256.clone()]);
    ok(&was)
}

async fn send_output(call: &mut Call, output: &Output, extension: Option<&str>) -> Result<Response, ApiError> {
    let digest: Digest = output.sha256.parse().map_err(|_| ApiError::internal("a row's digest can't be read"))?;
    let size = u64::try_from(output.size).map_err(ApiError::internal)?;
    let file_name = content_disposition(&output.name, extension);
    send(&call.app, &call.method, call.headers.clone(), digest, size, &file_name).await
}

fn by_key(call: &Call) -> Result<Output, ApiError> {
    call.app.store.output(OutputId(call.pk()))?.ok_or_else(ApiError::not_found)
}

fn by_name(call: &Call) -> Result<Output, ApiError> {
    let found = call.app.store.live_output(JobId(call.pk()), call.param(1), call.param(2))?;
    found.ok_or_else(ApiError::not_found)
}

/// Reads the name and the type of the output in the path.
pub(super) fn named_output(call: &Call) -> Result<(String, String), ApiError> {
    let (name, type_name) = (call.param(1).to_owned(), call.param(2).to_owned());
    check_text("name", &name, NAME_CHARS_MAX)?;
    check_text("type", &type_name, TYPE_CHARS_MAX)?;
    Ok((name, type_name))
}

/// Says who adds an output; that its node calls renews the node's leases.
pub(super) fn adder(call: &Call) -> Result<Adder, ApiError> {
    let caller = call.caller()?;
    let attempt = attempt_said(call)?;
    super::jobs::note_sign_of_life(call);
    Ok(Adder { user: caller.user, is_staff: caller.is_staff, node: caller.node, attempt })
}

/// Takes a name or type of an output as it is, unless it is too long or has control characters.
fn check_text(field: &str, text: &str, chars_max: usize) -> Result<(), ApiError> {
    if !(1..=chars_max).contains(&text.chars().count()) {
        return Err(ApiError::field(field, format!("Must have 1 to {chars_max} characters.")));
    }
    if text.chars().any(char::is_control) {
        return Err(ApiError::field(field, "Must not hold control characters."));
    }
    Ok(())
}

/// Reads the digest that the client says its bytes have, from either header.
pub(super) fn announced_digest(headers: &HeaderMap) -> Result<Option<Digest>, ApiError> {
    let bad = |header: &str| ApiError::bad_request("bad_digest", format!("The header {header} can't be read."));
    let mut lines = Vec::new();
    for line in headers.get_all("content-digest") {
        lines.push(line.to_str().map_err(|_| bad("Content-Digest"))?);
    }
    let by_field = Digest::from_content_digest(&lines.join(",")).map_err(|_| bad("Content-Digest"))?;
    let by_hex = match headers.get("x-content-sha256") {
        None => None,
        Some(hex) => {
            let digest = hex.to_str().ok().and_then(|hex| hex.parse::<Digest>().ok());
            Some(digest.ok_or_else(|| bad("X-Content-SHA256"))?)
        }
    };
    match (by_field, by_hex) {
        (Some(one), Some(other)) if one != other => {
            Err(ApiError::bad_request("digest_mismatch", "The two digest headers differ."))
        }
        (one, other) => Ok(one.or(other)),
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Tells why bytes were not taken.
pub(crate) fn write_error(error: WriteError) -> ApiError {
    match error {
        WriteError::TooLarge { limit_bytes } => ApiError::too_large(limit_bytes),
        WriteError::Mismatch { actual } => {
            let detail = format!("The bytes that came have the SHA-256 {actual}, not the one announced.");
            ApiError::bad_request("digest_mismatch", detail)
        }
        WriteError::NoSpace | WriteError::NoHeadroom { .. } => ApiError::no_space(),
        WriteError::Io(error) => ApiError::internal(error),
    }
}
