//! The one thread that writes. It drains its queue into one transaction and commits once for all of them, so that
//! a yes is on disk and yet many callers share the cost of the sync (the design's decision 1).
//!
//! Each command runs in a savepoint of its own: one that fails, or panics, takes back its own changes and nobody
//! else's. Replies go out after the commit, and only then.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::callers::Callers;
use super::error::Error;
use super::notify::{Notice, Telling};
use super::stats::WriterStats;
use crate::domain::time::{Clock, Timestamp};

/// Commands that may wait; one more is told that the store is overloaded.
const QUEUE_MAX: usize = 4_096;
/// Commands that share one commit at the most, so that the first of them does not wait for ever.
const BATCH_MAX: usize = 512;

/// A transaction that can be written in. Only the writer makes one.
#[derive(Debug)]
pub struct WriteTx<'a> {
    connection: &'a Connection,
    now: Timestamp,
    telling: &'a Telling,
    news: RefCell<News>,
}

/// What is to be told once the changes are committed, and only then.
#[derive(Debug, Default)]
struct News {
    last_event: Option<i64>,
    freed_job: bool,
    changed_callers: bool,
    notices: Vec<Notice>,
}

impl News {
    /// Adds what a later command has to tell.
    fn add(&mut self, later: News) {
        let News { last_event, freed_job, changed_callers, notices } = later;
        self.last_event = last_event.or(self.last_event);
        self.freed_job |= freed_job;
        self.changed_callers |= changed_callers;
        self.notices.extend(notices);
    }
}

impl WriteTx<'_> {
    /// Gives the connection; reads through it see what the transaction has written.
    pub(super) fn connection(&self) -> &Connection {
        self.connection
    }

    /// Gives the time at which the command runs.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Notes that an event was written, so that watchers are told after the commit.
    pub(super) fn note_event(&self, seq: i64) {
        self.news.borrow_mut().last_event = Some(seq);
    }

    /// Gives how the server tells of transitions.
    pub(super) fn telling(&self) -> &Telling {
        self.telling
    }

    /// Notes a line for the log, to be written after the commit.
    pub(super) fn note_line(&self, notice: Notice) {
        self.news.borrow_mut().notices.push(notice);
    }

    /// Notes that a job can be claimed now, so that waiting nodes are told after the commit.
    pub(super) fn note_free_job(&self) {
        self.news.borrow_mut().freed_job = true;
    }

    /// Notes that a user or a node is not what it was, so that what is known of them is forgotten after the commit.
    pub(super) fn note_changed_callers(&self) {
        self.news.borrow_mut().changed_callers = true;
    }
}

/// What became of the transaction that a command took part in.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Committed,
    Lost,
    LostToFullDisk,
}

