//! A server that is away: which errors pass by themselves, and how long to wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::ClientError;

/// The first pause, and the longest.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);

/// Says whether the same call may go well later: the server is away, overloaded, full, or starts anew.
pub(crate) fn passes(error: &ClientError) -> bool {
    match error.status() {
        // A token or password that is turned down may be put in order, and nothing is lost by waiting.
        Some(status) => status == 401 || status == 429 || status >= 500,
        None => matches!(
            error,
            ClientError::Transport(_)
                | ClientError::Unexpected(_)
                | ClientError::Damaged { .. }
                | ClientError::Login(_)
        ),
    }
}

/// Pauses that grow.
#[derive(Debug)]
pub(crate) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Pauses {
    /// Waits for longer than the last time.
    pub(crate) async fn next(&mut self) {
        tokio::time::sleep(self.longer()).await;
    }

    /// Gives the next pause, and makes the one after it longer.
    pub(crate) fn longer(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(LONGEST);
        now
    }
}

/// Whether the server is away, so that the log says so once and not with every call.
#[derive(Debug, Default)]
pub(crate) struct Away(AtomicBool);

impl Away {
    /// Says whether the last call failed.
    pub(crate) fn is_away(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes that a call failed in a way that passes.
    pub(crate) fn failed(&self, error: &ClientError) {
        if !self.0.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the server can't be reached or does not take calls: {error}. Work goes on; calls are tried again"
            );
        }
    }

    /// Notes that a call was answered.
    pub(crate) fn answered(&self) {
        if self.0.swap(false, Ordering::Relaxed) {
            tracing::info!("the server is back");
        }
    }
}
