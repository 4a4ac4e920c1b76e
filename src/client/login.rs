//! How calls get their access token: from a password, as it is, or signed on the spot.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use reqwest::Method;
use tokio::sync::Mutex;

use super::ClientError;
use super::call::{Call, json_of, refusal};
use super::server::Server;
use crate::wire::auth::{Access, Credentials, Refresh, Tokens};

/// Makes an access token, or says in a sentence why it can't.
pub(super) type Signer = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// What a client calls with.
pub(super) enum Login {
    /// A name and a password, for the day when the refresh token has run out, and the tokens of the present session.
    Password { credentials: Credentials, session: Mutex<Session> },
    /// A token that is used as it is: an API token, or an access token from elsewhere.
    Token(String),
    /// Tokens that are signed here, as the owner of the server's data directory can.
    Signed { signer: Signer, token: Mutex<Option<Young>> },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { credentials, .. } => f.debug_tuple("Password").field(&credentials.username).finish(),
            Self::Token(_) => f.write_str("Token"),
            Self::Signed { .. } => f.write_str("Signed"),
        }
    }
}

/// The tokens that a login gave.
pub(super) struct Session {
    access: Young,
    refresh: String,
}

/// An access token, and when to have the next one without waiting for a 401. That is measured on this machine's own
/// clock from the moment the token came, so that the clocks of the two machines may differ.
pub(super) struct Young {
    token: String,
    renew_at: Instant,
}

impl Young {
    fn new(token: String) -> Self {
        let renew_at = renewal(&token);
        Self { token, renew_at }
    }

    /// Says whether it can still be used: it is young, and not the one that the server has just turned down.
    fn is_good(&self, refused: Option<&str>) -> bool {
        refused != Some(self.token.as_str()) && Instant::now() < self.renew_at
    }
}

impl Login {
    /// Logs in with a name and a password.
    pub(super) async fn with_password(server: &Server, username: &str, password: &str) -> Result<Self, ClientError> {
        let credentials = Credentials { username: username.to_owned(), password: password.to_owned() };
        let session = Mutex::new(obtain(server, &credentials).await?);
        Ok(Self::Password { credentials, session })
    }

    /// Says whether another token can be had for one that was turned down.
    pub(super) fn renews(&self) -> bool {
        !matches!(self, Self::Token(_))
    }

    /// Gives an access token that is young enough, and not `refused`, the one that the server has just turned down.
    ///
    /// The lock is held while new tokens are fetched, so that of many calls only one fetches them.
    pub(super) async fn token(&self, server: &Server, refused: Option<&str>) -> Result<String, ClientError> {
        match self {
            Self::Token(token) => Ok(token.clone()),
            Self::Signed { signer, token } => {
                let mut young = token.lock().await;
                if let Some(young) = young.as_ref().filter(|young| young.is_good(refused)) {
                    return Ok(young.token.clone());
                }
                let signer = Arc::clone(signer);
                let signed = tokio::task::spawn_blocking(move || signer()).await;
                let signed = signed.unwrap_or_else(|error| Err(error.to_string())).map_err(ClientError::Login)?;
                Ok(young.insert(Young::new(signed)).token.clone())
            }
            Self::Password { credentials, session } => {
                let mut session = session.lock().await;
                if !session.access.is_good(refused) {
                    match refresh(server, &session.refresh).await {
                        Ok(access) => session.access = Young::new(access),
                        // The refresh token has run out as well, or the server has a new key.
                        Err(error) if error.status() == Some(401) => *session = obtain(server, credentials).await?,
                        Err(error) => return Err(error),
                    }
                }
                Ok(session.access.token.clone())
            }
        }
    }
}

async fn obtain(server: &Server, credentials: &Credentials) -> Result<Session, ClientError> {
    let call = Call::new(Method::POST, "/v1/auth/obtain".to_owned()).json(credentials)?;
    let answer = call.request(server).await?.send().await?;
    let Tokens { access, refresh } = json_of(refusal(answer).await?).await?;
    Ok(Session { access: Young::new(access), refresh })
}

async fn refresh(server: &Server, refresh: &str) -> Result<String, ClientError> {
    let body = Refresh { refresh: refresh.to_owned() };
    let call = Call::new(Method::POST, "/v1/auth/refresh".to_owned()).json(&body)?;
    let answer = call.request(server).await?.send().await?;
    Ok(json_of::<Access>(refusal(answer).await?).await?.access)
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
