//! Users and tokens: for staff those of everybody, for everybody their own.

pub(in crate::server) mod account;
pub(in crate::server) mod tokens;

use askama::Template;
use serde_json::{Map, Value, json};
use warp::reply::Response;

use super::form::{self, Complaints, Form};
use super::show::When;
use super::{Frame, html, ok, see_other, session};
use crate::domain::ids::UserId;
use crate::server::error::ApiError;
use crate::server::handlers::users;
use crate::server::request::{Call, decimal};
use crate::store::users::{UserChanges, listing};
use crate::wire::User;
use tokens::Tokens;

/// Users on the page.
const USERS_MAX: u32 = 500;
/// Fields of the forms that are texts as they are.
const TEXTS: [&str; 5] = ["username", "password", "first_name", "last_name", "email"];

/// The page of all.
#[derive(Template)]
#[template(path = "people/users.html")]
struct Page {
    frame: Frame,
    users: Vec<Shown>,
    is_cut: bool,
    new: NewUser,
    complaints: Complaints,
}

/// A user in the table.
struct Shown {
    user: User,
    full_name: String,
    last_login: Option<When>,
}

/// What was filled in for a new user; the password is asked for anew.
#[derive(Default)]
struct NewUser {
    username: String,
    first_name: String,
    last_name: String,
    email: String,
    is_staff: bool,
}

/// The page of one.
#[derive(Template)]
#[template(path = "people/user.html")]
pub(super) struct One {
    frame: Frame,
    user: User,
    joined: When,
    last_login: Option<When>,
    is_oneself: bool,
    done: &'static str,
    complaints: Complaints,
    tokens: Tokens,
}

/// `GET /users`.
pub(in crate::server) async fn list(call: &mut Call) -> Result<Response, ApiError> {
    ok(&page(call, NewUser::default(), Complaints::default()).await?)
}

async fn page(call: &mut Call, new: NewUser, complaints: Complaints) -> Result<Page, ApiError> {
    let spec = json!({"order_by": [{"field": "username"}], "include_inactive": true});
    let found = call.app.store.page(&listing().parse(&spec)?, USERS_MAX).await?;
    let now = call.app.clock.now();
    let shown = |user: User| {
        let user = call.app.soft.user(user);
        let full_name = format!("{} {}", user.first_name, user.last_name).trim().to_owned();
        Shown { full_name, last_login: user.last_login.map(|time| When::new(time, now)), user }
    };
    let users = found.rows.into_iter().map(shown).collect();
    Ok(Page { users, is_cut: found.next.is_some(), new, complaints, frame: Frame::of(call, "Users", "/users")? })
}

/// `POST /users`: makes one.
pub(in crate::server) async fn create(call: &mut Call) -> Result<Response, ApiError> {
    let form = form::read(call).await?.clone();
    let mut body = texts(&form, &TEXTS);
    body.insert("is_staff".to_owned(), form.get("is_staff").is_some().into());
    match users::make(&call.app, &body).await {
        Ok(user) => see_other(&format!("/users/{}?done=made", user.pk)),
        Err(error) => {
            let (status, complaints) = (error.status(), Complaints::of(error)?);
            let field = |name: &str| form.get(name).unwrap_or_default().to_owned();
            let new = NewUser {
                username: field("username"),
                first_name: field("first_name"),
                last_name: field("last_name"),
                email: field("email"),
                is_staff: form.get("is_staff").is_some(),
            };
            html(status, &page(call, new, complaints).await?)
        }
    }
}

/// `GET /users/{PK}`.
pub(in crate::server) async fn show(call: &mut Call) -> Result<Response, ApiError> {
    let tokens = Tokens::of(call, user_in_path(call)?).await?;
    ok(&one(call, tokens, Complaints::default())?)
}

fn one(call: &Call, tokens: Tokens, complaints: Complaints) -> Result<One, ApiError> {
    let user = call.app.store.user(user_in_path(call)?)?.ok_or_else(ApiError::not_found)?;
    let user = call.app.soft.user(user);
    let now = call.app.clock.now();
    Ok(One {
        frame: Frame::of(call, user.username.clone(), "/users")?,
        joined: When::new(user.date_joined, now),
        last_login: user.last_login.map(|time| When::new(time, now)),
        is_oneself: call.caller()?.user == user.pk,
        done: done(call),
        user,
        complaints,
        tokens,
    })
}

/// `POST /users/{PK}`: changes one in one of the ways that its page offers.
pub(in crate::server) async fn change(call: &mut Call) -> Result<Response, ApiError> {
    let pk = user_in_path(call)?;
    let form = form::read(call).await?.clone();
    let (changed, done) = match form.get("deed") {
        Some("save") => {
            let mut body = texts(&form, &["username", "first_name", "last_name", "email"]);
            body.insert("is_staff".to_owned(), form.get("is_staff").is_some().into());
            (users::alter(&call.app, pk, &body, false).await, "saved")
        }
        Some("password") => (users::alter(&call.app, pk, &texts(&form, &["password"]), false).await, "password"),
        Some(deed @ ("enable" | "disable")) => {
            let changes = UserChanges { is_active: Some(deed == "enable"), ..UserChanges::default() };
            (call.app.store.update_user(pk, changes).await.map_err(ApiError::from), deed)
        }
        _ => return Err(ApiError::field("deed", "There is no such deed.")),
    };
    match changed {
        Ok(user) => {
            let mut response = see_other(&format!("/users/{pk}?done={done}"))?;
            if done == "password" && pk == call.caller()?.user {
                log_in_again(call, &user.username, &mut response).await?;
            }
            Ok(response)
        }
        Err(error) => {
            let (status, complaints) = (error.status(), Complaints::of(error)?);
            let tokens = Tokens::of(call, pk).await?;
            html(status, &one(call, tokens, complaints)?)
        }
    }
}

/// Begins a new session for somebody who has changed the own password, which ended all sessions.
async fn log_in_again(call: &mut Call, username: &str, response: &mut Response) -> Result<(), ApiError> {
    match call.app.store.login(username)? {
        Some(login) => session::begin(&call.app, &call.headers, &login, response).await,
        None => Ok(()),
    }
}

fn user_in_path(call: &Call) -> Result<UserId, ApiError> {
    decimal(call.param(0)).map(UserId).ok_or_else(ApiError::not_found)
}

/// Gives fields of a form as a body of the API.
fn texts(form: &Form, names: &[&str]) -> Map<String, Value> {
    names.iter().filter_map(|name| Some(((*name).to_owned(), Value::from(form.get(name)?)))).collect()
}

/// Says what was done by the form that led here.
fn done(call: &Call) -> &'static str {
    match call.query_param("done").as_deref() {
        Some("made") => "The user was made.",
        Some("saved") => "Saved.",
        Some("password") => "The password was changed. All other sessions and log-in tokens have ended.",
        Some("enable") => "The user may log in again.",
        Some("disable") => "The user may not log in any more; sessions and tokens have ended.",
        Some("revoked") => "The token was revoked.",
        _ => "",
    }
}
