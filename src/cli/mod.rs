//! The command line: one file per subcommand, with its arguments and its `run()`.

mod backup;
mod check;
mod connect;
mod demo;
mod exit;
mod job;
mod login;
mod logins;
mod logs;
mod node;
mod notifications;
mod place;
mod progress;
mod restore;
mod retention;
mod screen;
mod serve;
mod shell;
mod template;
mod token;
mod user;
mod verify;
mod work;

use std::path::Path;

use anyhow::Context;
use clap::{Parser, Subcommand};

pub use exit::{Exit, is_closed_pipe, sentence};
pub use screen::remark;

/// A job server that ships beside a lab instrument: one binary, one data directory, one command.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, arg_required_else_help = true, after_help = exit::HELP)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // Boxed for their many flags: the others are a fraction of their size.
    Serve(Box<serve::Serve>),
    Work(Box<work::Work>),
    Demo(demo::Demo),
    Job(Box<job::Job>),
    Template(template::Template),
    Node(node::Node),
    User(user::User),
    Token(token::Token),
    Login(login::Login),
    Logout(login::Logout),
    Whoami(login::Whoami),
    Check(check::Check),
    Verify(verify::Verify),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Retention(retention::Retention),
    Completions(shell::Completions),
    Man(shell::Man),
}

impl Arguments {
    /// Runs the command to its end.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            Command::Serve(serve) => serve.run()?,
            Command::Work(work) => return work.run(),
            Command::Demo(demo) => return demo.run(),
            Command::Job(job) => return calling(job.run()),
            Command::Template(template) => return calling(template.run()),
            Command::Node(node) => return calling(node.run()),
            Command::User(user) => return calling(user.run()),
            Command::Login(login) => return calling(login.run()),
            Command::Logout(logout) => return calling(logout.run()),
            Command::Whoami(whoami) => return calling(whoami.run()),
            Command::Token(token) => return calling(token.run()),
            Command::Check(check) => check.run()?,
            Command::Verify(verify) => verify.run()?,
            Command::Backup(backup) => backup.run()?,
            Command::Restore(restore) => restore.run()?,
            Command::Retention(retention) => retention.run()?,
            Command::Completions(completions) => completions.run()?,
            Command::Man(man) => man.run()?,
        }
        Ok(Exit::Done)
    }
}

/// Runs a command that calls a server.
fn calling(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the runtime can't be started")?.block_on(command)
}

/// Reads a secret from the first line of a file.
fn first_line(file: &Path) -> anyhow::Result<String> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("the secret in {} can't be read", file.display()))?;
    let line = text.lines().next().unwrap_or_default().to_owned();
    anyhow::ensure!(!line.is_empty(), "the first line of {} is empty", file.display());
    Ok(line)
}

/// Reads the key of a job, a node, a template or whatever else the server counts.
fn key(text: &str) -> Result<i64, &'static str> {
    text.parse().ok().filter(|key| *key > 0).ok_or("write a key, such as 7")
}
