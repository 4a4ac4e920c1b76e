//! The one place that takes a request apart: path, caller, target, permission, body, in the order of contract §1.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use hyper::upgrade::OnUpgrade;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::Notify;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, EXPECT};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::reply::Response;

use super::App;
use super::auth::{self, Caller, Leave};
pub(crate) use super::body::Body;
use super::error::ApiError;
use super::listen::OpenMark;
use super::pages;
use super::pages::form::{Form, Parts};
use super::pages::guard::Asker;
use super::pages::session::Session;
use super::router::Matched;
use super::routes::{Cache, Route};
use super::strict;
use super::trace::Trace;
use super::watch::upgrade;

/// The largest JSON body, in bytes.
pub(crate) const JSON_BYTES_MAX: usize = 1 << 20;

/// The header with which calls speak tus, the protocol of resumable uploads.
pub(crate) const TUS_RESUMABLE: &str = "tus-resumable";
/// The version of it.
pub(crate) const TUS_VERSION: &str = "1.0.0";

/// A request as warp hands it over.
pub(crate) struct Incoming {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) hang_up: Arc<Notify>,
    /// Keeps the server from its end while the request is carried out, whether its connection is there or not.
    pub(super) open: Option<OpenMark>,
    /// There when the client asks for a WebSocket, in the proper form.
    pub(crate) upgrade: Option<OnUpgrade>,
    pub(crate) body: Body,
}

/// A request that has a route, on its way through its handler.
pub(crate) struct Call {
    pub(crate) app: Arc<App>,
    pub(crate) route: &'static Route,
    pub(crate) method: Method,
    pub(crate) params: Vec<String>,
    /// Whether the parameters were UTF-8; a handler sees none that were not.
    path_is_text: bool,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) hang_up: Arc<Notify>,
    pub(crate) upgrade: Option<OnUpgrade>,
    /// Who calls; there also when the call is refused, for the log.
    pub(super) caller: Option<Caller>,
    /// What the right to a long answer rests on.
    pub(crate) leave: Leave,
    /// The name that a login tries, for the audit log.
    pub(crate) tried: Option<String>,
    /// The request's id, for entries of the audit log that a handler makes.
    pub(crate) id: HeaderValue,
    /// The session with which a page is called.
    pub(crate) session: Option<Session>,
    /// The form that came with it, if its body has been read.
    pub(crate) form: Option<Form>,
    /// The rest of a form with files, if its reading has begun.
    pub(crate) parts: Option<Parts>,
    pub(crate) body: Body,
}

impl Call {
    /// Gives the caller.
    ///
    /// # Errors
    /// 401 on a route that is open to anyone, which a handler of such a route does not ask.
    pub(crate) fn caller(&self) -> Result<Caller, ApiError> {
        self.caller.ok_or_else(|| ApiError::unauthenticated("This needs a token."))
    }

    /// Says whether the client waits for a go-ahead before it sends the body.
    pub(crate) fn expects_continue(&self) -> bool {
        self.headers.contains_key(EXPECT)
    }

    /// Gives the key in the path: its first parameter. A target with no key in its path has the key 0, which no row has.
    pub(crate) fn pk(&self) -> i64 {
        self.params.first().and_then(|text| decimal(text)).unwrap_or(0)
    }

    /// Gives the path's parameter at `index`, percent-decoded.
    pub(crate) fn param(&self, index: usize) -> &str {
        self.params.get(index).map_or("", String::as_str)
    }

