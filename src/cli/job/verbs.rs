//! `labrun job cancel`, `abort`, `delete`, `restore`, `retry`, `unhold`: one thing done to one job or to many.

use std::io::IsTerminal;

use anyhow::Context;
use clap::Args;
use futures_util::StreamExt;
use serde_json::Value;

use super::list::{COLUMNS, row};
use super::which::{Filter, Keys};
use crate::cli::exit::{self, Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::screen::table::Table;
use crate::client::{Client, ClientError};
use crate::domain::ids::JobId;
use crate::domain::time::{Clock, SystemClock};
use crate::wire::{Job, Phase};

/// Calls that are under way at a time: the server commits them together.
const AT_A_TIME: usize = 16;

/// Jobs that something is done to.
#[derive(Debug, Args)]
pub(super) struct Jobs {
    /// Keys of the jobs, such as `7`, `5-9` or `1,2,5-9`
    #[arg(value_name = "PK")]
    keys: Vec<Keys>,

    /// Only show which jobs these are
    #[arg(long)]
    dry_run: bool,

    /// Do it without asking
    #[arg(long, short)]
    yes: bool,

    // Last, since its heading holds for what follows.
    #[command(flatten)]
    filter: Filter,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Cancel,
    Abort,
    Delete,
    /// Delete for good, with outputs and events.
    Purge,
    Restore,
    Retry,
    Unhold,
}

impl Verb {
    /// Gives it as a command, and as what has been done.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Cancel => ("cancel", "cancelled"),
            Self::Abort => ("abort", "aborted"),
            Self::Delete => ("delete", "deleted"),
            Self::Purge => ("delete for good", "deleted for good"),
            Self::Restore => ("restore", "restored"),
            Self::Retry => ("retry", "ready to be run again"),
            Self::Unhold => ("unhold", "let go"),
        }
    }

    /// Says whether it is about jobs that may be deleted already.
    fn is_for_deleted(self) -> bool {
        matches!(self, Self::Restore | Self::Purge)
    }

    /// Does it to one job, and gives the job as it is now.
    async fn act(self, client: &Client, job: JobId) -> anyhow::Result<Value> {
        let path = format!("/v1/jobs/{job}");
        let (method, tail) = match self {
            Self::Cancel => ("POST", "/cancel"),
            Self::Abort => ("POST", "/abort"),
            Self::Delete => ("DELETE", ""),
            Self::Purge => ("DELETE", "/hard"),
            Self::Restore => ("POST", "/reinstate"),
            Self::Unhold => ("POST", "/unhold"),
            Self::Retry => {
                let phase = client.job(job).await?.phase;
                if phase != Phase::Errored {
                    return Err(Failure::refused(format!(
                        "only an errored job can be retried, and this one is {}",
                        phase.as_str()
                    )));
                }
                // Staff have no reset, which keeps the job with its node; abort puts it back for whoever comes first.
                ("POST", "/abort")
            }
        };
        let answer = client.json(method, &format!("{path}{tail}"), None).await?;
        // The server takes the call for a finished job too, and leaves the job as it is.
        if self == Self::Cancel && answer["phase"] == "finished" {
            return Err(Failure::refused("it is finished already"));
        }
        if answer.is_null() { Ok(client.json("GET", &path, None).await?) } else { Ok(answer) }
    }
}

impl Jobs {
    pub(super) async fn run(self, verb: Verb, client: &Client, screen: Screen) -> anyhow::Result<Exit> {
        let mut keys = Keys::joined(&self.keys);
        let by_filter = !self.filter.is_empty();
        if keys.is_empty() && !by_filter {
            return Err(Failure::usage("say which jobs: their keys, or what they have in common, such as --phase"));
        }
        if by_filter {
            let passing = self.filter.keys(client, verb.is_for_deleted()).await?;
            // Keys beside a filter narrow it down: naming a job never makes the filter reach further.
            let named: std::collections::HashSet<JobId> = keys.iter().copied().collect();
            keys = passing.into_iter().filter(|key| named.is_empty() || named.contains(key)).collect();
        }
        if self.dry_run {
            return dry_run(&keys, client, screen).await;
        }
        if keys.is_empty() {
            screen.note("no jobs");
            return if screen.wants_json() {
                screen.json(&Value::Array(Vec::new())).map_err(Into::into)
            } else {
                Ok(())
            }
            .map(|()| Exit::Done);
        }
        let is_grave = by_filter || verb == Verb::Purge;
        if !self.yes && (is_grave || keys.len() > 1) && !agreed(verb, &keys, is_grave)? {
            screen.note("nothing was done");
            return Ok(Exit::Failed);
        }
        act_on_all(verb, &keys, client, screen).await
    }
}

