//! The data directory as an argument.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

/// Where everything is kept.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Data directory [default: the platform's, as `labrun serve` prints it]
    #[arg(long, env = "LABRUN_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Place {
    /// Gives the directory that was named, or the platform's.
    pub(super) fn dir(self) -> anyhow::Result<PathBuf> {
        self.data_dir.map_or_else(platforms, Ok)
    }
}

/// Gives the platform's directory for data.
pub(super) fn platforms() -> anyhow::Result<PathBuf> {
    let dirs = directories::ProjectDirs::from("", "", "labrun");
    let dirs = dirs.context("this system names no directory for data: say one with --data-dir")?;
    Ok(dirs.data_local_dir().to_owned())
}
