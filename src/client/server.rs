//! The way to a server, before anybody has logged in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::sync::Mutex;
use tokio_rustls::rustls::ClientConfig;

use super::login::Login;
use super::{Client, ClientError, trust};

/// How long a connection may take to come about, in seconds.
const CONNECT_TIMEOUT_S: u64 = 10;
/// How long the server may stay silent in the middle of a call, in seconds. It is long, since the answer to an upload
/// waits until the bytes are on disk.
const READ_TIMEOUT_S: u64 = 120;

/// A server's address and the connections to it. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Server {
    pub(super) http: reqwest::Client,
    /// Scheme, host and port, without a slash at the end.
    pub(super) address: String,
}

impl Server {
    /// Prepares connections to an address such as `https://lab.example:8000`. Under `https` the server's certificate is
    /// checked against the authorities that this machine trusts. Nothing is sent yet.
    ///
    /// # Errors
    /// `Url` when the address is none.
    pub fn at(address: &str) -> Result<Self, ClientError> {
        Self::prepare(address, None)
    }

    /// Prepares connections as [`Server::at`] does, but trusts the certificates in a PEM text alone: those of the lab's
    /// own authority, or the server's own certificate when it signed itself.
    ///
    /// # Errors
    /// `Url` when the address is none, `Certificates` when the text holds no certificate in PEM.
    pub fn trusting(address: &str, pem: &[u8]) -> Result<Self, ClientError> {
        Self::prepare(address, Some(trust::only(pem)?))
    }

    fn prepare(address: &str, tls: Option<ClientConfig>) -> Result<Self, ClientError> {
        let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| ClientError::Url(address.to_owned()))?;
        // Reading the machine's authorities takes longer than a call; without TLS nobody needs them.
        let wants_machines_roots = tls.is_none() && url.scheme() == "https";
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(CONNECT_TIMEOUT_S))
            .read_timeout(Duration::from_secs(READ_TIMEOUT_S))
            // A labrun server never redirects; whoever does is not to be shown the token.
            .redirect(reqwest::redirect::Policy::none())
            .tls_built_in_root_certs(wants_machines_roots);
        if let Some(tls) = tls {
            builder = builder.use_preconfigured_tls(tls);
        }
        if is_of_this_machine(&url) {
            // A proxy named in the environment can't reach a server on this machine's own loopback address.
            builder = builder.no_proxy();
        }
        Ok(Self { http: builder.build()?, address: address.trim_end_matches('/').to_owned() })
    }

    /// Gives the address, without a slash at the end.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks whether a server answers at the address (`GET /healthz`, contract §11).
    ///
    /// # Errors
    /// `Transport` when none does, `Unexpected` when what answers is no labrun server.
    pub async fn answers(&self) -> Result<(), ClientError> {
        let reply = self.http.get(format!("{}/healthz", self.address)).send().await?;
        match reply.status() {
            status if status.is_success() => Ok(()),
            status => Err(ClientError::Unexpected(format!("{status} to /healthz"))),
        }
    }

    /// Logs in with a name and a password. The password is kept in memory, for the day when the refresh token has run
    /// out.
    ///
    /// # Errors
    /// `Refused` with status 401 for a wrong pair of name and password, with 429 after too many of them.
    pub async fn login(self, username: &str, password: &str) -> Result<Client, ClientError> {
        let login = Login::with_password(&self, username, password).await?;
        Ok(Client::new(self, login))
    }

    /// Gives a client that calls with this token: an API token, or an access token while it lasts. Whether it is good
    /// is seen at the first call.
    pub fn with_token(self, token: impl Into<String>) -> Client {
        Client::new(self, Login::Token(token.into()))
    }

    /// Gives a client that calls with access tokens that `signer` makes, a new one whenever the last is about to run
    /// out. `signer` says in a sentence why it can't, and may block.
    pub fn with_signer(self, signer: impl Fn() -> Result<String, String> + Send + Sync + 'static) -> Client {
        Client::new(self, Login::Signed { signer: Arc::new(signer), token: Mutex::new(None) })
    }
}

/// Says whether a URL names this machine itself.
fn is_of_this_machine(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}
