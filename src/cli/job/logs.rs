//! `labrun job logs`.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::screen::text::Terminal;
use crate::client::{Client, ClientError};
use crate::domain::ids::JobId;
use crate::wire::Phase;

/// The pause before a broken connection is made anew.
const PAUSE: Duration = Duration::from_secs(1);

/// Show what a job's worker has written so far.
///
/// On a terminal, control characters are written out; elsewhere the bytes come as they are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  labrun job logs 12 --follow\n  labrun job logs 12 --attempt 1 > first.log")]
pub(super) struct Logs {
    /// Key of the job
    #[arg(value_parser = crate::cli::key)]
    pk: i64,

    /// Go on until the attempt has ended
    #[arg(long, short)]
    follow: bool,

    /// Number of the attempt [default: the last one]
    #[arg(long, value_name = "NUMBER")]
    attempt: Option<i64>,

    /// How long the server may be away before it is given up, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "follow")]
    patience_s: u64,
}

impl Logs {
    pub(super) async fn run(self, client: &Client, screen: Screen) -> anyhow::Result<Exit> {
        if screen.wants_json() {
            return Err(Failure::usage("a log is no JSON: leave --json out"));
        }
        let name = || format!("job {}", self.pk);
        if let Some(number) = self.attempt {
            // Of an attempt that there never was the server gives an empty log. One that may come is waited for.
            let job = client.job(JobId(self.pk)).await.with_context(name)?;
            let may_come = self.follow && number > 0 && matches!(job.phase, Phase::Created | Phase::Started);
            if !(1..=job.attempt).contains(&number) && !may_come {
                let there = job.attempt;
                return Err(Failure::not_found(format!("job {} has no attempt {number}; it has {there}", self.pk)));
            }
        }
        let patience = Duration::from_secs(self.patience_s);
        let mut terminal = std::io::stdout().is_terminal().then(Terminal::default);
        let (mut read, mut heard, mut begun) = (0_u64, Instant::now(), false);
        loop {
            let broke = match client.read_log(JobId(self.pk), self.attempt, read, self.follow).await {
                Ok(mut log) => loop {
                    begun = true;
                    match log.next().await {
                        Ok(Some(bytes)) => {
                            (read, heard) = (read + bytes.len() as u64, Instant::now());
                            match &mut terminal {
                                Some(terminal) => screen.bytes(terminal.safe(&bytes).as_bytes())?,
                                None => screen.bytes(&bytes)?,
                            }
                        }
                        Ok(None) => {
                            let last = terminal.as_mut().map(Terminal::last).unwrap_or_default();
                            screen.bytes(last.as_bytes())?;
                            return Ok(Exit::Done);
                        }
                        Err(error) => break error,
                    }
                },
                Err(error) => error,
            };
            let is_away = matches!(&broke, ClientError::Transport(_) | ClientError::Refused { status: 502..=504, .. });
            if !self.follow || !begun || !is_away || heard.elapsed() > patience {
                return Err(broke).with_context(name);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
