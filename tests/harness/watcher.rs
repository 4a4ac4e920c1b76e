//! Those who watch jobs: a WebSocket and a stream of server-sent events.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::lab::{Lab, USER};
use super::process::DEADLINE;

/// How long a stream of events may last.
const STREAM_TIME_MAX: Duration = Duration::from_secs(600);

/// Waits, but not for ever.
async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// What a socket says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// A transition.
    Event(Value),
    /// An answer to a ping.
    Pong(Vec<u8>),
    /// A close, with its code if it had one.
    Closed(Option<u16>),
    /// The connection is gone without a close.
    Dropped,
}

/// A WebSocket.
#[derive(Debug)]
pub(crate) struct Socket {
    inner: WebSocketStream<TcpStream>,
    /// The headers of the 101.
    pub(crate) headers: HeaderMap,
}

impl Socket {
    /// Watches a job as `user`.
    pub(crate) async fn watch(lab: &Lab, job: i64) -> Self {
        let token = format!("Bearer {}", lab.token(USER).await);
        let headers = [("authorization", token.as_str())];
        Self::open(lab.port(), &format!("/v1/jobs/{job}"), &headers).await.expect("an upgrade")
    }

    /// Asks for an upgrade; an error is the answer of a server that does not.
    pub(crate) async fn open(
        port: u16,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Response<Option<Vec<u8>>>> {
        Self::open_with(port, path, headers, None).await
    }

    /// The same, with a receive buffer of a size, in bytes.
    pub(crate) async fn open_with(
        port: u16,
        path: &str,
        headers: &[(&str, &str)],
        buffer_bytes: Option<u32>,
    ) -> Result<Self, Response<Option<Vec<u8>>>> {
        let mut request = format!("ws://127.0.0.1:{port}{path}").into_client_request().expect("a request");
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a header's value"));
        }
        let socket = TcpSocket::new_v4().expect("a socket");
        if let Some(bytes) = buffer_bytes {
            socket.set_recv_buffer_size(bytes).expect("a buffer");
        }
        let stream = socket.connect(([127, 0, 0, 1], port).into()).await.expect("the server listens");
        // Nothing is kept in memory that the test did not ask for.
        let config = WebSocketConfig::default().read_buffer_size(4096);
        let opened = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
        match soon("an answer to the upgrade", opened).await {
            Ok((inner, answer)) => Ok(Self { inner, headers: answer.headers().clone() }),
            Err(Error::Http(answer)) => Err(*answer),
            Err(error) => panic!("the upgrade failed: {error}"),
        }
    }

    /// Gives what it says next.
    pub(crate) async fn next(&mut self) -> Said {
        loop {
            return match soon("a message", self.inner.next()).await {
                Some(Ok(Message::Text(text))) => Said::Event(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Pong(bytes))) => Said::Pong(bytes.to_vec()),
                Some(Ok(Message::Close(frame))) => Said::Closed(frame.map(|frame| frame.code.into())),
                // Answered by the library.
                Some(Ok(Message::Ping(_))) => continue,
                Some(Ok(other)) => panic!("the server sent {other:?}"),
                Some(Err(_)) | None => Said::Dropped,
            };
        }
    }

    /// Gives the next transition; nothing else may come.
    pub(crate) async fn event(&mut self) -> Value {
        match self.next().await {
            Said::Event(event) => event,
            other => panic!("expected a transition, got {other:?}"),
        }
    }

    /// Gives all transitions up to the end, and how it ends.
    pub(crate) async fn rest(&mut self) -> (Vec<Value>, Said) {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                Said::Event(event) => events.push(event),
                end => return (events, end),
            }
        }
    }

    /// Says something; a server that has gone is no failure.
    pub(crate) async fn say(&mut self, message: Message) {
        drop(self.inner.send(message).await);
    }

    /// Gives the connection below, to write on it by hand.
    pub(crate) fn connection(&mut self) -> &mut TcpStream {
        self.inner.get_mut()
    }
}

/// A piece of a stream of server-sent events.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// An event with its id.
    Event(i64, Value),
    /// A comment.
    Comment(String),
    /// The end.
    End,
}

/// A stream of server-sent events.
#[derive(Debug)]
pub(crate) struct Events {
    reply: reqwest::Response,
    text: Vec<u8>,
}

impl Events {
    /// Reads a stream as `user`.
    pub(crate) async fn open(lab: &Lab, path: &str, last_id: Option<i64>) -> Self {
        // A stream may last; each wait for its next piece has a limit of its own.
        let request = lab.http().get(lab.url(path)).timeout(STREAM_TIME_MAX);
        let mut request = request.bearer_auth(lab.token(USER).await);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let reply = soon("the head of a stream", request.send()).await.expect("an answer");
        assert_eq!(reply.status().as_u16(), 200, "{path}");
        Self { reply, text: Vec::new() }
    }

    /// Gives a header of the answer.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.reply.headers().get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// Gives the next piece, comments too.
    pub(crate) async fn piece(&mut self) -> Piece {
        let end = loop {
            if let Some(at) = self.text.windows(2).position(|two| two == b"\n\n") {
                break at;
            }
            match soon("an event", self.reply.chunk()).await {
                Ok(Some(more)) => self.text.extend_from_slice(&more),
                Ok(None) | Err(_) => return Piece::End,
            }
        };
        let piece: Vec<u8> = self.text.drain(..end + 2).collect();
        let piece = String::from_utf8(piece).expect("UTF-8");
        if let Some(comment) = piece.strip_prefix(':') {
            return Piece::Comment(comment.trim().to_owned());
        }
        let field = |name: &str| piece.lines().find_map(|line| line.strip_prefix(name)).expect("a field").trim();
        let id = field("id:").parse().expect("a number");
        Piece::Event(id, serde_json::from_str(field("data:")).expect("JSON"))
    }

    /// Gives the next event with its id; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(i64, Value)> {
        loop {
            match self.piece().await {
                Piece::Event(id, event) => return Some((id, event)),
                Piece::Comment(_) => {}
                Piece::End => return None,
            }
        }
    }

    /// Gives the next event; there must be one.
    pub(crate) async fn event(&mut self) -> Value {
        self.next().await.expect("an event").1
    }
}
