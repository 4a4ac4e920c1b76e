//! Resumable uploads (tus 1.0.0): a file goes up in pieces, and goes on from where it was after whatever broke it off.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONTENT_TYPE, HeaderName, LOCATION};
use reqwest::{Method, Response};

use super::call::{Call, json_of};
use super::files::{FilePart, hash_of};
use super::outputs::output_path;
use super::{Client, ClientError};
use crate::domain::ids::{JobId, UploadId};
use crate::wire::Upload;

/// How long a file has to be, in bytes, to go up in pieces.
pub const RESUMABLE_ABOVE_BYTES: u64 = 64 << 20;

/// How much goes up at a time, in bytes. Each piece costs the server a sync.
const PIECE_BYTES: u64 = 64 << 20;
/// How often it is tried again before it is given up, if nothing gets through meanwhile: about two minutes in all.
const TRIES_MAX: u32 = 18;
/// The pause before the first new try; doubled for each one after it, up to `PAUSE_MAX`.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// What the bytes are to become.
pub(super) enum Target<'a> {
    /// An output of a job.
    Output { job: JobId, name: &'a str, type_name: &'a str },
    /// Bytes that nothing names yet.
    Blob,
}

impl Target<'_> {
    /// Says where an upload for it begins.
    fn path(&self) -> String {
        match self {
            Self::Output { job, name, type_name } => output_path(*job, name, type_name),
            Self::Blob => "/v1/blobs".to_owned(),
        }
    }

    /// Says whether an upload is for it.
    fn is_of(&self, upload: &Upload) -> bool {
        let theirs = (upload.job, upload.name.as_deref(), upload.type_name.as_deref());
        match self {
            Self::Output { job, name, type_name } => theirs == (Some(*job), Some(*name), Some(*type_name)),
            Self::Blob => theirs == (None, None, None),
        }
    }
}

/// What is sent.
struct Source<'a> {
    file: &'a Path,
    sha256: String,
    length: u64,
}

/// How far it is.
struct Place {
    upload: UploadId,
    received: u64,
}

impl Client {
    /// Lists one's uploads, those that are done within the last day as well.
    pub async fn uploads(&self) -> Result<Vec<Upload>, ClientError> {
        json_of(self.send(&Call::get("/v1/uploads".to_owned())).await?).await
    }

    /// Tells how far an upload is. 404 when there is none of this key, or not any more.
    pub async fn upload_state(&self, upload: UploadId) -> Result<Upload, ClientError> {
        json_of(self.send(&Call::get(upload_path(upload))).await?).await
    }

    /// Gives up an upload; what has come of it goes.
    pub async fn abandon_upload(&self, upload: UploadId) -> Result<(), ClientError> {
        self.send(&tus(Method::DELETE, upload_path(upload))).await.map(drop::<Response>)
    }

