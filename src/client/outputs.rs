//! Outputs: bytes up and down, with their SHA-256 checked on the way (contract §8).

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderName};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::call::{Call, SharedHash, hex, json_of};
use super::{Client, ClientError};
use crate::domain::ids::JobId;
use crate::wire::Output;
use crate::wire::list::ListSpec;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const OCTET_STREAM: &str = "application/octet-stream";
/// What stays as it is in a name within a path: the unreserved characters of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn output_path(job: JobId, name: &str, type_name: &str) -> String {
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
        let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(&bytes)));
        let call = Call::post(output_path(job, name, type_name))
            .header(CONTENT_TYPE, OCTET_STREAM.to_owned())
            .header(CONTENT_DIGEST, digest)
            .bytes(bytes);
        json_of(self.send(&call).await?).await
    }

    /// Adds a file as an output, in constant memory. Refused as `upload` is; the digest that the server answers is
    /// checked against what was read.
    pub async fn upload_file(
        &self,
        job: JobId,
        name: &str,
        type_name: &str,
        file: &Path,
    ) -> Result<Output, ClientError> {
        let hash = SharedHash::default();
        let call = Call::post(output_path(job, name, type_name))
            .header(CONTENT_TYPE, OCTET_STREAM.to_owned())
            .file(file, hash.clone());
        let output: Output = json_of(self.send(&call).await?).await?;
        compare(hash.hex(), output.sha256.clone())?;
        Ok(output)
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
    /// only when all of it is there and right; it replaces one that is there. Gives its length in bytes.
    pub async fn download_file(
        &self,
        job: JobId,
        name: &str,
        type_name: &str,
        file: &Path,
    ) -> Result<u64, ClientError> {
        let answer = self.send(&Call::get(output_path(job, name, type_name))).await?;
        let partial = partial_name(file);
        match write_checked(answer, &partial).await {
            Ok(length) => {
                tokio::fs::rename(&partial, file).await.map_err(ClientError::file(file))?;
                Ok(length)
            }
            Err(error) => {
                // The first error is the one to tell; a file that can't be removed either adds nothing to it.
                tokio::fs::remove_file(&partial).await.ok();
                Err(error)
            }
        }
    }
}

fn partial_name(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

async fn write_checked(mut answer: Response, path: &Path) -> Result<u64, ClientError> {
    let expected = digest_of(&answer)?;
    let mut file = tokio::fs::File::create(path).await.map_err(ClientError::file(path))?;
    let mut hash = Sha256::new();
    let mut length = 0;
    while let Some(chunk) = answer.chunk().await? {
        hash.update(&chunk);
        length += chunk.len() as u64;
        file.write_all(&chunk).await.map_err(ClientError::file(path))?;
    }
    compare(expected, hex(&hash.finalize()))?;
    file.sync_all().await.map_err(ClientError::file(path))?;
    Ok(length)
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
        .ok_or_else(|| ClientError::Unexpected("an output without its SHA-256".to_owned()))
}

fn compare(expected: String, actual: String) -> Result<(), ClientError> {
    if expected.eq_ignore_ascii_case(&actual) { Ok(()) } else { Err(ClientError::Damaged { expected, actual }) }
}
