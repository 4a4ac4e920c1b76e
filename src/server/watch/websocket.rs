//! `GET /v1/jobs/{PK}` with an upgrade: the present state first, then every transition in order (contract §10).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use warp::reply::Response;

use super::follower::{Follower, Next};
use super::hub::Told;
use super::upgrade::{Handshake, Socket};
use crate::domain::ids::JobId;
use crate::domain::notification::{Requested, effective};
use crate::server::auth::Leave;
use crate::server::error::ApiError;
use crate::server::request::Call;
use crate::server::{App, raised};

/// How long a good-bye may take: that the client reads what lies before it, and answers.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long it may take when the server stops.
const STOP_TIME_MAX: Duration = Duration::from_secs(1);
/// What is still read, and thrown away, of a client that broke the protocol, in bytes: closing on what it has sent would
/// take from it the word why.
const UNREAD_BYTES_MAX: u64 = 1 << 20;
/// Pings in a row to which a client may be silent; then it is taken to be gone.
const PINGS_UNHEARD_MAX: u32 = 3;
/// Messages that are written together.
const MESSAGES_AT_A_TIME: usize = 64;
/// Bytes after which no more is added to what is written together.
const BYTES_AT_A_TIME: usize = 64 << 10;

/// Why a socket is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Close {
    /// There is nothing more to tell: 1000.
    Done,
    /// The server stops: 1001.
    Stopping,
    /// Something failed here: 1011.
    Failed,
    /// The watcher is a user's no more, or the token was revoked: 1008.
    NotAllowed,
    /// The watcher is too far behind: 1013.
    Behind,
    /// The client closes, and gets its own code back.
    Asked,
    /// The client broke the protocol: 1002, sent text that is none: 1007, or too much: 1009.
    Broken(CloseCode),
    /// The client is gone.
    Gone,
}

impl Close {
    /// Gives the end that follows from what could not be read.
    fn for_unreadable(error: &Error) -> Self {
        match error {
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Gone,
            Error::Protocol(_) => Self::Broken(CloseCode::Protocol),
            Error::Utf8(_) => Self::Broken(CloseCode::Invalid),
            Error::Capacity(_) => Self::Broken(CloseCode::Size),
            _ => Self::Gone,
        }
    }
}

/// Upgrades, and goes on in a task of its own.
pub(crate) async fn watch(call: &mut Call) -> Result<Response, ApiError> {
    let job = JobId(call.pk());
    let handshake = Handshake::new(&call.headers, call.upgrade.take())?;
    let app = call.app.clone();
    let leave = call.leave.clone();
    let is_told = !app.anonymous_watchers || has_websocket(&app, job)?;
    Ok(handshake.accept(move |mut socket| async move {
        let _open = Open::new(app.clone());
        let close = if is_told { run(&app, job, &leave, &mut socket).await } else { Close::Done };
        say_goodbye(&app, &mut socket, close).await;
    }))
}

/// A socket that is open, for as long as this lives.
struct Open(Arc<App>);

impl Open {
    fn new(app: Arc<App>) -> Self {
        app.hub.count_socket(true);
        Self(app)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.hub.count_socket(false);
    }
}

/// Says whether a job has a websocket notification: in the mode of the reference, others are not told.
fn has_websocket(app: &App, job: JobId) -> Result<bool, ApiError> {
    let text = app.store.notifications_of(job)?.unwrap_or_default();
    let requested = Requested::from_json(&text).map_err(ApiError::internal)?;
    Ok(effective(&app.default_notifications, requested.own.as_ref()).has_websocket())
}

