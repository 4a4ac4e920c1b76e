//! Who is logged in: a random secret in a cookie, of which only the SHA-256 is kept.
//!
//! A session ends when it is logged out, when it was not used for `--session-lifetime-s`, a week after its log-in, and
//! with the user's next change of password or deactivation. The cookie is `SameSite=Lax` and not `Strict`, so that a link
//! to a job in a mail or a chat opens it; every change is a POST, which `Lax` never sends from elsewhere, and has to
//! show a token besides (see [`super::guard`]).

use sha2::{Digest, Sha256};
use warp::http::header::{COOKIE, SET_COOKIE};
use warp::http::{HeaderMap, HeaderValue};
use warp::reply::Response;

use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;
use crate::server::App;
use crate::server::auth::random_hex;
use crate::server::error::ApiError;
use crate::server::handlers::tokens::token_sha256;
use crate::store;
use crate::store::access::UserAccess;
use crate::store::users::Login;

/// The cookie's name.
const COOKIE_NAME: &str = "labrun_session";
/// How long a session lasts that is used all the time, in seconds: a week.
const AGE_MAX_S: i64 = 7 * 24 * 60 * 60;
/// Into so many parts the lifetime is cut; the use of a session is written down once in each at the most.
const PARTS: i64 = 16;

/// A session that is good.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) user: UserId,
    /// What the pages of this session send back with every change.
    pub(crate) csrf: String,
    /// Its key in the store.
    sha256: String,
}

impl Session {
    fn of(secret: &str, user: UserId) -> Self {
        // Whoever reads a page can't get from its token to the secret.
        let csrf = Sha256::digest(format!("labrun csrf {secret}"));
        let csrf = csrf.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { user, csrf, sha256: token_sha256(secret) }
    }

    /// Says whether it is still good: asked by streams, which outlive their request's check.
    pub(super) fn is_good(&self, app: &App) -> Result<bool, ApiError> {
        Ok(check(app, &self.sha256)?.is_some())
    }
}

/// Gives the value of a cookie. The first of a name counts.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Finds the session of a request.
///
/// # Errors
/// 401 when there is none, or none that is good any more.
pub(in crate::server) fn authenticate(app: &App, headers: &HeaderMap) -> Result<(Session, UserAccess), ApiError> {
    let secret = cookie(headers, COOKIE_NAME).ok_or_else(|| ApiError::unauthenticated("Log in first."))?;
    let sha256 = token_sha256(secret);
    let Some((found, access)) = check(app, &sha256)? else {
        return Err(ApiError::unauthenticated("You were logged out; log in again."));
    };
    let now = app.clock.now();
    if now > found.last_used.plus_seconds(i64::from(app.session_lifetime_s) / PARTS) {
        let store = app.store.clone();
        tokio::spawn(async move {
            if let Err(error) = store.session_used(sha256, now).await {
                tracing::warn!(%error, "the use of a session could not be written down");
            }
        });
    }
    Ok((Session::of(secret, found.user), access))
}

/// Reads a session and its user as they are now.
fn check(app: &App, sha256: &str) -> Result<Option<(store::sessions::Session, UserAccess)>, ApiError> {
    let Some(session) = app.store.session(sha256)? else { return Ok(None) };
    let now = app.clock.now();
    let idle_until = session.last_used.plus_seconds(app.session_lifetime_s.into());
    let is_over = now >= idle_until || now >= session.creation_time.plus_seconds(AGE_MAX_S);
    let access = app.store.user_access(session.user)?;
    let is_good = |access: &UserAccess| access.is_active && access.credentials == session.credentials && !is_over;
    Ok(access.filter(is_good).map(|access| (session, access)))
}

/// Begins a session for a user whose password was right, and puts its cookie into the answer.
pub(super) async fn begin(
    app: &App,
    headers: &HeaderMap,
    login: &Login,
    response: &mut Response,
) -> Result<(), ApiError> {
    let secret = random_hex::<32>().map_err(ApiError::internal)?;
    let now = app.clock.now();
    let session =
        store::sessions::Session { user: login.pk, credentials: login.credentials, creation_time: now, last_used: now };
    let stale = Timestamp(now.0.saturating_sub(i64::from(app.session_lifetime_s).saturating_mul(1_000_000)));
    app.store.begin_session(token_sha256(&secret), session, stale).await?;
    let value = format!("{COOKIE_NAME}={secret}; Path=/; HttpOnly; SameSite=Lax{}", secure(app, headers));
    response.headers_mut().append(SET_COOKIE, HeaderValue::from_str(&value).map_err(ApiError::internal)?);
    Ok(())
}

/// Ends a session, or all of its user's, and takes the cookie back.
pub(super) async fn end(
    app: &App,
    headers: &HeaderMap,
    session: &Session,
    everywhere: bool,
    response: &mut Response,
) -> Result<(), ApiError> {
    if everywhere {
        app.store.end_sessions_of(session.user).await?;
    } else {
        app.store.end_session(session.sha256.clone()).await?;
    }
    let value = format!("{COOKIE_NAME}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0{}", secure(app, headers));
    response.headers_mut().append(SET_COOKIE, HeaderValue::from_str(&value).map_err(ApiError::internal)?);
    Ok(())
}

/// Keeps the cookie off connections in clear, where there are others: with TLS of our own, or of a proxy that says so.
fn secure(app: &App, headers: &HeaderMap) -> &'static str {
    let is_forwarded = headers.get("x-forwarded-proto").is_some_and(|value| value == "https");
    if app.has_tls || is_forwarded { "; Secure" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; labrun_session=x=y ;b"));
        headers.append(COOKIE, HeaderValue::from_static("labrun_session=second"));
        assert_eq!(cookie(&headers, "labrun_session"), Some("x=y"));
        assert_eq!(cookie(&headers, "a"), Some("1"));
        assert_eq!(cookie(&headers, "b"), None);
    }

    #[test]
    fn the_token_of_a_session_says_nothing_of_its_secret() {
        let (one, other) = (Session::of("one", UserId(1)), Session::of("other", UserId(1)));
        assert_eq!(one.csrf.len(), 64);
        assert!(one.csrf != other.csrf && one.csrf != one.sha256);
    }
}
