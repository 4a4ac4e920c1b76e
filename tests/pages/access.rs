//! What holds for every page: who may call it, its headers, that changes come from our own pages, and that the cookie
//! opens nothing else.

use labrun::server::routes::{ROUTES, Route};
use serde_json::json;

use crate::harness::{ADMIN, Held, Lab, OTHER, USER, Visitor, form};

/// Those pages whose path names something, and a path of theirs; others are called by their own path.
async fn path(lab: &Lab, route: &Route, held: Held, output: i64) -> String {
    let digest = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7";
    if route.name == "pages.blob" {
        lab.put(&format!("/v1/blobs/{digest}")).bytes("data").await;
    }
    let pk = match route.path.split('/').nth(1) {
        Some("outputs") => output,
        Some("submit") => lab.template().await,
        Some("nodes") => held.node,
        Some("users") => lab.user_pk(OTHER).await,
        Some("tokens") => lab.post("/v1/auth/tokens").json(json!({"name": "t"})).await.expect(201).pk(),
        _ => held.job,
    };
    route.path.replace("{pk}", &pk.to_string()).replace("{sha256}", digest).replace("{name}", "missing")
}

/// A 1 × 1 image.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";

#[tokio::test]
async fn pages_answer_those_who_may_and_lead_others_to_the_log_in() {
    let lab = Lab::shared().await;
    let visitors = [
        (USER, Visitor::log_in(&lab, USER).await),
        (OTHER, Visitor::log_in(&lab, OTHER).await),
        (ADMIN, Visitor::log_in(&lab, ADMIN).await),
    ];
    for route in ROUTES.iter().filter(|route| route.is_page() && route.name != "pages.log_out") {
        let held = lab.started().await;
        let output = lab.upload(held, "o", "t", PNG).await.expect(200).pk();
        let path = path(&lab, route, held, output).await;
        let is_open = format!("{:?}", route.who) == "Anyone";
        let method = route.methods[0].as_str();
        if !is_open {
            let asked = || lab.request(method, &path).header("accept", "text/html");
            let reply = asked().anonymous().await.expect(303);
            let next = reply.header("location").expect("a way").strip_prefix("/login?next=").expect("the log-in");
            assert!(next.starts_with("%2F"), "{reply}");
            // An API token is for the API.
            asked().by(ADMIN).await.expect(303);
        }
        for (role, visitor) in &visitors {
            let reply = match method {
                "GET" => visitor.get(&path).await,
                _ => visitor.post(&path, &[("deed", "cancel")]).await,
            };
            let may = match format!("{:?}", route.who).as_str() {
                "Staff" => *role == ADMIN,
                "StaffOrCreator" | "StaffOrOneself" => *role != OTHER,
                "User" | "Anyone" => true,
                other => panic!("{other}: say here who that is"),
            };
            let expected: &[u16] = match (may, route.name.as_ref()) {
                (false, _) => &[403],
                (true, "pages.asset") => &[404],
                // A form without a password is a wrong one.
                (true, "pages.log_in") => &[401, 429],
                // There is no link on a server that was told its password.
                (true, "pages.setup" | "pages.set_up") => &[403],
                (true, "pages.upload") => &[415],
                // The fields are of another form.
                (true, "pages.users.create" | "pages.user.change" | "pages.user.tokens" | "pages.account.tokens") => {
                    &[400]
                }
                (true, "pages.account.password") => &[400, 429],
                (true, _) => &[200, 303],
            };
            assert!(expected.contains(&reply.status), "{} by {role}: {reply}", route.name);
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("referrer-policy", "same-origin"),
                ("cross-origin-opener-policy", "same-origin"),
            ] {
                assert_eq!(reply.header(name), Some(value), "{name}: {reply}");
            }
            let policy = reply.header("content-security-policy").expect("a policy");
            assert!(policy.starts_with("default-src 'none'"), "{policy}");
            assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe-eval"), "{policy}");
            assert!(!policy.contains("script-src 'unsafe"), "{policy}");
            let cached = reply.header("cache-control").unwrap_or_default();
            assert!(cached.contains("no-store") || cached.contains("no-cache"), "{reply}");
        }
    }
}

