//! One call on its way out, and its answer on the way in.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ClientError;
use super::server::Server;
use crate::wire::ErrorBody;

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
    Made(&'a dyn MakeBody),
}

/// Makes a body anew for each sending of a call.
pub(super) trait MakeBody: Sync {
    /// Gives the length in bytes, and the body.
    fn make(&self) -> BoxFuture<'_, Result<(u64, reqwest::Body), ClientError>>;
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

    pub(super) fn made(mut self, by: &'a dyn MakeBody) -> Self {
        self.payload = Payload::Made(by);
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
            Payload::Made(by) => {
                let (length, body) = by.make().await?;
                Ok(request.header(CONTENT_LENGTH, length).body(body))
            }
        }
    }
}

/// Passes on an answer that says yes; makes an error of one that says no.
pub(super) async fn refusal(answer: Response) -> Result<Response, ClientError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.bytes().await?;
    if text.is_empty() {
        // What HEAD is told has no body.
        let detail = format!("The server answered {status}.");
        let body = Box::new(ErrorBody { detail, code: String::new(), errors: None });
        return Err(ClientError::Refused { status: status.as_u16(), body });
    }
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
