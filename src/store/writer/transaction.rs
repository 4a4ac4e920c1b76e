//! One transaction of the writer: the commands that share it, each in a savepoint of its own, one commit, and what is
//! told afterwards.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::super::access::JobAccess;
use super::super::callers::Callers;
use super::super::claims::FreeJobs;
use super::super::error::Error;
use super::super::notify::{Notice, Telling};
use super::super::stats::WriterStats;
use crate::domain::ids::JobId;
use crate::domain::time::{Clock, Timestamp};

/// Commands that share one commit at the most, so that the first of them does not wait for ever.
const BATCH_MAX: usize = 512;

/// A transaction that can be written in. Only the writer makes one.
#[derive(Debug)]
pub struct WriteTx<'a> {
    connection: &'a Connection,
    now: Timestamp,
    telling: &'a Telling,
    last_event: &'a Cell<i64>,
    news: RefCell<News>,
}

/// What is to be told once the changes are committed, and only then.
#[derive(Debug, Default)]
struct News {
    last_event: Option<i64>,
    freed_jobs: Vec<JobId>,
    changed_callers: bool,
    jobs: Vec<(JobId, Option<JobAccess>)>,
    notices: Vec<Notice>,
}

impl News {
    /// Adds what a later command has to tell.
    fn add(&mut self, later: News) {
        let News { last_event, freed_jobs, changed_callers, jobs, notices } = later;
        self.last_event = last_event.or(self.last_event);
        self.freed_jobs.extend(freed_jobs);
        self.changed_callers |= changed_callers;
        self.jobs.extend(jobs);
        self.notices.extend(notices);
    }
}

impl WriteTx<'_> {
    /// Gives the connection; reads through it see what the transaction has written.
    pub(in crate::store) fn connection(&self) -> &Connection {
        self.connection
    }

    /// Gives the time at which the command runs.
    pub(in crate::store) fn now(&self) -> Timestamp {
        self.now
    }

    /// Gives the next place in the event log, for an event that is to be written there, and notes that watchers are to be
    /// told after the commit. The place of an event that is taken back stays empty.
    pub(in crate::store) fn next_event(&self) -> i64 {
        let seq = self.last_event.get() + 1;
        self.last_event.set(seq);
        self.news.borrow_mut().last_event = Some(seq);
        seq
    }

    /// Gives how the server tells of transitions.
    pub(in crate::store) fn telling(&self) -> &Telling {
        self.telling
    }

    /// Notes a line for the log, to be written after the commit.
    pub(in crate::store) fn note_line(&self, notice: Notice) {
        self.news.borrow_mut().notices.push(notice);
    }

    /// Notes that a job may be claimed now, or by others than before, so that waiting nodes are told after the commit.
    pub(in crate::store) fn note_free_job(&self, job: JobId) {
        self.news.borrow_mut().freed_jobs.push(job);
    }

    /// Notes that a user or a node is not what it was, so that what is known of them is forgotten after the commit.
    pub(in crate::store) fn note_changed_callers(&self) {
        self.news.borrow_mut().changed_callers = true;
    }

    /// Notes what calls for a job are checked against from now on; `None` when that has to be read again.
    pub(in crate::store) fn note_job(&self, job: JobId, access: Option<JobAccess>) {
        self.news.borrow_mut().jobs.push((job, access));
    }
}

/// What became of the transaction that a command took part in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Committed,
    Lost,
    LostToFullDisk,
}

/// A piece of work for the writer, with its result until the reply may go out.
pub(super) trait Command: Send {
    /// Does the work; says whether its changes are to be kept.
    fn run(&mut self, tx: &WriteTx<'_>) -> bool;
    /// Sends the reply.
    fn reply(self: Box<Self>, fate: Fate);
}

pub(super) struct Call<F, T> {
    work: Option<F>,
    result: Result<T, Error>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<F, T> Call<F, T> {
    /// Makes one that has not run yet.
    pub(super) fn new(work: F, reply: oneshot::Sender<Result<T, Error>>) -> Self {
        Self { work: Some(work), result: Err(Error::Closing), reply }
    }
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

/// What a turn to write is done with.
pub(super) struct Desk {
    pub(super) connection: Connection,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) telling: Telling,
    pub(super) told: Told,
    /// The last place in the event log that was used.
    pub(super) last_event: Cell<i64>,
}

/// Who is told after a commit.
pub(super) struct Told {
    pub(super) events: watch::Sender<i64>,
    pub(super) free_jobs: Arc<FreeJobs>,
    pub(super) callers: Arc<Callers>,
}

/// The commands that shared a transaction, each with what became of it.
#[derive(Default)]
struct Batch {
    done: Vec<(Box<dyn Command>, Fate)>,
    news: News,
}

impl Desk {
    /// Runs the first command and all that are there by then in one transaction, and commits. Then, and only then,
    /// tells and replies.
    pub(super) fn transact(
        &mut self,
        first: Box<dyn Command>,
        next: impl FnMut() -> Option<Box<dyn Command>>,
        stats: &WriterStats,
    ) {
        let Batch { done, news } = self.commit(first, next, stats);
        stats.batch.observe(done.len() as u64);
        // Before anything else: who is replied to may call again at once.
        if news.changed_callers {
            self.told.callers.forget();
        }
        self.told.callers.note_jobs(&news.jobs);
        if let Some(seq) = news.last_event {
            self.told.events.send_replace(seq);
        }
        self.told.free_jobs.add(&news.freed_jobs);
        for (command, fate) in done {
            command.reply(fate);
        }
        // After the replies, so that a slow log holds up nobody who has an answer to come.
        news.notices.iter().for_each(Notice::log);
    }

