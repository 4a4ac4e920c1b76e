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

mod blobs;
mod call;
mod claims;
mod error;
mod fetch;
mod files;
mod jobs;
mod login;
mod nodes;
mod outputs;
mod server;
mod streams;
mod templates;
#[cfg(test)]
mod tests;
mod trust;
mod uploads;
mod users;

use std::sync::Arc;

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::call::{Call, json_of, refusal};
pub use self::error::ClientError;
pub use self::fetch::sha256_of;
use self::login::Login;
pub use self::server::Server;
pub use self::streams::{ByteStream, Event, Events, Page};
pub use self::uploads::RESUMABLE_ABOVE_BYTES;
use crate::domain::ids::NodeId;
use crate::wire::list::ListSpec;

/// A user's connection to a server. Clones share the connections and the login.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    node: Option<NodeId>,
    attempt: Option<i64>,
}

#[derive(Debug)]
struct Shared {
    server: Server,
    login: Login,
}

impl Client {
    /// Logs in at a server, such as `http://127.0.0.1:8000`, with a name and a password. [`Server`] knows other ways.
    ///
    /// # Errors
    /// `Refused` with status 401 for a wrong pair of name and password, with 429 after too many of them.
    pub async fn login(address: &str, username: &str, password: &str) -> Result<Self, ClientError> {
        Server::at(address)?.login(username, password).await
    }

    fn new(server: Server, login: Login) -> Self {
        Self { shared: Arc::new(Shared { server, login }), node: None, attempt: None }
    }

    /// Gives a client for the same user that makes its calls on behalf of a node.
    #[must_use]
    pub fn for_node(&self, node: NodeId) -> Self {
        Self { shared: Arc::clone(&self.shared), node: Some(node), attempt: None }
    }

    /// Gives a client whose calls belong to one attempt of a job: once the job is at another, they are 409 and change
    /// nothing (contract §11).
    #[must_use]
    pub fn for_attempt(&self, attempt: i64) -> Self {
        Self { attempt: Some(attempt), ..self.clone() }
    }

    /// Gives the node that calls are made for.
    pub fn node_id(&self) -> Option<NodeId> {
        self.node
    }

    /// Gives the server's address, without a slash at the end.
    pub fn address(&self) -> &str {
        self.shared.server.address()
    }

    /// Gives a valid access token, for a tool that makes calls of its own.
    ///
    /// # Errors
    /// As `login`, when the present token has run out and no new one is given.
    pub async fn access_token(&self) -> Result<String, ClientError> {
        self.shared.login.token(&self.shared.server, None).await
    }

    /// Makes a call that has no method here, and gives the JSON of its answer, null when that is empty. `path` begins
    /// with `/v1/`, its parts percent-encoded.
    ///
    /// # Errors
    /// As [`ClientError`] tells.
    pub async fn json(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| ClientError::Url(method.to_owned()))?;
        let call = Call::new(method, path.to_owned());
        let call = match body {
            Some(body) => call.json(body)?,
            None => call,
        };
        let answer = self.send(&call).await?;
        if answer.status() == reqwest::StatusCode::NO_CONTENT { Ok(Value::Null) } else { json_of(answer).await }
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, ClientError> {
        json_of(self.send(&Call::get(path)).await?).await
    }

    async fn post<T: DeserializeOwned>(&self, path: String, body: &impl Serialize) -> Result<T, ClientError> {
        json_of(self.send(&Call::post(path).json(body)?).await?).await
    }

    async fn list<T: DeserializeOwned>(&self, of: &str, spec: &ListSpec) -> Result<Vec<T>, ClientError> {
        self.post(format!("/v1/{of}/list"), spec).await
    }

    /// Makes a call; once more with a fresh token if the first one is turned down.
    async fn send(&self, call: &Call<'_>) -> Result<reqwest::Response, ClientError> {
        let Shared { server, login } = &*self.shared;
        let mut refused = None;
        loop {
            let token = login.token(server, refused.as_deref()).await?;
            let mut request = call.request(server).await?.bearer_auth(&token);
            if let Some(node) = self.node {
                request = request.header("Node-Id", node.0);
            }
            if let Some(attempt) = self.attempt {
                request = request.header("Attempt", attempt);
            }
            let answer = request.send().await?;
            if answer.status() == reqwest::StatusCode::UNAUTHORIZED && refused.is_none() && login.renews() {
                refused = Some(token);
                continue;
            }
            return refusal(answer).await;
        }
    }
}
