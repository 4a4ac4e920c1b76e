//! A server that can be operated: readiness, metrics, logs, limits, API tokens and the audit log.

use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::raw::Raw;
use crate::harness::{ADMIN, Lab, OTHER, PASSWORD, Setup, USER, deadline, until};

/// Gives the value of a line of metrics.
fn metric(page: &str, line: &str) -> Option<f64> {
    page.lines().find_map(|there| there.strip_prefix(line)?.trim().parse().ok())
}

#[tokio::test]
async fn metrics_count_what_was_called_and_are_for_this_machine_or_staff() {
    let lab = Lab::start();
    lab.job().await;
    lab.get("/v1/nothing").await.expect(404);
    let page = lab.get("/metrics").anonymous().await.expect(200).text();
    assert_eq!(
        metric(&page, "labrun_http_requests_total{route=\"job-templates.create_job\",status=\"200\"}"),
        Some(1.0)
    );
    assert_eq!(metric(&page, "labrun_http_requests_total{route=\"none\",status=\"404\"}"), Some(1.0));
    assert_eq!(metric(&page, "labrun_jobs{phase=\"created\"}"), Some(1.0));
    assert!(metric(&page, "labrun_queue_age_seconds").is_some_and(|age| age > 0.0));
    assert!(metric(&page, "labrun_writer_commit_seconds_count").is_some_and(|commits| commits > 2.0));
    assert!(metric(&page, "labrun_wal_bytes").is_some_and(|bytes| bytes > 0.0));
    // What comes through a proxy does not come from this machine.
    for name in ["X-Forwarded-For", "Forwarded"] {
        lab.get("/metrics").anonymous().header(name, "192.0.2.7").await.refuses(401, "not_authenticated");
        lab.get("/metrics").by(USER).header(name, "192.0.2.7").await.refuses(403, "permission_denied");
        lab.get("/metrics").by(ADMIN).header(name, "192.0.2.7").await.expect(200);
    }
}

#[tokio::test]
async fn a_server_without_headroom_is_alive_but_not_ready() {
    let full = Lab::start_with(Setup::default().with(&["--headroom-bytes", "1000000000000000"]));
    full.get("/healthz").anonymous().await.expect(200);
    let reply = full.get("/readyz").anonymous().await.refuses(503, "unavailable");
    assert!(reply.header("retry-after").is_some());
    Lab::shared().await.get("/readyz").anonymous().await.expect(200);
}