    fn commit(
        &self,
        first: Box<dyn Command>,
        mut next: impl FnMut() -> Option<Box<dyn Command>>,
        stats: &WriterStats,
    ) -> Batch {
        let Self { connection, clock, telling, last_event, told: _ } = self;
        let mut batch = Batch::default();
        let came = Instant::now();
        let begun = begin(connection);
        let waited = came.elapsed();
        if let Err(error) = begun {
            tracing::error!(%error, "no transaction could be begun");
            WriterStats::count(&stats.lost);
            stats.pace.note(waited);
            batch.done.push((first, fate_of(&error)));
            return batch;
        }
        let mut current = Some(first);
        let mut is_untouched = true;
        while let Some(mut command) = current.take() {
            let tx = WriteTx { connection, now: clock.now(), telling, last_event, news: RefCell::default() };
            let ran = run_one(&tx, command.as_mut(), is_untouched);
            batch.done.push((command, Fate::Committed));
            match ran {
                Ok(true) => {
                    is_untouched = false;
                    batch.news.add(tx.news.into_inner());
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "a transaction was lost");
                    batch.lose(connection, &error, stats);
                    return batch;
                }
            }
            if batch.done.len() < BATCH_MAX {
                current = next();
            }
        }
        let began = Instant::now();
        if let Err(error) = execute(connection, "COMMIT") {
            tracing::error!(%error, "a transaction could not be committed");
            batch.lose(connection, &error, stats);
        }
        let took = began.elapsed();
        stats.commit_us.observe_time(took);
        stats.pace.note(waited + took);
        batch
    }

    /// Leaves everything in one file. It is on disk already; this spares the next start the log beside it.
    pub(super) fn tidy(&self) {
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::warn!(%error, "the log could not be brought into the database; the next start reads both");
        }
    }
}

impl Batch {
    /// Takes the transaction back; nothing is to be told, and every command is answered with no.
    fn lose(&mut self, connection: &Connection, error: &rusqlite::Error, stats: &WriterStats) {
        WriterStats::count(&stats.lost);
        if !connection.is_autocommit()
            && let Err(error) = execute(connection, "ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
        self.news = News::default();
        for (_, fate) in &mut self.done {
            *fate = fate_of(error);
        }
    }
}

/// Begins a transaction; one that a panic left open is taken back first.
fn begin(connection: &Connection) -> rusqlite::Result<()> {
    if !connection.is_autocommit() {
        execute(connection, "ROLLBACK")?;
    }
    execute(connection, "BEGIN IMMEDIATE")
}

/// Runs one command and takes back what it wrote if that is not to be kept. While the transaction is untouched, the
/// transaction itself can be taken back; later commands have a savepoint each, which costs a copy of every page that they
/// write in. An error here means that the whole transaction is gone or can't be trusted.
fn run_one(tx: &WriteTx<'_>, command: &mut dyn Command, is_untouched: bool) -> rusqlite::Result<bool> {
    let connection = tx.connection;
    if !is_untouched {
        execute(connection, "SAVEPOINT command")?;
    }
    let keep = command.run(tx);
    // A full disk or an I/O error can make SQLite roll back everything by itself.
    if connection.is_autocommit() {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
            Some("the transaction was rolled back under a command".to_owned()),
        ));
    }
    match (keep, is_untouched) {
        (true, true) => {}
        (false, true) => begin(connection)?,
        (true, false) => execute(connection, "RELEASE command")?,
        (false, false) => {
            execute(connection, "ROLLBACK TO command")?;
            execute(connection, "RELEASE command")?;
        }
    }
    Ok(keep)
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
