//! What a socket tells, and to whom.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{memory_bytes, progress, transitions};
use crate::harness::{ADMIN, Lab, OTHER, Said, Setup, Socket};

#[tokio::test]
async fn the_present_state_comes_first() {
    let lab = Lab::shared().await;
    let free = lab.job().await;
    let errored_and_free = lab.errored().await;
    lab.act(errored_and_free, "release").await.expect(200);
    let aborted = lab.started().await;
    lab.staff(aborted.job, "abort").await.expect(200);
    let half_way = lab.started().await;
    progress(&lab, half_way, 1, 2).await;
    let cases = [
        (free, "create", false),
        (lab.held().await.job, "acquire", false),
        (lab.started().await.job, "progress", false),
        (half_way.job, "progress", false),
        (lab.errored().await.job, "error", false),
        (errored_and_free.job, "error", false),
        (aborted.job, "create", false),
        (lab.finished().await.job, "finish", true),
        (lab.cancelled().await.job, "cancel", true),
    ];
    for (job, transition, is_last) in cases {
        let mut socket = Socket::watch(&lab, job).await;
        let event = socket.event().await;
        assert_eq!((&event["transition"], &event["pk"]), (&json!(transition), &json!(job)));
        assert_eq!(event["cancelled"], json!(transition == "cancel"));
        assert_eq!(event["progress"], lab.read(job).await["progress_amount"]);
        if is_last {
            assert_eq!(socket.next().await, Said::Closed(Some(1000)), "{transition}");
        } else {
            // It stays open: the job's end is told.
            lab.staff(job, "cancel").await.expect(200);
            let (rest, end) = socket.rest().await;
            assert_eq!((transitions(&rest), end), (vec!["cancel"], Said::Closed(Some(1000))), "{transition}");
        }
    }
}

#[tokio::test]
async fn every_watcher_hears_every_transition_in_order() {
    let lab = Lab::shared().await;
    let held = lab.held().await;
    let mut sockets = Vec::new();
    for _ in 0..5 {
        let mut socket = Socket::watch(&lab, held.job).await;
        assert_eq!(socket.event().await["transition"], "acquire");
        sockets.push(socket);
    }
    // One leaves without a word, one with.
    drop(sockets.pop());
    let mut leaving = sockets.pop().expect("a socket");
    leaving.say(Message::Close(None)).await;
    assert!(matches!(leaving.next().await, Said::Closed(_)));
    lab.act(held, "start").await.expect(200);
    progress(&lab, held, 1, 4).await;
    lab.fail(held).await.expect(200);
    lab.act(held, "reset").await.expect(200);
    lab.act(held, "release").await.expect(200);
    lab.act(held, "acquire").await.expect(200);
    lab.act(held, "start").await.expect(200);
    lab.act(held, "finish").await.expect(200);
    let expected = ["start", "progress", "error", "reset", "release", "acquire", "start", "finish"];
    for mut socket in sockets {
        let (events, end) = socket.rest().await;
        assert_eq!(transitions(&events), expected);
        assert_eq!(end, Said::Closed(Some(1000)));
        assert_eq!(
            events[1],
            json!({"transition": "progress", "description": "", "pk": held.job, "progress": 0.25, "cancelled": false,
                   "node": held.node, "transition_data": {"number": 1}})
        );
        assert_eq!(events[2]["error"], "the lamp is dark");
        assert!(events[4].get("node").is_none_or(|node| node.is_null()), "{}", events[4]);
    }
}

