//! Bytes by their SHA-256, before or without any output that names them (contract §11).

use std::path::Path;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use sha2::{Digest, Sha256};

use super::call::{Call, hex, json_of};
use super::files::{FilePart, compare, hash_of, write_checked};
use super::outputs::OCTET_STREAM;
use super::uploads::{RESUMABLE_ABOVE_BYTES, Target};
use super::{Client, ClientError};
use crate::wire::Blob;

/// Every method fails as `ClientError` tells; the statuses named are those that a right call may meet. A `sha256` is in
/// hex.
impl Client {
    /// Says whether the server has bytes.
    pub async fn has_blob(&self, sha256: &str) -> Result<bool, ClientError> {
        match self.send(&Call::new(Method::HEAD, blob_path(sha256))).await {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts bytes on the server, where they stay for a day if nothing names them. 413 when they are too many, 507 when
    /// there is no room.
    pub async fn put_blob(&self, bytes: Bytes) -> Result<Blob, ClientError> {
        let path = blob_path(&hex(&Sha256::digest(&bytes)));
        let call = Call::new(Method::PUT, path).header(CONTENT_TYPE, OCTET_STREAM.to_owned()).bytes(bytes);
        json_of(self.send(&call).await?).await
    }

    /// Puts a file's bytes on the server, as `put_blob` does, in constant memory. It sends nothing when the server has
    /// them, and goes on by itself as `upload_file` does. `progress` hears how many bytes are there, and of how many.
    pub async fn put_blob_file(
        &self,
        file: &Path,
        mut progress: impl FnMut(u64, u64) + Send,
    ) -> Result<Blob, ClientError> {
        let (sha256, length) = hash_of(file).await?;
        let path = blob_path(&sha256);
        if self.has_blob(&sha256).await? {
            // They may be close to the end of their day: asked for again, they have another.
            let blob: Blob = json_of(self.send(&Call::new(Method::PUT, path)).await?).await?;
            progress(length, length);
            return Ok(blob);
        }
        if length > RESUMABLE_ABOVE_BYTES
            && let Some(sha256) = self.upload_resumably(&Target::Blob, file, &mut progress).await?
        {
            return Ok(Blob { sha256, size: length });
        }
        let part = FilePart::new(file, 0, length);
        let call = Call::new(Method::PUT, path).header(CONTENT_TYPE, OCTET_STREAM.to_owned()).made(&part);
        let answer = part.told(self.send(&call), |sent| progress(sent, length)).await?;
        let blob: Blob = json_of(answer).await?;
        progress(length, length);
        Ok(blob)
    }

    /// Fetches bytes into memory and checks them. 404 when the server does not have them.
    pub async fn get_blob(&self, sha256: &str) -> Result<Bytes, ClientError> {
        let bytes = self.send(&Call::get(blob_path(sha256))).await?.bytes().await?;
        compare(sha256.to_owned(), hex(&Sha256::digest(&bytes)))?;
        Ok(bytes)
    }

    /// Fetches bytes into a file, as `download_file` does. 404 when the server does not have them.
    pub async fn get_blob_file(
        &self,
        sha256: &str,
        file: &Path,
        progress: impl FnMut(u64, u64) + Send,
    ) -> Result<u64, ClientError> {
        let answer = self.send(&Call::get(blob_path(sha256))).await?;
        write_checked(answer, sha256.to_owned(), file, progress).await
    }
}

fn blob_path(sha256: &str) -> String {
    format!("/v1/blobs/{sha256}")
}
