//! The writer: one connection, one transaction at a time, one commit for all commands that wait (the design's decision
//! 1), so that a yes is on disk and yet many callers share the cost of the sync.
//!
//! Commands queue up. A caller that finds nobody writing writes its own command, there and then: with one client a
//! change of thread to a writer and back costs as much as the commit (`benches/RESULTS.md`). While commits are brisk it
//! does so in the middle of the runtime's work, which then stands still for less time than it takes to hand that work to
//! another thread; else the runtime is told, and goes on elsewhere. A disk that is brisk can stall all the same, and the
//! runtime does not notice by itself: so the writer's thread looks after callers while they write, and calls for another
//! of the runtime's threads when one takes long. What queues up meanwhile is for the writer's thread too, which goes on
//! until nothing waits. So the turn to write is always one thread's:
//!
//! ```text
//!            a caller comes                   it has written, and nothing waits
//!   Nobody ─────────────────▶ ACaller ─────────────────────────────────────▶ Nobody
//!      │                         │ it has written, and something waits
//!      │ a caller comes that     ▼                      nothing waits
//!      └──────────────────▶ TheThread ─────────────────────────────────────▶ Nobody
//!        must not block
//! ```

mod transaction;

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{oneshot, watch};

use super::callers::Callers;
use super::claims::FreeJobs;
use super::error::Error;
use super::events;
use super::notify::Telling;
use super::stats::WriterStats;
use crate::domain::time::Clock;
use transaction::{Call, Command, Desk, Told};

pub use transaction::WriteTx;

/// Commands that may wait; one more is told that the store is overloaded.
const QUEUE_MAX: usize = 4_096;

/// How long a caller may write before the runtime is helped to go on without its thread.
const STALL: Duration = Duration::from_millis(50);

/// Whose turn it is to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Nobody,
    ACaller,
    TheThread,
}

/// Commands that wait, and who is to carry them out.
struct Queue {
    waiting: VecDeque<Box<dyn Command>>,
    turn: Turn,
    /// How many turns callers have had.
    callers_turns: u64,
    /// The runtime whose thread is writing, while it is a caller's turn.
    runtime: Option<Handle>,
    /// Whether the thread has nothing to look after, and sleeps until it is told.
    is_thread_asleep: bool,
    /// Nothing more is taken; what waits is still carried out.
    is_closing: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Given when the turn is the thread's, when it is to end, and when callers begin to write while it is asleep.
    is_wanted: Condvar,
    /// Locked by whose turn it is, and by nobody else.
    desk: Mutex<Desk>,
    stats: Arc<WriterStats>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the desk. A panic leaves nothing half done on it: the next transaction takes an open one back first.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a command in. Says whether the caller is to write it, which it may on a thread of a runtime that can spare it.
    fn enter(&self, command: Box<dyn Command>, runtime: Option<Handle>) -> Result<bool, Error> {
        let mut queue = self.queue();
        if queue.is_closing {
            return Err(Error::Closing);
        }
        if queue.waiting.len() >= QUEUE_MAX {
            WriterStats::count(&self.stats.refused);
            return Err(Error::Busy);
        }
        queue.waiting.push_back(command);
        WriterStats::count(&self.stats.queued);
        if queue.turn != Turn::Nobody {
            return Ok(false);
        }
        if runtime.is_none() {
            self.give_to_thread(queue);
            return Ok(false);
        }
        queue.turn = Turn::ACaller;
        queue.callers_turns += 1;
        queue.runtime = runtime;
        let wake = std::mem::take(&mut queue.is_thread_asleep);
        drop(queue);
        if wake {
            self.is_wanted.notify_one();
        }
        Ok(true)
    }

    fn give_to_thread(&self, mut queue: MutexGuard<'_, Queue>) {
        queue.turn = Turn::TheThread;
        drop(queue);
        self.is_wanted.notify_one();
    }

    /// Carries out one transaction of what waits. Only for whose turn it is.
    fn write(&self) {
        let next = || {
            let command = self.queue().waiting.pop_front()?;
            WriterStats::count(&self.stats.taken);
            Some(command)
        };
        if let Some(first) = next() {
            self.desk().transact(first, next, &self.stats);
        }
    }

    /// The caller's turn: one transaction, then whatever queued up meanwhile is the thread's.
    fn write_as_caller(&self) {
        // Dropped by a panic as well, so that the turn is never lost.
        let _turn = CallersTurn(self);
        self.write();
    }

    /// The thread: takes its turns until it is told to end, then leaves everything in one file.
    fn run(&self) {
        loop {
            let queue = self.wait_for_turn();
            let is_last = queue.is_closing && queue.waiting.is_empty();
            drop(queue);
            if is_last {
                break;
            }
            self.write();
            let mut queue = self.queue();
            if queue.waiting.is_empty() {
                queue.turn = Turn::Nobody;
            }
        }
        self.desk().tidy();
    }

