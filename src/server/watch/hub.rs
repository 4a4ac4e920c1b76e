//! Follows the event log and hands each event to those who watch its job. One task for all watchers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::domain::ids::JobId;
use crate::server::App;
use crate::store::events::Event;

/// Messages that a watcher may be behind; with one more it is dropped (contract §10).
pub(super) const BEHIND_MAX: usize = 256;
/// Events read from the log at a time.
const EVENTS_AT_A_TIME: u32 = 500;

/// An event on its way to watchers, written as JSON once for all of them.
#[derive(Debug)]
pub(in crate::server) struct Told {
    pub(super) seq: i64,
    pub(super) job: JobId,
    pub(super) is_last: bool,
    pub(super) json: String,
}

impl Told {
    pub(super) fn new(event: &Event) -> serde_json::Result<Self> {
        let json = serde_json::to_string(&event.message)?;
        Ok(Self { seq: event.seq, job: event.message.pk, is_last: event.is_last(), json })
    }
}

/// A watcher's end of its queue.
#[derive(Debug)]
pub(in crate::server) struct Subscription {
    queue: mpsc::Receiver<Arc<Told>>,
    dropped: watch::Receiver<bool>,
}

impl Subscription {
    /// Gives the next event; `None` when the watcher was dropped, or its job is gone, and all before that is told.
    pub(in crate::server) async fn next(&mut self) -> Option<Arc<Told>> {
        self.queue.recv().await
    }

    /// Gives a way to learn that the watcher was dropped for being behind, also while it is busy sending.
    pub(super) fn dropped(&self) -> watch::Receiver<bool> {
        self.dropped.clone()
    }

    /// Says whether the watcher was dropped for being behind.
    pub(super) fn was_dropped(&self) -> bool {
        *self.dropped.borrow()
    }
}

#[derive(Debug)]
struct Watcher {
    queue: mpsc::Sender<Arc<Told>>,
    dropped: watch::Sender<bool>,
}

impl Watcher {
    /// Puts an event into the queue; says whether the watcher stays.
    fn tell(&self, told: &Arc<Told>) -> bool {
        match self.queue.try_send(told.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.dropped.send_replace(true);
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

/// Who watches what.
#[derive(Debug, Default)]
struct Watchers {
    of_jobs: HashMap<JobId, Vec<Watcher>>,
    of_all: Vec<Watcher>,
    /// Every event up to here has been handed out, or nobody watched.
    position: i64,
}

impl Watchers {
    fn is_empty(&self) -> bool {
        self.of_jobs.is_empty() && self.of_all.is_empty()
    }

    fn tell(&mut self, told: &Arc<Told>) {
        if let Some(watchers) = self.of_jobs.get_mut(&told.job) {
            watchers.retain(|watcher| watcher.tell(told));
            if watchers.is_empty() {
                self.of_jobs.remove(&told.job);
            }
        }
        self.of_all.retain(|watcher| watcher.tell(told));
        self.position = told.seq;
    }

    /// Forgets those who left; they are noticed here when no event of their job comes any more.
    fn forget_gone(&mut self) {
        self.of_jobs.retain(|_, watchers| {
            watchers.retain(|watcher| !watcher.queue.is_closed());
            !watchers.is_empty()
        });
        self.of_all.retain(|watcher| !watcher.queue.is_closed());
    }
}

/// Hands events to watchers.
#[derive(Debug, Default)]
pub(crate) struct Hub(Mutex<Watchers>);

impl Hub {
    fn watchers(&self) -> std::sync::MutexGuard<'_, Watchers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes to the events of one job, or of all.
    pub(in crate::server) fn subscribe(&self, job: Option<JobId>) -> Subscription {
        let (queue, events) = mpsc::channel(BEHIND_MAX);
        let (dropped, is_dropped) = watch::channel(false);
        let watcher = Watcher { queue, dropped };
        let mut watchers = self.watchers();
        match job {
            Some(job) => watchers.of_jobs.entry(job).or_default().push(watcher),
            None => watchers.of_all.push(watcher),
        }
        Subscription { queue: events, dropped: is_dropped }
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
}

/// Follows the log until the server stops.
pub(in crate::server) async fn run(app: Arc<App>) {
    /// Watchers who left a quiet job are forgotten this often.
    const TIDY_EVERY: std::time::Duration = std::time::Duration::from_secs(30);
    let mut newest = app.store.newest_event();
    app.hub.watchers().position = *newest.borrow_and_update();
    let mut stopping = app.stopping.clone();
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            changed = newest.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(TIDY_EVERY) => app.hub.watchers().forget_gone(),
        }
        let to = *newest.borrow_and_update();
        if let Err(error) = follow(&app, to) {
            tracing::error!(%error, "the event log could not be read; watchers are told later");
        }
    }
}

/// Hands out the events up to a place in the log.
fn follow(app: &App, to: i64) -> Result<(), crate::store::Error> {
    loop {
        let from = {
            let mut watchers = app.hub.watchers();
            if watchers.is_empty() {
                watchers.position = watchers.position.max(to);
            }
            watchers.position
        };
        if from >= to {
            return Ok(());
        }
        let events = app.store.events_after(None, from, EVENTS_AT_A_TIME)?;
        let Some(last) = events.last().map(|event| event.seq) else {
            // The newest events went with a job that was hard-deleted.
            let mut watchers = app.hub.watchers();
            watchers.position = watchers.position.max(to);
            return Ok(());
        };
        let told: Vec<_> = events.iter().filter_map(|event| Told::new(event).ok().map(Arc::new)).collect();
        let mut watchers = app.hub.watchers();
        for told in &told {
            watchers.tell(told);
        }
        watchers.position = watchers.position.max(last);
    }
}
