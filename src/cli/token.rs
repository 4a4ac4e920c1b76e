//! `labrun token`: API tokens, made and revoked on a server that runs.

use clap::{Args, Subcommand};

use crate::client::Client;
use crate::domain::ids::{NodeId, UserId};
use crate::wire::token::NewApiToken;

/// Make, list and revoke API tokens: long-lived, for workers and scripts that should not hold a password.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  LABRUN_PASSWORD=… labrun token create --user ada \"microscope 3\" --node 7")]
pub(super) struct Token {
    #[command(subcommand)]
    action: Action,

    /// Address of the server
    #[arg(long, env = "LABRUN_URL", value_name = "URL", default_value = "http://127.0.0.1:8000", global = true)]
    url: String,

    /// Name of the user to log in as
    #[arg(long, env = "LABRUN_USER", value_name = "NAME", default_value = "admin", global = true)]
    user: String,

    /// Password of that user. Others on this machine can see arguments: prefer the variable
    #[arg(
        long,
        env = "LABRUN_PASSWORD",
        value_name = "TEXT",
        hide_env_values = true,
        global = true,
        default_value = ""
    )]
    password: String,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token; it is printed this once
    Create {
        /// What people call it
        name: String,
        /// Key of the user whose token it is; for staff only, else one's own
        #[arg(long, value_name = "PK")]
        owner: Option<i64>,
        /// Key of the one node that it may act for
        #[arg(long, value_name = "PK")]
        node: Option<i64>,
        /// Whether it may only read
        #[arg(long)]
        read_only: bool,
        /// Seconds until it runs out; never, when left out
        #[arg(long, value_name = "SECONDS")]
        expires_in_s: Option<i64>,
    },
    /// List one's tokens
    List {
        /// Everybody's, for staff
        #[arg(long)]
        all: bool,
    },
    /// Make a token void
    Revoke {
        /// Key of the token
        pk: i64,
    },
}

impl Token {
    /// Does it.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.act())
    }

    async fn act(self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.password.is_empty(), "say the password with LABRUN_PASSWORD");
        let client = Client::login(&self.url, &self.user, &self.password).await?;
        match self.action {
            Action::Create { name, owner, node, read_only, expires_in_s } => {
                let (user, node) = (owner.map(UserId), node.map(NodeId));
                let made = client.create_api_token(&NewApiToken { name, user, node, read_only, expires_in_s }).await?;
                eprintln!("Token {} is shown this once:", made.about.pk);
                println!("{}", made.token);
            }
            Action::List { all } => {
                for token in client.api_tokens(all).await? {
                    let mut about = format!("{}\tuser {}\t{}", token.pk, token.user, token.name);
                    if let Some(node) = token.node {
                        about += &format!("\tnode {node}");
                    }
                    if token.read_only {
                        about += "\tread-only";
                    }
                    for (what, time) in [("until", token.expiry_time), ("revoked", token.revoked_time)] {
                        if let Some(time) = time {
                            about += &format!("\t{what} {time}");
                        }
                    }
                    println!("{about}");
                }
            }
            Action::Revoke { pk } => {
                client.revoke_api_token(pk).await?;
            }
        }
        Ok(())
    }
}
