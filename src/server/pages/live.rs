//! Streams that keep a page as it is in the server: what has changed is drawn anew, and takes the place of what was there.
//!
//! A page needs the newest state and not every step to it. So a stream gathers what happens for a moment and then draws
//! once; what it missed while it was drawing, it sees in what it draws next.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use warp::http::Method;
use warp::reply::Response;

use super::session::Session;
use crate::domain::ids::JobId;
use crate::server::error::ApiError;
use crate::server::request::Call;
use crate::server::watch::{Given, Subscription, Told, sse};
use crate::server::{App, raised};
use crate::store;

/// Messages that may wait for a slow browser.
const PIECES_WAITING: usize = 8;
/// How long changes are gathered before they are drawn.
const GATHER: Duration = Duration::from_millis(250);

/// What has happened since a page was last drawn.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Jobs that something became of.
    pub(super) jobs: HashSet<JobId>,
    /// Those of them that are new.
    pub(super) made: HashSet<JobId>,
    /// Whether there may be more than these.
    pub(super) missed: bool,
}

/// A stream to a browser.
pub(super) struct Live {
    pub(super) app: Arc<App>,
    session: Option<Session>,
    sender: mpsc::Sender<Result<Bytes, store::Error>>,
    stopping: watch::Receiver<bool>,
    /// The one job that is looked at, or all.
    job: Option<JobId>,
    subscription: Subscription,
    changes: Changes,
    /// When what was gathered is to be drawn.
    due: Option<Instant>,
    still_here: Instant,
}

/// Why a stream ends: nobody reads it any more, or it may not go on.
pub(super) struct Ended;

/// Answers with a stream that `work` feeds, in a task of its own. `job` is the one job that it is about, if it is.
pub(super) fn begin<F, W>(call: &Call, job: Option<JobId>, work: F) -> Response
where
    F: FnOnce(Live) -> W,
    W: Future<Output = Result<(), Ended>> + Send + 'static,
{
    let (sender, pieces) = mpsc::channel(PIECES_WAITING);
    if call.method != Method::HEAD {
        let app = call.app.clone();
        let live = Live {
            subscription: app.hub.subscribe(job),
            session: call.session.clone(),
            stopping: app.stopping.clone(),
            still_here: Instant::now() + app.keep_alive,
            app,
            sender,
            job,
            changes: Changes::default(),
            due: None,
        };
        let work = work(live);
        tokio::spawn(async move {
            drop(work.await);
        });
    }
    sse::streamed(pieces)
}

impl Live {
    /// Waits until something has happened that `concerns` the page, and a moment longer for what comes with it. Dropped
    /// before that, nothing is lost.
    ///
    /// # Errors
    /// When the stream is to end.
    pub(super) async fn changed(&mut self, concerns: impl Fn(&Told) -> bool) -> Result<Changes, Ended> {
        loop {
            let due = self.due.unwrap_or_else(|| Instant::now() + self.app.keep_alive);
            tokio::select! {
                () = raised(&mut self.stopping) => return Err(Ended),
                () = self.sender.closed() => return Err(Ended),
                () = tokio::time::sleep_until(due), if self.due.is_some() => {
                    self.due = None;
                    return Ok(std::mem::take(&mut self.changes));
                }
                () = tokio::time::sleep_until(self.still_here) => self.say_still_here().await?,
                given = self.subscription.next() => self.take(given, &concerns)?,
            }
        }
    }

    /// Waits this long, whatever happens meanwhile: for what no event tells of.
    ///
    /// # Errors
    /// When the stream is to end.
    pub(super) async fn rest(&mut self, how_long: Duration) -> Result<(), Ended> {
        let until = Instant::now() + how_long;
        loop {
            tokio::select! {
                () = raised(&mut self.stopping) => return Err(Ended),
                () = self.sender.closed() => return Err(Ended),
                () = tokio::time::sleep_until(until) => return Ok(()),
                () = tokio::time::sleep_until(self.still_here) => self.say_still_here().await?,
            }
        }
    }

    fn take(&mut self, given: Given, concerns: &impl Fn(&Told) -> bool) -> Result<(), Ended> {
        match given {
            Given::Event(told) if concerns(&told) => {
                self.changes.jobs.insert(told.job);
                if told.is_first {
                    self.changes.made.insert(told.job);
                }
            }
            Given::Event(_) => return Ok(()),
            Given::Overflowed => {
                self.subscription = self.app.hub.subscribe(self.job);
                self.changes.missed = true;
            }
            Given::Gone => return Err(Ended),
        }
        self.due.get_or_insert_with(|| Instant::now() + GATHER);
        Ok(())
    }

    /// Keeps the connection open, unless who reads was logged out meanwhile.
    async fn say_still_here(&mut self) -> Result<(), Ended> {
        self.still_here = Instant::now() + self.app.keep_alive;
        let is_good = self.session.as_ref().is_some_and(|session| session.is_good(&self.app).unwrap_or(false));
        if !is_good {
            return Err(Ended);
        }
        self.put(Bytes::from_static(b": still here\n\n")).await
    }

    /// Sends an event. `id` is given back by the browser when it has to connect again.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub(super) async fn send(&mut self, event: &str, id: Option<String>, data: &str) -> Result<(), Ended> {
        let mut message = format!("event: {event}\n");
        if let Some(id) = id {
            message.push_str(&format!("id: {id}\n"));
        }
        // A line of data each; a carriage return would end one as well.
        for line in data.split(['\n', '\r']) {
            message.push_str(&format!("data: {line}\n"));
        }
        message.push('\n');
        self.put(message.into()).await
    }

    /// Sends pieces of HTML, whose elements take the place of those with their ids.
    ///
    /// # Errors
    /// When nobody reads any more, or a piece can't be drawn.
    pub(super) async fn draw(&mut self, html: Result<String, ApiError>) -> Result<(), Ended> {
        match html {
            Ok(html) if html.is_empty() => Ok(()),
            Ok(html) => self.send("part", None, &html).await,
            // It went to the log when it was made.
            Err(_) => Err(Ended),
        }
    }

    async fn put(&mut self, piece: Bytes) -> Result<(), Ended> {
        self.sender.send(Ok(piece)).await.map_err(|_| Ended)
    }
}
