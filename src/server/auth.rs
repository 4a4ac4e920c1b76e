//! Who is calling, and may they: tokens and `Node-Id` into a [`Caller`], and the predicates of the table's `who`
//! column (contract §2, §3).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use warp::http::HeaderMap;
use warp::http::header::AUTHORIZATION;

use super::App;
use super::error::ApiError;
use super::handlers::tokens::token_sha256;
use super::pages::session;
use super::request::{Call, decimal};
use super::routes::{Route, Target, Token, Who};
use crate::domain::ids::{JobId, NodeId, UploadId, UserId};
use crate::domain::time::Timestamp;
use crate::store::Error;
use crate::store::access::{Table, UserAccess};
use crate::store::tokens::Grant;

/// Tokens of which it is remembered that their signature is good.
const TOKENS_KNOWN_MAX: usize = 4_096;

/// Whose call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The user.
    pub(crate) user: UserId,
    /// Whether the user is staff.
    pub(crate) is_staff: bool,
    /// The node on whose behalf the call is made.
    pub(crate) node: Option<NodeId>,
    /// Whether it came with an API token, not after a login.
    pub(crate) by_api_token: bool,
}

/// What API tokens begin with, so that people and scanners of secrets know one when they see it.
pub(crate) const API_TOKEN_PREFIX: &str = "labrun_";

/// What the right to a long answer rests on, to be asked for again while it lasts: a user may be deactivated and a token
/// be revoked meanwhile. That an access token runs out does not end what was begun with it.
#[derive(Debug, Clone)]
pub(crate) enum Leave {
    /// On nothing: anyone may have it.
    Anyones,
    /// On a login, with the count of password changes and deactivations at that time.
    Login { user: UserId, credentials: i64 },
    /// On an API token, by its SHA-256.
    ApiToken(String),
}

impl Leave {
    fn holds(&self, app: &App) -> Result<bool, Error> {
        let user = match self {
            Self::Anyones => return Ok(true),
            Self::Login { user, .. } => *user,
            Self::ApiToken(sha256) => match app.store.api_token_grant(sha256, app.clock.now())? {
                Some(grant) => grant.user,
                None => return Ok(false),
            },
        };
        let access = app.store.user_access(user)?;
        Ok(access.is_some_and(|now| {
            now.is_active && !matches!(self, Self::Login { credentials, .. } if *credentials != now.credentials)
        }))
    }

    /// Waits until it is taken back. It is looked at as often as watchers are told that the server is still there.
    pub(crate) async fn taken_back(&self, app: &App) {
        let mut looks = tokio::time::interval(app.keep_alive);
        loop {
            looks.tick().await;
            match self.holds(app) {
                Ok(true) => {}
                Ok(false) => return,
                // Whoever was let in stays until it is known that they must not.
                Err(error) => tracing::warn!(%error, "a watcher's token could not be looked at again"),
            }
        }
    }
}

/// Whom a token or a session stands for, and what it takes away from what that user may do.
#[derive(Debug, Clone)]
struct Identity {
    user: UserId,
    is_staff: bool,
    /// The one node that calls with this token are made for.
    bound_to: Option<NodeId>,
    read_only: bool,
    by_api_token: bool,
    leave: Leave,
}

impl Identity {
    /// A user who logged in: nothing is taken away.
    fn of(user: UserId, access: UserAccess) -> Self {
        let leave = Leave::Login { user, credentials: access.credentials };
        Self { user, is_staff: access.is_staff, bound_to: None, read_only: false, by_api_token: false, leave }
    }
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TokenKind {
    /// For calls.
    Access,
    /// For new access tokens.
    Refresh,
}

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    upk: UserId,
    jtt: TokenKind,
    /// Seconds since 1970.
    iat: i64,
    /// Seconds since 1970.
    exp: i64,
    jti: String,
    /// The count of the user's password changes and deactivations when the token was made.
    cred: i64,
}

/// Makes and reads tokens, with the key of this data directory.
pub(crate) struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    access_lifetime_s: i64,
    refresh_lifetime_s: i64,
    /// What tokens say that were found to be signed with the key: that never changes, and checking it costs more than
    /// reading a job.
    signed: RwLock<HashMap<Box<str>, Arc<Claims>>>,
}

