//! `labrun backup`.

use std::path::PathBuf;

use clap::Args;

use super::place::Place;
use super::progress::Shown;
use super::verify::tell;
use crate::cli::screen::say;

/// Copy a data directory as it is at one moment, and verify the copy.
///
/// A server may run meanwhile and waits for nothing. Bytes become hard links where the file system can, which takes no
/// room; put backups on another disk to have a copy when this one dies.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  labrun backup --data-dir ./lab /mnt/backup/lab-monday")]
pub(super) struct Backup {
    #[command(flatten)]
    place: Place,

    /// Directory to make; it must be new or empty
    #[arg(value_name = "DEST")]
    dest: PathBuf,
}

impl Backup {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let report = crate::care::backup(&self.place.dir()?, &self.dest, &Shown::new())?;
        tell(&report)?;
        drop(say(format_args!("The backup is {}.", self.dest.display())));
        Ok(())
    }
}
