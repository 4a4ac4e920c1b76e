//! What the server and the worker tell each other while a run goes on: the live log, how far it is, that the worker is
//! there; and that the job is not the worker's any more.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::away::{Away, Pauses, passes};
use super::log::Log;
use super::progress::{self, Progress};
use super::spool::Run;
use super::standing::Standing;
use crate::client::{Client, ClientError};
use crate::domain::ids::JobId;
use crate::domain::lifecycle::Transition;

/// How often there is something to tell.
const ROUND: Duration = Duration::from_millis(200);
/// Most bytes of the log in one call; so it grows by little more than 1 MiB a second.
const PIECE_BYTES: usize = 256 << 10;
/// How long the rest of the live log may take at the end.
const FLUSH_MAX: Duration = Duration::from_secs(10);
/// How long a call may take before it counts as failed.
const CALL_MAX: Duration = Duration::from_secs(20);
/// The longest time between two signs of life. It is also the time until a cancelled job is noticed where events can't be
/// watched.
const BEAT_MAX: Duration = Duration::from_secs(5);
/// The pause before events are watched again.
const WATCH_PAUSE: Duration = Duration::from_secs(5);
/// How many signs of life there are at least in the time of a lease.
const BEATS_PER_LEASE: f64 = 4.0;

/// What the command says, as the reader of its output hands it on.
#[derive(Debug)]
pub(crate) struct Said {
    /// The log.
    log: Mutex<Log>,
    /// The last that it said of its progress, until that is told.
    progress: Mutex<Option<Progress>>,
}

impl Said {
    /// Begins with a log.
    pub(crate) fn new(log: Log) -> Self {
        Self { log: Mutex::new(log), progress: Mutex::default() }
    }