impl Tokens {
    /// Reads the key, or makes it at first start; only the owner can read the file.
    pub(crate) fn open(file: &Path, access_lifetime_s: u32, refresh_lifetime_s: u32) -> std::io::Result<Self> {
        let key = match std::fs::read(file) {
            Ok(key) if key.len() >= 32 => key,
            Ok(_) => {
                return Err(std::io::Error::other("the token key is damaged: move it away to have a new one made"));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_key(file)?,
            Err(error) => return Err(error),
        };
        Ok(Self::with_key(&key, access_lifetime_s, refresh_lifetime_s))
    }

    /// Takes a key as it is.
    pub(crate) fn with_key(key: &[u8], access_lifetime_s: u32, refresh_lifetime_s: u32) -> Self {
        Self {
            encoding: EncodingKey::from_secret(key),
            decoding: DecodingKey::from_secret(key),
            access_lifetime_s: access_lifetime_s.into(),
            refresh_lifetime_s: refresh_lifetime_s.into(),
            signed: RwLock::default(),
        }
    }

    /// Makes a token for a user.
    pub(crate) fn issue(
        &self,
        kind: TokenKind,
        user: UserId,
        credentials: i64,
        now: Timestamp,
    ) -> Result<String, ApiError> {
        let lifetime_s = match kind {
            TokenKind::Access => self.access_lifetime_s,
            TokenKind::Refresh => self.refresh_lifetime_s,
        };
        let iat = now.as_seconds();
        let jti = random_hex::<16>().map_err(ApiError::internal)?;
        let claims = Claims { upk: user, jtt: kind, iat, exp: iat + lifetime_s, jti, cred: credentials };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map_err(ApiError::internal)
    }

    /// Reads a token: signed with our key, by HS256 and nothing else, and not run out.
    fn read(&self, token: &str, now: Timestamp) -> Option<Arc<Claims>> {
        let known = self.signed.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned();
        let claims = match known {
            Some(claims) => claims,
            None => self.check(token)?,
        };
        (now.as_seconds() < claims.exp).then_some(claims)
    }

    /// Checks the signature of a token that is not known yet.
    fn check(&self, token: &str) -> Option<Arc<Claims>> {
        let mut validation = Validation::new(Algorithm::HS256);
        // Looked at at every call, by the clock that issued it.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        let claims = Arc::new(jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).ok()?.claims);
        let mut signed = self.signed.write().unwrap_or_else(PoisonError::into_inner);
        // Tokens live for minutes: beginning anew is simpler than finding out which have run out.
        if signed.len() >= TOKENS_KNOWN_MAX {
            signed.clear();
        }
        signed.insert(token.into(), claims.clone());
        Some(claims)
    }
}

/// Makes a key of 256 bits, durable before it is used.
fn make_key(file: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut key = vec![0; 32];
    getrandom::fill(&mut key).map_err(std::io::Error::other)?;
    // Written beside and renamed, so that a crash leaves a whole key or none.
    let draft = file.with_extension("draft");
    let mut out = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    out.write_all(&key)?;
    out.sync_all()?;
    std::fs::rename(&draft, file)?;
    if let Some(folder) = file.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(key)
}

/// Gives `N` random bytes in hex.
///
/// # Errors
/// When the system gives no random numbers: nothing that could be guessed is made instead.
pub(crate) fn random_hex<const N: usize>() -> std::io::Result<String> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Checks a token of a kind (either, when `None`) against its user as that is now.
pub(crate) fn check_token(
    app: &App,
    token: &str,
    kind: Option<TokenKind>,
) -> Result<Option<(UserId, UserAccess)>, ApiError> {
    if token.starts_with(API_TOKEN_PREFIX) {
        let identity = if kind == Some(TokenKind::Refresh) { None } else { identify(app, token)? };
        return match identity {
            None => Ok(None),
            Some(identity) => Ok(app.store.user_access(identity.user)?.map(|access| (identity.user, access))),
        };
    }
    let Some(claims) = app.tokens.read(token, app.clock.now()) else { return Ok(None) };
    if kind.is_some_and(|kind| kind != claims.jtt) {
        return Ok(None);
    }
    let access = app.store.user_access(claims.upk)?;
    let valid = access.filter(|access| access.is_active && access.credentials == claims.cred);
    Ok(valid.map(|access| (claims.upk, access)))
}

/// Reads a token for calls, of either sort.
fn identify(app: &App, token: &str) -> Result<Option<Identity>, ApiError> {
    if !token.starts_with(API_TOKEN_PREFIX) {
        let valid = check_token(app, token, Some(TokenKind::Access))?;
        return Ok(valid.map(|(user, access)| Identity::of(user, access)));
    }
    let sha256 = token_sha256(token);
    let Some(grant) = app.store.api_token_grant(&sha256, app.clock.now())? else { return Ok(None) };
    let Grant { user, node, read_only } = grant;
    let access = app.store.user_access(user)?.filter(|access| access.is_active);
    Ok(access.map(|access| Identity {
        user,
        // A token for one node lies about on that node: it must not give a staff user's rank away.
        is_staff: access.is_staff && node.is_none(),
        bound_to: node,
        read_only,
        by_api_token: true,
        leave: Leave::ApiToken(sha256),
    }))
}

/// Goes through the checks between the route and the handler, in the order of contract §1: 401, 400 of the
/// `Node-Id`, 404 of the object, 403. Notes the caller, unless the route is open, also of a call that it refuses.
pub(crate) fn admit(call: &mut Call) -> Result<(), ApiError> {
    let Call { app, route, headers, params, query, peer, caller, leave, session, .. } = call;
    let route = *route;
    let user = match route.token {
        _ if route.who == Who::Anyone => None,
        _ if route.who == Who::StaffOrLoopback && is_of_this_machine(headers, *peer) => None,
        Token::Header => Some(authenticate(app, headers)?),
        Token::HeaderOrQuery => authenticate_watcher(app, headers, query, route)?,
        Token::Cookie => {
            let (found, access) = session::authenticate(app, headers)?;
            let user = found.user;
            *session = Some(found);
            Some(Identity::of(user, access))
        }
    };
    let node = acting_node(app, headers)?;
    let key = params.first().map_or("", String::as_str);
    let Some(identity) = user else {
        // A missing object is a 404 to those without a name as well.
        Standing::of(app, route, key, UserId(0), None)?;
        return Ok(());
    };
    let Identity { user, is_staff, bound_to, read_only, by_api_token, leave: its_leave } = identity;
    *leave = its_leave;
    let acts_for = node.map(|(node, _)| node).or(bound_to);
    let caller = caller.insert(Caller { user, is_staff, node: acts_for, by_api_token });
    let is_of_another_token = bound_to.is_some() && acts_for != bound_to;
    let is_of_another_user = node.is_some_and(|(_, creator)| creator != user) && !caller.is_staff && bound_to.is_none();
    // Noted before the object is looked for, since a call that asks for one that is gone is a sign of life as well; but
    // only of those who may speak for the node.
    if let Some(node) = caller.node
        && !is_of_another_token
        && !is_of_another_user
    {
        app.soft.node_seen(node, app.clock.now());
    }
    let standing = Standing::of(app, route, key, user, acts_for)?;
    if is_of_another_token {
        return Err(ApiError::forbidden("The token is for another node than that of the Node-Id."));
    }
    if read_only && !route.only_reads() {
        return Err(ApiError::forbidden("The token is for reading only."));
    }
    if is_of_another_user {
        return Err(ApiError::forbidden("The node of the Node-Id belongs to another user."));
    }
    permit(route.who, caller, &standing)
}

/// Reads the bearer token.
fn authenticate(app: &App, headers: &HeaderMap) -> Result<Identity, ApiError> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return Err(ApiError::unauthenticated("This needs one header `Authorization: Bearer TOKEN`."));
    };
    let token =
        value.to_str().ok().and_then(|text| text.split_once(' ')).filter(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ')
        });
    let valid = match token {
        Some((_, token)) => identify(app, token)?,
        None => None,
    };
    valid.ok_or_else(|| ApiError::unauthenticated("The token is not valid, or has run out."))
}

