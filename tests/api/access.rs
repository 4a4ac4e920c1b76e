//! Who may call what: the table of contract §3, written out again by hand, against the table of routes and against
//! the server itself. A route without a row here fails, a row whose `who` is changed fails, and each method of each
//! path is called by every kind of caller.

use std::collections::{BTreeMap, BTreeSet};

use labrun::server::routes::{ROUTES, Route, Who};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Held, Lab, OTHER, Reply, Request, USER, document};

/// What an action's target must be like for the action to succeed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum On {
    /// Nothing in particular.
    Nothing,
    /// A free job, a held one, and so on; its node is the path's node, too.
    Created,
    /// A free job that nobody may take yet.
    Unready,
    Held,
    Started,
    Errored,
    /// A running job with the output `o` of type `t`.
    WithOutput,
}

/// The letters of contract §3. `owner` is the user that a path names; `self` its
/// node; `creator` the user who made the job.
const ACTIONS: &[(&str, &str, On)] = &[
    ("healthz", "anyone", On::Nothing),
    ("readyz", "anyone", On::Nothing),
    ("metrics", "anyone", On::Nothing),
    ("openapi", "anyone", On::Nothing),
    ("audit", "S", On::Nothing),
    ("tokens.create", "A", On::Nothing),
    ("tokens.list", "A", On::Nothing),
    ("tokens.revoke", "S owner", On::Nothing),
    ("auth.obtain", "anyone", On::Nothing),
    ("auth.refresh", "anyone", On::Nothing),
    ("auth.verify", "anyone", On::Nothing),
    ("auth.whoami", "A", On::Nothing),
    ("users.list", "S", On::Nothing),
    ("users.create", "S", On::Nothing),
    ("users.retrieve", "S owner", On::Nothing),
    ("users.update", "S", On::Nothing),
    ("users.partial_update", "S", On::Nothing),
    ("users.deactivate", "S", On::Nothing),
    ("nodes.list", "A", On::Nothing),
    ("nodes.create", "A", On::Nothing),
    ("nodes.ping", "N", On::Nothing),
    ("nodes.retrieve", "A", On::Nothing),
    ("nodes.update", "S self", On::Nothing),
    ("nodes.partial_update", "S self", On::Nothing),
    ("nodes.destroy", "S self", On::Nothing),
    ("hardware.by_compute_capability", "A", On::Nothing),
    ("job-types.all_values", "A", On::Nothing),
    ("job-templates.list", "A", On::Nothing),
    ("job-templates.create", "none", On::Nothing),
    ("job-templates.import", "S", On::Nothing),
    ("job-templates.matching", "A", On::Nothing),
    ("job-templates.retrieve", "A", On::Nothing),
    ("job-templates.destroy", "S", On::Nothing),
    ("job-templates.hard", "S", On::Nothing),
    ("job-templates.reinstate", "S", On::Nothing),
    ("job-templates.export", "S", On::Nothing),
    ("job-templates.create_job", "A", On::Nothing),
    ("job-templates.all_parameters", "A", On::Nothing),
    ("job-templates.types", "A", On::Nothing),
    ("job-templates.outputs", "A", On::Nothing),
    ("jobs.list", "A", On::Nothing),
    ("jobs.create", "none", On::Nothing),
    ("jobs.retrieve", "A", On::Created),
    ("jobs.watch", "A", On::Created),
    ("jobs.events", "A", On::Created),
    ("events", "A", On::Nothing),
    ("jobs.update", "S", On::Created),
    ("jobs.partial_update", "S", On::Created),
    ("jobs.destroy", "S", On::Held),
    ("jobs.hard", "S", On::Held),
    ("jobs.reinstate", "S", On::Held),
    ("jobs.acquire", "N", On::Created),
    ("jobs.release", "O W", On::Held),
    ("jobs.start", "O", On::Held),
    ("jobs.progress", "O", On::Started),
    ("jobs.finish", "O W", On::Started),
    ("jobs.reset", "O", On::Errored),
    ("jobs.abort", "S", On::Started),
    ("jobs.cancel", "S", On::Started),
    ("jobs.add_output", "S O", On::Started),
    ("jobs.get_output", "A", On::WithOutput),
    ("jobs.delete_output", "S", On::WithOutput),
    ("jobs.get_output_info", "A", On::WithOutput),
    ("jobs.claim", "N", On::Created),
    ("jobs.unhold", "S creator", On::Unready),
    ("jobs.attempts", "A", On::Started),
    ("jobs.append_log", "O", On::Started),
    ("jobs.read_log", "A", On::Started),
    ("jobs.manifest", "A", On::WithOutput),
    ("jobs.archive", "A", On::WithOutput),
    ("blobs.put", "A", On::Nothing),
    ("blobs.get", "A", On::Nothing),
    ("blobs.upload", "A", On::Nothing),
    ("uploads.discover", "anyone", On::Nothing),
    ("uploads.list", "A", On::Nothing),
    ("uploads.retrieve", "S owner", On::Nothing),
    ("uploads.append", "owner", On::Nothing),
    ("uploads.override", "owner", On::Nothing),
    ("uploads.terminate", "S owner", On::Nothing),
    ("job-outputs.list", "A", On::Nothing),
    ("job-outputs.create", "none", On::Nothing),
    ("job-outputs.retrieve", "A", On::WithOutput),
    ("job-outputs.download", "A", On::WithOutput),
    ("job-outputs.destroy", "S", On::WithOutput),
    ("job-outputs.hard", "S", On::WithOutput),
    ("job-outputs.reinstate", "S", On::WithOutput),
];