    /// The thread: waits for its turn or its end, and looks after callers that write meanwhile.
    fn wait_for_turn(&self) -> MutexGuard<'_, Queue> {
        let mut queue = self.queue();
        let mut turns_seen = queue.callers_turns;
        loop {
            let turns = queue.callers_turns;
            match queue.turn {
                Turn::TheThread => return queue,
                Turn::Nobody if queue.is_closing => return queue,
                // Nobody has written for a while.
                Turn::Nobody if turns == turns_seen => {
                    queue.is_thread_asleep = true;
                    queue = self.is_wanted.wait(queue).unwrap_or_else(PoisonError::into_inner);
                    queue.is_thread_asleep = false;
                }
                Turn::Nobody | Turn::ACaller => {
                    turns_seen = turns;
                    queue = self.is_wanted.wait_timeout(queue, STALL).unwrap_or_else(PoisonError::into_inner).0;
                    if queue.turn == Turn::ACaller
                        && queue.callers_turns == turns
                        && let Some(runtime) = &queue.runtime
                    {
                        // Any task will do: the thread that takes it finds that nobody waits for sockets and timers any
                        // more, and does so from then on.
                        drop(runtime.spawn(std::future::ready(())));
                    }
                }
            }
        }
    }
}

/// A caller's turn, until this is dropped.
struct CallersTurn<'a>(&'a Shared);

impl Drop for CallersTurn<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.runtime = None;
        if queue.waiting.is_empty() && !queue.is_closing {
            queue.turn = Turn::Nobody;
        } else {
            self.0.give_to_thread(queue);
        }
    }
}

/// The writer's front: takes commands, from any thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    events: watch::Receiver<i64>,
    free_jobs: Arc<FreeJobs>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("stats", &self.shared.stats).finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the thread, and takes the connection over.
    pub(super) fn start(
        connection: Connection,
        clock: Arc<dyn Clock>,
        telling: Telling,
        callers: Arc<Callers>,
    ) -> Result<Self, Error> {
        let last = events::last_place(&connection)?;
        let (told, events) = watch::channel(last);
        let free_jobs = Arc::<FreeJobs>::default();
        let told = Told { events: told, free_jobs: free_jobs.clone(), callers };
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                turn: Turn::Nobody,
                callers_turns: 0,
                runtime: None,
                is_thread_asleep: false,
                is_closing: false,
            }),
            is_wanted: Condvar::new(),
            desk: Mutex::new(Desk { connection, clock, telling, told, last_event: Cell::new(last) }),
            stats: Arc::default(),
        });
        let its = shared.clone();
        let thread = std::thread::Builder::new()
            .name("labrun-writer".to_owned())
            .spawn(move || {
                let ran = catch_unwind(AssertUnwindSafe(|| its.run()));
                // Whatever ended it, whoever still waits is told so.
                let mut queue = its.queue();
                (queue.is_closing, queue.waiting) = (true, VecDeque::new());
                drop(queue);
                if let Err(panic) = ran {
                    resume_unwind(panic);
                }
            })
            .map_err(|error| Error::Broken(format!("the writer's thread can't be started: {error}")))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)), events, free_jobs })
    }

    /// Runs a command in the next transaction and gives its result once that is committed.
    ///
    /// # Errors
    /// `Busy` when too many wait, `Closing` after [`Writer::stop`], and what the command itself or its commit fails with.
    pub(super) async fn call<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTx<'_>) -> Result<T, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        if self.shared.enter(Box::new(Call::new(work, reply)), spare_runtime())? {
            if self.shared.stats.pace.is_brisk() {
                self.shared.write_as_caller();
            } else {
                tokio::task::block_in_place(|| self.shared.write_as_caller());
            }
        }
        answer.await.unwrap_or(Err(Error::Closing))
    }

    /// Gives the sequence number of the newest committed event, and a way to wait for a newer one.
    pub(super) fn events(&self) -> watch::Receiver<i64> {
        self.events.clone()
    }

    /// Gives the jobs that commits made free.
    pub(super) fn free_jobs(&self) -> &FreeJobs {
        &self.free_jobs
    }

    /// Gives what the writer counts.
    pub(super) fn stats(&self) -> &WriterStats {
        &self.shared.stats
    }

    /// Ends the thread after what is queued, and closes the log. Blocks.
    pub(super) fn stop(&self) {
        self.shared.queue().is_closing = true;
        self.shared.is_wanted.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(_)) = thread.map(JoinHandle::join) {
            tracing::error!("the writer's thread ended with a panic");
        }
    }
}

/// Gives the runtime of the calling task, if that may block its thread: only where there are others to go on with.
fn spare_runtime() -> Option<Handle> {
    let runtime = Handle::try_current().ok()?;
    let has_others = runtime.runtime_flavor() == RuntimeFlavor::MultiThread && runtime.metrics().num_workers() > 1;
    has_others.then_some(runtime)
}

#[cfg(test)]
mod tests;
