//! One request and its reply.

use std::pin::Pin;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::lab::{Lab, USER};

/// A request on its way; awaited, it is sent. It is made by `user` unless another caller is named.
#[derive(Debug, Clone)]
#[must_use = "it is sent when it is awaited"]
pub(crate) struct Request<'a> {
    lab: &'a Lab,
    method: Method,
    path: String,
    role: Option<&'static str>,
    node: Option<i64>,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl<'a> Request<'a> {
    pub(super) fn new(lab: &'a Lab, method: Method, path: &str) -> Self {
        let headers = HeaderMap::new();
        Self { lab, method, path: path.to_owned(), role: Some(USER), node: None, headers, body: None }
    }

    /// Makes it a call of that user.
    pub(crate) fn by(mut self, role: &'static str) -> Self {
        self.role = Some(role);
        self
    }

    /// Sends it without a token.
    pub(crate) fn anonymous(mut self) -> Self {
        self.role = None;
        self
    }

    /// Sends it on behalf of a node.
    pub(crate) fn node(mut self, node: i64) -> Self {
        self.node = Some(node);
        self
    }

    /// Sends a JSON body.
    pub(crate) fn json(self, body: Value) -> Self {
        self.text(body.to_string())
    }

    /// Sends a text that is called JSON, whatever it is.
    pub(crate) fn text(self, body: impl Into<String>) -> Self {
        let body: String = body.into();
        self.header("content-type", "application/json").bytes(body)
    }

    /// Sends a body as it is, without a type.
    pub(crate) fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
        self.headers.append(name, HeaderValue::from_bytes(value.as_ref()).expect("a header's value"));
        self
    }

    async fn send(self) -> Reply {
        let Self { lab, method, path, role, node, mut headers, body } = self;
        let mut caller = role.unwrap_or("nobody").to_owned();
        if let Some(role) = role
            && !headers.contains_key("authorization")
        {
            let token = format!("Bearer {}", lab.token(role).await);
            headers.insert("authorization", HeaderValue::from_str(&token).expect("a token is ASCII"));
        }
        if let Some(node) = node {
            caller += &format!(" for node {node}");
            headers.insert("node-id", HeaderValue::from(node));
        }
        let what = format!("{method} {path} as {caller}");
        let mut request = lab.http().request(method.clone(), lab.url(&path)).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let reply = request.send().await.unwrap_or_else(|error| panic!("{what}: no answer: {error:?}"));
        let (status, headers) = (reply.status().as_u16(), reply.headers().clone());
        // A stream of events has no end to wait for.
        if headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
            return Reply { what, status, headers, body: Vec::new() };
        }
        let body = reply.bytes().await.unwrap_or_else(|error| panic!("{what}: a broken answer: {error:?}"));
        let reply = Reply { what, status, headers, body: body.to_vec() };
        reply.check(method == Method::HEAD);
        reply
    }
}

impl<'a> IntoFuture for Request<'a> {
    type Output = Reply;
    type IntoFuture = Pin<Box<dyn Future<Output = Reply> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// The request in words.
    pub(crate) what: String,
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Checks what holds for every reply (contract §1): an id, no 500, and errors in their one form.
    pub(crate) fn check(&self, is_head: bool) {
        assert!(self.header("x-request-id").is_some_and(|id| !id.is_empty()), "no X-Request-Id: {self}");
        assert_ne!(self.status, 500, "{self}");
        if self.status < 400 || is_head {
            return;
        }
        if !self.what.contains(" /v1") && self.header("content-security-policy").is_some() {
            return self.check_page();
        }
        assert_eq!(self.header("content-type"), Some("application/json"), "{self}");
        let body = self.json();
        let body = body.as_object().unwrap_or_else(|| panic!("the error is no object: {self}"));
        for key in body.keys() {
            assert!(["detail", "code", "errors"].contains(&key.as_str()), "the error has {key:?}: {self}");
        }
        let detail = body.get("detail").and_then(Value::as_str).unwrap_or_default();
        assert!(detail.len() > 5 && detail.ends_with(['.', '?', '!']), "detail is no sentence: {self}");
        let code = body.get("code").and_then(Value::as_str).unwrap_or_default();
        let plain = code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        assert!(plain && code.starts_with(|first: char| first.is_ascii_lowercase()), "code is not snake_case: {self}");
        if let Some(errors) = body.get("errors") {
            let errors = errors.as_object().unwrap_or_else(|| panic!("errors is no object: {self}"));
            let texts = |list: &Value| list.as_array().is_some_and(|l| !l.is_empty() && l.iter().all(Value::is_string));
            assert!(!errors.is_empty() && errors.values().all(texts), "errors is not {{field: [text]}}: {self}");
        }
        self.shows_nothing_internal();
    }

    /// Checks a page that says no: it is HTML, save for a script that is sent to the log-in.
    fn check_page(&self) {
        let is_html = self.header("content-type") == Some("text/html; charset=utf-8");
        assert!(is_html || self.header("hx-redirect").is_some(), "{self}");
        self.shows_nothing_internal();
    }

    fn shows_nothing_internal(&self) {
        let text = self.text().to_lowercase();
        for internal in ["sqlite", "rusqlite", "panicked", ".rs:", "labrun.db", "unwrap", "select ", "constraint"] {
            assert!(!text.contains(internal), "the error shows {internal:?}: {self}");
        }
    }

    /// Fails unless the status is this one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "\n  wanted {status}, came {self}");
        self
    }

    /// Fails unless it is an error of this status and code.
    #[track_caller]
    pub(crate) fn refuses(self, status: u16, code: &str) -> Self {
        let reply = self.expect(status);
        assert_eq!(reply.json()["code"], code, "{reply}");
        reply
    }

    /// Fails unless it is a 400 that names this field.
    #[track_caller]
    pub(crate) fn blames(self, field: &str) -> Self {
        let reply = self.expect(400);
        let body = reply.json();
        assert!(body["errors"].get(field).is_some(), "the error does not name {field:?}: {reply}");
        reply
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// The key of the object in the body.
    #[track_caller]
    pub(crate) fn pk(&self) -> i64 {
        self.json()["pk"].as_i64().unwrap_or_else(|| panic!("no pk: {self}"))
    }

    /// The keys of the objects in the body's array.
    #[track_caller]
    pub(crate) fn pks(&self) -> Vec<i64> {
        let list = self.json();
        let list = list.as_array().unwrap_or_else(|| panic!("no array: {self}"));
        list.iter().map(|one| one["pk"].as_i64().expect("every row has a pk")).collect()
    }

    /// The names of the object's keys, in their order.
    #[track_caller]
    pub(crate) fn keys(&self) -> Vec<String> {
        self.json().as_object().unwrap_or_else(|| panic!("no object: {self}")).keys().cloned().collect()
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text().chars().take(600).collect();
        write!(f, "{} -> {} {text}", self.what, self.status)
    }
}