/// The pages, which take a session's cookie and no token; `tests/pages/access.rs` calls them.
const PAGES: &[(&str, &str)] = &[
    ("pages.overview", "A"),
    ("pages.overview.live", "A"),
    ("pages.setup", "anyone"),
    ("pages.set_up", "anyone"),
    ("pages.submit", "A"),
    ("pages.submit.form", "A"),
    ("pages.submit.send", "A"),
    ("pages.upload", "A"),
    ("pages.nodes", "A"),
    ("pages.nodes.live", "A"),
    ("pages.node", "A"),
    ("pages.node.live", "A"),
    ("pages.users", "S"),
    ("pages.users.create", "S"),
    ("pages.user", "S"),
    ("pages.user.change", "S"),
    ("pages.user.tokens", "S"),
    ("pages.account", "A"),
    ("pages.account.password", "A"),
    ("pages.account.tokens", "A"),
    ("pages.tokens.revoke", "S owner"),
    ("pages.asset", "anyone"),
    ("pages.login", "anyone"),
    ("pages.log_in", "anyone"),
    ("pages.log_out", "A"),
    ("pages.jobs", "A"),
    ("pages.jobs.count", "A"),
    ("pages.jobs.live", "A"),
    ("pages.jobs.preview", "S"),
    ("pages.jobs.chosen", "S"),
    ("pages.job", "A"),
    ("pages.job.live", "A"),
    ("pages.job.log", "A"),
    ("pages.job.manifest", "A"),
    ("pages.job.archive", "A"),
    ("pages.job.unhold", "S creator"),
    ("pages.output", "A"),
    ("pages.output.image", "A"),
    ("pages.output.download", "A"),
    ("pages.blob", "A"),
];

/// The SHA-256 of the four bytes `data`.
const DATA_SHA256: &str = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7";

/// The catalogues, by each of their spellings, and what their rows may do.
const CATALOGUES: &[&str] =
    &["hardware", "cuda", "docker", "job-types", "job-contracts", "domains", "licences", "licenses", "frameworks"];
const CATALOGUE_ACTIONS: &[(&str, &str)] =
    &[("list", "A"), ("retrieve", "A"), ("create", "S"), ("update", "S"), ("partial_update", "S"), ("destroy", "S")];

/// All rows: name → letters and target.
fn expected() -> BTreeMap<String, (&'static str, On)> {
    let own = ACTIONS.iter().map(|&(name, who, on)| (name.to_owned(), (who, on)));
    let catalogues = CATALOGUES.iter().flat_map(|catalogue| {
        CATALOGUE_ACTIONS.iter().map(move |(action, who)| (format!("{catalogue}.{action}"), (*who, On::Nothing)))
    });
    let pages = PAGES.iter().map(|&(name, who)| (name.to_owned(), (who, On::Nothing)));
    own.chain(catalogues).chain(pages).collect()
}

