//! What is one's own: the password, and API tokens.

use askama::Template;
use serde_json::{Map, Value};
use warp::http::StatusCode;
use warp::reply::Response;

use super::tokens::Tokens;
use super::{done, log_in_again};
use crate::server::error::ApiError;
use crate::server::handlers;
use crate::server::pages::form::{self, Complaints};
use crate::server::pages::show::When;
use crate::server::pages::{Frame, html, ok, see_other};
use crate::server::request::Call;
use crate::wire::User;

/// The page.
#[derive(Template)]
#[template(path = "people/account.html")]
pub(super) struct Page {
    frame: Frame,
    user: User,
    last_login: Option<When>,
    done: &'static str,
    complaints: Complaints,
    tokens: Tokens,
}

/// `GET /account`.
pub(in crate::server) async fn show(call: &mut Call) -> Result<Response, ApiError> {
    let user = call.caller()?.user;
    let tokens = Tokens::of(call, user).await?;
    ok(&page(call, tokens, Complaints::default())?)
}

pub(super) fn page(call: &Call, tokens: Tokens, complaints: Complaints) -> Result<Page, ApiError> {
    let user = call.app.store.user(call.caller()?.user)?.ok_or_else(ApiError::not_found)?;
    let user = call.app.soft.user(user);
    let last_login = user.last_login.map(|time| When::new(time, call.app.clock.now()));
    Ok(Page { frame: Frame::of(call, "Account", "/account")?, last_login, user, done: done(call), complaints, tokens })
}

/// `POST /account/password`: the old one, and the new one twice. Guessing the old one is slowed down as a log-in is.
pub(in crate::server) async fn change_password(call: &mut Call) -> Result<Response, ApiError> {
    let form = form::read(call).await?.clone();
    let field = |name: &str| form.get(name).unwrap_or_default().to_owned();
    let user = call.caller()?.user;
    if field("password") != field("again") {
        let complaints = Complaints::about("again", "The two are not the same.");
        return again(call, StatusCode::BAD_REQUEST, complaints).await;
    }
    let username = call.app.store.username(user)?.ok_or_else(ApiError::not_found)?;
    match handlers::auth::log_in(call, username.clone(), field("old")).await {
        Ok(_) => {}
        Err(error) if error.status() == StatusCode::UNAUTHORIZED => {
            // Not 401, which would say that the session is over.
            let complaints = Complaints::about("old", "This is not your password.");
            return again(call, StatusCode::BAD_REQUEST, complaints).await;
        }
        Err(error) => return Err(error),
    }
    let body = Map::from_iter([("password".to_owned(), Value::from(field("password")))]);
    match handlers::users::alter(&call.app, user, &body, false).await {
        Ok(_) => {
            let mut response = see_other("/account?done=password")?;
            log_in_again(call, &username, &mut response).await?;
            Ok(response)
        }
        Err(error) => {
            let (status, complaints) = (error.status(), Complaints::of(error)?);
            again(call, status, complaints).await
        }
    }
}

async fn again(call: &mut Call, status: StatusCode, complaints: Complaints) -> Result<Response, ApiError> {
    let user = call.caller()?.user;
    let tokens = Tokens::of(call, user).await?;
    html(status, &page(call, tokens, complaints)?)
}