/// Reads a watcher's token: browsers can send no header with a WebSocket or an EventSource, but a query. `None` is a
/// watcher without a name, where those are let in.
fn authenticate_watcher(
    app: &App,
    headers: &HeaderMap,
    query: &str,
    route: &Route,
) -> Result<Option<Identity>, ApiError> {
    if headers.contains_key(AUTHORIZATION) {
        return authenticate(app, headers).map(Some);
    }
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    match pairs.find(|(name, _)| name == "access_token") {
        None if app.anonymous_watchers && route.upgrades => Ok(None),
        None => authenticate(app, headers).map(Some),
        Some((_, token)) => {
            let valid = identify(app, &token)?;
            valid.map(Some).ok_or_else(|| ApiError::unauthenticated("The token is not valid, or has run out."))
        }
    }
}

/// Says whether a call comes from a program on this machine, and not through a proxy that stands here for others.
fn is_of_this_machine(headers: &HeaderMap, peer: Option<SocketAddr>) -> bool {
    let is_forwarded = ["forwarded", "x-forwarded-for"].iter().any(|name| headers.contains_key(*name));
    peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()) && !is_forwarded
}

/// Reads the `Node-Id` header; with the node, who made it.
fn acting_node(app: &App, headers: &HeaderMap) -> Result<Option<(NodeId, UserId)>, ApiError> {
    let mut given = headers.get_all("node-id").iter();
    let Some(value) = given.next() else { return Ok(None) };
    let bad = || ApiError::bad_request("bad_node_id", "The header Node-Id must be the key of a node.");
    if given.next().is_some() {
        return Err(bad());
    }
    let node = NodeId(value.to_str().ok().and_then(decimal).ok_or_else(bad)?);
    let creator = app.store.node_creator(node)?.ok_or_else(bad)?;
    Ok(Some((node, creator)))
}