/// A piece of work for the writer, with its result until the reply may go out.
trait Command: Send {
    /// Does the work; says whether its changes are to be kept.
    fn run(&mut self, tx: &WriteTx<'_>) -> bool;
    /// Sends the reply.
    fn reply(self: Box<Self>, fate: Fate);
}

struct Call<F, T> {
    work: Option<F>,
    result: Result<T, Error>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<F, T> Command for Call<F, T>
where
    F: FnOnce(&WriteTx<'_>) -> Result<T, Error> + Send,
    T: Send,
{
    fn run(&mut self, tx: &WriteTx<'_>) -> bool {
        if let Some(work) = self.work.take() {
            self.result = catch_unwind(AssertUnwindSafe(|| work(tx)))
                .unwrap_or_else(|_| Err(Error::Broken("a command of the writer panicked".to_owned())));
        }
        self.result.is_ok()
    }

    fn reply(self: Box<Self>, fate: Fate) {
        let result = match (self.result, fate) {
            // It never ran, since no transaction could be begun.
            (Err(Error::Closing), Fate::LostToFullDisk) => Err(Error::DiskFull),
            (Err(Error::Closing), Fate::Lost) => Err(Error::Busy),
            (Ok(_), Fate::Lost) => Err(Error::Broken("the transaction could not be committed".to_owned())),
            (Ok(_), Fate::LostToFullDisk) => Err(Error::DiskFull),
            (result, _) => result,
        };
        // A caller that hung up does not want the answer; what was done stays done.
        drop(self.reply.send(result));
    }
}

enum Message {
    Run(Box<dyn Command>),
    Stop,
}

/// The writer's front: takes commands, from any thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: SyncSender<Message>,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
    events: watch::Receiver<i64>,
    free_jobs: watch::Receiver<u64>,
    stats: Arc<WriterStats>,
}

impl Writer {
    /// Starts the thread on its connection.
    pub(super) fn start(
        connection: Connection,
        clock: Arc<dyn Clock>,
        telling: Telling,
        callers: Arc<Callers>,
    ) -> Result<Self, Error> {
        let last: i64 = connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))?;
        let (told, events) = watch::channel(last);
        let (freed, free_jobs) = watch::channel(0);
        let (queue, commands) = sync_channel(QUEUE_MAX);
        let stats = Arc::<WriterStats>::default();
        let counted = stats.clone();
        let thread = std::thread::Builder::new()
            .name("labrun-writer".to_owned())
            .spawn(move || {
                let bench =
                    Bench { connection: &connection, clock: clock.as_ref(), telling: &telling, stats: &counted };
                run(&bench, &commands, &Told { events: told, free_jobs: freed, callers });
            })
            .map_err(|error| Error::Broken(format!("the writer's thread can't be started: {error}")))?;
        Ok(Self { queue, thread: std::sync::Mutex::new(Some(thread)), events, free_jobs, stats })
    }

    /// Runs a command in the next transaction and gives its result once that is committed.
    pub(super) async fn call<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTx<'_>) -> Result<T, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = Call { work: Some(work), result: Err(Error::Closing), reply };
        self.queue.try_send(Message::Run(Box::new(call))).map_err(|refused| match refused {
            TrySendError::Full(_) => {
                WriterStats::count(&self.stats.refused);
                Error::Busy
            }
            TrySendError::Disconnected(_) => Error::Closing,
        })?;
        WriterStats::count(&self.stats.queued);
        answer.await.unwrap_or(Err(Error::Closing))
    }

    /// Gives the sequence number of the newest committed event, and a way to wait for a newer one.
    pub(super) fn events(&self) -> watch::Receiver<i64> {
        self.events.clone()
    }

    /// Gives a way to wait for a commit after which there may be a job to claim.
    pub(super) fn free_jobs(&self) -> watch::Receiver<u64> {
        self.free_jobs.clone()
    }

    /// Gives what the writer counts.
    pub(super) fn stats(&self) -> &WriterStats {
        &self.stats
    }

    /// Ends the thread after what is queued, and closes its connection. Blocks.
    pub(super) fn stop(&self) {
        drop(self.queue.send(Message::Stop));
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(Err(_)) = thread.map(JoinHandle::join) {
            tracing::error!("the writer's thread ended with a panic");
        }
    }
}

/// Who is told after a commit.
struct Told {
    events: watch::Sender<i64>,
    free_jobs: watch::Sender<u64>,
    callers: Arc<Callers>,
}

/// What the thread works with.
struct Bench<'a> {
    connection: &'a Connection,
    clock: &'a dyn Clock,
    telling: &'a Telling,
    stats: &'a WriterStats,
}

/// The thread: one transaction after another until it is told to stop.
fn run(bench: &Bench<'_>, commands: &Receiver<Message>, told: &Told) {
    while let Ok(Message::Run(first)) = commands.recv() {
        let (batch, stop) = transact(bench, commands, first);
        bench.stats.batch.observe(batch.done.len() as u64);
        // Before anything else: who is replied to may call again at once.
        if batch.news.changed_callers {
            told.callers.forget();
        }
        if let Some(seq) = batch.news.last_event {
            told.events.send_replace(seq);
        }
        if batch.news.freed_job {
            told.free_jobs.send_modify(|count| *count = count.wrapping_add(1));
        }
        for (command, fate) in batch.done {
            command.reply(fate);
        }
        // After the replies, so that a slow log holds up nobody who has an answer to come.
        batch.news.notices.iter().for_each(Notice::log);
        if stop {
            break;
        }
    }
    // Everything is on disk already; this leaves it in one file, without a log beside it.
    if let Err(error) = bench.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        tracing::warn!(%error, "the log could not be brought into the database; the next start reads both");
    }
}