#[tokio::test]
async fn every_request_has_a_line_and_no_secret_is_in_any() {
    let lab = Lab::start_with(Setup::default().with(&["--log-format", "json"]));
    let job = lab.job().await;
    let token = lab.token(USER).await;
    lab.get(&format!("/v1/jobs/{job}?access_token=query-secret"))
        .header("X-Request-Id", "look-me-up")
        .await
        .expect(200);
    lab.get("/v1/events?access_token=query-secret").anonymous().await.expect(401);
    lab.obtain("admin", "a-wrong-password").await.expect(401);
    let line = until("the request's line", || {
        lab.server(|server| server.said()).lines().find(|line| line.contains("look-me-up")).map(str::to_owned)
    });
    let line: Value = serde_json::from_str(&line).expect("a line is JSON");
    assert_eq!((&line["route"], &line["status"]), (&json!("jobs.retrieve"), &json!(200)));
    assert_eq!(line["user"], json!(lab.user_pk(USER).await));
    assert!(line["us"].as_u64().is_some_and(|us| us > 0), "{line}");
    lab.server(|server| server.stop());
    let said = lab.server(|server| server.said());
    for secret in ["query-secret", "a-wrong-password", PASSWORD, token.as_str()] {
        assert!(!said.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn lines_say_when_each_request_ended_and_a_server_that_stops_leaves_none_out() {
    let lab = Lab::start_with(Setup::default().with(&["--log-format", "json"]));
    let mut calls = Vec::new();
    for number in 0..50 {
        let (id, asked) = (format!("call-{number}"), jiff::Timestamp::now());
        lab.get("/healthz").anonymous().header("X-Request-Id", &id).await.expect(200);
        calls.push((id, asked, jiff::Timestamp::now()));
    }
    lab.server(|server| server.stop());
    let said = lab.server(|server| server.said());
    let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for (id, asked, answered) in calls {
        let line = lines.iter().find(|line| line["id"] == json!(id)).unwrap_or_else(|| panic!("{id} has no line"));
        let ended: jiff::Timestamp = line["timestamp"].as_str().and_then(|time| time.parse().ok()).expect("a time");
        // A line has whole microseconds.
        assert!(asked.as_microsecond() <= ended.as_microsecond() && ended <= answered, "{asked} {line} {answered}");
    }
}

#[test]
fn a_client_that_dawdles_over_a_head_is_cut_and_one_that_rests_is_not() {
    let setup = Setup::default().with(&["--head-time-max-ms", "400", "--idle-time-max-ms", "20000"]);
    let lab = Lab::start_with(setup);
    let began = Instant::now();
    let mut loris = Raw::connect(lab.port());
    loris.send("GET /healthz HTTP/1.1\r\nHost: lab\r\nX-");
    let mut silent = Raw::connect(lab.port());
    let mut resting = Raw::connect(lab.port());
    resting.send("GET /healthz HTTP/1.1\r\nHost: lab\r\n\r\n");
    assert_eq!(resting.reply().expect("a reply").status, 200);
    assert!(loris.is_closed() && silent.is_closed());
    assert!(began.elapsed().as_millis() >= 400, "they had their time");
    // By now the resting one has waited for longer than a head may take.
    resting.send("GET /healthz HTTP/1.1\r\nHost: lab\r\n\r\n");
    assert_eq!(resting.reply().expect("a reply").status, 200);
    // Its next head has to be quick like any other.
    resting.send("GET /healthz HT");
    assert!(resting.is_closed());
}

#[test]
fn a_connection_at_rest_for_too_long_is_closed_and_a_silent_body_is_given_up() {
    let setup = Setup::default().with(&["--idle-time-max-ms", "300", "--silence-max-ms", "300"]);
    let lab = Lab::start_with(setup);
    let mut resting = Raw::connect(lab.port());
    resting.send("GET /healthz HTTP/1.1\r\nHost: lab\r\n\r\n");
    assert_eq!(resting.reply().expect("a reply").status, 200);
    assert!(resting.is_closed());
    let mut silent = Raw::connect(lab.port());
    silent.send("POST /v1/auth/obtain HTTP/1.1\r\nHost: lab\r\nContent-Length: 50\r\n\r\n{\"user");
    silent.reply().expect("a reply").refuses(400, "incomplete_body");
}

#[test]
fn connections_beyond_the_limit_are_told_to_come_back() {
    let lab = Lab::start_with(Setup::default().with(&["--connections-max", "1"]));
    let mut first = Raw::connect(lab.port());
    first.send("GET /healthz HTTP/1.1\r\nHost: lab\r\n\r\n");
    assert_eq!(first.reply().expect("a reply").status, 200);
    let mut second = Raw::connect(lab.port());
    second.send("GET /healthz HTTP/1.1\r\nHost: lab\r\n\r\n");
    let reply = second.reply().expect("a reply").refuses(503, "unavailable");
    reply.check(false);
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert!(second.is_closed());
    // The first is not disturbed, and when it leaves there is room.
    first.send("GET /healthz HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n");
    assert_eq!(first.reply().expect("a reply").status, 200);
    assert!(first.is_closed());
    until("room for another", || {
        let mut third = Raw::connect(lab.port());
        third.send("GET /healthz HTTP/1.1\r\nHost: lab\r\n\r\n");
        third.reply().filter(|reply| reply.status == 200)
    });
}

#[tokio::test]
async fn tokens_do_what_their_user_may_until_they_are_revoked() {
    let lab = Lab::start();
    let made = lab.post("/v1/auth/tokens").json(json!({"name": "script"})).await.expect(201).json();
    let token = made["token"].as_str().expect("a token").to_owned();
    assert!(token.starts_with("labrun_") && token.len() == 7 + 64);
    let call = |method: &'static str, path: &str| {
        lab.request(method, path).anonymous().header("Authorization", format!("Bearer {token}"))
    };
    call("POST", "/v1/jobs/list").await.expect(200);
    call("POST", "/v1/users/list").await.refuses(403, "permission_denied");
    // A token can't make another.
    call("POST", "/v1/auth/tokens").json(json!({"name": "more"})).await.refuses(403, "permission_denied");
    let listed = lab.get("/v1/auth/tokens").await.expect(200).json();
    assert_eq!((listed[0]["name"].as_str(), listed[0].get("token")), (Some("script"), None));
    lab.get("/v1/auth/tokens?user=all").await.refuses(403, "permission_denied");
    assert_eq!(lab.get("/v1/auth/tokens").by(OTHER).await.expect(200).json(), json!([]));
    let dump = std::fs::read(lab.server(|server| server.dir().join("labrun.db-wal"))).expect("there is a log");
    assert!(!dump.windows(token.len()).any(|bytes| bytes == token.as_bytes()), "the token is kept in clear");
    let path = format!("/v1/auth/tokens/{}", made["pk"]);
    lab.delete(&path).by(OTHER).await.refuses(403, "permission_denied");
    let revoked = lab.delete(&path).await.expect(200).json();
    assert!(revoked["revoked_time"].is_string());
    assert_eq!(lab.delete(&path).await.expect(200).json(), revoked, "once more changes nothing");
    call("POST", "/v1/jobs/list").await.refuses(401, "not_authenticated");
}

#[tokio::test]
async fn tokens_can_be_for_one_node_and_for_reading_only() {
    let lab = Lab::start();
    let (node, another, others) = (lab.node(USER).await, lab.node(USER).await, lab.node(OTHER).await);
    lab.post("/v1/auth/tokens").json(json!({"name": "x", "node": others})).await.blames("node");
    lab.post("/v1/auth/tokens").json(json!({"name": "x", "expires_in_s": 0})).await.blames("expires_in_s");
    let admin = lab.user_pk(ADMIN).await;
    lab.post("/v1/auth/tokens").json(json!({"name": "x", "user": admin})).await.refuses(403, "permission_denied");
    let make = |body: Value, role: &'static str| {
        let lab = lab.clone();
        async move {
            let made = lab.post("/v1/auth/tokens").by(role).json(body).await.expect(201).json();
            format!("Bearer {}", made["token"].as_str().expect("a token"))
        }
    };
    let bound = make(json!({"name": "microscope", "node": node}), USER).await;
    let job = lab.job().await;
    let acquire = format!("/v1/jobs/{job}/acquire");
    lab.post(&acquire)
        .anonymous()
        .header("Authorization", &bound)
        .node(another)
        .await
        .refuses(403, "permission_denied");
    let acquired = lab.post(&acquire).anonymous().header("Authorization", &bound).await.expect(200).json();
    assert_eq!(acquired["node"], json!(node));
    let reading = make(json!({"name": "report", "read_only": true}), ADMIN).await;
    lab.post("/v1/users/list").anonymous().header("Authorization", &reading).await.expect(200);
    lab.get(&format!("/v1/jobs/{job}")).anonymous().header("Authorization", &reading).await.expect(200);
    for path in [format!("/v1/jobs/{job}/cancel"), "/v1/users/create".to_owned()] {
        lab.post(&path)
            .anonymous()
            .header("Authorization", &reading)
            .json(json!({}))
            .await
            .refuses(403, "permission_denied");
    }
    let of_staff = make(json!({"name": "scope", "node": node}), ADMIN).await;
    lab.post("/v1/users/list").anonymous().header("Authorization", &of_staff).await.refuses(403, "permission_denied");
}

#[test]
fn a_server_whose_output_nobody_reads_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Setup::default().command(dir.path());
    let mut server = command.stderr(std::process::Stdio::null()).spawn().expect("the server starts");
    drop(server.stdout.take());
    let port = until("the server's address", || {
        let written: Value = serde_json::from_slice(&std::fs::read(dir.path().join("server.json")).ok()?).ok()?;
        written["url"].as_str()?.rsplit(':').next()?.parse::<u16>().ok()
    });
    let mut raw = Raw::connect(port);
    let answer = raw.send("GET /healthz HTTP/1.1\r\nHost: lab\r\n\r\n").reply();
    let pid = server.id().to_string();
    std::process::Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill runs");
    let ended = server.wait().expect("it ends");
    assert_eq!((answer.map(|answer| answer.status), ended.code()), (Some(200), Some(0)));
}

