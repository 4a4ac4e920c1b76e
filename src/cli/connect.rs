//! Which server, and as whom: the arguments that every command has which calls one.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use reqwest::Url;

use super::exit::Failure;
use super::logins::Logins;
use super::place;
use crate::client::{Client, ClientError, Server};
use crate::server::owner::Owner;

/// Where a server is looked for when nothing says where one is.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8000";
/// Whose password it is when no user is named.
const DEFAULT_USER: &str = "admin";

/// Which server, and as whom.
///
/// The server is the one that is named, or the one of a data directory that is named, or the one last logged in at, or
/// the one that runs on this machine. The first of these that is there says who calls: a token, a password, a stored
/// login, and the ownership of the running server's data directory.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connection {
    /// Address of the server [default: the one last logged in at, else the one on this machine]
    #[arg(
        long,
        alias = "url",
        env = "LABRUN_SERVER",
        value_name = "URL",
        global = true,
        help_heading = "Which server, and as whom"
    )]
    server: Option<String>,

    /// API token, or access token. Others on this machine can see arguments: prefer the variable or the file
    #[arg(
        long,
        env = "LABRUN_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        global = true,
        help_heading = "Which server, and as whom"
    )]
    token: Option<String>,

    /// File whose first line is the token
    #[arg(
        long,
        env = "LABRUN_TOKEN_FILE",
        value_name = "FILE",
        global = true,
        help_heading = "Which server, and as whom",
        hide_short_help = true
    )]
    token_file: Option<PathBuf>,

    /// Name of the user to log in as [default: admin]
    #[arg(
        long,
        env = "LABRUN_USER",
        value_name = "NAME",
        global = true,
        help_heading = "Which server, and as whom",
        hide_short_help = true
    )]
    user: Option<String>,

    /// Password of that user. Others on this machine can see arguments: prefer the variable or the file
    #[arg(
        long,
        env = "LABRUN_PASSWORD",
        value_name = "TEXT",
        hide_env_values = true,
        global = true,
        help_heading = "Which server, and as whom",
        hide_short_help = true
    )]
    password: Option<String>,

    /// File whose first line is the password
    #[arg(
        long,
        env = "LABRUN_PASSWORD_FILE",
        value_name = "FILE",
        global = true,
        help_heading = "Which server, and as whom",
        hide_short_help = true
    )]
    password_file: Option<PathBuf>,

    /// Certificates to trust under https, PEM, instead of those that this machine trusts
    #[arg(
        long,
        env = "LABRUN_CA_FILE",
        value_name = "FILE",
        global = true,
        help_heading = "Which server, and as whom",
        hide_short_help = true
    )]
    ca_file: Option<PathBuf>,

    /// Data directory of a server on this machine: who owns it needs no password [default: the platform's]
    #[arg(
        long,
        env = "LABRUN_DATA_DIR",
        value_name = "DIR",
        global = true,
        help_heading = "Which server, and as whom",
        hide_short_help = true
    )]
    data_dir: Option<PathBuf>,
}

/// How a caller proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// With a token from the arguments or the environment.
    Token,
    /// With the password of this user.
    Password(String),
    /// With the login of this user that `labrun login` stored.
    Stored(String),
    /// By owning the data directory of the server.
    Owner,
}

/// A client, and how it got in.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) proof: Proof,
}

