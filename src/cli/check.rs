//! `labrun check`.

use std::time::Duration;

use clap::Args;

use super::place::Place;
use crate::cli::screen::say;

/// Look for a moment at whether a server could serve from a data directory.
///
/// Changes nothing; a server may run meanwhile. `labrun verify` looks at everything. The exit code is 1 on damage.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  labrun check --data-dir ./lab")]
pub(super) struct Check {
    #[command(flatten)]
    place: Place,

    /// How long to look at the database, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    at_most_s: u64,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let dir = self.place.dir()?;
        match crate::care::check(&dir, Duration::from_secs(self.at_most_s))? {
            (_, Some(damage)) => anyhow::bail!("{damage}"),
            (true, None) => say(format_args!("{} is sound.", dir.display()))?,
            (false, None) => say(format_args!("{} is sound as far as the time let it be looked at.", dir.display()))?,
        }
        Ok(())
    }
}
