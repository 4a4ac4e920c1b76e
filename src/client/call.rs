//! One call on its way out, and its answer on the way in.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::ClientError;
use super::server::Server;
use crate::wire::ErrorBody;

/// How much of a file is read at a time, in bytes.
const FILE_CHUNK_BYTES: usize = 256 << 10;
/// How much of an answer that nobody expected is shown, in characters.
const EXCERPT_CHARS: usize = 200;

/// A call, in a form that can be sent twice.
pub(super) struct Call<'a> {
    method: Method,
    path: String,
    headers: Vec<(HeaderName, String)>,
    payload: Payload<'a>,
}

enum Payload<'a> {
    None,
    Bytes(Bytes),
    File { path: &'a Path, hash: SharedHash },
}

/// The SHA-256 of a file that is being sent; each sending starts it anew.
#[derive(Clone, Default)]
pub(super) struct SharedHash(Arc<Mutex<Sha256>>);

impl SharedHash {
    fn with<T>(&self, act: impl FnOnce(&mut Sha256) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives the hash of all that was sent, in hex.
    pub(super) fn hex(&self) -> String {
        hex(&self.with(|hash| hash.clone().finalize()))
    }
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: String) -> Self {
        Self { method, path, headers: Vec::new(), payload: Payload::None }
    }

    pub(super) fn post(path: String) -> Self {
        Self::new(Method::POST, path)
    }

    pub(super) fn get(path: String) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn json(self, body: &impl Serialize) -> Result<Self, ClientError> {
        let text = serde_json::to_vec(body).map_err(|error| ClientError::Unexpected(error.to_string()))?;
        Ok(self.bytes(text.into()).header(CONTENT_TYPE, "application/json".to_owned()))
    }

    pub(super) fn bytes(mut self, bytes: Bytes) -> Self {
        self.payload = Payload::Bytes(bytes);
        self
    }

    pub(super) fn file(mut self, path: &'a Path, hash: SharedHash) -> Self {
        self.payload = Payload::File { path, hash };
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Makes the request. A path that a URL library would rewrite, such as one with an output named `..`, is refused,
    /// since it would reach another object.
    pub(super) async fn request(&self, server: &Server) -> Result<RequestBuilder, ClientError> {
        let Server { http, address } = server;
        let text = format!("{address}{}", self.path);
        let url = Url::parse(&text).map_err(|_| ClientError::Url(address.clone()))?;
        if !url.as_str().ends_with(&self.path) {
            return Err(ClientError::Url(self.path.clone()));
        }
        let mut request = http.request(self.method.clone(), url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match &self.payload {
            Payload::None => Ok(request),
            Payload::Bytes(bytes) => Ok(request.body(bytes.clone())),
            Payload::File { path, hash } => {
                let (length, body) = file_body(path, hash.clone()).await.map_err(ClientError::file(path))?;
                Ok(request.header(CONTENT_LENGTH, length).body(body))
            }
        }
    }
}

async fn file_body(path: &Path, hash: SharedHash) -> std::io::Result<(u64, reqwest::Body)> {
    let file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    hash.with(Sha256::reset);
    // No more than the announced length is read, in case the file grows meanwhile.
    let chunks = futures_util::stream::try_unfold((file.take(length), hash), |(mut file, hash)| async move {
        let mut chunk = BytesMut::with_capacity(FILE_CHUNK_BYTES);
        if file.read_buf(&mut chunk).await? == 0 {
            return Ok::<_, std::io::Error>(None);
        }
        hash.with(|hash| hash.update(&chunk));
        Ok(Some((chunk.freeze(), (file, hash))))
    });
    Ok((length, reqwest::Body::wrap_stream(chunks)))
}

/// Passes on an answer that says yes; makes an error of one that says no.
pub(super) async fn refusal(answer: Response) -> Result<Response, ClientError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.bytes().await?;
    match serde_json::from_slice::<ErrorBody>(&text) {
        Ok(body) => Err(ClientError::Refused { status: status.as_u16(), body: Box::new(body) }),
        Err(_) => Err(ClientError::Unexpected(format!("{status} {}", excerpt(&text)))),
    }
}

/// Reads the JSON of an answer.
pub(super) async fn json_of<T: DeserializeOwned>(answer: Response) -> Result<T, ClientError> {
    let text = answer.bytes().await?;
    serde_json::from_slice(&text).map_err(|error| ClientError::Unexpected(format!("{error} in {}", excerpt(&text))))
}

fn excerpt(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(EXCERPT_CHARS).collect()
}

/// Writes bytes as lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
