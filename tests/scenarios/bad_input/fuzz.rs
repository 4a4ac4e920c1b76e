//! Requests made at random from the pieces that real ones are made of: whatever they are, the answer is no 5xx, its
//! error is clean, and the server goes on.

use labrun::server::routes::ROUTES;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};
use serde_json::Value;

use crate::harness::{ADMIN, Lab, OTHER, USER};

const REQUESTS: u32 = 3_000;

/// Words that the API gives a meaning.
const WORDS: &[&str] = &[
    "username",
    "password",
    "is_staff",
    "is_active",
    "ip",
    "index",
    "cpu_mem",
    "hardware_generation",
    "name",
    "version",
    "description",
    "scope",
    "domain",
    "licence",
    "specific",
    "job_type",
    "parameters",
    "nodes",
    "dependencies",
    "inputs",
    "outputs",
    "types",
    "default",
    "const",
    "value",
    "type",
    "input_values",
    "parameter_values",
    "notification_override",
    "actions",
    "on_finish",
    "expressions",
    "sub_expressions",
    "order_by",
    "field",
    "and",
    "or",
    "exact",
    "contains",
    "isnull",
    "compare",
    "operator",
    "<",
    ">=",
    "sub_string",
    "invert",
    "case_insensitive",
    "ascending",
    "limit",
    "after",
    "count",
    "include_inactive",
    "pk",
    "template.name",
    "outputs.name",
    "node.ip",
    "phase",
    "created",
    "error",
    "success",
    "send_notification",
    "filetype",
    "token",
    "refresh",
    "generation",
    "min_compute_capability",
    "url",
    "tasks",
    "Array<str>",
    "PK<Hardware>",
    "JobOutput<JSON>",
    "Train<Domain<'x'>, Framework<'a','1'>>",
    "sha256:00",
    "😀",
    "\u{0}",
    "",
];

/// Pieces that a path's parameters may be.
const PARTS: &[&str] = &[
    "1",
    "2",
    "3",
    "7",
    "0",
    "-1",
    "9223372036854775807",
    "9223372036854775808",
    "abc",
    "%FF",
    "%00",
    "a%2Fb",
    "0.5",
    "1e5",
    "Train",
    "Hardware",
    "Array<",
    "PK<Hardware>",
    "%F0%9F%98%80",
    "..",
    ".",
    "%25",
    "list",
    "create",
    "'",
];

#[derive(Debug, Clone)]
struct Request {
    method: String,
    path: String,
    role: Option<&'static str>,
    node: Option<i64>,
    body: Body,
    headers: Vec<(&'static str, String)>,
}

#[derive(Debug, Clone)]
enum Body {
    None,
    Json(Value),
    Bytes(Vec<u8>),
}

fn json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(WORDS);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![Just(0), Just(1), Just(-1), Just(i64::MAX), Just(i64::MIN), any::<i64>()].prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            3 => prop::collection::vec((word.clone(), inner), 0..6).prop_map(|entries| {
                Value::Object(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

/// The table's paths, their parameters filled in with anything.
fn paths() -> impl Strategy<Value = String> {
    let templates: Vec<String> = ROUTES.iter().map(|route| route.path.to_string()).collect();
    let known = (prop::sample::select(templates), prop::collection::vec(prop::sample::select(PARTS), 3)).prop_map(
        |(template, parts)| {
            let mut parts = parts.into_iter();
            let filled: Vec<&str> = template
                .split('/')
                .map(|piece| if piece.starts_with('{') { parts.next().unwrap_or("1") } else { piece })
                .collect();
            filled.join("/")
        },
    );
    let words = prop::collection::vec("[a-zA-Z0-9%._~-]{0,8}", 0..5).prop_map(|parts| {
        let path = format!("/v1/{}", parts.join("/"));
        // A percent sign without two digits is no URL for the client that sends it, and is tested by hand.
        path.replace('%', "%25")
    });
    prop_oneof![9 => known, 1 => words]
}

fn requests() -> impl Strategy<Value = Request> {
    let method = prop_oneof![
        8 => prop::sample::select(&["GET", "POST", "PUT", "PATCH", "DELETE"][..]).prop_map(str::to_owned),
        1 => prop::sample::select(&["HEAD", "OPTIONS", "TRACE", "BREW"][..]).prop_map(str::to_owned),
    ];
    let role = prop_oneof![4 => Just(Some(ADMIN)), 2 => Just(Some(USER)), 1 => Just(Some(OTHER)), 1 => Just(None)];
    let body = prop_oneof![
        1 => Just(Body::None),
        6 => json().prop_map(Body::Json),
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Body::Bytes),
    ];
    let query = prop_oneof![
        4 => Just(String::new()),
        1 => "[a-z%=&<>'0-9]{0,20}".prop_map(|text| format!("?{}", text.replace('%', "%25").replace('<', "%3C").replace('>', "%3E"))),
    ];
    let header = (
        prop::sample::select(
            &[
                "content-type",
                "range",
                "if-none-match",
                "if-range",
                "content-digest",
                "x-content-sha256",
                "expect-ct",
                "x-request-id",
            ][..],
        ),
        "[ -~]{0,24}",
    );
    let headers = prop::collection::vec(header, 0..2);
    (method, paths(), query, role, prop::option::weighted(0.4, 1..6_i64), body, headers).prop_map(
        |(method, path, query, role, node, body, headers)| Request {
            method,
            path: path + &query,
            role,
            node,
            body,
            headers,
        },
    )
}

#[test]
fn no_request_makes_the_server_fail() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let lab = Lab::start();
    runtime.block_on(async {
        // Something for the keys in the paths to hit.
        lab.started().await;
        let held = lab.started().await;
        lab.upload(held, "1", "1", "some bytes").await.expect(200);
        lab.job().await;
        lab.token(OTHER).await;
    });
    let config = Config {
        cases: REQUESTS,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(11),
        ..Config::default()
    };
    let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
    let met = std::cell::RefCell::new(&mut statuses);
    let result = TestRunner::new(config).run(&requests(), |request| {
        let status = runtime.block_on(send(&lab, &request))?;
        *met.borrow_mut().entry(status).or_default() += 1;
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}\nThe server said:\n{}", lab.server(|server| server.said()));
    }
    runtime.block_on(async { lab.get("/healthz").anonymous().await.expect(200) });
    for status in [200, 400, 401, 403, 404, 405] {
        assert!(statuses.contains_key(&status), "nothing was answered with {status}: {statuses:?}");
    }
    let said = lab.server(|server| server.said());
    assert!(!said.contains("panicked"), "{said}");
}

async fn send(lab: &Lab, request: &Request) -> Result<u16, TestCaseError> {
    let mut sent = lab.request(&request.method, &request.path);
    sent = match request.role {
        // The admin's token dies when its password changes, which a random request may do; ask for it each time.
        Some(role) => sent.by(role),
        None => sent.anonymous(),
    };
    if let Some(node) = request.node {
        sent = sent.node(node);
    }
    for (name, value) in &request.headers {
        sent = sent.header(name, value);
    }
    sent = match &request.body {
        Body::None => sent,
        Body::Json(value) => sent.json(value.clone()),
        Body::Bytes(bytes) => sent.bytes(bytes.clone()),
    };
    let reply = sent.await;
    prop_assert!(reply.status < 500, "{:?}: {}", request, reply);
    Ok(reply.status)
}
