//! `labrun retention`, and the ages as arguments of `serve`.

use clap::Args;

use super::place::Place;
use crate::cli::screen::say;
use crate::domain::time::{Clock, SystemClock};
use crate::store::offline::Offline;
use crate::store::retention;

/// Lines that are listed of each kind.
const LINES_MAX: u32 = 10_000;
const DAY_S: i64 = 24 * 60 * 60;

/// How long things are kept.
#[derive(Debug, Args)]
pub(super) struct Ages {
    /// Soft-delete finished jobs so many days after their end [default: never]
    #[arg(long, env = "LABRUN_RETAIN_FINISHED_DAYS", value_name = "DAYS")]
    retain_finished_days: Option<u32>,

    /// Soft-delete errored jobs so many days after their end [default: never]
    #[arg(long, env = "LABRUN_RETAIN_ERRORED_DAYS", value_name = "DAYS")]
    retain_errored_days: Option<u32>,

    /// Soft-delete cancelled jobs so many days after their end [default: never]
    #[arg(long, env = "LABRUN_RETAIN_CANCELLED_DAYS", value_name = "DAYS")]
    retain_cancelled_days: Option<u32>,

    /// Delete soft-deleted jobs and outputs for good, with their bytes, so many days later [default: never]
    #[arg(long, env = "LABRUN_RETAIN_DELETED_DAYS", value_name = "DAYS")]
    retain_deleted_days: Option<u32>,
}

impl Ages {
    /// Gives the ages in seconds.
    pub(super) fn in_seconds(&self) -> retention::Ages {
        let seconds = |days: Option<u32>| days.map(|days| i64::from(days) * DAY_S);
        retention::Ages {
            finished_s: seconds(self.retain_finished_days),
            errored_s: seconds(self.retain_errored_days),
            cancelled_s: seconds(self.retain_cancelled_days),
            deleted_s: seconds(self.retain_deleted_days),
        }
    }
}

/// List what `serve` would delete now if it were given these ages. Changes nothing.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  labrun retention --data-dir ./lab --retain-finished-days 90 --retain-deleted-days 30"
)]
pub(super) struct Retention {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    ages: Ages,
}

impl Retention {
    /// Lists, a line each.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let database = Offline::open(&self.place.dir()?.join("labrun.db"))?;
        let due = database.retention_due(self.ages.in_seconds(), SystemClock.now(), LINES_MAX)?;
        for (job, phase, end) in &due.ended {
            say(format_args!("would soft-delete job {job}, {phase} since {end}"))?;
        }
        for (job, time) in &due.deleted_jobs {
            say(format_args!("would delete job {job} for good, soft-deleted since {time}"))?;
        }
        for (output, time) in &due.deleted_outputs {
            say(format_args!("would delete output {output} for good, soft-deleted since {time}"))?;
        }
        say(format_args!("{} in all.", due.ended.len() + due.deleted_jobs.len() + due.deleted_outputs.len()))?;
        Ok(())
    }
}
