//! Somebody with a browser: a cookie, and the token that our pages carry.

use std::time::Duration;

use super::lab::Lab;
use super::process::{DEADLINE, PASSWORD};
use super::request::{Reply, Request};

/// A browser that is logged in.
#[derive(Debug, Clone)]
pub(crate) struct Visitor<'a> {
    lab: &'a Lab,
    /// `NAME=VALUE` of the session.
    pub(crate) cookie: String,
    /// What forms send back.
    pub(crate) csrf: String,
}

impl<'a> Visitor<'a> {
    /// Logs the user of a role in.
    pub(crate) async fn log_in(lab: &'a Lab, role: &'static str) -> Self {
        let username = lab.username(role).await;
        let reply = Self::try_to_log_in(lab, &username, PASSWORD, "/jobs").await.expect(303);
        Self::of(lab, &reply).await
    }

    /// Takes the cookie that a log-in gave.
    pub(crate) async fn of(lab: &'a Lab, reply: &Reply) -> Self {
        let cookie = reply.header("set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned();
        let mut visitor = Self { lab, cookie, csrf: String::new() };
        let page = visitor.get("/jobs").await.expect(200).text();
        visitor.csrf = attribute(&page, r#"name="csrf" value=""#).to_owned();
        visitor
    }

    /// Sends the form of the log-in.
    pub(crate) fn try_to_log_in(lab: &'a Lab, username: &str, password: &str, next: &str) -> Request<'a> {
        form(lab.post("/login").anonymous(), &[("username", username), ("password", password), ("next", next)])
    }

    /// Makes a request with the session's cookie.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request<'a> {
        self.lab.request(method, path).anonymous().header("cookie", &self.cookie).header("accept", "text/html")
    }

    /// Looks at a page.
    pub(crate) fn get(&self, path: &str) -> Request<'a> {
        self.request("GET", path)
    }

    /// Looks at a part of a page, as a script asks for it.
    pub(crate) fn part(&self, path: &str) -> Request<'a> {
        self.get(path).header("hx-request", "true").header("hx-current-url", "http://lab/jobs")
    }

    /// Sends a form, with the token.
    pub(crate) fn post(&self, path: &str, fields: &[(&str, &str)]) -> Request<'a> {
        let with_token: Vec<_> = fields.iter().copied().chain([("csrf", self.csrf.as_str())]).collect();
        form(self.request("POST", path), &with_token)
    }

    /// Follows a live part.
    pub(crate) async fn live(&self, path: &str) -> LiveParts {
        let request = self.lab.http().get(self.lab.url(path)).timeout(Duration::from_secs(600));
        let reply = request.header("cookie", &self.cookie).send().await.expect("an answer");
        assert_eq!(reply.status().as_u16(), 200, "{path}");
        LiveParts { reply, text: String::new() }
    }
}

/// Sends fields as a form.
pub(crate) fn form<'a>(request: Request<'a>, fields: &[(&str, &str)]) -> Request<'a> {
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(fields);
    request.header("content-type", "application/x-www-form-urlencoded").bytes(body.finish())
}

/// Gives the value that stands behind a text, up to a quote.
#[track_caller]
pub(crate) fn attribute<'a>(html: &'a str, before: &str) -> &'a str {
    let (_, rest) = html.split_once(before).unwrap_or_else(|| panic!("{before} is not in the page: {html}"));
    rest.split('"').next().expect("a first part")
}

/// A stream of parts of a page.
#[derive(Debug)]
pub(crate) struct LiveParts {
    reply: reqwest::Response,
    text: String,
}

impl LiveParts {
    /// Gives the next event with what it says; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(String, String)> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let lines: Vec<&str> = message.lines().filter_map(|line| line.strip_prefix(name)).collect();
                    lines.join("\n")
                };
                let (event, data) = (field("event: "), field("data: "));
                self.text = rest.to_owned();
                if !event.is_empty() {
                    return Some((event, data));
                }
                continue;
            }
            let more = tokio::time::timeout(DEADLINE, self.reply.chunk()).await.expect("waited too long for a part");
            match more {
                Ok(Some(more)) => self.text.push_str(&String::from_utf8_lossy(&more)),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Waits for an event that says something; passes over others.
    pub(crate) async fn until(&mut self, event: &str, holds: impl Fn(&str) -> bool) -> String {
        loop {
            let (name, data) = self.next().await.unwrap_or_else(|| panic!("the stream ended before the {event}"));
            if name == event && holds(&data) {
                return data;
            }
        }
    }
}
