//! Follows the event log and hands each event to those who watch its job. One task for all watchers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use crate::domain::ids::JobId;
use crate::domain::lifecycle::Transition;
use crate::server::{App, raised};
use crate::store::events::Event;

/// Messages that may wait for a watcher; with one more it is behind (contract §10).
const WAITING_MAX: usize = 256;
/// Bytes that may wait for a watcher, whatever the number of messages: a message can have a mebibyte.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// Events read from the log at a time: fewer than may wait, so that one reading puts nobody behind.
const EVENTS_AT_A_TIME: u32 = 128;
/// Watchers who left a quiet job are forgotten this often.
const TIDY_EVERY: Duration = Duration::from_secs(30);
/// A pause after the log could not be read.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// An event on its way to watchers, written as JSON once for all of them.
#[derive(Debug)]
pub(in crate::server) struct Told {
    pub(super) seq: i64,
    pub(in crate::server) job: JobId,
    /// Whether it tells that the job was made.
    pub(in crate::server) is_first: bool,
    pub(super) is_last: bool,
    pub(super) json: String,
}

impl Told {
    /// Writes an event as JSON.
    pub(super) fn new(event: &Event) -> serde_json::Result<Self> {
        let json = serde_json::to_string(&event.message)?;
        let is_first = event.message.transition == Transition::Create;
        Ok(Self { seq: event.seq, job: event.message.pk, is_first, is_last: event.is_last(), json })
    }
}

/// What comes out of a queue.
#[derive(Debug)]
pub(in crate::server) enum Given {
    /// The next event.
    Event(Arc<Told>),
    /// The queue was full and gets no more; what is missing stands in the log.
    Overflowed,
    /// The job is gone for good.
    Gone,
}

/// A watcher's end of its queue.
#[derive(Debug)]
pub(in crate::server) struct Subscription {
    queue: mpsc::Receiver<Arc<Told>>,
    waiting_bytes: Arc<AtomicUsize>,
    overflowed: watch::Receiver<bool>,
}

impl Subscription {
    /// Gives the next event, or why there is none.
    pub(in crate::server) async fn next(&mut self) -> Given {
        let told = self.queue.recv().await;
        self.give(told)
    }

    /// Gives the next event if it is there already.
    pub(super) fn ready(&mut self) -> Option<Given> {
        match self.queue.try_recv() {
            Ok(told) => Some(self.give(Some(told))),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(self.give(None)),
        }
    }

    fn give(&self, told: Option<Arc<Told>>) -> Given {
        match told {
            Some(told) => {
                self.waiting_bytes.fetch_sub(told.json.len(), Ordering::Relaxed);
                Given::Event(told)
            }
            None if *self.overflowed.borrow() => Given::Overflowed,
            None => Given::Gone,
        }
    }

    /// Gives a way to learn that the queue overflowed, also while its watcher is busy sending.
    pub(super) fn overflowed(&self) -> watch::Receiver<bool> {
        self.overflowed.clone()
    }
}

#[derive(Debug)]
struct Watcher {
    queue: mpsc::Sender<Arc<Told>>,
    waiting_bytes: Arc<AtomicUsize>,
    overflowed: watch::Sender<bool>,
}

impl Watcher {
    /// Puts an event into the queue; says whether the watcher stays.
    fn tell(&self, told: &Arc<Told>) -> bool {
        // Counted before it is sent, so that the other end never takes away what is not yet there.
        let waiting = self.waiting_bytes.fetch_add(told.json.len(), Ordering::Relaxed);
        let full = waiting > 0 && waiting + told.json.len() > WAITING_BYTES_MAX;
        if !full && self.queue.try_send(told.clone()).is_ok() {
            return true;
        }
        // To a watcher who has left this says nothing.
        self.overflowed.send_replace(true);
        false
    }
}

/// Who watches what.
#[derive(Debug, Default)]
struct Watchers {
    of_jobs: HashMap<JobId, Vec<Watcher>>,
    of_all: Vec<Watcher>,
    /// Every event up to here has been handed out, or came while nobody watched.
    position: i64,
}

impl Watchers {
    fn is_empty(&self) -> bool {
        self.of_jobs.is_empty() && self.of_all.is_empty()
    }

    /// Says whether an event is worth writing as JSON.
    fn is_watched(&self, job: JobId) -> bool {
        !self.of_all.is_empty() || self.of_jobs.contains_key(&job)
    }

    fn tell(&mut self, told: &Arc<Told>) {
        if let Some(watchers) = self.of_jobs.get_mut(&told.job) {
            watchers.retain(|watcher| watcher.tell(told));
            if watchers.is_empty() {
                self.of_jobs.remove(&told.job);
            }
        }
        self.of_all.retain(|watcher| watcher.tell(told));
    }

