//! One watcher's way through the log: from the hub's queue while it keeps up, from the log itself when it does not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::hub::{Given, Subscription, Told};
use crate::domain::ids::JobId;
use crate::server::{App, raised};
use crate::store;

/// Events read from the log at a time.
const EVENTS_AT_A_TIME: u32 = 128;
/// How long a client may leave a message lying once it is behind. One that takes nothing for so long does not read;
/// one that does was overtaken by our own reading of the log, and goes on from there.
const STUCK_MAX: Duration = Duration::from_millis(250);

/// Gives a watcher its events: each once, in order, none left out.
pub(super) struct Follower {
    app: Arc<App>,
    job: Option<JobId>,
    subscription: Subscription,
    /// Whether the log may hold events that are neither given nor in the queue.
    is_catching_up: bool,
    /// Events that were read from the log, to be given before anything else.
    page: VecDeque<Told>,
    told_up_to: i64,
}

/// An event, however it came.
pub(super) enum Next {
    /// From the queue, shared with the other watchers, or read for this one alone.
    Event(Arc<Told>),
    /// The job is gone for good.
    Gone,
}

impl Follower {
    /// Begins with a job's present state; `None` when there is no such job.
    pub(super) fn from_present(app: &Arc<App>, job: JobId) -> Result<Option<Self>, store::Error> {
        let mut follower = Self::after(app, Some(job), 0);
        follower.is_catching_up = false;
        let Some(state) = app.store.present_state(job)? else { return Ok(None) };
        follower.told_up_to = state.seq;
        follower.page.push_back(told(&state)?);
        Ok(Some(follower))
    }

    /// Begins after a place in the log, with the events of one job or of all.
    pub(super) fn after(app: &Arc<App>, job: Option<JobId>, place: i64) -> Self {
        let subscription = app.hub.subscribe(job);
        let app = app.clone();
        Self { app, job, subscription, is_catching_up: true, page: VecDeque::new(), told_up_to: place }
    }

    /// Gives the next event once there is one. Dropped before that, nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Next, store::Error> {
        loop {
            if let Some(told) = self.next_logged()? {
                return Ok(Next::Event(told));
            }
            let given = self.subscription.next().await;
            if let Some(next) = self.take(given) {
                return Ok(next);
            }
        }
    }

    /// Gives the next event if it is at hand.
    pub(super) fn ready(&mut self) -> Result<Option<Arc<Told>>, store::Error> {
        loop {
            if let Some(told) = self.next_logged()? {
                return Ok(Some(told));
            }
            let Some(given) = self.subscription.ready() else { return Ok(None) };
            match self.take(given) {
                Some(Next::Event(told)) => return Ok(Some(told)),
                // Seen again by `next`: a queue that has ended stays ended.
                Some(Next::Gone) => return Ok(None),
                None => {}
            }
        }
    }

    /// Gives the next event that was or can be read from the log, until it holds no more.
    fn next_logged(&mut self) -> Result<Option<Arc<Told>>, store::Error> {
        if self.page.is_empty() && self.is_catching_up {
            let page = self.app.store.events_after(self.job, self.told_up_to, EVENTS_AT_A_TIME)?;
            self.page = page.events.iter().map(told).collect::<Result<_, _>>()?;
            self.is_catching_up = page.more;
        }
        let Some(told) = self.page.pop_front() else { return Ok(None) };
        self.told_up_to = self.told_up_to.max(told.seq);
        Ok(Some(Arc::new(told)))
    }

    /// Judges what came out of the queue; `None` when it is to be passed over.
    fn take(&mut self, given: Given) -> Option<Next> {
        match given {
            Given::Event(told) if told.seq <= self.told_up_to => None,
            Given::Event(told) => {
                self.told_up_to = told.seq;
                Some(Next::Event(told))
            }
            Given::Overflowed => {
                // The same first steps as at the beginning: subscribe, then read the log.
                self.subscription = self.app.hub.subscribe(self.job);
                self.is_catching_up = true;
                None
            }
            Given::Gone => Some(Next::Gone),
        }
    }

    /// Returns when the watcher is behind and, for a while since, has been waiting for its client: what goes on beside
    /// a write that does not end.
    pub(super) fn stuck(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut overflowed = self.subscription.overflowed();
        async move {
            raised(&mut overflowed).await;
            // The sender's end is dropped together with its queue's; only an overflow raises the flag.
            if !*overflowed.borrow() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(STUCK_MAX).await;
        }
    }
}

fn told(event: &store::events::Event) -> Result<Told, store::Error> {
    Told::new(event).map_err(|error| store::Error::Broken(error.to_string()))
}
