//! The pages for people, under `/`: HTML made here from templates, over the same store operations as the API. A cookie
//! says who calls ([`session`]); what every page is kept safe by is in [`guard`]. A page is a row of THE TABLE, a handler
//! here, a template in `templates/`, and an entry of [`PLACES`] if the top of every page is to lead to it.

pub(in crate::server) mod assets;
pub(in crate::server) mod form;
pub(in crate::server) mod guard;
pub(in crate::server) mod job;
pub(in crate::server) mod jobs;
mod live;
pub(in crate::server) mod login;
pub(in crate::server) mod nodes;
pub(in crate::server) mod overview;
pub(in crate::server) mod people;
pub(in crate::server) mod preview;
pub(in crate::server) mod session;
pub(in crate::server) mod setup;
mod show;
pub(in crate::server) mod submit;

use askama::Template;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use warp::http::{HeaderMap, HeaderValue, StatusCode};
use warp::reply::Response;

use super::error::ApiError;
use super::request::Call;

/// What the top of every page leads to, in this order.
const PLACES: &[Place] = &[
    Place { name: "Overview", path: "/", staff_only: false },
    Place { name: "Jobs", path: "/jobs", staff_only: false },
    Place { name: "Submit", path: "/submit", staff_only: false },
    Place { name: "Nodes", path: "/nodes", staff_only: false },
    Place { name: "Users", path: "/users", staff_only: true },
];

/// A page that others lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    name: &'static str,
    path: &'static str,
    staff_only: bool,
}

/// Who looks at a page.
#[derive(Debug, Clone)]
struct Viewer {
    name: String,
    is_staff: bool,
}

/// What stands around every page.
#[derive(Debug, Clone)]
struct Frame {
    title: String,
    /// The path of the entry of [`PLACES`] that the page belongs to.
    here: &'static str,
    viewer: Option<Viewer>,
    /// What forms send back, to show that they come from a page of ours.
    csrf: String,
    theme: &'static str,
}

impl Frame {
    /// Puts one together for whoever calls.
    fn of(call: &Call, title: impl Into<String>, here: &'static str) -> Result<Self, ApiError> {
        let viewer = match call.caller {
            None => None,
            Some(caller) => {
                let name = call.app.store.username(caller.user)?.unwrap_or_default();
                Some(Viewer { name, is_staff: caller.is_staff })
            }
        };
        let csrf = call.session.as_ref().map(|session| session.csrf.clone()).unwrap_or_default();
        Ok(Self { title: title.into(), here, viewer, csrf, theme: theme(&call.headers) })
    }

    /// Makes one for a page that is shown to nobody in particular.
    fn of_nobody(title: impl Into<String>, theme: &'static str) -> Self {
        Self { title: title.into(), here: "", viewer: None, csrf: String::new(), theme }
    }

    /// Gives the places that the viewer may go to.
    fn places(&self) -> impl Iterator<Item = &'static Place> {
        let is_staff = self.is_staff();
        PLACES.iter().filter(move |place| is_staff || !place.staff_only)
    }

    /// Says whether the viewer is staff.
    fn is_staff(&self) -> bool {
        self.viewer.as_ref().is_some_and(|viewer| viewer.is_staff)
    }

    /// Gives the path of an asset, with the hash of what it holds.
    fn asset(&self, name: &str) -> &'static str {
        assets::path(name)
    }
}

/// Reads which of the two looks a browser was switched to; neither is what its system has.
fn theme(headers: &HeaderMap) -> &'static str {
    match session::cookie(headers, "labrun_theme") {
        Some("dark") => "dark",
        Some("light") => "light",
        _ => "",
    }
}

/// Makes an answer of a template.
fn html(status: StatusCode, template: &impl Template) -> Result<Response, ApiError> {
    let mut response = Response::new(template.render().map_err(ApiError::internal)?.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Makes the usual answer: 200 with HTML.
fn ok(template: &impl Template) -> Result<Response, ApiError> {
    html(StatusCode::OK, template)
}

/// Makes an answer of plain text, to be put into a page as it is: no text of callers goes here.
fn text(text: String) -> Result<Response, ApiError> {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}

/// Sends a browser elsewhere, to be fetched with GET.
fn see_other(path: &str) -> Result<Response, ApiError> {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(path).map_err(ApiError::internal)?);
    Ok(response)
}

/// Says whether only a part of the page is asked for, to be put into the one that is shown.
fn wants_part(call: &Call) -> bool {
    call.headers.contains_key("hx-request") && !call.headers.contains_key("hx-boosted")
}
