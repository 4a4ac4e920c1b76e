//! A server with the people, nodes, templates and jobs that tests need.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};

use super::process::{PASSWORD, Server, Setup};
use super::raw::Raw;
use super::request::{Reply, Request};

/// The staff user that every server has.
pub(crate) const ADMIN: &str = "admin";
/// An ordinary user, and the caller of a request that names none.
pub(crate) const USER: &str = "user";
/// Another ordinary user. Any other name is one more of these.
pub(crate) const OTHER: &str = "other";

/// How old a cached token may be; they are good for 5 minutes.
const TOKEN_AGE_MAX: Duration = Duration::from_secs(120);

/// A server and what the tests have made on it. Clones share both; the connections belong to one test each, since
/// they end with its runtime.
#[derive(Debug, Clone)]
pub(crate) struct Lab {
    shared: Arc<Shared>,
    http: reqwest::Client,
}

#[derive(Debug)]
struct Shared {
    server: std::sync::Mutex<Server>,
    people: Mutex<HashMap<&'static str, Person>>,
    template: OnceCell<i64>,
    number: AtomicU64,
    pair: AtomicU64,
}

#[derive(Debug, Clone)]
struct Person {
    pk: i64,
    username: String,
    token: Option<(String, Instant)>,
}

/// A job and the node that holds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    /// The job.
    pub(crate) job: i64,
    /// The node.
    pub(crate) node: i64,
}

impl Lab {
    /// Starts a server of the test's own.
    pub(crate) fn start() -> Self {
        Self::start_with(Setup::default())
    }

    /// Starts one with arguments.
    pub(crate) fn start_with(setup: Setup) -> Self {
        Self::on(Server::start(setup))
    }