/// Shows what would be done.
async fn dry_run(keys: &[JobId], client: &Client, screen: Screen) -> anyhow::Result<Exit> {
    let mut jobs = Vec::new();
    for key in keys {
        jobs.push(client.json("GET", &format!("/v1/jobs/{key}"), None).await?);
    }
    if screen.wants_json() {
        screen.json(&Value::Array(jobs))?;
        return Ok(Exit::Done);
    }
    let (mut table, now) = (Table::new(COLUMNS), SystemClock.now());
    for job in jobs {
        table.row(row(&serde_json::from_value::<Job>(job)?, now));
    }
    screen.table(&table, "jobs")?;
    screen.note(&format!("{}; nothing was done (--dry-run)", count(keys.len())));
    Ok(Exit::Done)
}

/// Asks whether it is meant; where nobody can be asked, what is grave must have been said with --yes.
fn agreed(verb: Verb, keys: &[JobId], is_grave: bool) -> anyhow::Result<bool> {
    let question = format!("{} {} ({})", verb.words().0, count(keys.len()), ranges(keys));
    if !std::io::stdin().is_terminal() {
        if is_grave {
            return Err(Failure::usage(format!("this would {question}: say --yes, or look first with --dry-run")));
        }
        return Ok(true);
    }
    let term = console::Term::stderr();
    term.write_str(&format!("{question}? [y/N] "))?;
    let answer = term.read_line().context("the answer can't be read")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn count(jobs: usize) -> String {
    if jobs == 1 { "1 job".to_owned() } else { format!("{jobs} jobs") }
}

/// Writes keys in short: `1, 2, 5-9`, and the first of them when they are many.
fn ranges(keys: &[JobId]) -> String {
    const SHOWN_MAX: usize = 12;
    let mut sorted: Vec<i64> = keys.iter().map(|key| key.0).collect();
    sorted.sort_unstable();
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for key in sorted {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == key => *last = key,
            _ => ranges.push((key, key)),
        }
    }
    let written = |(first, last): &(i64, i64)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first}-{last}"),
    };
    let mut texts: Vec<String> = ranges.iter().take(SHOWN_MAX).map(written).collect();
    if ranges.len() > SHOWN_MAX {
        texts.push("…".to_owned());
    }
    texts.join(", ")
}

/// Does it to every job, the failures told as they come; the first failure decides about the exit code.
async fn act_on_all(verb: Verb, keys: &[JobId], client: &Client, screen: Screen) -> anyhow::Result<Exit> {
    let calls = keys.iter().map(|&key| async move { (key, verb.act(client, key).await) });
    let mut answers = futures_util::stream::iter(calls).buffered(AT_A_TIME);
    let (mut jobs, mut first_failure) = (Vec::new(), None);
    while let Some((key, answer)) = answers.next().await {
        match answer {
            Ok(job) => {
                if !screen.wants_json() {
                    screen.line(&format!("job {key} {}", verb.words().1))?;
                }
                jobs.push(job);
            }
            // The rest would fail in the same way, each after its time.
            Err(error) if error.downcast_ref().is_some_and(|error| matches!(error, ClientError::Transport(_))) => {
                return Err(error);
            }
            Err(error) if keys.len() == 1 => return Err(error.context(format!("job {key}"))),
            Err(error) => {
                screen.note(&format!("job {key}: {}", exit::sentence(&error)));
                first_failure.get_or_insert(Exit::of(&error));
            }
        }
    }
    if screen.wants_json() {
        screen.json(&Value::Array(jobs))?;
    } else if keys.len() > 1 {
        screen.note(&format!("{} of {} {}", jobs.len(), count(keys.len()), verb.words().1));
    }
    Ok(first_failure.unwrap_or(Exit::Done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_keys_are_written_in_short() {
        let ids = |keys: &[i64]| keys.iter().copied().map(JobId).collect::<Vec<_>>();
        assert_eq!(ranges(&ids(&[9, 1, 2, 5, 6, 7, 8])), "1, 2, 5-9");
        assert_eq!(ranges(&ids(&[7])), "7");
        let odd: Vec<i64> = (0..40).map(|n| 2 * n + 1).collect();
        assert!(ranges(&ids(&odd)).ends_with("21, 23, …"));
    }
}
