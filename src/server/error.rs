//! What goes wrong, as the caller is told: variant by variant its status, code and sentence (contract §1).

use std::time::Duration;

use warp::http::header::{ALLOW, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use crate::domain::fields::Problems;
use crate::domain::lifecycle::Refusal;
use crate::store;
use crate::wire::ErrorBody;

/// When to begin an upload again for which there were too many others, in seconds.
const UPLOADS_WAIT_S: u64 = 10;

/// An answer that says no. Made of what the caller may know; the rest goes to the log.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Option<Problems>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    /// Makes one without field errors or headers.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: None, headers: Vec::new() }
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// 400: the request is not what the route takes.
    pub(crate) fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 400: one field is bad.
    pub(crate) fn field(name: &str, sentence: impl Into<String>) -> Self {
        Problems::one(name, sentence).into()
    }

    /// 401: nobody we know.
    pub(crate) fn unauthenticated(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not_authenticated", detail)
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 403: known, but not permitted.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_denied", detail)
    }

    /// 404: no such object.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such object.")
    }

    /// 404: no such path.
    pub(crate) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_path", "There is nothing at this path.")
    }

    /// 405: the path is known, the method is not.
    pub(crate) fn method_not_allowed(allowed: &str) -> Self {
        let detail = match allowed {
            "" => "This action does not exist.".to_owned(),
            _ => format!("This path takes {allowed}."),
        };
        let allow = HeaderValue::from_str(allowed).unwrap_or(HeaderValue::from_static(""));
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).with(ALLOW, allow)
    }

    /// 406: not in this state.
    pub(crate) fn not_now(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, code, detail)
    }

    /// 413: the body is too large.
    pub(crate) fn too_large(limit_bytes: u64) -> Self {
        let detail = format!("The body may have at most {limit_bytes} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// 429: too many tries.
    pub(crate) fn throttled(wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let detail = format!("Too many failed logins: try again in {seconds} s.");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "throttled", detail).with(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// 503: come back later.
    pub(crate) fn unavailable(detail: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).with(RETRY_AFTER, HeaderValue::from(1_u64))
    }

    /// 507: the disk is full, or nearly.
    pub(crate) fn no_space() -> Self {
        let detail = "The server's disk has no room for this; reading and deleting still work.";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "no_space", detail)
    }

    /// 500: our own fault, told to the log and to nobody else.
    pub(crate) fn internal(what: impl std::fmt::Display) -> Self {
        tracing::error!(error = %what, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed; its log says how.")
    }

    /// Gives the status.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Gives the sentence for people.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Gives what is wrong field by field, if it says so.
    pub(crate) fn errors(&self) -> Option<&Problems> {
        self.errors.as_ref()
    }

    /// Gives its headers, to be sent in whatever form it is told.
    pub(crate) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Says whether it has this code.
    pub(crate) fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// Turns it into the answer.
    pub(crate) fn into_response(self) -> Response {
        let body = ErrorBody { detail: self.detail, code: self.code.to_owned(), errors: self.errors };
        let mut response = super::request::json(self.status, &body);
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<Problems> for ApiError {
    fn from(problems: Problems) -> Self {
        let detail = problems.sentence();
        Self { errors: Some(problems), ..Self::bad_request("invalid", detail) }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotHolder => Self::forbidden("Only the node that holds the job may do this."),
            Refusal::Deleted => Self::not_now("deleted", "The job is deleted; reinstate it first."),
            Refusal::HeldByAnother(node) => Self::not_now("held", format!("Node {node} holds the job.")),
            Refusal::NodeBusy => {
                Self::not_now("node_busy", "The node works on a job already; it must finish that one first.")
            }
            Refusal::Phase(phase) => {
                Self::not_now("wrong_phase", format!("A job that is {phase} does not allow this."))
            }
            Refusal::MetaJob => Self::forbidden("A meta-job is moved by its children alone; act on those."),
            Refusal::Child => Self::not_now("child_job", "A child is cancelled with its meta-job; cancel the topmost."),
        }
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        use store::Error as E;
        match error {
            E::NotFound => Self::not_found(),
            E::Refused(refusal) => refusal.into(),
            E::NotNow { code, sentence } => Self::not_now(code, sentence),
            E::Invalid(problems) => problems.into(),
            E::DuplicateOutput => Self::bad_request(
                "duplicate_output",
                "The job has an output of that name and type with other bytes; delete that one first.",
            ),
            E::NodeGone => {
                Self::bad_request("bad_node_id", "The node of the Node-Id is not there any more; it was destroyed.")
            }
            E::CallerGone => Self::unauthenticated("The token is not valid any more."),
            E::StaleAttempt { current } => {
                let detail = format!("The job is at attempt {current} by now; this call is for another one.");
                Self::new(StatusCode::CONFLICT, "stale_attempt", detail)
            }
            E::TooManyUploads { max } => {
                let detail = format!(
                    "You have {max} uploads that are not done; finish some or delete them. GET /v1/uploads lists them."
                );
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_uploads", detail)
                    .with(RETRY_AFTER, HeaderValue::from(UPLOADS_WAIT_S))
            }
            E::KeyReused => {
                let detail = "This Idempotency-Key was used with another request; take a new one.";
                Self::new(StatusCode::CONFLICT, "idempotency_key_reused", detail)
            }
            E::Busy => Self::unavailable("The server is overloaded; try again."),
            E::Closing => Self::unavailable("The server is stopping; try again."),
            E::DiskFull => Self::no_space(),
            E::Sqlite(_) | E::Broken(_) => Self::internal(error),
        }
    }
}
