//! The command line: one file per subcommand, with its arguments and its `run()`.

mod backup;
mod check;
mod logs;
mod notifications;
mod place;
mod progress;
mod restore;
mod retention;
mod serve;
mod token;
mod verify;

use std::path::Path;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// A job server that ships beside a lab instrument: one binary, one data directory, one command.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // Boxed for its many flags: the others are a fraction of its size.
    Serve(Box<serve::Serve>),
    Token(token::Token),
    Check(check::Check),
    Verify(verify::Verify),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Retention(retention::Retention),
}

impl Arguments {
    /// Runs the command to its end.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Token(token) => token.run(),
            Command::Check(check) => check.run(),
            Command::Verify(verify) => verify.run(),
            Command::Backup(backup) => backup.run(),
            Command::Restore(restore) => restore.run(),
            Command::Retention(retention) => retention.run(),
        }
    }
}

/// Reads a secret from the first line of a file.
fn first_line(file: &Path) -> anyhow::Result<String> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("the password file {} can't be read", file.display()))?;
    let line = text.lines().next().unwrap_or_default().to_owned();
    anyhow::ensure!(!line.is_empty(), "the password file {} is empty", file.display());
    Ok(line)
}