#[tokio::test]
async fn what_staff_do_is_kept_also_when_they_hang_up_meanwhile() {
    let lab = Lab::start();
    let jobs = [lab.job().await, lab.job().await];
    let head = |job: i64| format!("/v1/jobs/{job}/cancel");
    let heads = [lab.head("DELETE", &head(jobs[0]), ADMIN).await, lab.head("DELETE", &head(jobs[1]), ADMIN).await];
    let mut asking = lab.raw();
    let mut gauge = |name: &str| {
        asking.send("GET /metrics HTTP/1.1\r\nHost: lab\r\n\r\n");
        metric(&asking.reply().expect("an answer").text(), name).expect("a value")
    };
    let connections = gauge("labrun_connections");
    // With the database held, the first waits in its transaction and the second in the queue behind it.
    let held =
        rusqlite::Connection::open(lab.server(|server| server.dir().join("labrun.db"))).expect("the database opens");
    held.execute_batch("BEGIN IMMEDIATE").expect("it can be held");
    let calling = heads.map(|head| {
        let mut raw = lab.raw();
        raw.send(format!("{head}\r\n"));
        raw
    });
    until("a call to wait", || (gauge("labrun_writer_queue_length") >= 1.0).then_some(()));
    drop(calling);
    until("a call to be hung up on", || (gauge("labrun_connections") < connections + 2.0).then_some(()));
    held.execute_batch("ROLLBACK").expect("it can be let go");
    let (mut cancelled, end) = (Vec::new(), deadline());
    while cancelled.len() < 2 {
        let entries = lab.get("/v1/audit?action=jobs.cancel").by(ADMIN).await.expect(200).json();
        cancelled = entries.as_array().expect("a list").iter().map(|entry| entry["target"].clone()).collect();
        let phases = [lab.read(jobs[0]).await["phase"].clone(), lab.read(jobs[1]).await["phase"].clone()];
        let done = phases.iter().filter(|phase| **phase == "cancelled").count();
        assert!(Instant::now() < end, "{done} were cancelled, {cancelled:?} kept");
    }
    cancelled.sort_by_key(Value::to_string);
    assert_eq!(cancelled, jobs.map(|job| json!(format!("DELETE {}", head(job)))));
}

