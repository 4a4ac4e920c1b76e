//! The first start in a browser. A start that makes the first user without being told its password prints, beside the
//! password that it made up, a link with a secret. Whoever has the link chooses the password; nobody else can. It is
//! good until it is used, until anybody logs in, or until the server ends.

use std::sync::{Mutex, PoisonError};

use askama::Template;
use serde_json::{Map, Value};
use warp::http::StatusCode;
use warp::reply::Response;

use super::form::{self, Complaints};
use super::{Frame, html, ok, see_other, session};
use crate::server::error::ApiError;
use crate::server::handlers;
use crate::server::handlers::tokens::token_sha256;
use crate::server::request::Call;

/// The user that the first start makes.
const FIRST_USER: &str = "admin";

/// The secret of the link, as long as it is good.
#[derive(Debug, Default)]
pub(in crate::server) struct Setup(Mutex<Option<String>>);

impl Setup {
    /// Makes the link good, for a start that made a user up; for others there is none.
    pub(in crate::server) fn new(secret: Option<&str>) -> Self {
        Self(Mutex::new(secret.map(token_sha256)))
    }

    /// Says whether nobody has logged in yet who could do without the link.
    pub(super) fn is_open(&self) -> bool {
        self.lock().is_some()
    }

    /// Ends the link: somebody has logged in.
    pub(in crate::server) fn close(&self) {
        *self.lock() = None;
    }

    /// Says whether a secret is that of the link.
    fn knows(&self, secret: &str) -> bool {
        // Compared by their hashes, so that the time says nothing of how much of a guess was right.
        self.lock().as_ref().is_some_and(|known| *known == token_sha256(secret))
    }

    /// Takes the link from everybody else, if the secret is right.
    fn take(&self, secret: &str) -> bool {
        self.lock().take_if(|known| *known == token_sha256(secret)).is_some()
    }

    /// Makes the link good again, after it led to nothing.
    fn give_back(&self, secret: &str) {
        *self.lock() = Some(token_sha256(secret));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The page.
#[derive(Template)]
#[template(path = "setup.html")]
struct Page {
    frame: Frame,
    username: &'static str,
    key: String,
    complaints: Complaints,
}

/// `GET /setup?key=SECRET`.
pub(in crate::server) async fn show(call: &mut Call) -> Result<Response, ApiError> {
    let key = call.query_param("key").unwrap_or_default();
    if !call.app.setup.knows(&key) {
        return Err(spent());
    }
    ok(&page(call, key, Complaints::default())?)
}

fn page(call: &Call, key: String, complaints: Complaints) -> Result<Page, ApiError> {
    Ok(Page { frame: Frame::of(call, "Welcome", "")?, username: FIRST_USER, key, complaints })
}

fn spent() -> ApiError {
    let detail = "This link is not good any more: it was used, or somebody has logged in, or the server was started \
                  anew. Log in with the password that the first start printed.";
    ApiError::new(StatusCode::FORBIDDEN, "spent_link", detail)
}

/// `POST /setup`: chooses the password, and logs in.
pub(in crate::server) async fn choose(call: &mut Call) -> Result<Response, ApiError> {
    let form = form::read(call).await?.clone();
    let field = |name: &str| form.get(name).unwrap_or_default().to_owned();
    let (key, password) = (field("key"), field("password"));
    if !call.app.setup.knows(&key) {
        return Err(spent());
    }
    // For the audit log, which keeps it as it keeps log-ins.
    call.tried = Some(FIRST_USER.to_owned());
    if password != field("again") {
        let complaints = Complaints::about("again", "The two are not the same.");
        return html(StatusCode::BAD_REQUEST, &page(call, key, complaints)?);
    }
    if !call.app.setup.take(&key) {
        return Err(spent());
    }
    match set(call, password).await {
        Ok(response) => Ok(response),
        Err(error) => {
            call.app.setup.give_back(&key);
            let (status, complaints) = (error.status(), Complaints::of(error)?);
            html(status, &page(call, key, complaints)?)
        }
    }
}

async fn set(call: &mut Call, password: String) -> Result<Response, ApiError> {
    let login = call.app.store.login(FIRST_USER)?.ok_or_else(spent)?;
    let body = Map::from_iter([("password".to_owned(), Value::from(password))]);
    handlers::users::alter(&call.app, login.pk, &body, false).await?;
    let login = call.app.store.login(FIRST_USER)?.ok_or_else(spent)?;
    let mut response = see_other("/")?;
    session::begin(&call.app, &call.headers, &login, &mut response).await?;
    call.app.soft.user_logged_in(login.pk, call.app.clock.now());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_good_once_and_for_its_secret_alone() {
        let setup = Setup::new(Some("secret"));
        assert!(setup.is_open() && setup.knows("secret") && !setup.knows("") && !setup.knows("other"));
        assert!(!setup.take("other") && setup.is_open());
        assert!(setup.take("secret"));
        assert!(!setup.take("secret") && !setup.knows("secret"));
        setup.give_back("secret");
        setup.close();
        assert!(!setup.knows("secret") && !setup.is_open());
        assert!(!Setup::new(None).take(""));
    }
}