/// The column of the server's table, in the letters of the contract.
fn letters(route: &Route) -> &'static str {
    if route.methods.is_empty() {
        return "none";
    }
    match route.who {
        // The tests are programs on the server's own machine; another test comes from elsewhere.
        Who::Anyone | Who::StaffOrLoopback => "anyone",
        Who::User => "A",
        Who::Staff => "S",
        Who::Oneself => "owner",
        Who::StaffOrOneself => "S owner",
        Who::StaffOrItself => "S self",
        Who::Node | Who::NodeForWorkable => "N",
        Who::Holder => "O",
        Who::HolderOrWorker => "O W",
        Who::StaffOrHolder => "S O",
        Who::StaffOrCreator => "S creator",
    }
}

#[test]
fn the_table_of_routes_says_what_the_contract_says() {
    let expected = expected();
    for route in ROUTES.iter() {
        let Some((who, _)) = expected.get(route.name.as_ref()) else {
            panic!("{} ({}) has no row in this test: who may call it?", route.name, route.path)
        };
        assert_eq!(letters(route), *who, "{}", route.name);
    }
    let there: BTreeSet<&str> = ROUTES.iter().map(|route| route.name.as_ref()).collect();
    for name in expected.keys() {
        assert!(there.contains(name.as_str()), "{name} has no route");
    }
}

/// Those who call, in words and as a request's caller.
const CALLERS: &[(&str, Option<&str>, Node)] = &[
    ("anonymous", None, Node::None),
    ("anonymous with the holder's Node-Id", None, Node::Holder),
    ("user", Some(USER), Node::None),
    ("other user", Some(OTHER), Node::None),
    ("other user's node", Some(OTHER), Node::Others),
    ("user with somebody else's node", Some(OTHER), Node::Holder),
    ("holder", Some(USER), Node::Holder),
    ("staff", Some(ADMIN), Node::None),
    ("staff with the holder's Node-Id", Some(ADMIN), Node::Holder),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Node {
    None,
    Holder,
    Others,
}

/// Says by the letters what a caller is told: `None` is yes.
fn refusal(who: &str, role: Option<&str>, node: Node) -> Option<u16> {
    let Some(role) = role else { return (who != "anyone").then_some(401) };
    if who == "anyone" {
        return None;
    }
    if role == OTHER && node == Node::Holder {
        return Some(403);
    }
    let allowed = who.split(' ').any(|letter| match letter {
        "A" => true,
        "S" => role == ADMIN,
        "N" => node != Node::None,
        "O" | "W" | "self" => node == Node::Holder,
        "owner" | "creator" => role == USER,
        other => panic!("no such letter: {other}"),
    });
    (!allowed).then_some(403)
}

/// The target of one call: fresh, in the state that the action needs.
struct Target<'a> {
    lab: &'a Lab,
    held: Held,
    output: i64,
    others_node: i64,
}

impl<'a> Target<'a> {
    async fn make(lab: &'a Lab, on: On, others_node: i64) -> Self {
        let held = match on {
            On::Nothing => Held { job: 0, node: lab.node(USER).await },
            On::Created => Held { job: lab.job().await, node: lab.node(USER).await },
            On::Unready => {
                let path = format!("/v1/job-templates/{}/create-job", lab.template().await);
                let job = lab.post(&path).json(json!({"input_values": {}, "hold": true})).await.expect(200).pk();
                Held { job, node: lab.node(USER).await }
            }
            On::Held => lab.held().await,
            On::Started | On::WithOutput => lab.started().await,
            On::Errored => lab.errored().await,
        };
        let output = match on {
            On::WithOutput => lab.upload(held, "o", "t", "data").await.expect(200).pk(),
            _ => 0,
        };
        Self { lab, held, output, others_node }
    }

