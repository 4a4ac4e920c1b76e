//! `GET /v1/jobs/{PK}` with an upgrade: the present state first, then every transition in order (contract §10).

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use warp::reply::{Reply, Response};
use warp::ws::{Message, WebSocket};

use super::hub::{Subscription, Told};
use crate::domain::ids::JobId;
use crate::domain::notification::{Actions, Requested, effective};
use crate::server::error::ApiError;
use crate::server::request::Call;
use crate::server::{App, raised};

/// The largest message that a watcher may send, in bytes; nothing it says is needed.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// How long a close may take on its way out.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

/// Why a socket is closed, as its close code.
#[derive(Debug, Clone, Copy)]
enum Close {
    /// There is nothing more to tell.
    Done = 1000,
    /// The server stops.
    Stopping = 1001,
    /// Something failed here.
    Failed = 1011,
    /// The watcher is too far behind.
    Behind = 1013,
}

/// Upgrades, and goes on in a task of its own.
pub(crate) async fn watch(call: &mut Call) -> Result<Response, ApiError> {
    let job = JobId(call.pk());
    let Some(upgrade) = call.upgrade.take() else {
        return Err(ApiError::bad_request("bad_upgrade", "This is no valid request for a WebSocket."));
    };
    let app = call.app.clone();
    let is_told = !app.anonymous_watchers || has_websocket(&app, job)?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    let reply = upgrade.on_upgrade(move |socket| async move {
        let (mut sink, mut stream) = socket.split();
        let close = if is_told { run(&app, job, &mut sink, &mut stream).await } else { Some(Close::Done) };
        if let Some(close) = close {
            let goodbye = async {
                // When the watcher closed first, this is refused, and what is flushed is the answer to its close.
                drop(sink.send(Message::close_with(close as u16, "")).await);
                drop(sink.close().await);
                while let Some(Ok(_)) = stream.next().await {}
            };
            drop(tokio::time::timeout(CLOSE_TIME_MAX, goodbye).await);
        }
    });
    Ok(reply.into_response())
}

/// Says whether a job has a websocket notification: in the mode of the reference, others are not told.
fn has_websocket(app: &App, job: JobId) -> Result<bool, ApiError> {
    let text = app.store.notifications_of(job)?.unwrap_or_default();
    let requested = Requested::from_json(&text).map_err(ApiError::internal)?;
    Ok(effective(&Actions::websocket_for_all(), requested.own.as_ref()).has_websocket())
}

/// Tells everything to a watcher; gives the code to close with, unless the watcher has gone.
async fn run(
    app: &Arc<App>,
    job: JobId,
    sink: &mut SplitSink<WebSocket, Message>,
    stream: &mut SplitStream<WebSocket>,
) -> Option<Close> {
    let mut subscription = app.hub.subscribe(Some(job));
    let first = match app.store.present_state(job) {
        Ok(Some(state)) => Told::new(&state).ok()?,
        Ok(None) => return Some(Close::Done),
        Err(_) => return Some(Close::Failed),
    };
    let told_up_to = first.seq;
    if let Some(close) = tell(sink, &first, &subscription).await {
        return close;
    }
    let mut stopping = app.stopping.clone();
    loop {
        tokio::select! {
            () = raised(&mut stopping) => return Some(Close::Stopping),
            event = subscription.next() => match event {
                Some(told) if told.seq <= told_up_to => {}
                Some(told) => if let Some(close) = tell(sink, &told, &subscription).await {
                    return close;
                },
                None if subscription.was_dropped() => return Some(Close::Behind),
                None => return Some(Close::Done),
            },
            // Pings are answered by the library, a close too; what a watcher says is of no interest.
            said = stream.next() => match said {
                Some(Ok(message)) if !message.is_close() => {}
                Some(Ok(_)) => return Some(Close::Done),
                Some(Err(_)) | None => return None,
            },
        }
    }
}

/// Sends one message. `Some` ends the watch: with a close after the last transition or when the watcher was dropped
/// while it did not read, without one when it has gone.
async fn tell(
    sink: &mut SplitSink<WebSocket, Message>,
    told: &Told,
    subscription: &Subscription,
) -> Option<Option<Close>> {
    let mut dropped = subscription.dropped();
    tokio::select! {
        sent = sink.send(Message::text(told.json.clone())) => match sent {
            Ok(()) if told.is_last => Some(Some(Close::Done)),
            Ok(()) => None,
            Err(_) => Some(None),
        },
        () = raised(&mut dropped) => Some(Some(Close::Behind)),
    }
}
