//! Resumable uploads over HTTP: tus 1.0.0, the core with its extensions creation, creation-with-upload, expiration,
//! checksum and termination.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::Sha256;
use sha2::digest::DynDigest;
use warp::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use warp::http::{HeaderMap, HeaderValue, StatusCode};
use warp::reply::Response;

use super::outputs::{adder, named_output, write_error};
use crate::blobs::{Blobs, Digest, Held};
use crate::domain::ids::{JobId, UploadId};
use crate::server::error::ApiError;
use crate::server::request::{Call, TUS_RESUMABLE, TUS_VERSION, json, no_content, ok};
use crate::server::uploads::{self, Checksum, Failure, Piece, Turn};
use crate::store::outputs::Adder;
use crate::store::uploads::{NewUpload, Upload};

/// What of tus there is beside its core.
const EXTENSIONS: &str = "creation,creation-with-upload,expiration,checksum,termination";
const CHECKSUM_ALGORITHMS: &str = "sha1,sha256";
/// The longest `Upload-Metadata`, in bytes.
const METADATA_BYTES_MAX: usize = 4_096;
/// When to come again while another call writes to the upload, in seconds.
const BUSY_WAIT_S: u64 = 1;

const TUS_VERSIONS: HeaderName = HeaderName::from_static("tus-version");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");

/// `OPTIONS /v1/uploads`: what of tus there is.
pub(crate) async fn discover(call: &mut Call) -> Result<Response, ApiError> {
    let mut response = no_content()?;
    let headers = response.headers_mut();
    headers.insert(TUS_RESUMABLE, HeaderValue::from_static(TUS_VERSION));
    headers.insert(TUS_VERSIONS, HeaderValue::from_static(TUS_VERSION));
    headers.insert("tus-extension", HeaderValue::from_static(EXTENSIONS));
    headers.insert("tus-checksum-algorithm", HeaderValue::from_static(CHECKSUM_ALGORITHMS));
    if let Some(bytes_max) = call.app.output_bytes_max {
        headers.insert("tus-max-size", HeaderValue::from(bytes_max));
    }
    Ok(response)
}

/// `GET /v1/uploads`: the caller's own, those that are done and not forgotten yet as well.
pub(crate) async fn list(call: &mut Call) -> Result<Response, ApiError> {
    ok(&call.app.store.uploads_of(call.caller()?.user).await?)
}

/// `GET` and `HEAD /v1/uploads/{PK}`: how far it is, for programs in the headers. All bytes are there when it is done,
/// and not before.
pub(crate) async fn retrieve(call: &mut Call) -> Result<Response, ApiError> {
    if call.method == warp::http::Method::HEAD {
        check_version(&call.headers)?;
    }
    let upload = present(call)?;
    let mut response = json(StatusCode::OK, &upload.shown);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(UPLOAD_LENGTH, HeaderValue::from(upload.shown.size));
    if !upload.metadata.is_empty() {
        headers.insert(UPLOAD_METADATA, HeaderValue::from_str(&upload.metadata).map_err(ApiError::internal)?);
    }
    tell_place(headers, &upload)?;
    Ok(response)
}

/// `POST /v1/jobs/{PK}/outputs/{NAME}/{TYPE}` with the header `Tus-Resumable`.
pub(crate) async fn begin_output(call: &mut Call) -> Result<Response, ApiError> {
    let (name, type_name) = named_output(call)?;
    let by = adder(call)?;
    let job = JobId(call.pk());
    call.app.store.may_add_output(job, by, call.app.clock.now())?;
    begin(call, Some((job, name, type_name)), by).await
}

/// `POST /v1/blobs`: bytes that nothing names yet.
pub(crate) async fn begin_blob(call: &mut Call) -> Result<Response, ApiError> {
    let by = adder(call)?;
    begin(call, None, by).await
}