    /// Wraps a server that runs.
    pub(crate) fn on(server: Server) -> Self {
        let shared = Shared {
            server: std::sync::Mutex::new(server),
            people: Mutex::default(),
            template: OnceCell::new(),
            number: AtomicU64::new(1),
            pair: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), http: connections() }
    }

    /// Gives the one server that all tests share which can share one: those that count nothing and restart nothing.
    pub(crate) async fn shared() -> Self {
        static SHARED: std::sync::OnceLock<Lab> = std::sync::OnceLock::new();
        let lab = SHARED.get_or_init(Self::start);
        Self { shared: lab.shared.clone(), http: connections() }
    }

    /// Gives the same lab with connections of its own, for a server that was started again on its port: those from
    /// before are broken.
    pub(crate) fn reconnected(&self) -> Self {
        Self { shared: self.shared.clone(), http: connections() }
    }

    /// Does something to the server's process.
    pub(crate) fn server<T>(&self, work: impl FnOnce(&mut Server) -> T) -> T {
        work(&mut self.shared.server.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The address of a path at the server.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port())
    }

    /// The server's port.
    pub(crate) fn port(&self) -> u16 {
        self.server(|server| server.port())
    }

    /// Opens a connection for HTTP by hand.
    pub(crate) fn raw(&self) -> Raw {
        Raw::connect(self.port())
    }

    /// The head of a request by hand, up to its last header.
    pub(crate) async fn head(&self, method: &str, path: &str, role: &'static str) -> String {
        let token = self.token(role).await;
        format!("{method} {path} HTTP/1.1\r\nHost: lab\r\nAuthorization: Bearer {token}\r\n")
    }

    /// A name that no other test has.
    pub(crate) fn unique(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.shared.number.fetch_add(1, Ordering::Relaxed))
    }

    /// Two letters that no other test has, for domains; documents of templates use lower case.
    pub(crate) fn two_letters(&self) -> String {
        let number = self.shared.pair.fetch_add(1, Ordering::Relaxed);
        let letter = |number: u64| char::from_u32(u32::from(b'A') + (number % 26) as u32).expect("a letter");
        assert!(number < 26 * 26, "no more pairs of letters");
        format!("{}{}", letter(number / 26), letter(number))
    }

    /// Makes a request.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request<'_> {
        Request::new(self, Method::from_bytes(method.as_bytes()).expect("a method"), path)
    }

    /// Makes a GET.
    pub(crate) fn get(&self, path: &str) -> Request<'_> {
        self.request("GET", path)
    }

    /// Makes a POST.
    pub(crate) fn post(&self, path: &str) -> Request<'_> {
        self.request("POST", path)
    }

    /// Makes a PUT.
    pub(crate) fn put(&self, path: &str) -> Request<'_> {
        self.request("PUT", path)
    }

    /// Makes a PATCH.
    pub(crate) fn patch(&self, path: &str) -> Request<'_> {
        self.request("PATCH", path)
    }

    /// Makes a DELETE.
    pub(crate) fn delete(&self, path: &str) -> Request<'_> {
        self.request("DELETE", path)
    }

    /// Gives a role's token, making its user at first use.
    pub(crate) async fn token(&self, role: &'static str) -> String {
        let mut people = self.shared.people.lock().await;
        if let Some((token, made)) = people.get(role).and_then(|person| person.token.as_ref())
            && made.elapsed() < TOKEN_AGE_MAX
        {
            return token.clone();
        }
        let person = match people.get(role) {
            Some(person) => person.clone(),
            None if role == ADMIN => Person { pk: 1, username: ADMIN.to_owned(), token: None },
            None => {
                let admin = match people.get(ADMIN).and_then(|person| person.token.as_ref()) {
                    Some((token, made)) if made.elapsed() < TOKEN_AGE_MAX => token.clone(),
                    _ => self.login(ADMIN, PASSWORD).await,
                };
                let entry = Person { pk: 1, username: ADMIN.to_owned(), token: Some((admin.clone(), Instant::now())) };
                people.insert(ADMIN, entry);
                let username = self.unique(role);
                let body = json!({"username": username, "password": PASSWORD});
                let request = self.post("/v1/users/create").anonymous();
                let made = request.header("authorization", format!("Bearer {admin}")).json(body).await.expect(201);
                Person { pk: made.pk(), username, token: None }
            }
        };
        let token = self.login(&person.username, PASSWORD).await;
        people.insert(role, Person { token: Some((token.clone(), Instant::now())), ..person });
        token
    }

    /// Forgets the tokens that were handed out, so that the next calls log in again.
    pub(crate) async fn forget_tokens(&self) {
        self.shared.people.lock().await.values_mut().for_each(|person| person.token = None);
    }

    async fn login(&self, username: &str, password: &str) -> String {
        let reply = self.obtain(username, password).await.expect(200);
        reply.json()["access"].as_str().expect("an access token").to_owned()
    }

    /// Asks for tokens.
    pub(crate) async fn obtain(&self, username: &str, password: &str) -> Reply {
        self.post("/v1/auth/obtain").anonymous().json(json!({"username": username, "password": password})).await
    }

    /// Gives the key of a role's user.
    pub(crate) async fn user_pk(&self, role: &'static str) -> i64 {
        self.token(role).await;
        self.shared.people.lock().await[role].pk
    }

    /// Gives the name of a role's user.
    pub(crate) async fn username(&self, role: &'static str) -> String {
        self.token(role).await;
        self.shared.people.lock().await[role].username.clone()
    }

    /// Makes a node of a user.
    pub(crate) async fn node(&self, owner: &'static str) -> i64 {
        let body = json!({"ip": self.unique("10.0.0"), "index": 0, "cpu_mem": 1_i64 << 34});
        self.post("/v1/nodes/create").by(owner).json(body).await.expect(201).pk()
    }

    /// Imports a template.
    pub(crate) async fn import(&self, document: Value) -> Reply {
        self.post("/v1/job-templates/import").by(ADMIN).json(document).await
    }

    /// Gives a template that asks for nothing.
    pub(crate) async fn template(&self) -> i64 {
        let made = async { self.import(document(&self.unique("assay"))).await.expect(200).pk() };
        *self.shared.template.get_or_init(|| made).await
    }

    /// Makes a job of that template.
    pub(crate) async fn job(&self) -> i64 {
        let path = format!("/v1/job-templates/{}/create-job", self.template().await);
        self.post(&path).json(json!({"input_values": {}})).await.expect(200).pk()
    }

    /// Reads a job.
    pub(crate) async fn read(&self, job: i64) -> Value {
        self.get(&format!("/v1/jobs/{job}")).await.expect(200).json()
    }

    /// Reads a node.
    pub(crate) async fn read_node(&self, node: i64) -> Value {
        self.get(&format!("/v1/nodes/{node}")).await.expect(200).json()
    }

    /// Does something to a job as a node of `user`, by the method that the seed's clients use.
    pub(crate) fn act(&self, held: Held, verb: &str) -> Request<'_> {
        let Held { job, node } = held;
        let method = match verb {
            "acquire" => "GET",
            "release" | "reset" => "DELETE",
            _ => "POST",
        };
        self.request(method, &format!("/v1/jobs/{job}/{verb}")).node(node)
    }

    /// Ends a run with an error.
    pub(crate) fn fail(&self, held: Held) -> Request<'_> {
        self.act(held, "finish").json(json!({"success": false, "error": "the lamp is dark"}))
    }

    /// Does something to a job as staff: `abort`, `cancel`, `hard`, `reinstate`, or nothing, which soft-deletes it.
    pub(crate) fn staff(&self, job: i64, verb: &str) -> Request<'_> {
        let path = format!("/v1/jobs/{job}/{verb}");
        self.delete(path.trim_end_matches('/')).by(ADMIN)
    }

    /// Adds an output.
    pub(crate) fn upload(&self, held: Held, name: &str, type_name: &str, bytes: impl Into<Vec<u8>>) -> Request<'_> {
        let Held { job, node } = held;
        self.post(&format!("/v1/jobs/{job}/outputs/{name}/{type_name}")).node(node).bytes(bytes)
    }

    /// Makes a job that a new node of `user` holds.
    pub(crate) async fn held(&self) -> Held {
        let held = Held { job: self.job().await, node: self.node(USER).await };
        self.act(held, "acquire").await.expect(200);
        held
    }

    /// Makes a job that runs.
    pub(crate) async fn started(&self) -> Held {
        let held = self.held().await;
        self.act(held, "start").await.expect(200);
        held
    }

    /// Makes a job whose run failed.
    pub(crate) async fn errored(&self) -> Held {
        let held = self.started().await;
        self.fail(held).await.expect(200);
        held
    }

    /// Makes a job that is done.
    pub(crate) async fn finished(&self) -> Held {
        let held = self.started().await;
        self.act(held, "finish").await.expect(200);
        held
    }

    /// Makes a job that was called off while it ran; its node still works on it.
    pub(crate) async fn cancelled(&self) -> Held {
        let held = self.started().await;
        self.staff(held.job, "cancel").await.expect(200);
        held
    }
}

fn connections() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.timeout(Duration::from_secs(60)).build().expect("a client")
}

/// A template document of today's dialect that asks for nothing.
pub(crate) fn document(name: &str) -> Value {
    json!({
        "name": name, "version": 1, "description": "made by a test", "scope": "public", "licence": "Apache 2.0",
        "specific": {"job_type": "Export", "executor_class": "lab.Assay", "required_packages": "", "parameters": {}},
    })
}
