//! Who writes to which upload at this moment: one at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::domain::ids::UploadId;

/// How long the one who writes may hear nothing of its client before another may take its place: the client's
/// connection has most likely broken off, and it is the same client that comes again.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// The uploads that are being written to.
#[derive(Debug, Default)]
pub(crate) struct Busy(Mutex<HashMap<UploadId, Arc<Holder>>>);

#[derive(Debug)]
struct Holder {
    stop: Notify,
    heard: Mutex<Instant>,
}

/// The right to write to an upload; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    busy: Arc<Busy>,
    upload: UploadId,
    holder: Arc<Holder>,
}

impl Busy {
    /// Takes the turn. `None` when somebody has it; one who has heard nothing for a while is told to let go.
    pub(crate) fn take(self: &Arc<Self>, upload: UploadId) -> Option<Turn> {
        let mut holders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(holder) = holders.get(&upload) {
            if holder.heard().elapsed() >= SILENCE_MAX {
                holder.stop.notify_one();
            }
            return None;
        }
        let holder = Arc::new(Holder { stop: Notify::new(), heard: Mutex::new(Instant::now()) });
        holders.insert(upload, holder.clone());
        Some(Turn { busy: self.clone(), upload, holder })
    }
}

impl Holder {
    fn heard(&self) -> Instant {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Notes that the client is there.
    pub(crate) fn heard(&self) {
        *self.holder.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns when another wants the turn.
    pub(crate) async fn wanted(&self) {
        self.holder.stop.notified().await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.busy.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.upload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_has_the_turn_and_gives_it_up_when_its_client_is_silent() {
        let busy = Arc::new(Busy::default());
        let (one, other) = (UploadId(1), UploadId(2));
        let turn = busy.take(one).unwrap();
        assert!(busy.take(one).is_none() && busy.take(other).is_some());
        // It has heard of its client: nobody tells it to stop.
        assert!(tokio::time::timeout(Duration::from_millis(1), turn.wanted()).await.is_err());
        let Some(long_ago) = Instant::now().checked_sub(SILENCE_MAX) else { return };
        *turn.holder.heard.lock().unwrap() = long_ago;
        assert!(busy.take(one).is_none(), "it is told first");
        turn.wanted().await;
        turn.heard();
        assert!(busy.take(one).is_none());
        drop(turn);
        assert!(busy.take(one).is_some());
    }
}