/// Begins an upload; takes its first piece, if the call brings one.
async fn begin(call: &mut Call, output: Option<(JobId, String, String)>, by: Adder) -> Result<Response, ApiError> {
    check_version(&call.headers)?;
    let size = number(&call.headers, &UPLOAD_LENGTH)?;
    let stored_size = i64::try_from(size).map_err(|_| bad_header(&UPLOAD_LENGTH))?;
    let (metadata, announced) = metadata(&call.headers)?;
    let brings_bytes = is_offset_stream(&call.headers);
    if !brings_bytes && content_length(&call.headers).is_some_and(|length| length > 0) {
        return Err(wrong_media_type());
    }
    let app = call.app.clone();
    app.blobs.writer(app.output_bytes_max).check_limit(size).map_err(write_error)?;
    let held = bytes_here(&app.blobs, size, announced).await?;
    if held.is_none() {
        // What others have begun will need its room as well.
        let coming = size.saturating_add(app.store.upload_bytes_to_come()?);
        app.blobs.check_headroom(coming).map_err(write_error)?;
    }
    let sha256 = held.as_ref().map(Held::digest).or(announced).map(|digest| digest.to_string());
    let new = NewUpload { output, size: stored_size, sha256, metadata };
    let mut upload = app.store.begin_upload(new, by, app.upload_bounds, held.is_some()).await?;
    let done = held.is_some();
    drop(held);
    if brings_bytes && !done {
        let pk = upload.shown.pk;
        let turn = app.uploads.take(pk).ok_or_else(busy)?;
        upload = match receive(call, upload, by, turn).await {
            // The client does not learn where an upload is whose beginning was refused.
            Err(error) if !error.is("incomplete_body") => {
                uploads::forget(&app, pk).await?;
                return Err(error);
            }
            upload => upload?,
        };
    }
    let mut response = json(StatusCode::CREATED, &upload.shown);
    let location = format!("/v1/uploads/{}", upload.shown.pk);
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(&location).map_err(ApiError::internal)?);
    tell_place(response.headers_mut(), &upload)?;
    if brings_bytes && done && !call.expects_continue() {
        // The client sends already. It would never see an answer on a connection that is cut under it.
        call.body.drain().await;
    }
    Ok(response)
}

/// Takes a hold on all of the bytes, if they need not be sent: those of a known digest, or none at all.
async fn bytes_here(blobs: &Blobs, size: u64, announced: Option<Digest>) -> Result<Option<Held>, ApiError> {
    if size == 0 {
        let mut writer = blobs.writer(None);
        announced.into_iter().for_each(|digest| writer.expect(digest));
        return writer.finish().await.map(Some).map_err(write_error);
    }
    let Some(digest) = announced else { return Ok(None) };
    let held = blobs.hold(digest).await.map_err(ApiError::internal)?;
    match held {
        Some(held) if held.size_bytes() != size => {
            let detail = "The bytes with this SHA-256 have another length than the one announced.";
            Err(ApiError::bad_request("digest_mismatch", detail))
        }
        held => Ok(held),
    }
}

/// `PATCH /v1/uploads/{PK}`: the next piece.
pub(crate) async fn append(call: &mut Call) -> Result<Response, ApiError> {
    check_version(&call.headers)?;
    if !is_offset_stream(&call.headers) {
        return Err(wrong_media_type());
    }
    let offset = number(&call.headers, &UPLOAD_OFFSET)?;
    let by = adder(call)?;
    // Read once more under the turn: whoever had it before may have gone on.
    let turn = take_turn(call)?;
    let upload = present(call)?;
    if upload.shown.received != offset {
        let detail = format!("The upload is at {}, not at {offset}; go on from there.", upload.shown.received);
        let error = ApiError::new(StatusCode::CONFLICT, "offset_mismatch", detail);
        return Err(error.with(UPLOAD_OFFSET, HeaderValue::from(upload.shown.received)));
    }
    let upload = match upload.shown.finished_time {
        Some(_) => nothing_more(call).await.map(|()| upload)?,
        None => go_on(call, upload, by, turn).await?,
    };
    let mut response = no_content()?;
    tell_place(response.headers_mut(), &upload)?;
    Ok(response)
}

