//! `labrun login`, `labrun logout`, `labrun whoami`.

use std::io::IsTerminal;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::connect::{Connected, Connection, Proof};
use super::exit::{self, Exit, Failure};
use super::logins::{Logins, StoredLogin};
use super::screen::Look;
use super::screen::text::plain;
use crate::cli::screen::say;
use crate::client::{Client, ClientError};
use crate::wire::token::NewApiToken;

/// Days that a stored login lasts.
const DAYS: u32 = 30;

/// Log in at a server, and keep the login for the commands to come.
///
/// An API token is made and kept in a file that only you can read; the password is not kept. Without --password it is
/// asked for. The file lies in LABRUN_CONFIG_DIR, or in the platform's folder for settings.
#[derive(Debug, Args)]
#[command(after_help = exit::help("labrun login --server https://lab.example:8000 --user ada"))]
pub(super) struct Login {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    look: Look,

    /// Days that the login lasts
    #[arg(long, value_name = "DAYS", default_value_t = DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

/// Forget a stored login, and make its token void on the server.
#[derive(Debug, Args)]
#[command(after_help = exit::HELP)]
pub(super) struct Logout {
    #[command(flatten)]
    connection: Connection,

    /// Forget it although the server can't be told
    #[arg(long)]
    force: bool,
}

/// Show which server the commands call, and as whom.
#[derive(Debug, Args)]
#[command(after_help = exit::HELP)]
pub(super) struct Whoami {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    look: Look,
}

impl Login {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let screen = self.look.screen();
        let address = self.connection.address()?;
        let user = self.connection.user().to_owned();
        let server = self.connection.server()?;
        if address.starts_with("http://") && !super::connect::is_on_loopback(&address) {
            screen.note(&format!(
                "warning: {address} has no TLS: whoever reads along on the network can use the password and the token"
            ));
        }
        let password = match self.connection.given_password()? {
            Some(password) => password,
            None => ask_password(&user, &address)?,
        };
        let client = server.login(&user, &password).await?;
        let new = NewApiToken {
            name: format!("labrun login on {}", host_name()).chars().take(100).collect(),
            expires_in_s: Some(i64::from(self.days) * 86_400),
            ..NewApiToken::default()
        };
        let made = client.create_api_token(&new).await?;
        let mut logins = Logins::load()?;
        let before = logins.at(&address).cloned();
        let (token_pk, ca_file) = (made.about.pk, self.connection.ca_file()?);
        logins.put(&address, StoredLogin { user: user.clone(), token_pk, token: made.token, ca_file });
        logins.save()?;
        if let Some(before) = before {
            // The old token is of no use to anybody any more. If it can't be made void it runs out by itself.
            drop(client.revoke_api_token(before.token_pk).await);
        }
        if screen.wants_json() {
            screen.json(&json!({"server": address, "user": user, "token": token_pk}))?;
        } else {
            screen.line(&format!("Logged in at {address} as {} for {} days.", plain(&user), self.days))?;
        }
        Ok(Exit::Done)
    }
}

/// Asks for a password without showing it.
fn ask_password(user: &str, address: &str) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("say the password with LABRUN_PASSWORD or --password-file"));
    }
    let term = console::Term::stderr();
    term.write_str(&format!("Password of {} at {address}: ", plain(user)))?;
    let password = term.read_secure_line().context("the password can't be read")?;
    if password.is_empty() { Err(Failure::usage("no password was given")) } else { Ok(password) }
}

/// Gives this machine's name, for people who look through their tokens.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl Logout {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let mut logins = Logins::load()?;
        let address = self.connection.address()?;
        let Some(login) = logins.at(&address).cloned() else {
            let others: Vec<&str> = logins.addresses().collect();
            let hint = match others.as_slice() {
                [] => String::new(),
                others => format!("; there is one for {} (--server)", others.join(", ")),
            };
            return Err(Failure::not_found(format!("no login is stored for {address}{hint}")));
        };
        let revoked = match self.connection.server_trusting(&address, login.ca_file.as_deref()) {
            Ok(server) => revoke(&server.with_token(&login.token), login.token_pk).await,
            Err(error) => Err(error),
        };
        if let Err(error) = revoked
            && !self.force
        {
            return Err(error.context("the token could not be made void, and is still stored (--force forgets it)"));
        }
        logins.remove(&address);
        logins.save()?;
        drop(say(format_args!("Logged out at {address}.")));
        Ok(Exit::Done)
    }
}

/// Makes a token void by its own means. One that is void already is as good.
async fn revoke(client: &Client, token: i64) -> anyhow::Result<()> {
    match client.revoke_api_token(token).await {
        Ok(_) => Ok(()),
        Err(ClientError::Refused { status: 401 | 404, .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Whoami {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let screen = self.look.screen();
        let Connected { client, proof } = self.connection.connect().await?;
        let user = client.whoami().await?;
        if screen.wants_json() {
            screen.json(&json!({"server": client.address(), "user": user}))?;
            return Ok(Exit::Done);
        }
        let how = match proof {
            Proof::Token => "a token that was given".to_owned(),
            Proof::Password(_) => "a password that was given".to_owned(),
            Proof::Stored(_) => "a stored login".to_owned(),
            Proof::Owner => "being the owner of the server's data directory".to_owned(),
        };
        let staff = if user.is_staff { " (staff)" } else { "" };
        screen.pairs(&[
            ("server", client.address().to_owned()),
            ("user", format!("{}{staff}", plain(&user.username))),
            ("by", how),
        ])?;
        Ok(Exit::Done)
    }
}
