//! `labrun job`: jobs from their making to the fetching of what came out.

mod condition;
mod fetch;
mod inputs;
mod list;
mod logs;
mod show;
mod submit;
mod verbs;
mod watch;
pub(super) mod which;

use clap::{Args, Subcommand};

use super::connect::Connection;
use super::exit::{self, Exit};
use super::screen::Look;
use verbs::Verb;
pub(super) use watch::watch;

/// Submit jobs, watch them, and fetch what came out.
#[derive(Debug, Args)]
#[command(after_help = exit::help("labrun job submit peaks --input chromatogram=@run7.csv --watch"))]
pub(super) struct Job {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(list::List),
    Show(show::Show),
    // Boxed for its many flags.
    Submit(Box<submit::Submit>),
    Watch(watch::Watch),
    Logs(logs::Logs),
    Fetch(fetch::Fetch),
    /// Call jobs off, for good; their workers notice. For staff
    Cancel(verbs::Jobs),
    /// Take jobs away from their nodes, to be run again from the beginning. For staff
    Abort(verbs::Jobs),
    /// Make errored jobs ready to be run again, by whichever node comes first. For staff
    Retry(verbs::Jobs),
    /// Let jobs go that were submitted with --hold
    Unhold(verbs::Jobs),
    /// Delete jobs; they can be restored unless --hard is said. For staff
    Delete {
        /// For good, with their outputs and events
        #[arg(long)]
        hard: bool,
        #[command(flatten)]
        jobs: verbs::Jobs,
    },
    /// Restore deleted jobs. For staff
    Restore(verbs::Jobs),
}

impl Job {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let (screen, client) = (self.look.screen(), self.connection.client().await?);
        match self.action {
            Action::List(list) => list.run(&client, screen).await,
            Action::Show(show) => show.run(&client, screen).await,
            Action::Submit(submit) => submit.run(&client, screen).await,
            Action::Watch(watch) => watch.run(&client, screen).await,
            Action::Logs(logs) => logs.run(&client, screen).await,
            Action::Fetch(fetch) => fetch.run(&client, screen).await,
            Action::Cancel(jobs) => jobs.run(Verb::Cancel, &client, screen).await,
            Action::Abort(jobs) => jobs.run(Verb::Abort, &client, screen).await,
            Action::Retry(jobs) => jobs.run(Verb::Retry, &client, screen).await,
            Action::Unhold(jobs) => jobs.run(Verb::Unhold, &client, screen).await,
            Action::Delete { jobs, hard: false } => jobs.run(Verb::Delete, &client, screen).await,
            Action::Delete { jobs, hard: true } => jobs.run(Verb::Purge, &client, screen).await,
            Action::Restore(jobs) => jobs.run(Verb::Restore, &client, screen).await,
        }
    }
}