/// Refuses bytes behind the end of an upload that is done. Nothing at all may be sent there: a retry after a lost answer.
async fn nothing_more(call: &mut Call) -> Result<(), ApiError> {
    while let Some(piece) = call.body.next().await? {
        if !piece.is_empty() {
            return Err(ApiError::too_large(0));
        }
    }
    Ok(())
}

/// Goes on with an upload that is open.
async fn go_on(call: &mut Call, upload: Upload, by: Adder, turn: Turn) -> Result<Upload, ApiError> {
    // A caller who may not costs the upload nothing, as against a job that has moved on.
    if let Some(job) = upload.shown.job {
        call.app.store.may_add_output(job, by, call.app.clock.now())?;
    }
    if !upload.sealed {
        return receive(call, upload, by, turn).await;
    }
    // All bytes are here since an earlier call, whose end broke off.
    let finished = uploads::finish(&call.app, upload.shown.pk, None, by).await;
    if finished.as_ref().is_err_and(Failure::is_final) {
        uploads::forget(&call.app, upload.shown.pk).await?;
    }
    Ok(finished?)
}

/// `POST /v1/uploads/{PK}` with `X-HTTP-Method-Override`, for clients that can send no PATCH or DELETE.
pub(crate) async fn overridden(call: &mut Call) -> Result<Response, ApiError> {
    let method = call.headers.get("x-http-method-override").map(HeaderValue::as_bytes);
    match method {
        Some(b"PATCH") => append(call).await,
        Some(b"DELETE") => terminate(call).await,
        _ => Err(bad_header(&HeaderName::from_static("x-http-method-override"))),
    }
}

/// `DELETE /v1/uploads/{PK}`: gives it up. What came of one that is done stays.
pub(crate) async fn terminate(call: &mut Call) -> Result<Response, ApiError> {
    check_version(&call.headers)?;
    let _turn = take_turn(call)?;
    match uploads::forget(&call.app, UploadId(call.pk())).await? {
        true => no_content(),
        false => Err(ApiError::not_found()),
    }
}

/// Takes a call's body as the next piece of an upload. It is taken to its end even when the client hangs up and this
/// is dropped, so that what came is kept.
async fn receive(call: &mut Call, upload: Upload, by: Adder, turn: Turn) -> Result<Upload, ApiError> {
    let room = upload.shown.size - upload.shown.received;
    if content_length(&call.headers).is_some_and(|length| length > room) {
        return Err(ApiError::too_large(room));
    }
    let checksum = checksum(&call.headers)?;
    let by = Adder { attempt: upload.attempt, ..by };
    let piece = Piece { body: call.body.take(), checksum, by, turn };
    let taking = tokio::spawn(uploads::append(call.app.clone(), upload, piece));
    let (body, taken) = taking.await.map_err(ApiError::internal)?;
    call.body = body;
    taken
}

/// Gives the upload of the path.
///
/// # Errors
/// 410 when its time is over.
fn present(call: &Call) -> Result<Upload, ApiError> {
    let upload = call.app.store.upload(UploadId(call.pk()))?.ok_or_else(ApiError::not_found)?;
    if upload.shown.expiry_time <= call.app.clock.now() {
        let detail = "Nobody went on with this upload in time; begin it anew.";
        return Err(ApiError::new(StatusCode::GONE, "upload_expired", detail));
    }
    Ok(upload)
}

fn take_turn(call: &Call) -> Result<Turn, ApiError> {
    call.app.uploads.take(UploadId(call.pk())).ok_or_else(busy)
}

/// 423: another call writes to it.
fn busy() -> ApiError {
    let detail = "Another call writes to this upload; ask how far it is, and try again.";
    ApiError::new(StatusCode::LOCKED, "upload_busy", detail).with(RETRY_AFTER, HeaderValue::from(BUSY_WAIT_S))
}

