//! `labrun token`: API tokens, made and revoked on a server that runs.

use clap::{Args, Subcommand};
use console::Style;
use serde_json::Value;

use super::connect::Connection;
use super::exit::{self, Exit};
use super::screen::table::{Cell, Column, Table};
use super::screen::text::{age, moment, plain};
use super::screen::{Look, Screen};
use crate::client::Client;
use crate::domain::ids::{NodeId, UserId};
use crate::domain::time::{Clock, SystemClock};
use crate::wire::token::{ApiToken, NewApiToken};

/// Make, list and revoke API tokens: long-lived, for workers and scripts that should not hold a password.
#[derive(Debug, Args)]
#[command(after_help = exit::help("labrun token create \"microscope 3\" --node 7"))]
pub(super) struct Token {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token; it is printed this once
    Create {
        /// What people call it
        name: String,
        /// Key of the user whose token it is; for staff only, else one's own
        #[arg(long, value_name = "PK", value_parser = super::key)]
        owner: Option<i64>,
        /// Key of the one node that it may act for
        #[arg(long, value_name = "PK", value_parser = super::key)]
        node: Option<i64>,
        /// Whether it may only read
        #[arg(long)]
        read_only: bool,
        /// Seconds until it runs out; never, when left out
        #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(1..))]
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
        #[arg(value_parser = super::key)]
        pk: i64,
    },
}

impl Token {
    /// Does it.
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let screen = self.look.screen();
        let client = self.connection.client().await?;
        match self.action {
            Action::Create { name, owner, node, read_only, expires_in_s } => {
                let (user, node) = (owner.map(UserId), node.map(NodeId));
                let made = client.create_api_token(&NewApiToken { name, user, node, read_only, expires_in_s }).await?;
                if screen.wants_json() {
                    screen.json(&serde_json::to_value(&made)?)?;
                } else {
                    screen.note(&format!("Token {} is shown this once:", made.about.pk));
                    screen.line(&made.token)?;
                }
            }
            Action::List { all } => list(&client, screen, all).await?,
            Action::Revoke { pk } => {
                let revoked = client.json("DELETE", &format!("/v1/auth/tokens/{pk}"), None).await?;
                if screen.wants_json() {
                    screen.json(&revoked)?;
                } else {
                    screen.line(&format!("Token {pk} is void."))?;
                }
            }
        }
        Ok(Exit::Done)
    }
}

const COLUMNS: &[Column] = &[
    Column::number("PK"),
    Column::text("NAME").down_to(12),
    Column::number("USER").rank(1),
    Column::number("NODE").rank(2),
    Column::text("RIGHTS").rank(3),
    Column::number("AGE").rank(4),
    Column::text("STATE"),
];

async fn list(client: &Client, screen: Screen, all: bool) -> anyhow::Result<()> {
    let path = format!("/v1/auth/tokens{}", if all { "?user=all" } else { "" });
    let tokens: Value = client.json("GET", &path, None).await?;
    if screen.wants_json() {
        return Ok(screen.json(&tokens)?);
    }
    let now = SystemClock.now();
    let mut table = Table::new(COLUMNS);
    for token in serde_json::from_value::<Vec<ApiToken>>(tokens)? {
        let state = match (token.revoked_time, token.expiry_time) {
            (Some(_), _) => Cell::styled("revoked", Style::new().red()),
            (None, Some(end)) if end <= now => Cell::styled("expired", Style::new().red()),
            (None, Some(end)) => format!("until {}", moment(Some(end), now)).into(),
            (None, None) => "valid".into(),
        };
        table.row([
            token.pk.into(),
            plain(&token.name).into(),
            token.user.into(),
            token.node.map_or(String::new(), |node| node.to_string()).into(),
            if token.read_only { "read-only" } else { "all" }.into(),
            age(token.creation_time, now).into(),
            state,
        ]);
    }
    Ok(screen.table(&table, "tokens")?)
}
