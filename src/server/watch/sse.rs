//! Server-sent events, of one job or of all (contract §10). What was missed can be had again from the log.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use warp::http::{HeaderValue, Method};
use warp::reply::{Reply, Response};

use super::follower::{Follower, Next};
use super::hub::Told;
use crate::domain::ids::JobId;
use crate::server::auth::Leave;
use crate::server::error::ApiError;
use crate::server::request::{Call, decimal};
use crate::server::{App, raised, strict};
use crate::store;
use crate::store::jobs::listing;
use crate::store::list::Selection;
use crate::wire::Job;

/// Pieces that may wait for a slow client, beside those in its queue.
const PIECES_WAITING: usize = 2;

/// A stream of events on its way to a client.
struct Stream {
    app: Arc<App>,
    leave: Leave,
    filter: Option<Selection<Job>>,
    sender: mpsc::Sender<Result<Bytes, store::Error>>,
    /// Cuts the connection: a client that does not read would never get to see an end.
    hang_up: Arc<Notify>,
}

/// Why a stream ends.
enum End {
    /// The client has gone.
    Gone,
    /// The client is behind and does not read.
    Behind,
    /// The log could not be read.
    Failed(store::Error),
}

impl From<store::Error> for End {
    fn from(error: store::Error) -> Self {
        Self::Failed(error)
    }
}

/// `GET /v1/jobs/{PK}/events`.
pub(crate) async fn of_job(call: &mut Call) -> Result<Response, ApiError> {
    let job = JobId(call.pk());
    let follower = match place(call)? {
        Some(place) => Some(Follower::after(&call.app, Some(job), place)),
        None => Follower::from_present(&call.app, job)?,
    };
    Ok(begin(call, follower.ok_or_else(ApiError::not_found)?, None))
}

/// `GET /v1/events?filter=…`.
pub(crate) async fn of_all(call: &mut Call) -> Result<Response, ApiError> {
    let filter = match call.query_param("filter") {
        None => None,
        Some(text) => {
            let bad = |sentence: String| ApiError::field("filter", sentence);
            let spec = match strict::parse(text.as_bytes()).map_err(bad)? {
                // The expressions alone are taken too, which is shorter in a URL.
                serde_json::Value::Array(expressions) => serde_json::json!({"expressions": expressions}),
                spec => spec,
            };
            Some(listing().parse(&spec)?)
        }
    };
    // Looked at before the answer begins: whatever a client does once it has that comes after.
    let now = *call.app.store.newest_event().borrow();
    let place = place(call)?.unwrap_or(now);
    let follower = Follower::after(&call.app, None, place);
    Ok(begin(call, follower, filter))
}

/// Answers with a stream that a task of its own feeds.
fn begin(call: &Call, follower: Follower, filter: Option<Selection<Job>>) -> Response {
    let (sender, pieces) = mpsc::channel(PIECES_WAITING);
    if call.method != Method::HEAD {
        let (app, leave, hang_up) = (call.app.clone(), call.leave.clone(), call.hang_up.clone());
        let stream = Stream { app, leave, filter, sender, hang_up };
        tokio::spawn(stream.run(follower));
    }
    streamed(pieces)
}

/// Makes the answer of a stream of events, fed through a channel.
pub(in crate::server) fn streamed(mut pieces: mpsc::Receiver<Result<Bytes, store::Error>>) -> Response {
    let body = futures_util::stream::poll_fn(move |context| pieces.poll_recv(context));
    let mut response = warp::reply::stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies of the nginx kind would hold events back until a buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Reads where to go on: the header of a browser that reconnects, else `?after=`. A place that the log has not come to
/// yet, as after a restore, is taken for its end.
fn place(call: &Call) -> Result<Option<i64>, ApiError> {
    let header = call.headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?").to_owned());
    let Some(text) = header.or_else(|| call.query_param("after")) else { return Ok(None) };
    match decimal(&text) {
        Some(place) if place >= 0 => Ok(Some(place.min(*call.app.store.newest_event().borrow()))),
        _ => Err(ApiError::field("after", "Must be the id of an event, or 0 for the beginning.")),
    }
}

impl Stream {
    /// Tells events until the client leaves or falls behind, the job is gone, or the server stops. A client that was
    /// dropped connects again with the id of the last event it got, and misses nothing.
    async fn run(self, mut follower: Follower) {
        match self.tell_all(&mut follower).await {
            Ok(()) | Err(End::Gone) => {}
            Err(End::Behind) => self.hang_up.notify_one(),
            Err(End::Failed(error)) => {
                tracing::error!(%error, "a stream of events broke off");
                drop(self.sender.send(Err(error)).await);
            }
        }
    }

    async fn tell_all(&self, follower: &mut Follower) -> Result<(), End> {
        // A comment at once, so that the client sees the stream open although nothing may happen for long.
        self.send(Bytes::from_static(b": labrun\n\n"), follower).await?;
        let mut stopping = self.app.stopping.clone();
        let mut taken_back = pin!(self.leave.taken_back(&self.app));
        loop {
            tokio::select! {
                () = raised(&mut stopping) => return Ok(()),
                () = &mut taken_back => return Ok(()),
                () = self.sender.closed() => return Ok(()),
                next = follower.next() => match next? {
                    Next::Event(told) => self.tell(&told, follower).await?,
                    Next::Gone => return Ok(()),
                },
                () = tokio::time::sleep(self.app.keep_alive) => {
                    self.send(Bytes::from_static(b": still here\n\n"), follower).await?;
                }
            }
        }
    }

    /// Tells one event, if its job passes the filter.
    async fn tell(&self, told: &Told, follower: &Follower) -> Result<(), End> {
        if let Some(filter) = &self.filter
            && !self.app.store.passes(filter, told.job)?
        {
            return Ok(());
        }
        self.send(format!("id: {}\ndata: {}\n\n", told.seq, told.json).into(), follower).await
    }

    async fn send(&self, piece: Bytes, follower: &Follower) -> Result<(), End> {
        tokio::select! {
            biased;
            sent = self.sender.send(Ok(piece)) => sent.map_err(|_| End::Gone),
            () = follower.stuck() => Err(End::Behind),
        }
    }
}