    /// Gives the first value of a parameter of the query.
    pub(crate) fn query_param(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// Reads the body as a JSON object; an empty one counts as `{}`.
    ///
    /// # Errors
    /// 413 over 1 MiB, 415 for another media type, 400 for anything that is no JSON object.
    pub(crate) async fn json(&mut self) -> Result<Map<String, Value>, ApiError> {
        let media = media_type(&self.headers);
        if !matches!(media.as_deref(), None | Some("application/json")) {
            let detail = "This route takes application/json.";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        let bytes = self.body.whole(JSON_BYTES_MAX).await?;
        object_of(&bytes)
    }

    /// Reads the body as [`Call::json`] does, or as a form whose fields become texts.
    pub(crate) async fn json_or_form(&mut self) -> Result<Map<String, Value>, ApiError> {
        if media_type(&self.headers).as_deref() != Some("application/x-www-form-urlencoded") {
            return self.json().await;
        }
        let bytes = self.body.whole(JSON_BYTES_MAX).await?;
        Ok(form_urlencoded::parse(&bytes).map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect())
    }
}

/// Parses a JSON object.
fn object_of(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    match strict::parse(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => {
            let detail = format!("The body must be a JSON object, not {}.", crate::domain::fields::kind_of(&other));
            Err(ApiError::bad_request("not_an_object", detail))
        }
        Err(sentence) => Err(ApiError::bad_request("malformed_json", sentence)),
    }
}

/// Gives the media type of the body in lower case, without its parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().unwrap_or("unreadable");
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Reads a key: decimal digits, within `i64`, with a sign at most before them.
pub(crate) fn decimal(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// A route with the parameters of the path, or why there is none.
type Found = Result<Matched, ApiError>;

/// Answers one request. Never fails, and a panic in a handler becomes a 500 of that request alone.
pub(crate) async fn answer(app: Arc<App>, incoming: Incoming) -> Response {
    let Incoming { method, path, headers, .. } = &incoming;
    let found = match pages::guard::is_there(path, headers) {
        true => app.routes.find(method, path, upgrade::is_asked_for(headers)),
        false => Err(ApiError::no_such_path()),
    };
    if !found.as_ref().is_ok_and(|found| found.route.is_seen_through()) {
        return carry_out(app, incoming, found).await;
    }
    match tokio::spawn(carry_out(app, incoming, found)).await {
        Ok(response) => response,
        Err(error) => ApiError::internal(error).into_response(),
    }
}

/// Carries a request out: the answer, and what is kept of it.
async fn carry_out(app: Arc<App>, mut incoming: Incoming, found: Found) -> Response {
    let _open = incoming.open.take();
    let began = Instant::now();
    let id = request_id(&incoming.headers);
    let is_head = incoming.method == Method::HEAD;
    let speaks_tus = incoming.headers.contains_key(TUS_RESUMABLE);
    let mut trace = Trace::of(&incoming);
    let asker = Asker::of(&incoming);
    trace.route = found.as_ref().ok().map(|found| found.route);
    let result = guarded(respond(app.clone(), incoming, found, id.clone(), &mut trace)).await;
    let mut response = match (result, asker.filter(|asker| asker.is_answered_by_a_page(trace.route))) {
        (result, Some(asker)) => pages::guard::armoured(result.unwrap_or_else(|error| asker.refuse(error))),
        (Ok(response), None) => response,
        (Err(error), None) => error.into_response(),
    };
    trace.keep(&app, &id, response.status()).await;
    response.headers_mut().insert("x-request-id", id.clone());
    if trace.route.is_some_and(|route| route.cache == Cache::Never) {
        // Refusals too: a cache that kept one would go on refusing in the server's place.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if speaks_tus {
        // Wanted in every answer, those included that say no before there is a handler.
        response.headers_mut().insert(TUS_RESUMABLE, HeaderValue::from_static(TUS_VERSION));
    }
    if is_head {
        // hyper sends no body to HEAD, but keeps the length that GET would have had. An answer that never has a body says
        // none: there it would be the length of what the client has already.
        let has_body = !matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let size = warp::hyper::body::Body::size_hint(response.body()).exact();
        if let Some(size) = size.filter(|_| has_body) {
            response.headers_mut().entry(warp::http::header::CONTENT_LENGTH).or_insert(HeaderValue::from(size));
        }
        *response.body_mut() = Default::default();
    }
    trace.end(&app, id, response.status(), began.elapsed());
    response
}

/// Turns a panic of a request's work into an error of that request.
async fn guarded(work: impl Future<Output = Result<Response, ApiError>>) -> Result<Response, ApiError> {
    let result = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(work)).await;
    result.unwrap_or_else(|_| Err(ApiError::internal("a handler panicked")))
}

/// Goes through the checks up to the handler.
async fn respond(
    app: Arc<App>,
    incoming: Incoming,
    found: Found,
    id: HeaderValue,
    trace: &mut Trace,
) -> Result<Response, ApiError> {
    let Incoming { method, path: _, query, headers, peer, hang_up, open: _, upgrade, mut body } = incoming;
    // A client that waits for 100 Continue has not sent its body, and must not be asked to for an error.
    let waits = headers.get(EXPECT).is_some();
    // How the server is can be asked at any time.
    let is_limited = !trace.route.is_some_and(Route::is_about_the_server);
    let counted = app.clone();
    let entered = is_limited.then(|| counted.metrics.enter(counted.limits.in_flight_max)).transpose();
    let (found, _under_way) = match entered.and_then(|entered| Ok((found?, entered))) {
        Ok(found) => found,
        Err(error) => {
            if !waits {
                body.drain().await;
            }
            return Err(error);
        }
    };
    let Matched { route, params, is_text: path_is_text } = found;
    let mut call = Call {
        app,
        route,
        method,
        params,
        path_is_text,
        query,
        headers,
        peer,
        hang_up,
        upgrade,
        caller: None,
        leave: Leave::Anyones,
        tried: None,
        id,
        session: None,
        form: None,
        parts: None,
        body,
    };
    let result = handle(&mut call).await;
    (trace.caller, trace.tried) = (call.caller, call.tried.take());
    if let Err(error) = &result
        && !call.body.has_ended()
        && !(waits && error.status().is_client_error())
    {
        call.body.drain().await;
    }
    result
}

/// The checks in their order: 401, 400 of the Node-Id, 404, 403, 400 of the path; then the handler.
async fn handle(call: &mut Call) -> Result<Response, ApiError> {
    auth::admit(call)?;
    if !call.path_is_text {
        return Err(ApiError::bad_request("bad_path", "The path is not UTF-8 text."));
    }
    if call.route.is_page() {
        pages::guard::check_origin(call).await?;
    }
    (call.route.handler)(call).await
}

/// Gives the client's request id if it is short, plain ASCII; else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    const CHARS_MAX: usize = 64;
    let theirs = headers.get("x-request-id").filter(|value| {
        let bytes = value.as_bytes();
        (1..=CHARS_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    });
    theirs.cloned().unwrap_or_else(new_request_id)
}

/// Makes an id that no other request of this process has: a number that begins anywhere and goes on in great steps, so
/// that it costs no system call and yet hardly meets the ids of another process.
pub(super) fn new_request_id() -> HeaderValue {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| {
        let mut bytes = [0; 8];
        if let Err(error) = getrandom::fill(&mut bytes) {
            // It begins at zero then, and is still unique within the process.
            tracing::warn!(%error, "the system gives no random numbers");
        }
        AtomicU64::new(u64::from_le_bytes(bytes))
    });
    let number = NEXT.fetch_add(STEP, Ordering::Relaxed);
    let mut id = [0; 16];
    for (place, digit) in id.iter_mut().enumerate() {
        let nibble = (number >> (60 - 4 * place)) as u8 & 0x0f;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("unknown"))
}

/// Makes an answer of JSON.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Room for a usual job, so that it is not moved as it grows.
    let mut bytes = Vec::with_capacity(1_024);
    match serde_json::to_writer(&mut bytes, body) {
        Ok(()) => json_bytes(status, bytes),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            json_bytes(
                StatusCode::INTERNAL_SERVER_ERROR,
                br#"{"detail":"The server failed.","code":"internal"}"#.to_vec(),
            )
        }
    }
}