    /// Fills in the path of a route.
    async fn path(&self, route: &Route) -> String {
        let (resource, _) = route.name.split_once('.').unwrap_or((&route.name, ""));
        let pk = match (resource, route.name.as_ref()) {
            ("jobs", _) => self.held.job,
            ("job-outputs", _) => self.output,
            ("nodes", _) => self.held.node,
            (_, "users.retrieve") => self.lab.user_pk(USER).await,
            ("users", _) if route.path.contains("{key}") => self.fresh("/v1/users/create", user(self.lab)).await,
            ("job-templates", _) if route.path.contains("{pk}") => {
                self.fresh("/v1/job-templates/import", document(&self.lab.unique("target"))).await
            }
            ("tokens", _) if route.path.contains("{pk}") => {
                self.lab.post("/v1/auth/tokens").json(json!({"name": "of the user"})).await.expect(201).pk()
            }
            ("uploads", _) if route.path.contains("{pk}") => {
                let begin = self.lab.post("/v1/blobs").header("tus-resumable", "1.0.0");
                begin.header("upload-length", "8").await.expect(201).pk()
            }
            (catalogue, _) if route.path.contains("{pk}") => {
                let row = row(self.lab, catalogue).await;
                self.fresh(&format!("/v1/{catalogue}/create"), row).await
            }
            ("blobs", _) => {
                self.lab.put(&format!("/v1/blobs/{DATA_SHA256}")).bytes("data").await;
                0
            }
            _ => 0,
        };
        route
            .path
            .replace("{pk}", &pk.to_string())
            .replace("{key}", &pk.to_string())
            .replace("{progress}", "0.5")
            .replace("{sha256}", DATA_SHA256)
            .replace("{compute}", "7.5")
            .replace("{contract}", "Train")
            .replace("/outputs/{name}/{type}", "/outputs/o/t")
            .replace("/get-all-values/{type}", "/get-all-values/Hardware")
    }

    async fn fresh(&self, path: &str, body: Value) -> i64 {
        self.lab.post(path).by(ADMIN).json(body).await.pk()
    }

    /// Calls a route as one of the callers.
    async fn call(&self, request: Request<'a>, role: Option<&'static str>, node: Node) -> Reply {
        let request = match role {
            Some(role) => request.by(role),
            None => request.anonymous(),
        };
        match node {
            Node::None => request.await,
            Node::Holder => request.node(self.held.node).await,
            Node::Others => request.node(self.others_node).await,
        }
    }
}

/// A body that the action takes.
async fn body(lab: &Lab, name: &str) -> Option<Value> {
    let (resource, action) = name.split_once('.')?;
    Some(match (resource, action) {
        ("auth", "obtain") => json!({"username": lab.username(USER).await, "password": crate::harness::PASSWORD}),
        ("auth", "refresh") => {
            let tokens = lab.obtain(&lab.username(USER).await, crate::harness::PASSWORD).await.json();
            json!({"refresh": tokens["refresh"]})
        }
        ("auth", "verify") => json!({"token": lab.token(USER).await}),
        ("users", "create") => user(lab),
        ("tokens", "create") => json!({"name": "of a test"}),
        ("users", "update") => json!({"username": lab.unique("renamed"), "password": "long-enough-1",
            "first_name": "", "last_name": "", "email": "", "is_active": true, "is_staff": false}),
        ("users", "partial_update") => json!({"first_name": "Ada"}),
        ("nodes", "create" | "update") => json!({"ip": lab.unique("node"), "index": 0, "cpu_mem": 1,
            "driver_version": null, "hardware_generation": null, "gpu_mem": null}),
        ("nodes", "partial_update") => json!({"cpu_mem": 7}),
        ("job-templates", "import") => document(&lab.unique("imported")),
        ("job-templates", "create_job") => json!({"input_values": {}}),
        ("jobs", "update" | "partial_update") => json!({"description": "described"}),
        ("jobs", "add_output") => return None,
        (catalogue, "create" | "update") if CATALOGUES.contains(&catalogue) => row(lab, catalogue).await,
        (_, "list" | "partial_update" | "start" | "progress" | "finish" | "download") => json!({}),
        _ => return None,
    })
}