#[tokio::test]
async fn a_change_needs_the_token_of_the_session_and_a_page_of_ours() {
    let lab = Lab::shared().await;
    let (admin, other) = (Visitor::log_in(&lab, ADMIN).await, Visitor::log_in(&lab, OTHER).await);
    let job = lab.started().await.job;
    let key = job.to_string();
    let fields = [("deed", "cancel"), ("jobs", key.as_str())];
    let send = |csrf: &str| {
        let with_token: Vec<_> = fields.iter().copied().chain([("csrf", csrf)]).collect();
        form(admin.request("POST", "/jobs/chosen"), &with_token)
    };
    for bad in ["", "x", &other.csrf, &admin.csrf[..63]] {
        let reply = send(bad).await.expect(403);
        assert!(reply.text().contains("too old"), "{reply}");
    }
    form(admin.request("POST", "/jobs/chosen"), &fields).await.expect(403);
    admin.request("POST", "/jobs/chosen").await.expect(403);
    let good = || send(&admin.csrf);
    let host = format!("127.0.0.1:{}", lab.port());
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        good().header(name, value).await.expect(403);
        let login = Visitor::try_to_log_in(&lab, "admin", crate::harness::PASSWORD, "/");
        login.header(name, value).await.expect(403);
    }
    assert_eq!(lab.read(job).await["phase"], "started");
    good().header("origin", format!("http://{host}")).header("sec-fetch-site", "same-origin").await.expect(200);
    assert_eq!(lab.read(job).await["phase"], "cancelled");
    // A script sends the token as a header.
    let header = admin.request("POST", "/jobs/preview").header("x-csrf-token", &admin.csrf);
    form(header, &[("deed", "delete"), ("job", &key)]).await.expect(200);
}

#[tokio::test]
async fn the_cookie_opens_nothing_of_the_api() {
    let lab = Lab::shared().await;
    let admin = Visitor::log_in(&lab, ADMIN).await;
    for path in ["/v1/jobs/1", "/v1/audit", "/v1/events", "/v1/auth/tokens"] {
        admin.get(path).header("x-csrf-token", &admin.csrf).await.refuses(401, "not_authenticated");
    }
    let secret = admin.cookie.split_once('=').expect("a pair").1;
    lab.get("/v1/jobs/1").anonymous().header("authorization", format!("Bearer {secret}")).await.expect(401);
    let document = lab.get("/v1/openapi.json").await.expect(200).text();
    assert!(!document.contains("\"/jobs") && !document.contains("\"/login"), "pages are no part of the API");
}

#[tokio::test]
async fn a_refusal_is_a_page_for_browsers_and_a_part_for_scripts() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let missing = user.get("/jobs/987654321").await.expect(404);
    assert!(missing.text().contains("<h1>Not found</h1>"), "{missing}");
    user.get("/nowhere").await.expect(404);
    // A program that knows no HTML is told in JSON.
    lab.get("/nowhere").anonymous().await.refuses(404, "no_such_path");
    let part = user.part("/jobs/987654321").await.expect(404);
    assert_eq!((part.header("hx-retarget"), part.text().contains("<html")), (Some("#notice"), false));
    let gone = lab.get("/jobs").anonymous().header("hx-request", "true");
    let gone = gone.header("hx-current-url", "http://lab/jobs?q=x").await.expect(401);
    assert_eq!(gone.header("hx-redirect"), Some("/login?next=%2Fjobs%3Fq%3Dx"));
    let stream = lab.get("/jobs/live?keys=").anonymous().header("accept", "text/event-stream").await;
    stream.expect(401);
}

#[tokio::test]
async fn no_query_and_no_form_makes_a_page_fail() {
    let lab = Lab::shared().await;
    let admin = Visitor::log_in(&lab, ADMIN).await;
    let job = lab.finished().await.job.to_string();
    let long = "x".repeat(5_000);
    let nested = format!("{}a{}", "-(".repeat(500), ")".repeat(500));
    let odd = [
        "",
        "%00",
        "%FF%FE",
        "%F0%9F%A7%AA",
        "9223372036854775808",
        "-1",
        "1.-1",
        "a%3Ab%3Ac",
        "%22",
        "%22%22",
        "-%22",
        "phase%3A%2C%2C",
        "label.%3A1",
        "label..%3A1",
        "progress%3A1e999",
        "created%3A%3E9999999999d",
        "age%3A%3C99999999999999w",
        "sort%3A-",
        "pk%3A%3E%3D",
        "is%3A",
        &long,
        &nested,
    ];
    for value in odd {
        for path in [
            "/jobs?q=",
            "/jobs?after=",
            "/jobs/count?q=",
            "/jobs/live?first=true&keys=",
            "/jobs/live?first=true&keys=1&q=",
            "/login?next=",
        ] {
            let reply = admin.get(&format!("{path}{value}")).await;
            assert!([200, 303, 400].contains(&reply.status), "{reply}");
        }
        for path in ["/jobs/JOB/live?place=", "/jobs/JOB/log?after=", "/jobs/JOB/archive?format="] {
            let reply = admin.get(&format!("{}{value}", path.replace("JOB", &job))).await;
            assert!([200, 400].contains(&reply.status), "{reply}");
        }
        let body =
            format!("csrf={}&deed={value}&job={value}&jobs={value}&q={value}&all={value}&back={value}", admin.csrf);
        for path in ["/jobs/preview", "/jobs/chosen"] {
            let request = admin.request("POST", path).header("content-type", "application/x-www-form-urlencoded");
            let reply = request.bytes(body.clone()).await;
            assert!([200, 400].contains(&reply.status), "{reply}");
        }
    }
    let request = admin.request("POST", "/jobs/chosen").header("content-type", "application/x-www-form-urlencoded");
    request.bytes("x".repeat((1 << 20) + 1)).await.expect(413);
}