    /// Forgets those who left; they would be noticed only when an event of their job comes.
    fn forget_gone(&mut self) {
        self.of_jobs.retain(|_, watchers| {
            watchers.retain(|watcher| !watcher.queue.is_closed());
            !watchers.is_empty()
        });
        self.of_all.retain(|watcher| !watcher.queue.is_closed());
    }
}

/// Hands events to watchers.
#[derive(Debug)]
pub(crate) struct Hub {
    watchers: Mutex<Watchers>,
    /// The place of the newest committed event.
    newest: watch::Receiver<i64>,
    /// Given by the first who watches. Until then no event wakes anybody.
    is_wanted: Notify,
    /// The sockets that are open, so that a stop can wait for their good-byes.
    sockets: watch::Sender<usize>,
}

impl Hub {
    /// Makes one without watchers, over the place of the newest committed event.
    pub(in crate::server) fn over(newest: watch::Receiver<i64>) -> Self {
        Self { watchers: Mutex::default(), newest, is_wanted: Notify::new(), sockets: watch::Sender::default() }
    }

    fn watchers(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes to the events of one job, or of all.
    pub(in crate::server) fn subscribe(&self, job: Option<JobId>) -> Subscription {
        let (queue, events) = mpsc::channel(WAITING_MAX);
        let (overflowed, has_overflowed) = watch::channel(false);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let watcher = Watcher { queue, waiting_bytes: waiting_bytes.clone(), overflowed };
        let mut watchers = self.watchers();
        if watchers.is_empty() {
            // What came before is seen in the job's state, which whoever subscribes reads afterwards.
            watchers.position = watchers.position.max(*self.newest.borrow());
            self.is_wanted.notify_one();
        }
        match job {
            Some(job) => watchers.of_jobs.entry(job).or_default().push(watcher),
            None => watchers.of_all.push(watcher),
        }
        Subscription { queue: events, waiting_bytes, overflowed: has_overflowed }
    }

    /// Gives how many watch.
    pub(in crate::server) fn watching(&self) -> usize {
        let watchers = self.watchers();
        watchers.of_all.len() + watchers.of_jobs.values().map(Vec::len).sum::<usize>()
    }

    /// Ends the subscriptions to jobs that are gone for good.
    pub(in crate::server) fn end(&self, jobs: &[JobId]) {
        let mut watchers = self.watchers();
        for job in jobs {
            watchers.of_jobs.remove(job);
        }
    }

    /// Counts a socket as open or closed.
    pub(super) fn count_socket(&self, opened: bool) {
        self.sockets.send_modify(|count| *count = if opened { *count + 1 } else { count.saturating_sub(1) });
    }

    /// Waits until every socket is closed.
    pub(in crate::server) async fn all_closed(&self) {
        drop(self.sockets.subscribe().wait_for(|count| *count == 0).await);
    }
}

/// Follows the log while anybody watches, until the server stops.
pub(in crate::server) async fn run(app: Arc<App>) {
    let mut newest = app.hub.newest.clone();
    let mut stopping = app.stopping.clone();
    let mut tidy = tokio::time::interval(TIDY_EVERY);
    loop {
        let is_watched = !app.hub.watchers().is_empty();
        tokio::select! {
            () = raised(&mut stopping) => return,
            () = app.hub.is_wanted.notified(), if !is_watched => {}
            changed = newest.changed(), if is_watched => if changed.is_err() { return },
            _ = tidy.tick(), if is_watched => {
                app.hub.watchers().forget_gone();
                continue;
            }
        }
        let to = *newest.borrow_and_update();
        if let Err(error) = follow(&app, to).await {
            tracing::error!(%error, "the event log could not be read; watchers are told later");
            tokio::time::sleep(READ_PAUSE).await;
            newest.mark_changed();
        }
    }
}

/// Hands out the events up to a place in the log.
async fn follow(app: &App, to: i64) -> Result<(), crate::store::Error> {
    loop {
        let (from, nobody_watches) = {
            let watchers = app.hub.watchers();
            (watchers.position, watchers.is_empty())
        };
        if nobody_watches || from >= to {
            return Ok(());
        }
        let page = app.store.events_after(None, from, EVENTS_AT_A_TIME)?;
        {
            let mut watchers = app.hub.watchers();
            for event in &page.events {
                if watchers.is_watched(event.message.pk)
                    && let Ok(told) = Told::new(event)
                {
                    watchers.tell(&Arc::new(told));
                }
            }
            // At the end of the log: what is missing up to `to` went with jobs that were hard-deleted.
            let last = page.events.last().map_or(from, |event| event.seq);
            watchers.position = if page.more { last } else { last.max(to) };
        }
        // The watchers take what they were given before there is more.
        tokio::task::yield_now().await;
    }
}