    /// Gives the log.
    pub(crate) fn into_log(self) -> Log {
        self.log.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the log.
    pub(crate) fn log<T>(&self, act: impl FnOnce(&mut Log) -> T) -> T {
        act(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes how far the command is.
    pub(crate) fn note(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    fn take_progress(&self) -> Option<Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The conversation about one run, in a task of its own, so that no call is broken off halfway when the run ends.
#[derive(Debug)]
pub(crate) struct Conversation {
    gone: watch::Receiver<Option<String>>,
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Conversation {
    /// Begins it; `client` speaks for the run's node and attempt.
    pub(crate) fn begin(
        client: Client,
        run: Run,
        said: Arc<Said>,
        away: Arc<Away>,
        progress_file: PathBuf,
        lease_s: f64,
    ) -> Self {
        let beat = Duration::from_secs_f64(lease_s / BEATS_PER_LEASE).min(BEAT_MAX);
        let now = Instant::now();
        let (tell_gone, gone) = watch::channel(None);
        let (end, ends) = watch::channel(false);
        let teller = Teller {
            client,
            run,
            said,
            away,
            progress_file,
            from_file: None,
            pending: None,
            told_bytes: 0,
            takes_log: true,
            beat,
            next_beat: now + beat,
            pauses: Pauses::default(),
            not_before: now,
        };
        let task = tokio::spawn(teller.talk(tell_gone, ends));
        Self { gone, end, task }
    }

    /// Waits until the job is not this run's any more, and says why.
    pub(crate) async fn gone(&self) -> String {
        let mut gone = self.gone.clone();
        if gone.wait_for(Option::is_some).await.is_err() {
            // It ended without news.
            std::future::pending::<()>().await;
        }
        let why = gone.borrow().clone();
        why.unwrap_or_default()
    }

    /// Ends it, once the server has heard the rest of the log. What it does not hear in time is in the output `log`.
    pub(crate) async fn end(self) {
        self.end.send_replace(true);
        // A panic in there would be a mistake of this program, and no reason to lose the result.
        drop(self.task.await);
    }
}

/// What the task of a conversation works with.
struct Teller {
    client: Client,
    run: Run,
    said: Arc<Said>,
    away: Arc<Away>,
    progress_file: PathBuf,
    /// The last that was read from that file.
    from_file: Option<Progress>,
    /// What could not be told yet.
    pending: Option<Progress>,
    told_bytes: u64,
    /// Whether the server takes the log; one that does not know of live logs is not asked again.
    takes_log: bool,
    beat: Duration,
    next_beat: Instant,
    pauses: Pauses,
    not_before: Instant,
}

/// Watches the job's events, and tells when one says that it has ended or is somebody else's.
async fn watch_events(client: Client, job: JobId, ended: &Notify) {
    let mut events = client.events(job);
    loop {
        match events.next().await {
            Ok(Some(event)) => match event.message.transition {
                Transition::Create | Transition::Acquire | Transition::Start | Transition::Progress => {}
                Transition::Release
                | Transition::Finish
                | Transition::Error
                | Transition::Reset
                | Transition::Abort
                | Transition::Cancel => ended.notify_one(),
            },
            // The signs of life tell as well, if later.
            Ok(None) | Err(_) => tokio::time::sleep(WATCH_PAUSE).await,
        }
    }
}

impl Teller {
    async fn talk(mut self, gone: watch::Sender<Option<String>>, mut ends: watch::Receiver<bool>) {
        let ended = Notify::new();
        let mut watching = pin!(watch_events(self.client.clone(), self.run.job, &ended));
        loop {
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                () = ended.notified() => self.next_beat = Instant::now(),
                () = &mut watching => {}
                _ = ends.wait_for(|end| *end) => break,
            }
            if let Some(why) = self.round().await {
                gone.send_replace(Some(why));
                return;
            }
        }
        self.look_for_progress();
        if let Some(why) = self.settle(Self::tell_progress).await {
            gone.send_replace(Some(why));
            return;
        }
        let all = async {
            while self.takes_log && self.told_bytes < self.said.log(|log| log.end()) {
                if self.tell_log().await.is_err() {
                    break;
                }
            }
        };
        drop(tokio::time::timeout(FLUSH_MAX, all).await);
    }

    /// Tells what is new. Gives why the run must end, if it must.
    ///
    /// The signs of life come first and have a rhythm of their own: a server that is too full for the log still hears
    /// them.
    async fn round(&mut self) -> Option<String> {
        let now = Instant::now();
        if now >= self.next_beat {
            self.next_beat = now + self.beat;
            if let Some(why) = self.settle(Self::beat).await {
                return Some(why);
            }
        }
        self.look_for_progress();
        if Instant::now() < self.not_before {
            return None;
        }
        if let Some(why) = self.settle(Self::tell_progress).await {
            return Some(why);
        }
        self.settle(Self::tell_log).await
    }

    /// Makes one of the calls; when it does not succeed for now, the next ones wait.
    async fn settle(
        &mut self,
        call: impl AsyncFnOnce(&mut Self) -> Result<Option<String>, ClientError>,
    ) -> Option<String> {
        match tokio::time::timeout(CALL_MAX, call(self)).await {
            Ok(Ok(why)) => return why,
            Ok(Err(error)) => self.away.failed(&error),
            Err(_) => {}
        }
        self.not_before = Instant::now() + self.pauses.longer();
        None
    }

    /// Gives a sign of life, and looks how the job stands.
    async fn beat(&mut self) -> Result<Option<String>, ClientError> {
        match self.client.ping().await {
            Err(error) if passes(&error) => return Err(error),
            // What is wrong, the job's standing tells.
            Ok(()) | Err(_) => {}
        }
        self.ask().await
    }

    async fn tell_progress(&mut self) -> Result<Option<String>, ClientError> {
        let Some(progress) = self.pending.clone() else { return Ok(None) };
        match self.client.progress(self.run.job, progress.amount, progress.data.as_ref()).await {
            Ok(_) => {
                self.pending = None;
                self.heard();
                Ok(None)
            }
            Err(error) if passes(&error) => Err(error),
            Err(_) => {
                // Either the job is gone, or the server does not take what the command says.
                self.pending = None;
                self.ask().await
            }
        }
    }

    fn look_for_progress(&mut self) {
        if let Some(progress) = self.said.take_progress() {
            self.pending = Some(progress);
        }
        let from_file = progress::file(&self.progress_file);
        if from_file.is_some() && from_file != self.from_file {
            self.pending.clone_from(&from_file);
            self.from_file = from_file;
        }
    }

    /// Asks how the job stands. Gives why the run must end, if it must.
    async fn ask(&mut self) -> Result<Option<String>, ClientError> {
        let standing = match self.client.job(self.run.job).await {
            Ok(job) => Standing::of(&job, &self.run),
            Err(error) if error.status() == Some(404) => Standing::Lost("the job was deleted for good".to_owned()),
            Err(error) => return Err(error),
        };
        self.heard();
        Ok(standing.ends_run())
    }

    fn heard(&mut self) {
        self.away.answered();
        self.pauses = Pauses::default();
    }

    /// Tells the next piece of the log.
    async fn tell_log(&mut self) -> Result<Option<String>, ClientError> {
        if !self.takes_log || self.told_bytes >= self.said.log(|log| log.end()) {
            return Ok(None);
        }
        let from = self.told_bytes;
        let piece = match self.said.log(|log| log.read(from, PIECE_BYTES)) {
            Ok(piece) if piece.end > from => piece,
            // It could not be written, so that it can't be read.
            Ok(_) | Err(_) => {
                self.told_bytes = self.said.log(|log| log.end());
                return Ok(None);
            }
        };
        let mut text = Vec::new();
        if piece.skipped > 0 {
            text.extend(format!("\n[{} bytes are left out here]\n", piece.skipped).into_bytes());
        }
        text.extend(piece.bytes);
        match self.client.append_log(self.run.job, text.into()).await {
            Ok(()) => {
                self.told_bytes = piece.end;
                self.heard();
                Ok(None)
            }
            Err(error) if passes(&error) => Err(error),
            Err(_) => {
                // The server has no live logs, or the job is gone; the next sign of life tells which.
                self.takes_log = false;
                Ok(None)
            }
        }
    }
}