fn user(lab: &Lab) -> Value {
    json!({"username": lab.unique("target"), "password": "long-enough-1"})
}

/// A row of a catalogue that nothing has yet.
pub(super) async fn row(lab: &Lab, catalogue: &str) -> Value {
    let name = lab.unique("row");
    match catalogue {
        "hardware" => json!({"generation": name, "min_compute_capability": 90.0, "max_compute_capability": 91.0}),
        "job-types" | "job-contracts" => json!({"name": name, "pkg": "p", "cls": format!("p.{name}")}),
        "domains" => json!({"name": lab.two_letters(), "description": name}),
        "licences" | "licenses" => json!({"name": name, "url": "https://licence.example"}),
        "frameworks" => json!({"name": name, "version": "1"}),
        "cuda" => json!({"version": name, "full_version": format!("{name}.1"), "min_driver_version": "450.80"}),
        "docker" => {
            let of = |path: &'static str, body: Value| async move {
                lab.post(path).by(ADMIN).json(body).await.expect(201).pk()
            };
            let cuda = format!("{name}-c");
            json!({
                "name": name, "version": "1", "url": "https://images.example/x", "registry_url": "images.example",
                "registry_username": "reader", "registry_password": "secret", "cpu": false,
                "cuda_version": of("/v1/cuda/create", json!({"version": cuda, "full_version": cuda,
                    "min_driver_version": "1"})).await,
                "framework": of("/v1/frameworks/create", json!({"name": name, "version": "1"})).await,
                "domain": of("/v1/domains/create", json!({"name": lab.two_letters(), "description": name})).await,
                "licence": of("/v1/licences/create", json!({"name": name, "url": "https://l.example"})).await,
                "tasks": ["Train"], "min_hardware_generation": null,
            })
        }
        other => panic!("no such catalogue: {other}"),
    }
}

/// The target's own state as staff sees it, to notice a refused call that changed something.
async fn seen(lab: &Lab, route: &Route, path: &str, held: Held) -> Vec<Value> {
    let mut seen = Vec::new();
    if held.job != 0 {
        seen.push(lab.read(held.job).await);
    }
    let mut node = lab.read_node(held.node).await;
    node["last_seen"] = Value::Null;
    seen.push(node);
    let of_row = route.path.contains("{pk}") || route.path.contains("{key}");
    if of_row && held.job == 0 && !route.path.starts_with("/v1/nodes") {
        let parts: Vec<&str> = path.split('/').take(4).collect();
        seen.push(lab.get(&parts.join("/")).by(ADMIN).await.expect(200).json());
    }
    seen
}

/// Calls each method of one route as everybody.
async fn walk(lab: &Lab, route: &Route, who: &str, on: On, others_node: i64) {
    for method in route.methods {
        let method = method.as_str();
        let what = format!("{} {method} {}", route.name, route.path);
        let mut target = Target::make(lab, on, others_node).await;
        let mut path = target.path(route).await;
        let before = seen(lab, route, &path, target.held).await;
        // Those who may not come first: after all of them the target is as it was.
        for &(caller, role, node) in CALLERS {
            let Some(status) = refusal(who, role, node) else { continue };
            let reply = target.call(request(lab, route, method, &path).await, role, node).await;
            assert_eq!(reply.status, status, "{what} by {caller}: {reply}");
            let challenge = reply.header("www-authenticate").map(|text| text.starts_with("Bearer"));
            assert_eq!(challenge == Some(true), status == 401, "{what} by {caller}: WWW-Authenticate");
        }
        assert_eq!(seen(lab, route, &path, target.held).await, before, "{what}: a refused call changed something");
        for &(caller, role, node) in CALLERS {
            if refusal(who, role, node).is_some() || (role == Some(OTHER) && node == Node::Holder) {
                continue;
            }
            let reply = target.call(request(lab, route, method, &path).await, role, node).await;
            let fine = if route.upgrades { reply.status == 101 } else { (200..300).contains(&reply.status) };
            assert!(fine, "{what} by {caller}: {reply}");
            if method != "GET" || route.name.starts_with("jobs.acquire") || route.name.starts_with("jobs.release") {
                target = Target::make(lab, on, others_node).await;
                path = target.path(route).await;
            }
        }
    }
}

