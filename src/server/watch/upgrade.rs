//! The handshake of RFC 6455, on the server's side.

use base64::Engine;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use warp::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use warp::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use warp::reply::Response;

use crate::server::error::ApiError;

/// The largest message that a watcher may send, in bytes; nothing it says is needed.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// The buffer for what a watcher says. The library's own of 128 KiB would be the most of what a quiet watcher costs,
/// and it is cleared anew at every look for a message.
const READ_BUFFER_BYTES: usize = 1 << 10;
/// What is gathered before it is written.
const WRITE_BUFFER_BYTES: usize = 16 << 10;
/// The only version of the protocol there is.
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// A socket that speaks in messages.
pub(super) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// An upgrade that the client has asked for and that was not answered yet.
pub(super) struct Handshake {
    accept: HeaderValue,
    on_upgrade: OnUpgrade,
}

impl Handshake {
    /// Checks what the client sent.
    ///
    /// # Errors
    /// 400 when it is no request for a WebSocket of version 13 that this connection can take.
    pub(super) fn new(headers: &HeaderMap, on_upgrade: Option<OnUpgrade>) -> Result<Self, ApiError> {
        let bad = || {
            let detail = "This is no valid request for a WebSocket of version 13.";
            ApiError::bad_request("bad_upgrade", detail).with(SEC_WEBSOCKET_VERSION, VERSION)
        };
        let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
        let key_is_good = base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16);
        let version_is_good = headers.get(SEC_WEBSOCKET_VERSION) == Some(&VERSION);
        if !(key_is_good && version_is_good && has_token(headers, CONNECTION, "upgrade")) {
            return Err(bad());
        }
        let accept = HeaderValue::from_str(&derive_accept_key(key)).map_err(ApiError::internal)?;
        Ok(Self { accept, on_upgrade: on_upgrade.ok_or_else(bad)? })
    }

    /// Answers with 101, and hands the socket over once that is sent.
    pub(super) fn accept<F, W>(self, then: W) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
        W: FnOnce(Socket) -> F + Send + 'static,
    {
        let Self { accept, on_upgrade } = self;
        tokio::spawn(async move {
            match on_upgrade.await {
                Ok(connection) => {
                    let config = WebSocketConfig::default()
                        .read_buffer_size(READ_BUFFER_BYTES)
                        .write_buffer_size(WRITE_BUFFER_BYTES)
                        .max_message_size(Some(MESSAGE_BYTES_MAX))
                        .max_frame_size(Some(MESSAGE_BYTES_MAX));
                    let io = TokioIo::new(connection);
                    then(WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await).await;
                }
                Err(error) => tracing::debug!(%error, "a connection ended before its upgrade"),
            }
        });
        let mut response = Response::default();
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        response
    }
}

/// Says whether the client wants to go on in WebSocket frames.
pub(in crate::server) fn is_asked_for(headers: &HeaderMap) -> bool {
    has_token(headers, UPGRADE, "websocket")
}

/// Says whether a header that lists words has one of them.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}