#[tokio::test]
async fn what_staff_do_and_who_logs_in_is_kept() {
    let lab = Lab::start();
    lab.obtain("nobody", "a-wrong-password").await.expect(401);
    let job = lab.job().await;
    lab.staff(job, "cancel").await.expect(200);
    lab.staff(job, "cancel").by(USER).await.expect(403);
    let entries = lab.get("/v1/audit").by(ADMIN).await.expect(200).json();
    let kept: Vec<_> = entries.as_array().expect("a list").iter().collect();
    let find = |action: &str, status: u16| {
        kept.iter().find(|entry| entry["action"] == action && entry["status"] == status).copied()
    };
    let failed = find("auth.obtain", 401).expect("the failed login is there");
    assert_eq!(
        (&failed["username"], &failed["user"], &failed["address"]),
        (&json!("nobody"), &json!(null), &json!("127.0.0.1"))
    );
    assert!(find("auth.obtain", 200).is_some() && find("job-templates.import", 200).is_some());
    let cancelled = find("jobs.cancel", 200).expect("the cancel is there");
    assert_eq!(
        (&cancelled["username"], &cancelled["target"]),
        (&json!("admin"), &json!(format!("DELETE /v1/jobs/{job}/cancel")))
    );
    assert!(find("jobs.cancel", 403).is_some_and(|entry| entry["username"] != "admin"));
    assert!(kept.iter().zip(1..).all(|(entry, pk)| entry["pk"] == json!(pk)), "no gaps");
    let one = lab.get("/v1/audit?action=jobs.cancel&limit=1").by(ADMIN).await.expect(200).json();
    assert_eq!(one.as_array().map(Vec::len), Some(1));
    lab.get("/v1/audit?limit=0").by(ADMIN).await.blames("limit");
}