/// How the caller stands to the object that the path names.
#[derive(Debug, Default, Clone, Copy)]
struct Standing {
    is_oneself: bool,
    is_holder: bool,
    is_worker: bool,
    is_creator: bool,
    is_meta: bool,
}

impl Standing {
    /// Reads it; 404 when there is no such object.
    fn of(app: &App, route: &Route, key: &str, user: UserId, node: Option<NodeId>) -> Result<Self, ApiError> {
        let pk = decimal(key).unwrap_or(0);
        let there = |table| match app.store.exists(table, pk) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ApiError::not_found()),
            Err(error) => Err(error.into()),
        };
        let mut standing = Self::default();
        match route.target {
            Target::None => {}
            Target::Token => {
                let token = app.store.api_token(pk)?.ok_or_else(ApiError::not_found)?;
                standing.is_oneself = token.user == user;
            }
            Target::Upload => {
                let upload = app.store.upload(UploadId(pk))?.ok_or_else(ApiError::not_found)?;
                standing.is_oneself = upload.shown.creator == user;
            }
            Target::Output => there(Table::Outputs)?,
            Target::Template => there(Table::Templates)?,
            Target::Node => {
                there(Table::Nodes)?;
                standing.is_oneself = node == Some(NodeId(pk));
            }
            Target::User if key.bytes().all(|byte| byte.is_ascii_digit()) => {
                there(Table::Users)?;
                standing.is_oneself = user == UserId(pk);
            }
            // A name that nobody has is no 404: others than staff shall not learn who is there.
            Target::User => standing.is_oneself = app.store.username(user)?.as_deref() == Some(key),
            Target::Row(_) if key.is_empty() => {}
            Target::Row(catalogue) => {
                if !app.store.catalogue_row_exists(catalogue, pk)? {
                    return Err(ApiError::not_found());
                }
            }
            Target::Job => {
                let job = JobId(pk);
                let access = app.store.job_access(job)?.ok_or_else(ApiError::not_found)?;
                standing.is_holder = node.is_some() && access.holder == node;
                // Asked only where it decides.
                standing.is_worker = match node {
                    Some(node) if route.who == Who::HolderOrWorker && !standing.is_holder => {
                        app.store.works_on(node, job)?
                    }
                    _ => false,
                };
                standing.is_meta = access.is_meta;
                standing.is_creator = access.creator == user;
            }
        }
        Ok(standing)
    }
}

/// Decides by the letters of contract §3.
fn permit(who: Who, caller: &Caller, standing: &Standing) -> Result<(), ApiError> {
    let (allowed, needed) = match who {
        Who::Anyone | Who::User => (true, ""),
        Who::Staff | Who::StaffOrLoopback => (caller.is_staff, "Only staff may do this."),
        Who::Oneself => (standing.is_oneself, "Only the user whose it is may do this."),
        Who::StaffOrOneself => (caller.is_staff || standing.is_oneself, "Only staff and the user itself may do this."),
        Who::StaffOrItself => (caller.is_staff || standing.is_oneself, "Only staff and the node itself may do this."),
        Who::Node => (caller.node.is_some(), "This is called for a node: send its key in the header Node-Id."),
        Who::NodeForWorkable if standing.is_meta => (false, "A meta-job can't be acquired; its children can."),
        Who::NodeForWorkable => {
            (caller.node.is_some(), "Jobs are acquired for a node: send its key in the header Node-Id.")
        }
        Who::Holder => (standing.is_holder, "Only the node that holds the job may do this."),
        Who::HolderOrWorker => {
            (standing.is_holder || standing.is_worker, "Only the node that holds the job may do this.")
        }
        Who::StaffOrCreator => {
            (caller.is_staff || standing.is_creator, "Only staff and the job's creator may do this.")
        }
        Who::StaffOrHolder => {
            (caller.is_staff || standing.is_holder, "Only staff and the node that holds the job may do this.")
        }
    };
    if allowed { Ok(()) } else { Err(ApiError::forbidden(needed)) }
}