impl Connection {
    /// Gives a client for the server and the caller that were named, or that are there.
    ///
    /// # Errors
    /// When there is no way in that is known, or the password is wrong. The other ways are tried at the first call.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        Ok(self.connect().await?.client)
    }

    /// As [`Connection::client`], and says how.
    pub(super) async fn connect(&self) -> anyhow::Result<Connected> {
        let logins = Logins::load()?;
        let (address, owner) = self.target(&logins)?;
        let stored = logins.at(&address).filter(|login| self.user.as_ref().is_none_or(|user| *user == login.user));
        let ca_file = self.ca_file.as_deref().or_else(|| stored.and_then(|login| login.ca_file.as_deref()));
        if let Some(token) = self.given_token()? {
            return Ok(Connected { client: server(&address, ca_file)?.with_token(token), proof: Proof::Token });
        }
        if let Some(password) = self.given_password()? {
            let user = self.user().to_owned();
            let client = server(&address, ca_file)?.login(&user, &password).await?;
            return Ok(Connected { client, proof: Proof::Password(user) });
        }
        if let Some(login) = stored {
            let client = server(&address, ca_file)?.with_token(&login.token);
            return Ok(Connected { client, proof: Proof::Stored(login.user.clone()) });
        }
        if let Some(owner) = owner.filter(|_| self.user.is_none()) {
            // To the address that the directory names, however the same one was written here.
            let server = server(owner.address(), ca_file.or(owner.certificate()))?;
            return Ok(Connected { client: server.with_signer(move || owner.token()), proof: Proof::Owner });
        }
        let server = server(&address, ca_file)?;
        if self.named().is_none()
            && let Err(ClientError::Transport(_)) = server.answers().await
        {
            return Err(Failure::unreachable(format!(
                "no server answers at {address}: `labrun serve` starts one on this machine, `labrun login --server URL` \
                 goes to another"
            )));
        }
        Err(Failure::refused(format!(
            "not logged in at {address}: run `labrun login --server {address}`, set LABRUN_TOKEN, or set LABRUN_USER \
             and LABRUN_PASSWORD; on the server's own machine, whoever can read its data directory needs none of \
             these (--data-dir)"
        )))
    }

    /// Gives the address of the server, for a login that does not depend on what is stored.
    pub(super) fn address(&self) -> anyhow::Result<String> {
        Ok(self.target(&Logins::load()?)?.0)
    }

    /// Gives the way to the server, before anybody has logged in.
    pub(super) fn server(&self) -> anyhow::Result<Server> {
        server(&self.address()?, self.ca_file.as_deref())
    }

    /// Gives the way to a server that was logged in at with these certificates; those of the arguments go first.
    pub(super) fn server_trusting(&self, address: &str, ca_file: Option<&Path>) -> anyhow::Result<Server> {
        server(address, self.ca_file.as_deref().or(ca_file))
    }

    /// Gives the file of certificates to trust, as a path that holds in other folders too.
    pub(super) fn ca_file(&self) -> anyhow::Result<Option<PathBuf>> {
        self.ca_file.as_deref().map(std::path::absolute).transpose().context("the current folder can't be read")
    }

    /// Gives the name of the user to log in as.
    pub(super) fn user(&self) -> &str {
        self.user.as_deref().unwrap_or(DEFAULT_USER)
    }

    /// Gives the token from the arguments or the environment.
    pub(super) fn given_token(&self) -> anyhow::Result<Option<String>> {
        given(self.token.as_deref(), self.token_file.as_deref())
    }

    /// Gives the password from the arguments or the environment.
    pub(super) fn given_password(&self) -> anyhow::Result<Option<String>> {
        given(self.password.as_deref(), self.password_file.as_deref())
    }

    /// Gives the address that was named, if one was.
    fn named(&self) -> Option<String> {
        self.server.clone().or_else(|| std::env::var("LABRUN_URL").ok()).filter(|url| !url.is_empty())
    }

    /// Finds the server's address; with the owner of its data directory, when that is this user.
    fn target(&self, logins: &Logins) -> anyhow::Result<(String, Option<Owner>)> {
        let named = self.named();
        let dir = match &self.data_dir {
            Some(dir) => Some(dir.clone()),
            None => place::platforms().ok(),
        };
        let found = dir.map(|dir| Owner::of(&dir)).transpose().map(Option::flatten);
        let owner = match (found, self.data_dir.as_deref().filter(|_| named.is_none())) {
            // A directory that was named is to be used; one that merely is there may belong to somebody else.
            (Err(error), Some(dir)) => {
                let dir = dir.display();
                return Err(anyhow::Error::from(error).context(format!("the data directory {dir} can't be read")));
            }
            // No other server is meant, whichever was logged in at last.
            (Ok(None), Some(dir)) => {
                let dir = dir.display();
                return Err(Failure::unreachable(format!(
                    "no server runs on {dir}: `labrun serve --data-dir {dir}` starts one"
                )));
            }
            (found, _) => found.unwrap_or_default(),
        };
        let last = logins.last().filter(|_| self.data_dir.is_none());
        let own = owner.as_ref().map(Owner::address);
        let address = named.as_deref().or(last).or(own).unwrap_or(DEFAULT_SERVER).trim_end_matches('/').to_owned();
        let owner = owner.filter(|owner| is_same(&address, owner.address()));
        Ok((address, owner))
    }
}

/// Gives a secret from an argument, or else from a file; an empty argument is none.
fn given(text: Option<&str>, file: Option<&Path>) -> anyhow::Result<Option<String>> {
    match (text.filter(|text| !text.is_empty()), file) {
        (Some(text), _) => Ok(Some(text.to_owned())),
        (None, Some(file)) => super::first_line(file).map(Some),
        (None, None) => Ok(None),
    }
}

/// Prepares connections to a server.
fn server(address: &str, ca_file: Option<&Path>) -> anyhow::Result<Server> {
    let is_none = |error: ClientError| match error {
        ClientError::Url(_) => {
            Failure::usage(format!("{address} is no address of a server: write it like {DEFAULT_SERVER}"))
        }
        other => other.into(),
    };
    Ok(match ca_file {
        None => Server::at(address).map_err(is_none)?,
        Some(file) => {
            let roots = std::fs::read(file);
            let roots = roots.with_context(|| format!("the certificates {} can't be read", file.display()))?;
            Server::trusting(address, &roots).map_err(is_none)?
        }
    })
}

/// Says whether an address is the one that a server of this machine wrote down, perhaps by another name of the
/// loopback.
fn is_same(address: &str, announced: &str) -> bool {
    let (Ok(address), Ok(announced)) = (Url::parse(address), Url::parse(announced)) else { return false };
    names_loopback(&address)
        && address.path() == "/"
        && address.scheme() == announced.scheme()
        && address.port_or_known_default() == announced.port_or_known_default()
}

/// Says whether an address is on this machine, so that what is sent there crosses no network.
pub(super) fn is_on_loopback(address: &str) -> bool {
    Url::parse(address).is_ok_and(|url| names_loopback(&url))
}

fn names_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_loopback_are_the_announced_address() {
        let announced = "http://127.0.0.1:8000";
        for same in ["http://127.0.0.1:8000", "http://localhost:8000/", "http://[::1]:8000"] {
            assert!(is_same(same, announced), "{same}");
        }
        for other in [
            "http://127.0.0.1:8001",
            "https://127.0.0.1:8000",
            "http://lab.example:8000",
            "http://127.0.0.1.lab.example:8000",
            "http://127.0.0.1@lab.example:8000",
            "http://127.0.0.1:8000/elsewhere",
            "http://192.0.2.7:8000",
            "127.0.0.1:8000",
        ] {
            assert!(!is_same(other, announced), "{other}");
        }
    }
}
