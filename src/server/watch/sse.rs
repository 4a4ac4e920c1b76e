//! Server-sent events, of one job or of all (contract §10). What was missed can be had again from the log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use warp::http::{HeaderValue, Method};
use warp::reply::{Reply, Response};

use super::hub::Told;
use crate::domain::ids::JobId;
use crate::server::error::ApiError;
use crate::server::request::Call;
use crate::server::{App, raised};
use crate::store;
use crate::store::jobs::listing;
use crate::store::list::Selection;
use crate::wire::Job;

/// How long a stream may be silent before a comment says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events read from the log at a time.
const EVENTS_AT_A_TIME: u32 = 500;
/// Pieces that may wait for a slow client, beside those in its queue.
const PIECES_WAITING: usize = 8;

/// Whose events a stream tells, and from where.
struct Stream {
    app: Arc<App>,
    job: Option<JobId>,
    filter: Option<Selection<Job>>,
    /// The place in the log after which to begin; without one, with the present.
    after: Option<i64>,
    sender: mpsc::Sender<Result<Bytes, store::Error>>,
}

/// `GET /v1/jobs/{PK}/events`.
pub(crate) async fn of_job(call: &mut Call) -> Result<Response, ApiError> {
    let job = JobId(call.pk());
    begin(call, Some(job), None)
}

/// `GET /v1/events?filter=…`.
pub(crate) async fn of_all(call: &mut Call) -> Result<Response, ApiError> {
    let filter = match call.query_param("filter") {
        None => None,
        Some(text) => {
            let bad = |sentence: String| ApiError::field("filter", sentence);
            let spec = crate::server::strict::parse(text.as_bytes()).map_err(bad)?;
            let spec = match spec {
                // The expressions alone are taken too, which is shorter in a URL.
                serde_json::Value::Array(expressions) => serde_json::json!({"expressions": expressions}),
                spec => spec,
            };
            Some(listing().parse(&spec)?)
        }
    };
    begin(call, None, filter)
}

/// Answers with a stream that a task of its own feeds.
fn begin(call: &Call, job: Option<JobId>, filter: Option<Selection<Job>>) -> Result<Response, ApiError> {
    let after = place(call)?;
    let (sender, mut pieces) = mpsc::channel(PIECES_WAITING);
    if call.method != Method::HEAD {
        let stream = Stream { app: call.app.clone(), job, filter, after, sender };
        tokio::spawn(stream.run());
    }
    let body = futures_util::stream::poll_fn(move |context| pieces.poll_recv(context));
    let mut response = warp::reply::stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies of the nginx kind would hold events back until a buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Reads where to go on: the header of a browser that reconnects, else `?after=`.
fn place(call: &Call) -> Result<Option<i64>, ApiError> {
    let header = call.headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?").to_owned());
    let Some(text) = header.or_else(|| call.query_param("after")) else { return Ok(None) };
    match crate::server::request::decimal(&text) {
        Some(place) if place >= 0 => Ok(Some(place)),
        _ => Err(ApiError::field("after", "Must be the id of an event, or 0 for the beginning.")),
    }
}

impl Stream {
    /// Tells events until the client leaves, falls behind, or the server stops. A client that is dropped reconnects
    /// with the id of the last event it got, and misses nothing.
    async fn run(self) {
        if let Err(Some(error)) = self.tell_all().await {
            tracing::warn!(%error, "a stream of events broke off");
            drop(self.sender.send(Err(error)).await);
        }
    }

    /// `Err(None)` is the ordinary end: nobody listens any more.
    async fn tell_all(&self) -> Result<(), Option<store::Error>> {
        // A comment at once, so that the client sees the stream open although nothing may happen for long.
        self.send(Bytes::from_static(b": labrun\n\n")).await?;
        let mut told_up_to = self.after.unwrap_or(0);
        if self.after.is_some() {
            told_up_to = self.catch_up(told_up_to).await?;
        }
        let mut subscription = self.app.hub.subscribe(self.job);
        match (self.after, self.job) {
            (Some(_), _) => told_up_to = self.catch_up(told_up_to).await?,
            (None, None) => told_up_to = *self.app.store.newest_event().borrow(),
            (None, Some(job)) => {
                let Some(state) = self.app.store.present_state(job)? else { return Ok(()) };
                told_up_to = state.seq;
                self.tell(&told(&state)?).await?;
            }
        }
        let mut stopping = self.app.stopping.clone();
        loop {
            tokio::select! {
                () = raised(&mut stopping) => return Ok(()),
                () = self.sender.closed() => return Ok(()),
                event = subscription.next() => match event {
                    Some(told) if told.seq <= told_up_to => {}
                    Some(told) => self.tell(&told).await?,
                    None => return Ok(()),
                },
                () = tokio::time::sleep(KEEP_ALIVE) => self.send(Bytes::from_static(b": still here\n\n")).await?,
            }
        }
    }

    /// Tells what the log holds after a place; gives the place of the last one.
    async fn catch_up(&self, after: i64) -> Result<i64, Option<store::Error>> {
        let mut place = after;
        loop {
            let events = self.app.store.events_after(self.job, place, EVENTS_AT_A_TIME)?;
            let full = events.len() == EVENTS_AT_A_TIME as usize;
            for event in &events {
                place = event.seq;
                self.tell(&told(event)?).await?;
            }
            if !full {
                return Ok(place);
            }
        }
    }

    /// Tells one event, if its job passes the filter.
    async fn tell(&self, told: &Told) -> Result<(), Option<store::Error>> {
        if let Some(filter) = &self.filter
            && !self.app.store.passes(filter, told.job)?
        {
            return Ok(());
        }
        self.send(format!("id: {}\ndata: {}\n\n", told.seq, told.json).into()).await
    }

    async fn send(&self, piece: Bytes) -> Result<(), Option<store::Error>> {
        self.sender.send(Ok(piece)).await.map_err(|_| None)
    }
}

fn told(event: &store::events::Event) -> Result<Told, Option<store::Error>> {
    Told::new(event).map_err(|error| Some(store::Error::Broken(error.to_string())))
}
