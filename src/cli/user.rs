//! `labrun user`: the people who may log in.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use console::Style;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::connect::Connection;
use super::exit::{self, Exit, Failure};
use super::screen::table::{Cell, Column, Table};
use super::screen::text::{age, plain};
use super::screen::{Look, Screen};
use crate::client::Client;
use crate::domain::ids::UserId;
use crate::domain::time::{Clock, SystemClock};
use crate::wire::User as Row;
use crate::wire::user::NewUser;

/// Make users, list them, let them in or keep them out. For staff.
#[derive(Debug, Args)]
#[command(after_help = exit::HELP)]
pub(super) struct User {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a user
    Create {
        /// The name to log in with
        name: String,
        /// Whether it belongs to the staff, who may do everything
        #[arg(long)]
        staff: bool,
        /// First name
        #[arg(long, value_name = "TEXT", default_value = "")]
        first_name: String,
        /// Last name
        #[arg(long, value_name = "TEXT", default_value = "")]
        last_name: String,
        /// E-mail address
        #[arg(long, value_name = "ADDRESS", default_value = "")]
        email: String,
        #[command(flatten)]
        password: NewPassword,
    },
    /// List users
    List {
        /// Disabled ones too
        #[arg(long)]
        all: bool,
    },
    /// Keep a user out: its tokens are void at once
    Disable {
        /// Name or key of the user
        user: String,
    },
    /// Let a user in again
    Enable {
        /// Name or key of the user
        user: String,
    },
    /// Set a user's password: its logins are void at once, its API tokens stay
    Password {
        /// Name or key of the user [default: oneself]
        user: Option<String>,
        #[command(flatten)]
        password: NewPassword,
    },
}

/// The password to set. Without either it is asked for.
#[derive(Debug, Args)]
struct NewPassword {
    /// File whose first line is the new password
    #[arg(long, value_name = "FILE", conflicts_with = "generate")]
    new_password_file: Option<PathBuf>,
    /// Make a random one, and print it this once
    #[arg(long)]
    generate: bool,
}

impl NewPassword {
    /// Gives the password, and whether it was made here.
    fn get(self, of: &str) -> anyhow::Result<(String, bool)> {
        if let Some(file) = self.new_password_file {
            return Ok((super::first_line(&file)?, false));
        }
        if self.generate {
            let mut bytes = [0_u8; 12];
            getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
            return Ok((bytes.iter().map(|byte| format!("{byte:02x}")).collect(), true));
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::usage(
                "say the new password with --new-password-file, or have one made with --generate",
            ));
        }
        let term = console::Term::stderr();
        let ask = |prompt: String| {
            term.write_str(&prompt)?;
            term.read_secure_line()
        };
        let password = ask(format!("New password of {}: ", plain(of))).context("the password can't be read")?;
        if password != ask("Once more: ".to_owned()).context("the password can't be read")? {
            return Err(Failure::usage("the two passwords are not the same"));
        }
        Ok((password, false))
    }
}

const COLUMNS: &[Column] = &[
    Column::number("PK"),
    Column::text("USER").down_to(10),
    Column::text("NAME").down_to(10).rank(2),
    Column::text("E-MAIL").down_to(10).rank(3),
    Column::text("ROLE"),
    Column::text("STATE"),
    Column::number("LAST LOGIN").rank(1),
];

impl User {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let (screen, client) = (self.look.screen(), self.connection.client().await?);
        match self.action {
            Action::Create { name, staff, first_name, last_name, email, password } => {
                let (password, is_made) = password.get(&name)?;
                let shown = is_made.then(|| password.clone());
                let new = NewUser { username: name, password, first_name, last_name, email, is_staff: staff };
                let user = client.create_user(&new).await?;
                if screen.wants_json() {
                    let mut user = serde_json::to_value(&user)?;
                    if let Some(password) = shown {
                        user["password"] = password.into();
                    }
                    screen.json(&user)?;
                } else {
                    screen.line(&format!("user {} made with key {}", plain(&user.username), user.pk))?;
                    tell_password(screen, shown)?;
                }
            }
            Action::List { all } => list(&client, screen, all).await?,
            Action::Disable { user } => {
                change(&client, screen, &user, &json!({"is_active": false}), "disabled").await?
            }
            Action::Enable { user } => change(&client, screen, &user, &json!({"is_active": true}), "enabled").await?,
            Action::Password { user, password } => {
                let user = match user {
                    Some(user) => user,
                    None => client.whoami().await?.pk.to_string(),
                };
                let (password, is_made) = password.get(&user)?;
                let shown = is_made.then(|| password.clone());
                change(&client, screen, &user, &json!({"password": password}), "has a new password").await?;
                tell_password(screen, shown)?;
            }
        }
        Ok(Exit::Done)
    }
}

/// Prints a password that was made, as the one line that a program may want.
fn tell_password(screen: Screen, made: Option<String>) -> anyhow::Result<()> {
    if let Some(password) = made {
        screen.note("The password is shown this once:")?;
        screen.line(&password)?;
    }
    Ok(())
}

/// Finds a user's key by name or key.
async fn find(client: &Client, named: &str) -> anyhow::Result<UserId> {
    if let Ok(pk) = named.parse() {
        return Ok(UserId(pk));
    }
    let path = format!("/v1/users/{}", utf8_percent_encode(named, NON_ALPHANUMERIC));
    let found: Vec<Row> = serde_json::from_value(client.json("GET", &path, None).await?)?;
    let user = found.into_iter().next().map(|user| user.pk);
    user.ok_or_else(|| Failure::not_found(format!("there is no user {}", plain(named))))
}

async fn change(client: &Client, screen: Screen, named: &str, change: &Value, what: &str) -> anyhow::Result<()> {
    let pk = find(client, named).await?;
    let changed = client.json("PATCH", &format!("/v1/users/{pk}"), Some(change)).await;
    let changed = changed.with_context(|| format!("user {}", plain(named)))?;
    match screen.wants_json() {
        true => screen.json(&changed)?,
        false => screen.line(&format!("user {} {what}", plain(changed["username"].as_str().unwrap_or(named))))?,
    }
    Ok(())
}

async fn list(client: &Client, screen: Screen, all: bool) -> anyhow::Result<()> {
    let spec = json!({"order_by": [{"field": "username"}], "include_inactive": all});
    let rows = client.json("POST", "/v1/users/list", Some(&spec)).await?;
    if screen.wants_json() {
        return Ok(screen.json(&rows)?);
    }
    let (mut table, now) = (Table::new(COLUMNS), SystemClock.now());
    for user in serde_json::from_value::<Vec<Row>>(rows)? {
        table.row([
            user.pk.into(),
            plain(&user.username).into(),
            plain(format!("{} {}", user.first_name, user.last_name).trim()).into(),
            plain(&user.email).into(),
            if user.is_staff { "staff" } else { "user" }.into(),
            if user.is_active { "active".into() } else { Cell::styled("disabled", Style::new().red()) },
            user.last_login.map_or("never".to_owned(), |login| age(login, now)).into(),
        ]);
    }
    Ok(screen.table(&table, "users")?)
}