fn json_bytes(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Makes the usual answer: 200 with JSON.
pub(crate) fn ok(body: &impl Serialize) -> Result<Response, ApiError> {
    Ok(json(StatusCode::OK, body))
}

/// Makes the answer of `create`: 201 with JSON.
pub(crate) fn created(body: &impl Serialize) -> Result<Response, ApiError> {
    Ok(json(StatusCode::CREATED, body))
}

/// Makes the answer of a soft-delete: 204 with nothing.
pub(crate) fn no_content() -> Result<Response, ApiError> {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body_of(response: Response) -> Value {
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_a_500_of_its_request_alone_and_says_nothing_of_itself() {
        for pauses in [0, 1, 2] {
            let work = async {
                for _ in 0..pauses {
                    tokio::task::yield_now().await;
                }
                panic!("a secret of the server")
            };
            let response = guarded(work).await.unwrap_err().into_response();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let body = body_of(response).await;
            assert_eq!(body, serde_json::json!({"detail": "The server failed; its log says how.", "code": "internal"}));
        }
        assert_eq!(guarded(async { no_content() }).await.unwrap().status(), StatusCode::NO_CONTENT);
    }

    #[test]
    fn keys_are_decimal_and_within_i64() {
        for (text, key) in [("1", 1), ("-1", -1), ("007", 7), ("9223372036854775807", i64::MAX), ("0", 0)] {
            assert_eq!(decimal(text), Some(key), "{text}");
        }
        for text in ["", "-", "+1", " 1", "1 ", "1.0", "9223372036854775808", "\u{661}", "1_0", "0x1", "--1"] {
            assert_eq!(decimal(text), None, "{text:?}");
        }
    }
}
