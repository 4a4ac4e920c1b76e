//! What keeps every page safe, in one place: changes come from our own pages only, answers carry strict headers, and a
//! refusal is a page, a part of one, or the way to the log-in.

use askama::Template;
use sha2::{Digest, Sha256};
use warp::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, LOCATION, ORIGIN, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::reply::Response;

use super::{Frame, form, html, theme};
use crate::server::error::ApiError;
use crate::server::request::{Call, Incoming};
use crate::server::routes::Route;

/// What a page may load and do: its own assets, and nothing of anybody else. No inline script, no inline style.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Makes sure that a change was asked for on a page of ours: by what the browser says of where the request comes from,
/// and by the token that only our pages have. A log-in, which has no session yet, has the first of the two.
///
/// # Errors
/// 403 when it was not.
pub(in crate::server) async fn check_origin(call: &mut Call) -> Result<(), ApiError> {
    if matches!(call.method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    if !is_same_origin(&call.headers) {
        return Err(foreign("This came from another site. Go back to labrun and try again."));
    }
    let Some(expected) = call.session.as_ref().map(|session| session.csrf.clone()) else { return Ok(()) };
    let given = match call.headers.get("x-csrf-token") {
        Some(value) => value.to_str().ok().map(str::to_owned),
        None if form::is_form(call) => form::read(call).await?.get("csrf").map(str::to_owned),
        None if form::has_files(call) => form::first_part(call, "csrf").await?,
        None => None,
    };
    // Compared by their hashes, so that the time says nothing of how much of a guess was right.
    if given.is_some_and(|given| Sha256::digest(given) == Sha256::digest(expected)) {
        return Ok(());
    }
    Err(foreign("The page was too old to do this. Load it again and try once more."))
}

fn foreign(detail: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "cross_site", detail)
}

/// Says whether a browser sends this from a page of ours. One that says nothing at all is too old to ask, or none.
fn is_same_origin(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    match (origin, host) {
        (Some(origin), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    }
}

/// Puts the headers on that every page has, save where the handler knew better.
pub(in crate::server) fn armoured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(X_FRAME_OPTIONS, "DENY");
    // Not `no-referrer`: with that, browsers call the origin of our own forms null.
    set(REFERRER_POLICY, "same-origin");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(CACHE_CONTROL, "no-store");
    response
}

/// Says whether a path is there for who asks. The first page is for browsers alone: to programs `/` is no path of the
/// interface, and 404 tells them sooner that their address lacks `/v1` than a way to the log-in would.
pub(in crate::server) fn is_there(path: &str, headers: &HeaderMap) -> bool {
    path != "/" || ["text/html", "text/event-stream"].iter().any(|media| accepts(headers, media))
}

fn accepts(headers: &HeaderMap, media: &str) -> bool {
    headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accepted| accepted.contains(media))
}

/// What is kept of a request that may be a page's, to tell a refusal in the form that its browser takes.
#[derive(Debug)]
pub(in crate::server) struct Asker {
    is_read: bool,
    /// The path and query, to come back to after a log-in.
    target: String,
    wants_html: bool,
    wants_events: bool,
    /// Whether a script asks for a part of a page, and for which page.
    part_of: Option<String>,
    theme: &'static str,
}

impl Asker {
    /// Keeps what is needed; nothing of the API's calls, of which there are many.
    pub(in crate::server) fn of(incoming: &Incoming) -> Option<Self> {
        if incoming.path.starts_with("/v1/") {
            return None;
        }
        let headers = &incoming.headers;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let query = if incoming.query.is_empty() { String::new() } else { format!("?{}", incoming.query) };
        let part_of = headers.contains_key("hx-request").then(|| {
            let page = text("hx-current-url").and_then(|url| url.split_once("://"));
            page.and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..))).unwrap_or("/").to_owned()
        });
        Some(Self {
            is_read: matches!(incoming.method, Method::GET | Method::HEAD),
            target: format!("{}{query}", incoming.path),
            wants_html: accepts(headers, "text/html"),
            wants_events: accepts(headers, "text/event-stream"),
            part_of,
            theme: theme(headers),
        })
    }

    /// Says whether a page answers: a route of theirs, or none at all and a browser that asks.
    pub(in crate::server) fn is_answered_by_a_page(&self, route: Option<&Route>) -> bool {
        route.map_or(self.wants_html, Route::is_page)
    }

    /// Tells a refusal: to those who are not logged in, the way to the log-in; to others, why.
    pub(in crate::server) fn refuse(&self, error: ApiError) -> Response {
        let told = if error.status() == StatusCode::UNAUTHORIZED && !self.wants_events {
            self.send_to_login()
        } else {
            self.tell(&error)
        };
        let mut response = told.unwrap_or_else(ApiError::into_response);
        for (name, value) in error.headers() {
            // A browser must not ask for a name and password by itself.
            if *name != WWW_AUTHENTICATE {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }

    fn send_to_login(&self) -> Result<Response, ApiError> {
        let back_to = match &self.part_of {
            Some(page) => page,
            None if self.is_read => &self.target,
            None => "/",
        };
        let encoded: String = form_urlencoded::byte_serialize(back_to.as_bytes()).collect();
        let login = HeaderValue::from_str(&format!("/login?next={encoded}")).map_err(ApiError::internal)?;
        let mut response = Response::default();
        if self.part_of.is_some() {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            response.headers_mut().insert("hx-redirect", login);
        } else {
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(LOCATION, login);
        }
        Ok(response)
    }

    fn tell(&self, error: &ApiError) -> Result<Response, ApiError> {
        let sentence = error.detail().to_owned();
        if self.part_of.is_none() {
            let title = match error.status() {
                StatusCode::NOT_FOUND => "Not found",
                StatusCode::FORBIDDEN => "Not permitted",
                _ => "That did not work",
            };
            let frame = Frame::of_nobody(title, self.theme);
            return html(error.status(), &ErrorPage { frame, sentence, status: error.status().as_u16() });
        }
        let mut response = html(error.status(), &Notice { sentence })?;
        response.headers_mut().insert("hx-retarget", HeaderValue::from_static("#notice"));
        response.headers_mut().insert("hx-reswap", HeaderValue::from_static("innerHTML"));
        Ok(response)
    }
}

/// The page of a refusal.
#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    sentence: String,
    status: u16,
}

/// A refusal in the corner of the page that is shown.
#[derive(Template)]
#[template(path = "notice.html")]
struct Notice {
    sentence: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_from_our_own_pages() {
        let says = |pairs: &[(&'static str, &'static str)]| {
            let pairs =
                pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            is_same_origin(&pairs.collect())
        };
        assert!(says(&[("sec-fetch-site", "same-origin"), ("origin", "https://lab"), ("host", "inside:8000")]));
        assert!(says(&[("origin", "http://Lab:8000"), ("host", "lab:8000")]));
        assert!(says(&[("host", "lab")]));
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(!says(&[("sec-fetch-site", site), ("origin", "http://lab"), ("host", "lab")]), "{site}");
        }
        for origin in ["http://evil", "http://lab:81", "null", "http://lab.evil", "lab"] {
            assert!(!says(&[("origin", origin), ("host", "lab")]), "{origin}");
        }
    }
}
