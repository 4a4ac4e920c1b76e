//! `labrun completions` and `labrun man`: what a shell and a manual know of the commands, made from the same source as
//! `--help`.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Arguments;

/// Print the completions of a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  labrun completions bash > /etc/bash_completion.d/labrun\n  \
                        labrun completions zsh > ~/.zfunc/_labrun\n  \
                        labrun completions fish > ~/.config/fish/completions/labrun.fish")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Write the manual pages, one for each command, or print that of labrun itself.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  labrun man | man -l -\n  labrun man /usr/local/share/man/man1")]
pub(super) struct Man {
    /// Folder for the pages; made if missing
    dir: Option<PathBuf>,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<()> {
        // Made in memory first: the generator panics when a pipe is closed.
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "labrun", &mut text);
        std::io::Write::write_all(&mut std::io::stdout(), &text)?;
        Ok(())
    }
}

impl Man {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let command = Arguments::command();
        match self.dir {
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(command).render(&mut page)?;
                std::io::Write::write_all(&mut std::io::stdout(), &page)?;
            }
            Some(dir) => {
                std::fs::create_dir_all(&dir).with_context(|| format!("the folder {} can't be made", dir.display()))?;
                clap_mangen::generate_to(command, &dir)
                    .with_context(|| format!("the pages can't be written to {}", dir.display()))?;
            }
        }
        Ok(())
    }
}
