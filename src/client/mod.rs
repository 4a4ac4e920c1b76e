//! A typed HTTP client: one method for an action of the server.
//!
//! ```no_run
//! # async fn example() -> Result<(), labrun::client::ClientError> {
//! use labrun::client::Client;
//! use labrun::wire::list::{ListSpec, exact};
//!
//! let client = Client::login("http://127.0.0.1:8000", "admin", "a password").await?;
//! for job in client.jobs(&ListSpec::default().with(exact("phase", "started"))).await? {
//!     println!("{} is at {:.0} %", job.pk, 100.0 * job.progress_amount);
//! }
//! # Ok(())
//! # }
//! ```

mod actions;
mod blobs;
mod call;
mod error;
mod files;
mod outputs;
#[cfg(test)]
mod tests;
mod uploads;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use reqwest::{Method, Url};
use tokio::sync::Mutex;

use self::call::{Call, json_of, refusal};
pub use self::error::ClientError;
pub use self::uploads::RESUMABLE_ABOVE_BYTES;
use crate::domain::ids::NodeId;
use crate::wire::auth::{Access, Credentials, Refresh, Tokens};

/// How long a connection may take to come about, in seconds.
const CONNECT_TIMEOUT_S: u64 = 10;
/// How long the server may stay silent in the middle of a call, in seconds. It is long, since the answer to an upload
/// waits until the bytes are on disk.
const READ_TIMEOUT_S: u64 = 120;

/// A user's connection to a server. Clones share the connections and the login.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    node: Option<NodeId>,
}

struct Shared {
    http: reqwest::Client,
    /// Scheme, host and port, without a slash at the end.
    address: String,
    credentials: Credentials,
    /// Behind a lock that is held while new tokens are fetched, so that of many calls only one fetches them.
    session: Mutex<Session>,
}

struct Session {
    tokens: Tokens,
    /// When to fetch the next access token without waiting for a 401. Measured on this machine's own clock from the
    /// moment the token came, so that the clocks of the two machines may differ.
    renew_at: Instant,
}

impl Session {
    fn new(tokens: Tokens) -> Self {
        let renew_at = renewal(&tokens.access);
        Self { tokens, renew_at }
    }

    fn renew(&mut self, access: String) {
        self.renew_at = renewal(&access);
        self.tokens.access = access;
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.shared.address)
            .field("user", &self.shared.credentials.username)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Logs in at a server, such as `http://127.0.0.1:8000`. The password is kept in memory, for the day when the
    /// refresh token has run out.
    ///
    /// # Errors
    /// `Refused` with status 401 for a wrong pair of name and password, with 429 after too many of them.
    pub async fn login(address: &str, username: &str, password: &str) -> Result<Self, ClientError> {
        let address = address.trim_end_matches('/').to_owned();
        let http = connections(&address)?;
        let credentials = Credentials { username: username.to_owned(), password: password.to_owned() };
        let tokens = obtain(&http, &address, &credentials).await?;
        let session = Mutex::new(Session::new(tokens));
        Ok(Self { shared: Arc::new(Shared { http, address, credentials, session }), node: None })
    }

    /// Gives a client for the same user that makes its calls on behalf of a node.
    #[must_use]
    pub fn for_node(&self, node: NodeId) -> Self {
        Self { shared: Arc::clone(&self.shared), node: Some(node) }
    }

    /// Gives the node that calls are made for.
    pub fn node_id(&self) -> Option<NodeId> {
        self.node
    }

    /// Gives the server's address, without a slash at the end.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Gives a valid access token, for a tool that makes calls of its own.
    ///
    /// # Errors
    /// As `login`, when the present token has run out and no new one is given.
    pub async fn access_token(&self) -> Result<String, ClientError> {
        self.token(None).await
    }

    /// Gives an access token that is young enough, and not `refused`, the one that the server has just turned down.
    async fn token(&self, refused: Option<&str>) -> Result<String, ClientError> {
        let mut session = self.shared.session.lock().await;
        let turned_down = refused.is_some_and(|token| token == session.tokens.access);
        if turned_down || Instant::now() >= session.renew_at {
            match self.refresh(&session.tokens.refresh).await {
                Ok(access) => session.renew(access),
                // The refresh token has run out as well, or the server has a new key.
                Err(error) if error.status() == Some(401) => {
                    let tokens = obtain(&self.shared.http, &self.shared.address, &self.shared.credentials).await?;
                    *session = Session::new(tokens);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(session.tokens.access.clone())
    }

    async fn refresh(&self, refresh: &str) -> Result<String, ClientError> {
        let body = Refresh { refresh: refresh.to_owned() };
        let call = Call::new(Method::POST, "/v1/auth/refresh".to_owned()).json(&body)?;
        let answer = call.request(&self.shared.http, &self.shared.address).await?.send().await?;
        Ok(json_of::<Access>(refusal(answer).await?).await?.access)
    }

    /// Makes a call; once more with a fresh token if the first one is turned down.
    async fn send(&self, call: &Call<'_>) -> Result<reqwest::Response, ClientError> {
        let mut refused = None;
        loop {
            let token = self.token(refused.as_deref()).await?;
            let mut request = call.request(&self.shared.http, &self.shared.address).await?.bearer_auth(&token);
            if let Some(node) = self.node {
                request = request.header("Node-Id", node.0);
            }
            let answer = request.send().await?;
            if answer.status() == reqwest::StatusCode::UNAUTHORIZED && refused.is_none() {
                refused = Some(token);
                continue;
            }
            return refusal(answer).await;
        }
    }
}

fn connections(address: &str) -> Result<reqwest::Client, ClientError> {
    let builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(CONNECT_TIMEOUT_S))
        .read_timeout(Duration::from_secs(READ_TIMEOUT_S))
        // A labrun server never redirects; whoever does is not to be shown the token.
        .redirect(reqwest::redirect::Policy::none());
    let url = Url::parse(address).map_err(|_| ClientError::Url(address.to_owned()))?;
    // A proxy named in the environment can't reach a server on this machine's own loopback address.
    let is_local = url.host_str().is_some_and(|host| {
        host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    Ok(if is_local { builder.no_proxy() } else { builder }.build()?)
}

async fn obtain(http: &reqwest::Client, address: &str, credentials: &Credentials) -> Result<Tokens, ClientError> {
    let call = Call::new(Method::POST, "/v1/auth/obtain".to_owned()).json(credentials)?;
    json_of(refusal(call.request(http, address).await?.send().await?).await?).await
}

/// Says when to replace an access token that came just now: after four fifths of the life that its claims name. One
/// that can't be read is used until the server turns it down.
fn renewal(access: &str) -> Instant {
    #[derive(serde::Deserialize)]
    struct Claims {
        iat: i64,
        exp: i64,
    }
    let claims = access.split('.').nth(1).and_then(|part| {
        let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Claims>(&json).ok()
    });
    let life_s = claims.map_or(86_400, |claims| claims.exp.saturating_sub(claims.iat)).clamp(0, 86_400);
    Instant::now() + Duration::from_secs(life_s.unsigned_abs()) * 4 / 5
}
