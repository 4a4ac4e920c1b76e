//! API tokens on the pages: a table of them, a form that makes one, and the one time that it is shown.

use askama::Template;
use serde_json::{Map, Value};
use warp::http::StatusCode;
use warp::reply::Response;

use super::{account, one, user_in_path};
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;
use crate::server::error::ApiError;
use crate::server::handlers;
use crate::server::pages::form::{self, Complaints, Form};
use crate::server::pages::jobs::row::node_name;
use crate::server::pages::show::When;
use crate::server::pages::{html, see_other};
use crate::server::request::{Call, decimal};
use crate::wire::token::ApiToken;

const DAY_S: i64 = 86_400;

/// The tokens of a user.
#[derive(Template)]
#[template(path = "people/tokens.html")]
pub(super) struct Tokens {
    csrf: String,
    /// Where the form goes.
    action: String,
    tokens: Vec<Shown>,
    /// The token that was just made, after its name.
    made: Option<(String, String)>,
    /// What was filled in. Not `name`, which the macro of fields has for itself.
    called: String,
    node: String,
    days: String,
    read_only: bool,
    complaints: Complaints,
}

/// A token in the table.
struct Shown {
    pk: i64,
    name: String,
    may: String,
    made: When,
    ends: Option<When>,
    /// Why it is of no use any more, or nothing.
    over: &'static str,
}

impl Tokens {
    /// Reads those of a user.
    pub(super) async fn of(call: &mut Call, user: UserId) -> Result<Self, ApiError> {
        let now = call.app.clock.now();
        let mut tokens = call.app.store.api_tokens(Some(user)).await?;
        // Those that can be used stand first, the newest of them at the top.
        tokens.sort_by_key(|token| (!over(token, now).is_empty(), std::cmp::Reverse(token.pk)));
        let mut shown = Vec::with_capacity(tokens.len());
        for token in tokens {
            let of_node = token.node.map(|node| node_name(&call.app, node)).transpose()?;
            let may = match (of_node, token.read_only) {
                (Some(node), false) => format!("act for node {node}"),
                (Some(node), true) => format!("read, for node {node}"),
                (None, true) => "read".to_owned(),
                (None, false) => "all that its user may".to_owned(),
            };
            shown.push(Shown {
                pk: token.pk,
                may,
                made: When::new(token.creation_time, now),
                ends: token.expiry_time.map(|time| When::new(time, now)),
                over: over(&token, now),
                name: token.name,
            });
        }
        let is_own = call.route.path.starts_with("/account");
        Ok(Self {
            csrf: call.session.as_ref().map(|session| session.csrf.clone()).unwrap_or_default(),
            action: if is_own { "/account/tokens".to_owned() } else { format!("/users/{user}/tokens") },
            tokens: shown,
            made: None,
            called: String::new(),
            node: String::new(),
            days: String::new(),
            read_only: false,
            complaints: Complaints::default(),
        })
    }

    /// Adds what was filled in, to be put right.
    fn with(mut self, form: &Form, complaints: Complaints) -> Self {
        let field = |name: &str| form.get(name).unwrap_or_default().to_owned();
        (self.called, self.node, self.days) = (field("name"), field("node"), field("days"));
        (self.read_only, self.complaints) = (form.get("read_only").is_some(), complaints);
        self
    }
}

fn over(token: &ApiToken, now: Timestamp) -> &'static str {
    match (token.revoked_time, token.expiry_time) {
        (Some(_), _) => "revoked",
        (None, Some(end)) if end <= now => "run out",
        (None, _) => "",
    }
}

/// `POST /users/{PK}/tokens`: makes one for another user.
pub(in crate::server) async fn make_for_another(call: &mut Call) -> Result<Response, ApiError> {
    let user = user_in_path(call)?;
    let (status, tokens) = make(call, user).await?;
    html(status, &one(call, tokens, Complaints::default())?)
}

/// `POST /account/tokens`: makes one for oneself.
pub(in crate::server) async fn make_for_oneself(call: &mut Call) -> Result<Response, ApiError> {
    let user = call.caller()?.user;
    let (status, tokens) = make(call, user).await?;
    html(status, &account::page(call, tokens, Complaints::default())?)
}

/// Makes a token, and gives the table with it. It is in this one answer and nowhere else.
async fn make(call: &mut Call, user: UserId) -> Result<(StatusCode, Tokens), ApiError> {
    let form = form::read(call).await?.clone();
    let caller = call.caller()?;
    let made = match body(&form, user) {
        Ok(body) => handlers::tokens::make(&call.app, caller, &body).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(made) => {
            let tokens = Tokens::of(call, user).await?;
            Ok((StatusCode::OK, Tokens { made: Some((made.about.name, made.token)), ..tokens }))
        }
        Err(error) => {
            let (status, complaints) = (error.status(), Complaints::of(error)?);
            Ok((status, Tokens::of(call, user).await?.with(&form, complaints)))
        }
    }
}

/// Reads the form as a body of the API.
fn body(form: &Form, user: UserId) -> Result<Map<String, Value>, ApiError> {
    let mut body = Map::new();
    body.insert("name".to_owned(), form.get("name").unwrap_or_default().trim().into());
    body.insert("user".to_owned(), user.0.into());
    body.insert("read_only".to_owned(), form.get("read_only").is_some().into());
    let number = |name: &str| match form.get(name).map(str::trim) {
        None | Some("") => Ok(None),
        Some(text) => decimal(text).map(Some).ok_or_else(|| ApiError::field(name, "Must be a whole number.")),
    };
    if let Some(node) = number("node")? {
        body.insert("node".to_owned(), node.into());
    }
    if let Some(days) = number("days")? {
        let seconds = days.checked_mul(DAY_S).filter(|seconds| *seconds > 0);
        let seconds = seconds.ok_or_else(|| ApiError::field("days", "Must be from 1 to 36500."))?;
        body.insert("expires_in_s".to_owned(), seconds.into());
    }
    Ok(body)
}

/// `POST /tokens/{PK}/revoke`.
pub(in crate::server) async fn revoke(call: &mut Call) -> Result<Response, ApiError> {
    let token = call.app.store.revoke_api_token(call.pk()).await?;
    let is_own = token.user == call.caller()?.user;
    see_other(&if is_own { "/account?done=revoked".to_owned() } else { format!("/users/{}?done=revoked", token.user) })
}