/// The commands that shared a transaction, each with what became of it.
struct Batch {
    done: Vec<(Box<dyn Command>, Fate)>,
    news: News,
}

/// Runs the first command and all that queue up meanwhile in one transaction. The flag says to stop after it.
fn transact(bench: &Bench<'_>, commands: &Receiver<Message>, first: Box<dyn Command>) -> (Batch, bool) {
    let Bench { connection, clock, telling, stats } = *bench;
    let mut done: Vec<(Box<dyn Command>, Fate)> = Vec::new();
    let mut news = News::default();
    let mut stop = false;
    WriterStats::count(&stats.taken);
    if let Err(error) = execute(connection, "BEGIN IMMEDIATE") {
        tracing::error!(%error, "no transaction could be begun");
        WriterStats::count(&stats.lost);
        done.push((first, fate_of(&error)));
        return (Batch { done, news }, stop);
    }
    let mut next = Some(first);
    while let Some(mut command) = next.take() {
        let tx = WriteTx { connection, now: clock.now(), telling, news: RefCell::default() };
        match run_one(&tx, command.as_mut()) {
            Ok(kept) => {
                if kept {
                    news.add(tx.news.into_inner());
                }
                done.push((command, Fate::Committed));
            }
            Err(error) => {
                tracing::error!(%error, "a transaction was lost");
                WriterStats::count(&stats.lost);
                done.push((command, fate_of(&error)));
                lose(connection, &mut done, fate_of(&error));
                return (Batch { done, news: News::default() }, stop);
            }
        }
        if done.len() < BATCH_MAX {
            match commands.try_recv() {
                Ok(Message::Run(command)) => {
                    WriterStats::count(&stats.taken);
                    next = Some(command);
                }
                Ok(Message::Stop) => stop = true,
                Err(_) => {}
            }
        }
    }
    let began = Instant::now();
    if let Err(error) = execute(connection, "COMMIT") {
        tracing::error!(%error, "a transaction could not be committed");
        WriterStats::count(&stats.lost);
        lose(connection, &mut done, fate_of(&error));
        news = News::default();
    }
    stats.commit_us.observe_time(began.elapsed());
    (Batch { done, news }, stop)
}

/// Runs one command in a savepoint. An error here means that the whole transaction is gone or can't be trusted.
fn run_one(tx: &WriteTx<'_>, command: &mut dyn Command) -> rusqlite::Result<bool> {
    let connection = tx.connection;
    execute(connection, "SAVEPOINT command")?;
    let keep = command.run(tx);
    // A full disk or an I/O error can make SQLite roll back everything by itself.
    if connection.is_autocommit() {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
            Some("the transaction was rolled back under a command".to_owned()),
        ));
    }
    if !keep {
        execute(connection, "ROLLBACK TO command")?;
    }
    execute(connection, "RELEASE command")?;
    Ok(keep)
}

/// Takes the transaction back, and tells every command in it.
fn lose(connection: &Connection, done: &mut [(Box<dyn Command>, Fate)], fate: Fate) {
    if !connection.is_autocommit()
        && let Err(error) = execute(connection, "ROLLBACK")
    {
        tracing::error!(%error, "a transaction could not be rolled back");
    }
    for (_, theirs) in done {
        *theirs = fate;
    }
}

fn fate_of(error: &rusqlite::Error) -> Fate {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => Fate::LostToFullDisk,
        _ => Fate::Lost,
    }
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
