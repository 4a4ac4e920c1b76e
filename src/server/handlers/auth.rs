//! Logging in, and tokens for tokens (contract §2).

use serde_json::json;
use warp::reply::Response;

use crate::domain::fields::{Fields, Problems, text};
use crate::server::auth::{TokenKind, check_token};
use crate::server::error::ApiError;
use crate::server::request::{Call, ok};
use crate::store::users::Login;
use crate::wire::auth::{Access, Tokens};

/// Characters of names, passwords and tokens; the body's limit is met first.
const CHARS_MAX: usize = 1 << 20;

/// `POST /v1/auth/obtain`: a name and a password for a pair of tokens.
pub(crate) async fn obtain(call: &mut Call) -> Result<Response, ApiError> {
    let body = call.json_or_form().await?;
    let mut fields = Fields::new(&body);
    let username = fields.required("username", text(1..=CHARS_MAX));
    let password = fields.required("password", text(1..=CHARS_MAX));
    fields.finish()?;
    let (Some(username), Some(password)) = (username, password) else { return Err(Problems::default().into()) };
    let login = log_in(call, username, password).await?;
    let now = call.app.clock.now();
    let issue = |kind| call.app.tokens.issue(kind, login.pk, login.credentials, now);
    ok(&Tokens { access: issue(TokenKind::Access)?, refresh: issue(TokenKind::Refresh)? })
}

/// Checks a name and a password, at the pace that guessing is allowed, and notes the log-in.
///
/// # Errors
/// 401 for a wrong pair and for a user who may not come in, the same for both; 429 after too many of those.
pub(in crate::server) async fn log_in(call: &mut Call, username: String, password: String) -> Result<Login, ApiError> {
    let app = &call.app;
    call.tried = Some(username.chars().take(150).collect());
    let address = call.peer.map(|peer| peer.ip());
    let this_try = app.throttle.begin(&username, address, &*app.clock).await?;
    // The same work whether there is such a user or not, active or not: the time must not tell.
    let login = app.store.login(&username)?.filter(|login| login.is_active);
    let hash = login.as_ref().map(|login| login.password_hash.clone());
    // When the password is not looked at, it was no guess.
    let matches = app.passwords.verify(password, hash).await?;
    let now = app.clock.now();
    let Some(login) = login.filter(|_| matches) else {
        this_try.fail(now);
        return Err(ApiError::unauthenticated("There is no active user of this name and password."));
    };
    drop(this_try);
    app.soft.user_logged_in(login.pk, now);
    app.setup.close();
    Ok(login)
}

/// `POST /v1/auth/refresh`: a refresh token for a new access token.
pub(crate) async fn refresh(call: &mut Call) -> Result<Response, ApiError> {
    let token = token(call, "refresh").await?;
    let valid = check_token(&call.app, &token, Some(TokenKind::Refresh))?;
    let (user, access) = valid.ok_or_else(|| ApiError::unauthenticated("The refresh token is not valid."))?;
    let now = call.app.clock.now();
    ok(&Access { access: call.app.tokens.issue(TokenKind::Access, user, access.credentials, now)? })
}

/// `POST /v1/auth/verify`: whether a token of either kind is valid.
pub(crate) async fn verify(call: &mut Call) -> Result<Response, ApiError> {
    let token = token(call, "token").await?;
    match check_token(&call.app, &token, None)? {
        Some(_) => ok(&json!({})),
        None => Err(ApiError::unauthenticated("The token is not valid.")),
    }
}

/// `GET /v1/auth/whoami`: the user that the token stands for.
pub(crate) async fn whoami(call: &mut Call) -> Result<Response, ApiError> {
    let user = call.caller()?.user;
    let user = call.app.store.user(user)?.ok_or_else(ApiError::not_found)?;
    ok(&call.app.soft.user(user))
}

/// Reads the one field of a body.
async fn token(call: &mut Call, name: &'static str) -> Result<String, ApiError> {
    let body = call.json().await?;
    let mut fields = Fields::new(&body);
    let token = fields.required(name, text(1..=CHARS_MAX));
    fields.finish()?;
    token.ok_or_else(|| Problems::default().into())
}