async fn request<'a>(lab: &'a Lab, route: &Route, method: &str, path: &str) -> Request<'a> {
    let mut request = lab.request(method, path);
    if route.upgrades {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        request = request.header("connection", "upgrade").header("upgrade", "websocket");
        request = request.header("sec-websocket-version", "13").header("sec-websocket-key", key);
    }
    if route.name.starts_with("uploads.") || route.name == "blobs.upload" {
        let piece = request.header("tus-resumable", "1.0.0").header("upload-length", "8").header("upload-offset", "0");
        let piece = piece.header("content-type", "application/offset+octet-stream");
        return match method {
            "PATCH" | "POST" => piece.header("x-http-method-override", "PATCH").bytes("data"),
            _ => piece,
        };
    }
    match body(lab, &route.name).await {
        Some(body) if method != "GET" => request.json(body),
        _ if ["jobs.add_output", "jobs.append_log", "blobs.put"].contains(&route.name.as_ref()) => {
            request.bytes("data")
        }
        _ => request,
    }
}

/// Walks the part of the table whose names begin in one of these ways.
async fn walk_all(begins: impl Fn(&str) -> bool) {
    let lab = Lab::shared().await;
    let others_node = lab.node(OTHER).await;
    let expected = expected();
    let mut walked = 0;
    for route in ROUTES.iter().filter(|route| begins(&route.name) && !route.is_page()) {
        let (who, on) = expected.get(route.name.as_ref()).expect("another test says which row is missing");
        walk(&lab, route, who, *on, others_node).await;
        walked += 1;
    }
    assert!(walked > 0, "there are such routes");
}

/// The first half of the table: jobs and their outputs.
fn is_of_jobs(name: &str) -> bool {
    name.starts_with("jobs.") || name.starts_with("job-outputs.")
}

fn is_of_catalogue(name: &str) -> bool {
    CATALOGUES.iter().any(|catalogue| name.strip_prefix(catalogue).is_some_and(|rest| rest.starts_with('.')))
}

#[tokio::test]
async fn jobs_and_outputs_answer_those_who_may_and_nobody_else() {
    walk_all(is_of_jobs).await;
}

#[tokio::test]
async fn catalogues_answer_those_who_may_and_nobody_else() {
    walk_all(is_of_catalogue).await;
}

#[tokio::test]
async fn everything_else_answers_those_who_may_and_nobody_else() {
    walk_all(|name| !is_of_jobs(name) && !is_of_catalogue(name)).await;
}

#[tokio::test]
async fn a_path_without_a_method_is_405_for_everybody_and_every_method() {
    let lab = Lab::shared().await;
    for route in ROUTES.iter().filter(|route| route.methods.is_empty()) {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            for request in [lab.request(method, &route.path).by(ADMIN), lab.request(method, &route.path).anonymous()] {
                request.await.refuses(405, "method_not_allowed");
            }
        }
    }
}

#[tokio::test]
async fn every_other_method_is_405_and_told_which_there_are() {
    let lab = Lab::shared().await;
    let mut methods: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for route in ROUTES.iter().filter(|route| !route.upgrades) {
        methods.entry(&route.path).or_default().extend(route.methods.iter().map(|method| method.as_str()));
    }
    for (path, there) in methods {
        let filled = path.replace("{compute}", "7").replace("{progress}", "1").replace(['{', '}'], "");
        let filled = filled.replace("/pk", "/1").replace("/key", "/1");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            if !there.contains(&method) {
                // 405 comes before 401. The first page is there for those alone who take HTML.
                let asked = lab.request(method, &filled).header("accept", "text/html");
                let reply = asked.anonymous().await.expect(405);
                let allow = reply.header("allow").expect("405 comes with Allow").to_owned();
                let mut named: Vec<&str> =
                    allow.split(", ").filter(|name| !name.is_empty() && *name != "HEAD").collect();
                let mut wanted = there.clone();
                named.sort_unstable();
                wanted.sort_unstable();
                assert_eq!(named, wanted, "{method} {path}");
            }
        }
    }
}
