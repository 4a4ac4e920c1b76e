//! Outputs: bytes up and down, with their SHA-256 checked on the way (contract §8).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderName};
use sha2::{Digest, Sha256};

use super::call::{Call, hex, json_of};
use super::files::{FilePart, compare, length_of, write_checked};
use super::uploads::{RESUMABLE_ABOVE_BYTES, Target};
use super::{Client, ClientError};
use crate::domain::ids::JobId;
use crate::wire::Output;
use crate::wire::list::ListSpec;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
pub(super) const OCTET_STREAM: &str = "application/octet-stream";
/// What stays as it is in a name within a path: the unreserved characters of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) fn output_path(job: JobId, name: &str, type_name: &str) -> String {
    let name = utf8_percent_encode(name, SEGMENT);
    let type_name = utf8_percent_encode(type_name, SEGMENT);
    format!("/v1/jobs/{job}/outputs/{name}/{type_name}")
}

/// Every method fails as `ClientError` tells; the statuses named are those that a right call may meet.
impl Client {
    /// Lists outputs.
    pub async fn outputs(&self, spec: &ListSpec) -> Result<Vec<Output>, ClientError> {
        json_of(self.send(&Call::post("/v1/job-outputs/list".to_owned()).json(spec)?).await?).await
    }

    /// Tells what is known about a live output. 404 when there is none of this name and type.
    pub async fn output_info(&self, job: JobId, name: &str, type_name: &str) -> Result<Output, ClientError> {
        let path = format!("{}/info", output_path(job, name, type_name));
        json_of(self.send(&Call::get(path)).await?).await
    }

    /// Adds an output to a started job; the server checks the bytes against their digest. 406 when the job is not
    /// started, 400 `duplicate_output` when it has other bytes under this name and type.
    pub async fn upload(&self, job: JobId, name: &str, type_name: &str, bytes: Bytes) -> Result<Output, ClientError> {
        let call = Call::post(output_path(job, name, type_name))
            .header(CONTENT_TYPE, OCTET_STREAM.to_owned())
            .header(CONTENT_DIGEST, format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(&bytes))))
            .bytes(bytes);
        json_of(self.send(&call).await?).await
    }

    /// Adds a file as an output, in constant memory. Refused as `upload` is; the digest that the server answers is
    /// checked against what was read.
    ///
    /// A file above [`RESUMABLE_ABOVE_BYTES`] goes up in pieces, goes on by itself after a broken connection or a
    /// restart of the server or of the caller, and does not go up at all when the server has its bytes. `progress`
    /// hears how many bytes are there, and of how many; after a break it may be fewer than before.
    pub async fn upload_file(
        &self,
        job: JobId,
        name: &str,
        type_name: &str,
        file: &Path,
        mut progress: impl FnMut(u64, u64) + Send,
    ) -> Result<Output, ClientError> {
        let length = length_of(file).await?;
        if length > RESUMABLE_ABOVE_BYTES {
            let target = Target::Output { job, name, type_name };
            if let Some(sha256) = self.upload_resumably(&target, file, &mut progress).await? {
                let output = self.output_info(job, name, type_name).await?;
                compare(sha256, output.sha256.clone())?;
                return Ok(output);
            }
        }
        let part = FilePart::new(file, 0, length);
        let call =
            Call::post(output_path(job, name, type_name)).header(CONTENT_TYPE, OCTET_STREAM.to_owned()).made(&part);
        let answer = part.told(self.send(&call), |sent| progress(sent, length)).await?;
        let output: Output = json_of(answer).await?;
        compare(part.hex(), output.sha256.clone())?;
        progress(length, length);
        Ok(output)
    }

    /// Adds bytes that the server has already as an output, by their SHA-256 in hex. Refused as `upload` is; 404 when
    /// the server does not have them.
    pub async fn attach_blob(
        &self,
        job: JobId,
        name: &str,
        type_name: &str,
        sha256: &str,
    ) -> Result<Output, ClientError> {
        let path = format!("{}?blob=sha256:{sha256}", output_path(job, name, type_name));
        json_of(self.send(&Call::post(path)).await?).await
    }

    /// Fetches an output into memory and checks its SHA-256.
    pub async fn download(&self, job: JobId, name: &str, type_name: &str) -> Result<Bytes, ClientError> {
        let answer = self.send(&Call::get(output_path(job, name, type_name))).await?;
        let expected = digest_of(&answer)?;
        let bytes = answer.bytes().await?;
        compare(expected, hex(&Sha256::digest(&bytes)))?;
        Ok(bytes)
    }

    /// Fetches an output into a file, in constant memory, and checks its SHA-256. The file appears under its name
    /// only when all of it is there and right; it replaces one that is there. Gives its length in bytes; `progress`
    /// hears how many of them are there, and of how many.
    pub async fn download_file(
        &self,
        job: JobId,
        name: &str,
        type_name: &str,
        file: &Path,
        progress: impl FnMut(u64, u64) + Send,
    ) -> Result<u64, ClientError> {
        let answer = self.send(&Call::get(output_path(job, name, type_name))).await?;
        let expected = digest_of(&answer)?;
        write_checked(answer, expected, file, progress).await
    }
}

/// Reads the SHA-256 that the server gives for a body, from `Content-Digest` or else from `ETag`, as hex.
fn digest_of(answer: &Response) -> Result<String, ClientError> {
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let from_digest = header(CONTENT_DIGEST).and_then(|value| {
        let items = value.split(',').map(str::trim);
        let encoded = items.filter_map(|item| item.strip_prefix("sha-256=:")?.strip_suffix(':')).next()?;
        STANDARD.decode(encoded).ok().map(|bytes| hex(&bytes))
    });
    let from_etag = || header(ETAG).and_then(|value| value.strip_prefix('"')?.strip_suffix('"')).map(str::to_owned);
    from_digest
        .or_else(from_etag)
        .filter(|digest| digest.len() == 64)
        .ok_or_else(|| ClientError::Unexpected("bytes without their SHA-256".to_owned()))
}
