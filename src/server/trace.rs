//! What is kept of a request when it has been answered: a count for monitoring, a line in the log, and for what staff
//! does an entry in the audit log. Never a password, a token, a body or a query.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use warp::http::{HeaderValue, Method, StatusCode};

use super::App;
use super::auth::Caller;
use super::request::Incoming;
use super::routes::Route;
use crate::domain::time::{Clock, SystemClock, Timestamp};
use crate::store::audit::NewEntry;

/// Characters of a path that are kept.
const PATH_CHARS_MAX: usize = 500;

/// What is known of a request, as far as it came.
#[derive(Debug)]
pub(crate) struct Trace {
    method: Method,
    path: String,
    peer: Option<SocketAddr>,
    /// Its route, once that is found.
    pub(crate) route: Option<&'static Route>,
    /// Who called, once that is known.
    pub(crate) caller: Option<Caller>,
    /// The name that a login tried.
    pub(crate) tried: Option<String>,
}

impl Trace {
    /// Begins with what every request has.
    pub(crate) fn of(incoming: &Incoming) -> Self {
        let end = incoming.path.char_indices().nth(PATH_CHARS_MAX).map_or(incoming.path.len(), |(at, _)| at);
        let path = incoming.path.get(..end).unwrap_or_default().to_owned();
        Self { method: incoming.method.clone(), path, peer: incoming.peer, route: None, caller: None, tried: None }
    }

    /// Keeps an entry in the audit log, if the request is one to keep. The answer waits for it; one that can't be kept
    /// is told to the log, since what was done is done.
    pub(crate) async fn keep(&mut self, app: &App, id: &HeaderValue, status: StatusCode) {
        let Some(route) = self.route else { return };
        // A login that was slowed down was not looked at; else guessing could fill the disk.
        let is_login = self.tried.is_some() && status != StatusCode::TOO_MANY_REQUESTS;
        let is_of_staff = route.is_audited() && self.caller.is_some();
        if !is_login && !is_of_staff {
            return;
        }
        let tried = self.tried.take();
        let entry = NewEntry {
            tried,
            target: format!("{} {}", self.method, self.path),
            status: status.as_u16(),
            ..entry(self.caller, self.peer, id, &route.name)
        };
        keep(app, vec![entry]).await;
    }

    /// Counts the request, and hands its line over to be written.
    pub(crate) fn end(self, app: &App, id: HeaderValue, status: StatusCode, took: Duration) {
        app.metrics.answered(self.route, status, took);
        if tracing::enabled!(tracing::Level::INFO) {
            app.lines.add(Line { trace: self, id, status, took, ended: SystemClock.now() });
        }
    }
}

/// A request's line in the log. It is written when it is dropped, so that none is missing, whatever ends meanwhile.
#[derive(Debug)]
struct Line {
    trace: Trace,
    id: HeaderValue,
    status: StatusCode,
    took: Duration,
    ended: Timestamp,
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { trace, id, status, took, ended } = self;
        TOLD_OF.set(Some(*ended));
        tracing::info!(
            id = id.to_str().unwrap_or_default(),
            user = trace.caller.map(|caller| caller.user.0),
            node = trace.caller.and_then(|caller| caller.node).map(|node| node.0),
            peer = trace.peer.map(tracing::field::display),
            method = trace.method.as_str(),
            path = trace.path.as_str(),
            route = trace.route.map_or("none", |route| route.name.as_ref()),
            status = status.as_u16(),
            us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "request"
        );
        TOLD_OF.set(None);
    }
}

thread_local! {
    /// The time of what this thread is telling the log, if that is not now.
    static TOLD_OF: Cell<Option<Timestamp>> = const { Cell::new(None) };
}

/// Gives the time of what the calling thread is telling the log: that of a request's end, or else now.
pub(crate) fn time_told_of() -> Timestamp {
    TOLD_OF.get().unwrap_or_else(|| SystemClock.now())
}

/// How long the first of the waiting lines waits for others.
const GATHER: Duration = Duration::from_millis(20);
/// Lines that may wait; one more is written where it comes up.
const LINES_MAX: usize = 4_096;

/// The lines of requests on their way into the log. A thread of its own puts them together, so that nobody who waits for
/// an answer waits for its line, nor a client on the same core for the one after it (`benches/RESULTS.md`).
#[derive(Debug)]
pub(crate) struct Lines {
    /// `None` is the end.
    waiting: SyncSender<Option<Line>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Lines {
    /// Starts the thread. Without one, lines are written where they come up.
    pub(crate) fn begin() -> Self {
        let (waiting, lines) = mpsc::sync_channel(LINES_MAX);
        let thread = std::thread::Builder::new().name("labrun-lines".to_owned()).spawn(move || write_all(&lines));
        Self { waiting, thread: Mutex::new(thread.ok()) }
    }

    fn add(&self, line: Line) {
        drop(self.waiting.try_send(Some(line)));
    }

    /// Waits until all lines are written. Blocks; what comes later is written where it comes up.
    pub(crate) fn end(&self) {
        drop(self.waiting.send(None));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(thread.map(JoinHandle::join));
    }
}

/// Writes what comes, until the end.
fn write_all(lines: &Receiver<Option<Line>>) {
    while let Ok(Some(first)) = lines.recv() {
        std::thread::sleep(GATHER);
        drop(first);
        while let Ok(next) = lines.try_recv() {
            match next {
                Some(line) => drop(line),
                None => return,
            }
        }
    }
}

/// Begins an entry of the audit log: who does what, from where, in which request. What it is done to, and how that ends,
/// is to be added.
pub(crate) fn entry(caller: Option<Caller>, peer: Option<SocketAddr>, id: &HeaderValue, action: &str) -> NewEntry {
    NewEntry {
        user: caller.map(|caller| caller.user),
        tried: None,
        address: peer.map(|peer| peer.ip().to_canonical().to_string()).unwrap_or_default(),
        action: action.to_owned(),
        target: String::new(),
        status: 0,
        request: id.to_str().unwrap_or_default().to_owned(),
    }
}

/// Keeps entries, or says in the log that they could not be kept.
pub(crate) async fn keep(app: &App, entries: Vec<NewEntry>) {
    let Some(action) = entries.first().map(|entry| entry.action.clone()) else { return };
    if let Err(error) = app.store.audit_all(entries).await {
        tracing::error!(%error, action, "entries of the audit log could not be kept");
    }
}
