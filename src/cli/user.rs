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
#[command(after_help = exit::help("labrun user create ada --generate"))]
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
        #[arg(value_name = "USER")]
        named: String,
    },
    /// Let a user in again
    Enable {
        /// Name or key of the user
        #[arg(value_name = "USER")]
        named: String,
    },
    /// Set a user's password: its logins are void at once, its API tokens stay
    Password {
        /// Name or key of the user [default: oneself]
        #[arg(value_name = "USER")]
        named: Option<String>,
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
    /// Gives the password, and once more to be shown if it was made here.
    fn get(self, of: &str) -> anyhow::Result<(String, Option<String>)> {
        if let Some(file) = self.new_password_file {
            return Ok((super::first_line(&file)?, None));
        }
        if self.generate {
            let mut bytes = [0_u8; 12];
            getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
            let made: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok((made.clone(), Some(made)));
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
        Ok((password, None))
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
                let (password, made) = password.get(&name)?;
                let new = NewUser { username: name, password, first_name, last_name, email, is_staff: staff };
                let user = serde_json::to_value(client.create_user(&new).await?)?;
                tell(screen, user, "made", made)?;
            }
            Action::List { all } => list(&client, screen, all).await?,
            Action::Disable { named } => {
                let user = change(&client, &named, &json!({"is_active": false})).await?;
                tell(screen, user, "disabled", None)?;
            }
            Action::Enable { named } => {
                let user = change(&client, &named, &json!({"is_active": true})).await?;
                tell(screen, user, "enabled", None)?;
            }
            Action::Password { named, password } => {
                let named = match named {
                    Some(named) => named,
                    None => client.whoami().await?.pk.to_string(),
                };
                let (password, made) = password.get(&named)?;
                let user = change(&client, &named, &json!({"password": password})).await?;
                tell(screen, user, "has a new password", made)?;
            }
        }
        Ok(Exit::Done)
    }
}

/// Says what became of a user. A password that was made is the one line of the output that a program may want.
fn tell(screen: Screen, mut user: Value, what: &str, made: Option<String>) -> anyhow::Result<()> {
    if screen.wants_json() {
        if let Some(password) = made {
            user["password"] = password.into();
        }
        return Ok(screen.json(&user)?);
    }
    let about = format!("user {} (key {}) {what}", plain(user["username"].as_str().unwrap_or_default()), user["pk"]);
    match made {
        None => screen.line(&about)?,
        Some(password) => {
            screen.note(&format!("{about}; the password is shown this once:"));
            screen.line(&password)?;
        }
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

/// Changes a user, and gives it as it is then.
async fn change(client: &Client, named: &str, change: &Value) -> anyhow::Result<Value> {
    let pk = find(client, named).await?;
    let changed = client.json("PATCH", &format!("/v1/users/{pk}"), Some(change)).await;
    changed.with_context(|| format!("user {}", plain(named)))
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
