//! The live log of a job: appended by its worker, read and followed by people (contract §11).

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use warp::http::{HeaderValue, Method};
use warp::reply::{Reply, Response};

use super::claims::attempt_said;
use crate::domain::ids::JobId;
use crate::server::auth::Leave;
use crate::server::error::ApiError;
use crate::server::request::{Call, decimal, ok};
use crate::server::watch::Given;
use crate::server::{App, raised};
use crate::store::Error;
use crate::store::logs::LogPart;

/// The most that one call appends, in bytes.
const APPEND_BYTES_MAX: usize = 1 << 20;
/// Pieces that may wait for a slow reader.
const PIECES_WAITING: usize = 2;

/// Tells those who follow a log that it has grown. The log itself is in the store.
#[derive(Debug, Default)]
pub(crate) struct LogHub(Mutex<HashMap<JobId, watch::Sender<()>>>);

impl LogHub {
    /// Gives a way to learn that the log of a job has grown.
    pub(in crate::server) fn follow(&self, job: JobId) -> watch::Receiver<()> {
        let mut followed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Logs that nobody follows any more, and that have not grown since.
        followed.retain(|_, sender| sender.receiver_count() > 0);
        followed.entry(job).or_insert_with(|| watch::channel(()).0).subscribe()
    }

    fn grown(&self, job: JobId) {
        let mut followed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = followed.get(&job)
            && sender.send(()).is_err()
        {
            // Nobody follows it any more.
            followed.remove(&job);
        }
    }
}

/// `POST /v1/jobs/{PK}/log`: the body is the text, whatever its type is called.
pub(crate) async fn append(call: &mut Call) -> Result<Response, ApiError> {
    let job = JobId(call.pk());
    let attempt = attempt_said(call)?;
    let bytes = call.body.whole(APPEND_BYTES_MAX).await?;
    super::jobs::note_sign_of_life(call);
    let written = call.app.store.append_log(job, attempt, bytes.to_vec()).await?;
    call.app.logs.grown(job);
    ok(&json!({"bytes": written}))
}

/// `GET /v1/jobs/{PK}/log?after=BYTES&follow=true&attempt=N`.
pub(crate) async fn read(call: &mut Call) -> Result<Response, ApiError> {
    let (after, attempt) = (number(call, "after")?.unwrap_or(0), number(call, "attempt")?);
    let follows = match call.query_param("follow").as_deref() {
        None | Some("false" | "0") => false,
        Some("true" | "1" | "") => true,
        Some(_) => return Err(ApiError::field("follow", "Must be true or false.")),
    };
    let job = JobId(call.pk());
    let first = call.app.store.read_log(job, attempt, after).await?;
    let (sender, mut pieces) = mpsc::channel(PIECES_WAITING);
    if call.method != Method::HEAD {
        let (app, leave) = (call.app.clone(), call.leave.clone());
        let reader = Reader { app, job, attempt: first.attempt, leave, follows, sender };
        tokio::spawn(reader.run(first));
    }
    let stream = futures_util::stream::poll_fn(move |context| pieces.poll_recv(context));
    let mut response = warp::reply::stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Reads a whole number of the query.
fn number(call: &Call, name: &str) -> Result<Option<i64>, ApiError> {
    match call.query_param(name).as_deref().map(decimal) {
        None => Ok(None),
        Some(Some(number)) if number >= 0 => Ok(Some(number)),
        Some(_) => Err(ApiError::field(name, "Must be a whole number from 0.")),
    }
}

/// Somebody who reads a log.
struct Reader {
    app: Arc<App>,
    job: JobId,
    attempt: i64,
    leave: Leave,
    follows: bool,
    sender: mpsc::Sender<Result<Bytes, Error>>,
}

impl Reader {
    async fn run(self, first: LogPart) {
        if let Err(error) = self.tell(first).await {
            tracing::warn!(%error, job = self.job.0, "a log broke off");
            drop(self.sender.send(Err(error)).await);
        }
    }

    /// Sends the log up to its end, and what is written later if that is followed.
    async fn tell(&self, mut part: LogPart) -> Result<(), Error> {
        // Followed before the end is read, so that nothing is written unseen between the two. The job's transitions
        // are followed as well: one of them ends the log.
        let mut news = self.follows.then(|| (self.app.logs.follow(self.job), self.app.hub.subscribe(Some(self.job))));
        let mut stopping = self.app.stopping.clone();
        let mut taken_back = pin!(self.leave.taken_back(&self.app));
        let mut looked_again = false;
        loop {
            if part.cut_bytes > 0 {
                let note = format!("\n[{} bytes are cut out here]\n", part.cut_bytes);
                if self.sender.send(Ok(note.into())).await.is_err() {
                    return Ok(());
                }
            }
            let (end, is_news) = (part.end, !part.bytes.is_empty());
            if is_news && self.sender.send(Ok(part.bytes.into())).await.is_err() {
                return Ok(());
            }
            let at_end = !part.more && !is_news;
            if at_end && news.is_none() {
                return Ok(());
            }
            if at_end && part.over && looked_again {
                return Ok(());
            }
            if at_end
                && looked_again
                && let Some((grown, transitions)) = &mut news
            {
                tokio::select! {
                    () = raised(&mut stopping) => return Ok(()),
                    () = self.sender.closed() => return Ok(()),
                    () = &mut taken_back => return Ok(()),
                    changed = grown.changed() => if changed.is_err() { return Ok(()) },
                    // A job that is gone for good ends its log too.
                    given = transitions.next() => match given {
                        Given::Event(_) => {}
                        // What happened meanwhile is seen in the log that is read next.
                        Given::Overflowed => *transitions = self.app.hub.subscribe(Some(self.job)),
                        Given::Gone => return Ok(()),
                    },
                }
            }
            looked_again = true;
            part = self.app.store.read_log(self.job, Some(self.attempt), end).await?;
        }
    }
}
