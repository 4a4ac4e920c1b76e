//! Logging in and out.

use askama::Template;
use warp::http::StatusCode;
use warp::reply::Response;

use super::{Frame, form, html, ok, see_other, session};
use crate::server::error::ApiError;
use crate::server::handlers;
use crate::server::request::Call;

/// Where a log-in leads when nothing else was asked for.
const HOME: &str = "/";

/// The page.
#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    frame: Frame,
    next: String,
    username: String,
    /// Why the last try failed.
    problem: String,
    /// Whether nobody has ever logged in, so that the way is another.
    is_new: bool,
}

/// `GET /login?next=PATH`: whoever is logged in already goes on.
pub(in crate::server) async fn show(call: &mut Call) -> Result<Response, ApiError> {
    let next = safe(call.query_param("next").as_deref());
    if session::authenticate(&call.app, &call.headers).is_ok() {
        return see_other(&next);
    }
    let frame = Frame::of(call, "Log in", "")?;
    let is_new = call.app.setup.is_open();
    ok(&Login { frame, next, username: String::new(), problem: String::new(), is_new })
}

/// `POST /login`.
pub(in crate::server) async fn log_in(call: &mut Call) -> Result<Response, ApiError> {
    let form = form::read(call).await?;
    let field = |name: &str| form.get(name).unwrap_or_default().to_owned();
    let (username, password, next) = (field("username"), field("password"), safe(form.get("next")));
    match handlers::auth::log_in(call, username.clone(), password).await {
        Ok(login) => {
            let mut response = see_other(&next)?;
            session::begin(&call.app, &call.headers, &login, &mut response).await?;
            Ok(response)
        }
        Err(error) if matches!(error.status(), StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS) => {
            let frame = Frame::of(call, "Log in", "")?;
            let problem = error.detail().to_owned();
            let is_new = call.app.setup.is_open();
            let mut response = html(error.status(), &Login { frame, next, username, problem, is_new })?;
            if error.status() == StatusCode::TOO_MANY_REQUESTS {
                response.headers_mut().extend(error.headers().iter().cloned());
            }
            Ok(response)
        }
        Err(error) => Err(error),
    }
}

/// `POST /logout`; with `everywhere`, all browsers of the user are logged out.
pub(in crate::server) async fn log_out(call: &mut Call) -> Result<Response, ApiError> {
    let everywhere = form::read(call).await?.get("everywhere").is_some();
    let mut response = see_other("/login")?;
    if let Some(session) = &call.session {
        session::end(&call.app, &call.headers, session, everywhere, &mut response).await?;
    }
    Ok(response)
}

/// Takes the way back from a log-in, if it leads to this server: a path that no browser reads as another host.
fn safe(next: Option<&str>) -> String {
    let next = next.unwrap_or(HOME);
    let is_path = next.starts_with('/') && !next.starts_with("//");
    // Browsers read `\` as `/`, and pass over white space; HTTP takes visible ASCII.
    let is_plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_path && is_plain { next.to_owned() } else { HOME.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::safe;

    #[test]
    fn a_log_in_never_leads_elsewhere() {
        for path in ["/", "/jobs", "/jobs?q=phase%3Astarted&after=x", "/jobs/7#log"] {
            assert_eq!(safe(Some(path)), path);
        }
        for path in
            ["//evil", "/\\evil", "https://evil", "evil", "", "javascript:alert(1)", "/\t/evil", "/jobs\r\nX: y"]
        {
            assert_eq!(safe(Some(path)), "/", "{path:?}");
        }
        assert_eq!(safe(None), "/");
    }
}