/// Tells how far an upload is, and when it is forgotten.
fn tell_place(headers: &mut HeaderMap, upload: &Upload) -> Result<(), ApiError> {
    headers.insert(UPLOAD_OFFSET, HeaderValue::from(upload.shown.received));
    let expires = HeaderValue::from_str(&upload.shown.expiry_time.http_date()).map_err(ApiError::internal)?;
    headers.insert(UPLOAD_EXPIRES, expires);
    Ok(())
}

/// 412 unless the call speaks the version that is spoken here.
fn check_version(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.get(TUS_RESUMABLE).is_some_and(|version| version == TUS_VERSION) {
        return Ok(());
    }
    let detail = format!("Uploads that can be resumed speak tus {TUS_VERSION}: send the header Tus-Resumable.");
    let error = ApiError::new(StatusCode::PRECONDITION_FAILED, "tus_version", detail);
    Err(error.with(TUS_VERSIONS, HeaderValue::from_static(TUS_VERSION)))
}

fn is_offset_stream(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = media.and_then(|value| value.split(';').next());
    media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/offset+octet-stream"))
}

fn wrong_media_type() -> ApiError {
    let detail = "The bytes of an upload have the type application/offset+octet-stream.";
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn bad_header(name: &HeaderName) -> ApiError {
    ApiError::bad_request("bad_header", format!("The header {name} is missing or can't be read."))
}

/// Reads a header that holds a number of bytes.
fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, ApiError> {
    let text = headers.get(name).and_then(|value| value.to_str().ok());
    let digits = text.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| bad_header(name))
}

/// Reads `Upload-Metadata`: pairs of a name and a value in Base64. Gives it as it came, for `HEAD`, and the SHA-256 that
/// it announces for the whole under the name `sha256`, in hex.
fn metadata(headers: &HeaderMap) -> Result<(String, Option<Digest>), ApiError> {
    let bad = || bad_header(&UPLOAD_METADATA);
    let Some(value) = headers.get(&UPLOAD_METADATA) else { return Ok((String::new(), None)) };
    let text = value.to_str().map_err(|_| bad())?;
    if text.len() > METADATA_BYTES_MAX {
        return Err(bad());
    }
    let mut announced = None;
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (name, value) = pair.trim().split_once(' ').unwrap_or((pair.trim(), ""));
        let value = STANDARD.decode(value).map_err(|_| bad())?;
        if name == "sha256" {
            let hex = std::str::from_utf8(&value).ok().and_then(|hex| hex.parse::<Digest>().ok());
            announced = Some(hex.ok_or_else(bad)?);
        }
    }
    Ok((text.to_owned(), announced))
}

/// Reads what a piece must hash to, from `Upload-Checksum`, or else from the digest headers of other uploads.
fn checksum(headers: &HeaderMap) -> Result<Option<Checksum>, ApiError> {
    let name = HeaderName::from_static("upload-checksum");
    let Some(value) = headers.get(&name) else {
        let digest = super::outputs::announced_digest(headers)?;
        return Ok(digest.map(|digest| Checksum { hasher: Box::new(Sha256::default()), expected: digest.0.to_vec() }));
    };
    let pair = value.to_str().ok().and_then(|text| text.split_once(' '));
    let (algorithm, expected) = pair.ok_or_else(|| bad_header(&name))?;
    let expected = STANDARD.decode(expected.trim()).map_err(|_| bad_header(&name))?;
    let hasher: Box<dyn DynDigest + Send> = match algorithm {
        // Every server with checksums has to know it; it tells damage, nothing more.
        "sha1" => Box::new(Sha1::default()),
        "sha256" => Box::new(Sha256::default()),
        _ => {
            let detail = format!("The checksums known here are {CHECKSUM_ALGORITHMS}.");
            return Err(ApiError::bad_request("unknown_checksum", detail));
        }
    };
    Ok(Some(Checksum { hasher, expected }))
}