#[tokio::test]
async fn a_watcher_may_speak_and_is_not_listened_to() {
    let lab = Lab::shared().await;
    let held = lab.held().await;
    let mut socket = Socket::watch(&lab, held.job).await;
    socket.event().await;
    socket.say(Message::text(r#"{"cancel": true}"#)).await;
    socket.say(Message::binary(vec![0; 60_000])).await;
    socket.say(Message::Ping("are you there".into())).await;
    assert_eq!(socket.next().await, Said::Pong(b"are you there".to_vec()));
    lab.act(held, "start").await.expect(200);
    assert_eq!(socket.event().await["transition"], "start");
    socket.say(Message::Close(None)).await;
    assert!(matches!(socket.next().await, Said::Closed(_)));
    assert_eq!(socket.next().await, Said::Dropped, "the connection ends after the close");
}

#[tokio::test]
async fn a_watcher_is_let_in_with_a_token_alone() {
    let lab = Lab::shared().await;
    let job = lab.job().await;
    let path = format!("/v1/jobs/{job}");
    let token = lab.token(OTHER).await;
    let reply = lab.obtain(&lab.username(OTHER).await, crate::harness::PASSWORD).await.expect(200);
    let refresh = reply.json()["refresh"].as_str().expect("a token").to_owned();
    let refused = [
        (path.clone(), None, 401),
        (format!("{path}?access_token="), None, 401),
        (format!("{path}?access_token=garbage"), None, 401),
        (format!("{path}?access_token={refresh}"), None, 401),
        // A bad header is not mended by a good query.
        (format!("{path}?access_token={token}"), Some("Bearer garbage".to_owned()), 401),
        ("/v1/jobs/987654321".to_owned(), None, 401),
        (format!("/v1/jobs/987654321?access_token={token}"), None, 404),
        ("/v1/jobs/abc".to_owned(), None, 404),
        ("/v1/jobs/abc/def".to_owned(), None, 404),
    ];
    for (path, header, status) in refused {
        let headers: Vec<_> = header.as_deref().map(|value| ("authorization", value)).into_iter().collect();
        let answer = Socket::open(lab.port(), &path, &headers).await.expect_err("no upgrade");
        assert_eq!(answer.status().as_u16(), status, "{path}");
        assert_eq!(answer.headers().contains_key("www-authenticate"), status == 401, "{path}");
    }
    let with_id = [("x-request-id", "watch-7")];
    for path in [format!("{path}?access_token={token}"), format!("{path}/?access_token={token}")] {
        let mut socket = Socket::open(lab.port(), &path, &with_id).await.expect("an upgrade");
        assert_eq!(socket.headers["x-request-id"], "watch-7");
        assert_eq!(socket.event().await["pk"], json!(job));
    }
    // The token in the query opens nothing else.
    lab.get(&format!("{path}?access_token={token}")).anonymous().await.expect(401);
    let admin = lab.token(ADMIN).await;
    lab.delete(&format!("{path}/cancel?access_token={admin}")).anonymous().await.expect(401);
    lab.post(&format!("/v1/jobs/list?access_token={token}")).anonymous().await.expect(401);
}

#[tokio::test]
async fn only_a_good_handshake_on_the_right_path_upgrades() {
    let lab = Lab::shared().await;
    let job = lab.job().await;
    let good = [
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let ask = async |method: &str, path: &str, lines: &[(&str, &str)]| {
        let mut head = lab.head(method, path, crate::harness::USER).await;
        for (name, value) in lines {
            head += &format!("{name}: {value}\r\n");
        }
        let mut raw = lab.raw();
        raw.send(head + "\r\n");
        raw.reply().expect("an answer")
    };
    let path = format!("/v1/jobs/{job}");
    for (index, value) in [(2, "8"), (2, ""), (3, "short"), (3, "")] {
        let mut lines = good;
        lines[index].1 = value;
        let reply = ask("GET", &path, &lines).await;
        assert_eq!((reply.status, reply.header("sec-websocket-version")), (400, Some("13")), "{lines:?}");
    }
    for (method, path) in [("GET", "/v1/nodes/ping"), ("GET", "/healthz"), ("DELETE", &path)] {
        assert_ne!(ask(method, path, &good).await.status, 101, "{method} {path}");
    }
    // Another protocol is nothing that we know: the answer is the usual one.
    let mut lines = good;
    lines[1].1 = "h2c";
    assert_eq!(ask("GET", &path, &lines).await.status, 200);
    let ignored = ask("GET", &path, &good[1..2]).await;
    assert_ne!(ignored.status, 101, "an upgrade that the connection does not name");
}

#[tokio::test]
async fn watchers_without_a_name_are_let_in_where_the_operator_says_so() {
    let lab = Lab::start_with(Setup::default().with(&["--anonymous-watchers"]));
    let template = lab.template().await;
    let path = format!("/v1/job-templates/{template}/create-job");
    let silent = json!({"input_values": {}, "notification_override": {"actions": {}}});
    let silent = lab.post(&path).json(silent).await.expect(200).pk();
    let on_start = json!({"input_values": {}, "notification_override": {"actions": {"on_start": [{}]}}});
    let told = lab.post(&path).json(on_start).await.expect(200).pk();
    let watch = async |job: i64| Socket::open(lab.port(), &format!("/v1/jobs/{job}"), &[]).await;
    assert_eq!(watch(silent).await.expect("an upgrade").next().await, Said::Closed(Some(1000)));
    assert_eq!(watch(told).await.expect("an upgrade").event().await["transition"], "create");
    assert_eq!(watch(987_654_321).await.expect_err("no upgrade").status().as_u16(), 404);
    // They are let in to watch, and to nothing else.
    lab.get(&format!("/v1/jobs/{told}")).anonymous().await.expect(401);
    lab.get(&format!("/v1/jobs/{told}/events")).anonymous().await.expect(401);
}

#[tokio::test]
async fn a_stop_says_goodbye_and_a_hard_delete_ends_the_watch() {
    let lab = Lab::start();
    let (gone, kept) = (lab.job().await, lab.job().await);
    let (mut of_gone, mut of_kept) = (Socket::watch(&lab, gone).await, Socket::watch(&lab, kept).await);
    of_gone.event().await;
    of_kept.event().await;
    lab.staff(gone, "hard").await.expect(200);
    assert_eq!(of_gone.next().await, Said::Closed(Some(1000)));
    lab.server(|server| server.signal("TERM"));
    assert_eq!(of_kept.next().await, Said::Closed(Some(1001)));
    assert!(lab.server(|server| server.wait()).success());
}

#[tokio::test]
async fn a_quiet_watcher_costs_little() {
    const WATCHERS: u64 = 500;
    let lab = Lab::start();
    let job = lab.job().await;
    let pid = lab.server(|server| server.pid());
    drop(Socket::watch(&lab, job).await);
    let before = memory_bytes(pid);
    let mut sockets = Vec::new();
    for _ in 0..WATCHERS {
        let mut socket = Socket::watch(&lab, job).await;
        socket.event().await;
        sockets.push(socket);
    }
    let each = memory_bytes(pid).saturating_sub(before) / WATCHERS;
    assert!(each < 48 << 10, "a watcher costs {each} bytes");
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads").count();
    assert!(threads < 100, "{threads} threads");
}
