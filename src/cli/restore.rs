//! `labrun restore`.

use std::path::PathBuf;

use clap::Args;

use super::progress::Shown;
use super::verify::tell;
use crate::cli::screen::say;

/// Make a data directory from a backup; the backup is verified first and stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  labrun restore /mnt/backup/lab-monday --data-dir ./lab")]
pub(super) struct Restore {
    /// Directory that `labrun backup` made
    #[arg(value_name = "SRC")]
    src: PathBuf,

    /// Directory to make; it must be new or empty
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

impl Restore {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let report = crate::care::restore(&self.src, &self.data_dir, &Shown::new())?;
        tell(&report)?;
        drop(say(format_args!("Restored. Start the server with: labrun serve --data-dir {}", self.data_dir.display())));
        Ok(())
    }
}
