//! Carries out what falls due by time: leases, deadlines, retries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::ids::NodeId;
use crate::domain::time::Timestamp;
use crate::server::App;
use crate::store;

/// How late something due may be. A look costs one read of empty indexes.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// When each node last gave a sign of life that renews its leases: a ping, a progress, an output, a line of log. Kept in
/// memory only; after a restart every lease gets a full period.
#[derive(Debug, Default)]
pub(crate) struct SignsOfLife(Mutex<HashMap<NodeId, Timestamp>>);

impl SignsOfLife {
    /// Notes a sign of life.
    pub(crate) fn note(&self, node: NodeId, now: Timestamp) {
        let mut signs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = signs.entry(node).or_insert(now);
        *last = now.max(*last);
    }

    /// Gives the last one.
    fn last(&self, node: NodeId) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied()
    }
}

/// How often, at the most, a call whose body is coming gives a sign of life: well within the shortest lease, one second,
/// and seldom enough to cost large uploads nothing.
const PULSE_EVERY: Duration = Duration::from_millis(100);

/// The signs of life of one call while its body comes: an upload may take longer than the lease under which it is sent.
#[derive(Debug)]
pub(crate) struct Pulse {
    node: Option<NodeId>,
    last: Option<Instant>,
}

impl Pulse {
    /// Makes the pulse of a call for a node, or of one that is for none.
    pub(crate) fn of(node: Option<NodeId>) -> Self {
        Self { node, last: None }
    }

    /// Notes that a piece came, unless it was noted of another just now.
    pub(crate) fn beat(&mut self, app: &App) {
        let Some(node) = self.node else { return };
        if self.last.is_some_and(|last| last.elapsed() < PULSE_EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        app.signs.note(node, app.clock.now());
    }
}

/// Looks again and again until the server stops.
pub(super) async fn run(app: Arc<App>) {
    let mut stopping = app.stopping.clone();
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if let Err(error) = run_once(&app).await {
            tracing::warn!(%error, "what is due could not be carried out; it is tried again");
        }
    }
}

/// Carries out what is due by now.
pub(crate) async fn run_once(app: &Arc<App>) -> Result<(), store::Error> {
    if !app.store.anything_due(app.clock.now())? {
        return Ok(());
    }
    let signs = app.clone();
    app.store.run_due(Box::new(move |node, _job| signs.signs.last(node))).await
}