    /// Sends a file in pieces until the server has all of it, and gives its SHA-256; the server has checked it against
    /// what came. `None` when the server does not know of resumable uploads.
    pub(super) async fn upload_resumably(
        &self,
        target: &Target<'_>,
        file: &Path,
        progress: &mut (impl FnMut(u64, u64) + Send),
    ) -> Result<Option<String>, ClientError> {
        let mut open = match self.uploads().await {
            Err(error) if error.status() == Some(404) => return Ok(None),
            open => open?,
        };
        let (sha256, length) = hash_of(file).await?;
        let source = Source { file, sha256, length };
        // An upload of an earlier run of the caller goes on.
        open.retain(|upload| source.is_of(upload) && target.is_of(upload) && upload.finished_time.is_none());
        let mut place = open.pop().map(|upload| Place { upload: upload.pk, received: upload.received });
        let mut tries = 0;
        let mut farthest = 0;
        loop {
            let step = self.upload_step(target, &source, &mut place, progress).await;
            match step {
                Ok(true) => return Ok(Some(source.sha256)),
                Ok(false) => {
                    // A step that got nowhere is as good as a failed one.
                    let received = place.as_ref().map_or(0, |place| place.received);
                    tries = if received > farthest { 0 } else { tries + 1 };
                    farthest = farthest.max(received);
                    if tries > TRIES_MAX {
                        return Err(ClientError::Unexpected("an upload that does not go on".to_owned()));
                    }
                }
                Err(error) if tries < TRIES_MAX && passes(&error, place.is_some()) => {
                    tokio::time::sleep((PAUSE_FIRST * (1 << tries.min(10))).min(PAUSE_MAX)).await;
                    tries += 1;
                    self.look_again(&mut place).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Begins the upload, or sends its next piece. Says whether it is done.
    async fn upload_step(
        &self,
        target: &Target<'_>,
        source: &Source<'_>,
        place: &mut Option<Place>,
        progress: &mut (impl FnMut(u64, u64) + Send),
    ) -> Result<bool, ClientError> {
        let Some(Place { upload, received }) = place else {
            let begun = place.insert(self.begin_upload(target, source).await?);
            progress(begun.received, source.length);
            return Ok(begun.received == source.length);
        };
        let from = *received;
        let part = FilePart::new(source.file, from, PIECE_BYTES.min(source.length.saturating_sub(from)));
        let call = tus(Method::PATCH, upload_path(*upload))
            .header(UPLOAD_OFFSET, from.to_string())
            .header(CONTENT_TYPE, "application/offset+octet-stream".to_owned())
            .made(&part);
        let answer = part.told(self.send(&call), |sent| progress(from + sent, source.length)).await?;
        *received = number(&answer, UPLOAD_OFFSET)?;
        progress(*received, source.length);
        Ok(*received == source.length)
    }

    async fn begin_upload(&self, target: &Target<'_>, source: &Source<'_>) -> Result<Place, ClientError> {
        let call = tus(Method::POST, target.path())
            .header(UPLOAD_LENGTH, source.length.to_string())
            .header(UPLOAD_METADATA, format!("sha256 {}", STANDARD.encode(&source.sha256)));
        let answer = self.send(&call).await?;
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let upload = location.and_then(|text| text.rsplit('/').next()?.parse().ok()).map(UploadId);
        let upload = upload.ok_or_else(|| ClientError::Unexpected("an upload without its place".to_owned()))?;
        Ok(Place { upload, received: number(&answer, UPLOAD_OFFSET)? })
    }

    /// Asks how far the upload is. It begins anew when the server knows of it no more; and stays as it was when the
    /// server can't be asked, which the next step then notices.
    async fn look_again(&self, place: &mut Option<Place>) {
        let Some(known) = place else { return };
        match self.upload_state(known.upload).await {
            Ok(upload) => known.received = upload.received,
            Err(error) if matches!(error.status(), Some(404 | 410)) => *place = None,
            Err(_) => {}
        }
    }
}

impl Source<'_> {
    fn is_of(&self, upload: &Upload) -> bool {
        upload.size == self.length && upload.sha256.as_ref() == Some(&self.sha256)
    }
}

/// Says whether an error may be over in a while: no answer, an upload that goes elsewhere or is busy, a server under load
/// or about to stop. An upload that has `begun` and is not there any more is begun anew.
fn passes(error: &ClientError, begun: bool) -> bool {
    match error {
        ClientError::Transport(_) => true,
        ClientError::Refused { status: 404 | 410, .. } => begun,
        ClientError::Refused { status: 409, body } => body.code == "offset_mismatch",
        ClientError::Refused { status, .. } => matches!(status, 423 | 429 | 502..=504),
        _ => false,
    }
}

fn upload_path(upload: UploadId) -> String {
    format!("/v1/uploads/{upload}")
}

fn tus<'a>(method: Method, path: String) -> Call<'a> {
    Call::new(method, path).header(TUS_RESUMABLE, "1.0.0".to_owned())
}

/// Reads a number in a header.
fn number(answer: &Response, name: HeaderName) -> Result<u64, ClientError> {
    let value = answer.headers().get(&name).and_then(|value| value.to_str().ok()?.parse().ok());
    value.ok_or_else(|| ClientError::Unexpected(format!("an answer without {name}")))
}
