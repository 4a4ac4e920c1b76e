//! The command line: one file per subcommand, with its arguments and its `run()`.

mod logs;
mod serve;
mod token;

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
    Serve(serve::Serve),
    Token(token::Token),
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
        }
    }
}
