//! API tokens and the audit log.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use warp::reply::Response;

use crate::domain::fields::{Fields, Problems, boolean, integer, text};
use crate::domain::ids::{NodeId, UserId};
use crate::server::App;
use crate::server::auth::{API_TOKEN_PREFIX, Caller};
use crate::server::error::ApiError;
use crate::server::request::{Call, created, decimal, ok};
use crate::store::audit::Question;
use crate::store::tokens::NewApiToken;
use crate::wire::token::MadeApiToken;

/// Characters of a token's name.
const NAME_CHARS_MAX: usize = 100;
/// The longest life of a token that runs out: 100 years, in seconds.
const LIFETIME_MAX_S: i64 = 3_153_600_000;
/// Entries of the audit log that are given at once, when none or a larger number is asked for.
const ENTRIES_MAX: u32 = 1_000;

/// Gives the SHA-256 of a token in hex: all that is kept of it.
pub(crate) fn token_sha256(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `POST /v1/auth/tokens`.
pub(crate) async fn create(call: &mut Call) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    if caller.by_api_token {
        // Else a token that was lent could be made to last, or to do more.
        return Err(ApiError::forbidden("An API token can't make another: log in with a password."));
    }
    let body = call.json().await?;
    created(&make(&call.app, caller, &body).await?)
}

/// Makes a token as a body asks for it.
///
/// # Errors
/// 400 naming what is wrong, 403 for a token of another user unless staff asks.
pub(in crate::server) async fn make(
    app: &App,
    caller: Caller,
    body: &Map<String, Value>,
) -> Result<MadeApiToken, ApiError> {
    let mut fields = Fields::new(body);
    let name = fields.required("name", text(1..=NAME_CHARS_MAX));
    let user = fields.optional("user", integer(i64::MIN..=i64::MAX)).map_or(caller.user, UserId);
    let node = fields.optional("node", integer(i64::MIN..=i64::MAX)).map(NodeId);
    let read_only = fields.optional("read_only", boolean).unwrap_or(false);
    let expires_in_s = fields.optional("expires_in_s", integer(1..=LIFETIME_MAX_S));
    fields.finish()?;
    let Some(name) = name else { return Err(Problems::default().into()) };
    if user != caller.user && !caller.is_staff {
        return Err(ApiError::forbidden("Only staff make tokens for others."));
    }
    let mut secret = [0_u8; 32];
    getrandom::fill(&mut secret).map_err(ApiError::internal)?;
    let token = format!("{API_TOKEN_PREFIX}{}", hex(&secret));
    let expiry_time = expires_in_s.map(|seconds| app.clock.now().plus_seconds(seconds));
    let sha256 = token_sha256(&token);
    let new = NewApiToken { user, name, sha256, node, read_only, creator: caller.user, expiry_time };
    Ok(MadeApiToken { about: app.store.create_api_token(new).await?, token })
}

/// `GET /v1/auth/tokens`: the caller's own; with `?user=PK`, or `?user=all`, those of others, for staff.
pub(crate) async fn list(call: &mut Call) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    let user = match call.query_param("user") {
        None => Some(caller.user),
        Some(all) if all == "all" => None,
        Some(pk) => {
            let pk = decimal(&pk).ok_or_else(|| ApiError::field("user", "Must be the key of a user, or `all`."))?;
            Some(UserId(pk))
        }
    };
    if user != Some(caller.user) && !caller.is_staff {
        return Err(ApiError::forbidden("Only staff see the tokens of others."));
    }
    ok(&call.app.store.api_tokens(user).await?)
}

/// `DELETE /v1/auth/tokens/{PK}`: revokes; the row stays.
pub(crate) async fn revoke(call: &mut Call) -> Result<Response, ApiError> {
    ok(&call.app.store.revoke_api_token(call.pk()).await?)
}

/// `GET /v1/audit?user=&action=&after=&limit=`.
pub(crate) async fn audit(call: &mut Call) -> Result<Response, ApiError> {
    let limit = number(call, "limit")?.unwrap_or(ENTRIES_MAX.into());
    let limit = u32::try_from(limit).ok().filter(|limit| (1..=ENTRIES_MAX).contains(limit));
    let limit = limit.ok_or_else(|| ApiError::field("limit", format!("Must be from 1 to {ENTRIES_MAX}.")))?;
    let user = number(call, "user")?.map(UserId);
    let after = number(call, "after")?.unwrap_or(0);
    let question = Question { user, action: call.query_param("action"), after, limit };
    ok(&call.app.store.audit_entries(question).await?)
}

/// Reads a whole number from the query.
fn number(call: &Call, name: &str) -> Result<Option<i64>, ApiError> {
    match call.query_param(name) {
        None => Ok(None),
        Some(text) => decimal(&text).map(Some).ok_or_else(|| ApiError::field(name, "Must be a whole number.")),
    }
}