/// Tells everything to a watcher; gives why it ends.
async fn run(app: &Arc<App>, job: JobId, leave: &Leave, socket: &mut Socket) -> Close {
    let mut follower = match Follower::from_present(app, job) {
        Ok(Some(follower)) => follower,
        Ok(None) => return Close::Done,
        Err(error) => return failed(job, &error),
    };
    let mut stopping = app.stopping.clone();
    let mut ping = tokio::time::interval_at(Instant::now() + app.keep_alive, app.keep_alive);
    let mut unheard = 0;
    let mut taken_back = pin!(leave.taken_back(app));
    loop {
        tokio::select! {
            () = raised(&mut stopping) => return Close::Stopping,
            () = &mut taken_back => return Close::NotAllowed,
            next = follower.next() => match next {
                Ok(Next::Event(told)) => if let Some(close) = tell(socket, &told, &mut follower).await {
                    return close;
                },
                Ok(Next::Gone) => return Close::Done,
                Err(error) => return failed(job, &error),
            },
            // Pings are answered by the library, a close too; what a watcher says is of no interest.
            said = socket.next() => match said {
                Some(Ok(Message::Close(_))) => return Close::Asked,
                Some(Ok(_)) => unheard = 0,
                Some(Err(error)) => return Close::for_unreadable(&error),
                None => return Close::Gone,
            },
            _ = ping.tick() => {
                if unheard == PINGS_UNHEARD_MAX {
                    return Close::Gone;
                }
                unheard += 1;
                let sent = async { socket.send(Message::Ping(bytes::Bytes::new())).await.is_ok() };
                match beside(sent, &follower).await {
                    Some(true) => {}
                    Some(false) => return Close::Gone,
                    None => return Close::Behind,
                }
            }
        }
    }
}

/// Sends an event, and those that are at hand behind it; gives why the watch ends, if it does.
async fn tell(socket: &mut Socket, first: &Told, follower: &mut Follower) -> Option<Close> {
    let mut batch = vec![Message::text(first.json.as_str())];
    let (mut is_last, mut bytes) = (first.is_last, first.json.len());
    while !is_last && batch.len() < MESSAGES_AT_A_TIME && bytes < BYTES_AT_A_TIME {
        match follower.ready() {
            Ok(Some(told)) => {
                is_last = told.is_last;
                bytes += told.json.len();
                batch.push(Message::text(told.json.as_str()));
            }
            Ok(None) => break,
            Err(error) => return Some(failed(first.job, &error)),
        }
    }
    let sent = async {
        for message in batch {
            if socket.feed(message).await.is_err() {
                return false;
            }
        }
        socket.flush().await.is_ok()
    };
    match beside(sent, follower).await {
        Some(true) => is_last.then_some(Close::Done),
        Some(false) => Some(Close::Gone),
        None => Some(Close::Behind),
    }
}

/// Writes, unless the client is behind and takes nothing: `None`.
async fn beside(write: impl Future<Output = bool>, follower: &Follower) -> Option<bool> {
    tokio::select! {
        biased;
        sent = write => Some(sent),
        () = follower.stuck() => None,
    }
}

fn failed(job: JobId, error: &crate::store::Error) -> Close {
    tracing::error!(%error, %job, "a watcher could not be told");
    Close::Failed
}

/// Closes with a code, and waits a while for the client's answer.
async fn say_goodbye(app: &App, socket: &mut Socket, close: Close) {
    let code = match close {
        Close::Done => CloseCode::Normal,
        Close::Stopping => CloseCode::Away,
        Close::Failed => CloseCode::Error,
        Close::NotAllowed => CloseCode::Policy,
        Close::Behind => CloseCode::Again,
        // The answer to its close is under way; reading on to the end sends it.
        Close::Asked => CloseCode::Normal,
        Close::Broken(code) => code,
        Close::Gone => return,
    };
    let goodbye = async {
        if close != Close::Asked {
            drop(socket.close(Some(CloseFrame { code, reason: "".into() })).await);
        }
        if let Close::Broken(_) = close {
            // No more frames can be made out in what it sends.
            let connection = socket.get_mut();
            drop(connection.shutdown().await);
            let mut unread = connection.take(UNREAD_BYTES_MAX);
            drop(tokio::io::copy(&mut unread, &mut tokio::io::sink()).await);
            return;
        }
        while let Some(Ok(_)) = socket.next().await {}
    };
    let mut stopping = app.stopping.clone();
    tokio::select! {
        () = goodbye => {}
        () = tokio::time::sleep(CLOSE_TIME_MAX) => {}
        () = async { raised(&mut stopping).await; tokio::time::sleep(STOP_TIME_MAX).await } => {}
    }
}
