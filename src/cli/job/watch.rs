//! `labrun job watch`: how jobs get on, until they have ended.

use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::join_all;

use super::which::Keys;
use crate::cli::exit::Exit;
use crate::cli::screen::Screen;
use crate::cli::screen::bars::{Bar, Bars};
use crate::cli::screen::text::{percent, plain};
use crate::client::{Client, ClientError};
use crate::domain::ids::JobId;
use crate::domain::lifecycle::Transition;
use crate::domain::notification::Message;
use crate::wire::{Job, Phase};

/// The pause before a broken connection is made anew; doubled each time, up to `PAUSE_MAX`.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Watch jobs until they have ended; the exit code tells how.
///
/// Shows bars on a terminal, and a line for each transition elsewhere. A broken connection is made anew, without
/// missing anything.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all finished, 10 one errored, else 11 one was cancelled; as usual otherwise\n\n\
                        Example:\n  labrun job watch 12 && labrun job fetch 12")]
pub(super) struct Watch {
    /// Keys of the jobs, such as `7`, `5-9` or `1,2,5-9`
    #[arg(value_name = "PK", required = true)]
    keys: Vec<Keys>,

    /// How long the server may be away before it is given up, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    patience_s: u64,
}

impl Watch {
    pub(super) async fn run(self, client: &Client, screen: Screen) -> anyhow::Result<Exit> {
        watch(&Keys::joined(&self.keys), Duration::from_secs(self.patience_s), client, screen).await
    }
}

/// Watches jobs to their end. With `--json` they are printed as they are then.
pub(in crate::cli) async fn watch(
    keys: &[JobId],
    patience: Duration,
    client: &Client,
    screen: Screen,
) -> anyhow::Result<Exit> {
    let bars = Bars::new();
    let watchers = keys.iter().map(|&key| {
        let bar = bars.share(&format!("job {key}"));
        let watcher = Watcher { client: client.clone(), key, bar, screen, patience };
        watcher.run()
    });
    // Side by side; a job that can't be watched does not end the others.
    let ends = join_all(watchers).await;
    let mut exit = Exit::Done;
    let (mut jobs, mut failure) = (Vec::new(), None);
    for end in ends {
        match end {
            Ok(job) => {
                exit = exit.max(match job["phase"].as_str() {
                    Some("errored") => Exit::Errored,
                    Some("cancelled") => Exit::Cancelled,
                    _ => Exit::Done,
                });
                jobs.push(job);
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if screen.wants_json() {
        for job in &jobs {
            screen.json(job)?;
        }
    }
    failure.map_or(Ok(exit), Err)
}

/// Somebody who watches one job.
struct Watcher {
    client: Client,
    key: JobId,
    bar: Bar,
    screen: Screen,
    patience: Duration,
}

impl Watcher {
    /// Watches, and gives the job as it ended.
    async fn run(self) -> anyhow::Result<serde_json::Value> {
        let mut events = self.client.events(self.key);
        let (mut pause, mut heard) = (PAUSE_FIRST, Instant::now());
        let mut told_percent = None;
        loop {
            match events.next().await {
                Ok(Some(event)) => {
                    (pause, heard) = (PAUSE_FIRST, Instant::now());
                    self.tell(&event.message, &mut told_percent)?;
                    if may_end(event.message.transition)
                        && let Some(job) = self.ended().await?
                    {
                        return Ok(job);
                    }
                }
                Err(ClientError::Refused { status: 502..=504, .. } | ClientError::Transport(_)) | Ok(None) => {
                    if heard.elapsed() + pause > self.patience {
                        // Asked once more, for the error that says why.
                        self.client.job(self.key).await?;
                    }
                    self.bar.note("the server is away");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => {
                    self.bar.end("");
                    return Err(anyhow::Error::from(error).context(format!("job {}", self.key)));
                }
            }
        }
    }

    /// Gives the job if it has ended for good. One that errors may be tried again by itself.
    async fn ended(&self) -> anyhow::Result<Option<serde_json::Value>> {
        let shown = self.client.json("GET", &format!("/v1/jobs/{}", self.key), None).await?;
        let job: Job = serde_json::from_value(shown.clone())?;
        let retries = job.phase == Phase::Errored && job.attempt < job.max_attempts;
        if !job.phase.is_final() && job.phase != Phase::Errored || retries {
            return Ok(None);
        }
        let how = match (job.phase, &job.error_reason) {
            (Phase::Errored, Some(reason)) => format!("errored: {}", plain(reason)),
            (phase, _) => phase.as_str().to_owned(),
        };
        self.bar.end(&how);
        Ok(Some(shown))
    }

    /// Shows what happened: in the bar on a terminal, else as a line, for progress no more than one for each tenth.
    fn tell(&self, message: &Message, told_percent: &mut Option<u32>) -> anyhow::Result<()> {
        let what = match message.transition {
            Transition::Create => "waits for a node".to_owned(),
            Transition::Acquire => on_node("acquired", message),
            Transition::Release => "released, waits for a node".to_owned(),
            Transition::Start | Transition::Progress => on_node("runs", message),
            Transition::Finish => "finished".to_owned(),
            Transition::Error => match &message.error {
                Some(error) => format!("errored: {}", plain(error)),
                None => "errored".to_owned(),
            },
            Transition::Reset => "reset, to be tried again".to_owned(),
            Transition::Abort => "taken away from its node, waits for another".to_owned(),
            Transition::Cancel => "cancelled".to_owned(),
        };
        self.bar.show(message.progress, &what);
        if self.bar.is_drawn() || self.screen.wants_json() {
            return Ok(());
        }
        if message.transition == Transition::Progress {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 10")]
            let tenth = (message.progress.clamp(0.0, 1.0) * 10.0) as u32;
            if told_percent.replace(tenth) == Some(tenth) {
                return Ok(());
            }
            self.screen.line(&format!("job {} {} {what}", self.key, percent(message.progress)))?;
        } else {
            *told_percent = None;
            self.screen.line(&format!("job {} {what}", self.key))?;
        }
        Ok(())
    }
}

fn on_node(what: &str, message: &Message) -> String {
    message.node.map_or_else(|| what.to_owned(), |node| format!("{what} on node {node}"))
}

/// Says whether a job may have ended for good with a transition.
fn may_end(transition: Transition) -> bool {
    match transition {
        Transition::Finish | Transition::Error | Transition::Cancel => true,
        Transition::Create
        | Transition::Acquire
        | Transition::Release
        | Transition::Start
        | Transition::Progress
        | Transition::Reset
        | Transition::Abort => false,
    }
}
