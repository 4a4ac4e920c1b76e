//! What breaks the rules of HTTP itself.

use crate::harness::{Lab, USER};

/// Sends one piece of bytes and gives the status; `None` when the server just closes.
fn status(lab: &Lab, bytes: &[u8]) -> Option<u16> {
    let mut raw = lab.raw();
    raw.send(bytes).end();
    raw.reply().map(|reply| reply.status)
}

async fn still_answers(lab: &Lab) {
    lab.get("/healthz").anonymous().await.expect(200);
}

#[tokio::test]
async fn garbage_on_the_socket_is_400_or_a_closed_connection() {
    let lab = Lab::shared().await;
    let long = [b"GET /".as_slice(), &[b'a'; 100_000]].concat();
    for bytes in [
        &b"garbage\r\n\r\n"[..],
        b"\0\0\0\0\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET / HTTP/1.1\r\n: empty\r\n\r\n",
        b"G\0T / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: \x01\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        &long,
    ] {
        let status = status(&lab, bytes);
        assert!(
            status.is_none_or(|status| (400..500).contains(&status)),
            "{status:?} for {:?}",
            &bytes[..bytes.len().min(60)]
        );
        still_answers(&lab).await;
    }
}

#[tokio::test]
async fn huge_and_many_headers_are_refused_cleanly() {
    let lab = Lab::shared().await;
    let head = lab.head("GET", "/v1/jobs/1", USER).await;
    let many = "X-A: b\r\n".repeat(5_000);
    let huge = format!("X-A: {}\r\n", "b".repeat(2 << 20));
    for extra in [many, huge] {
        let status = status(&lab, format!("{head}{extra}\r\n").as_bytes());
        assert!(matches!(status, None | Some(400 | 431)), "{status:?}");
        still_answers(&lab).await;
    }
    let lines = |count| format!("{head}{}\r\n", "X-A: b\r\n".repeat(count));
    assert_eq!(status(&lab, lines(101).as_bytes()), Some(431));
    assert!(matches!(status(&lab, lines(90).as_bytes()), Some(200 | 404)));
    // What is large but sensible is taken.
    lab.get("/healthz").anonymous().header("x-note", "b".repeat(8_000)).await.expect(200);
}

#[tokio::test]
async fn a_body_shorter_than_announced_leaves_nothing() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let path = format!("/v1/jobs/{}/outputs/half/t", held.job);
    let head = lab.head("POST", &path, USER).await;
    let head = format!("{head}Node-Id: {}\r\n", held.node);
    for framing in ["Content-Length: 100\r\n\r\nonly this", "Transfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n"] {
        let status = status(&lab, format!("{head}{framing}").as_bytes());
        assert!(matches!(status, None | Some(400)), "{status:?} for {framing:?}");
        lab.get(&path).await.expect(404);
    }
    let json = lab.head("POST", "/v1/jobs/list", USER).await;
    let status = status(&lab, format!("{json}Content-Length: 100\r\n\r\n{{}}").as_bytes());
    assert!(matches!(status, None | Some(400)), "{status:?}");
    assert_eq!(lab.read(held.job).await["outputs"], serde_json::json!([]));
}

#[tokio::test]
async fn a_body_longer_than_announced_is_cut_where_it_was_to_end() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let path = format!("/v1/jobs/{}/outputs/long/t", held.job);
    let head = lab.head("POST", &path, USER).await;
    let mut raw = lab.raw();
    raw.send(format!("{head}Node-Id: {}\r\nContent-Length: 4\r\n\r\nfour and more", held.node)).end();
    raw.reply().expect("an answer to the first part").expect(200);
    // The rest is no request.
    let second = raw.reply().map(|reply| reply.status);
    assert!(matches!(second, None | Some(400)), "{second:?}");
    let output = lab.get(&format!("{path}/info")).await.expect(200).json();
    assert_eq!(output["size"], 4);
}

#[tokio::test]
async fn chunks_that_are_none_leave_nothing() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let path = format!("/v1/jobs/{}/outputs/chunks/t", held.job);
    let head = lab.head("POST", &path, USER).await;
    for chunks in ["zz\r\nx\r\n0\r\n\r\n", "-1\r\nx\r\n", "ffffffffffffffffff\r\nx\r\n", "4\r\nfive!\r\n0\r\n\r\n"] {
        let text = format!("{head}Node-Id: {}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}", held.node);
        let status = status(&lab, text.as_bytes());
        assert!(matches!(status, None | Some(400)), "{status:?} for {chunks:?}");
        lab.get(&path).await.expect(404);
    }
    let both =
        format!("{head}Node-Id: {}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", held.node);
    let status = status(&lab, both.as_bytes());
    assert!(matches!(status, None | Some(200 | 400)), "{status:?}");
    still_answers(&lab).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let lab = Lab::shared().await;
    let mut raw = lab.raw();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    raw.send(format!("{}{}{}", get("/healthz"), get("/v1/jobs/1"), get("/nothing")));
    let statuses: Vec<u16> = (0..3).filter_map(|_| raw.reply()).map(|reply| reply.status).collect();
    assert_eq!(statuses, [200, 401, 404]);
}

#[tokio::test]
async fn a_refused_upload_is_told_why_although_its_body_still_comes() {
    let lab = Lab::shared().await;
    let held = lab.held().await;
    let body = vec![0; 4 << 20];
    lab.upload(held, "early", "t", body).await.refuses(406, "wrong_phase");
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_the_refusal_instead() {
    let lab = Lab::shared().await;
    let held = lab.held().await;
    let head = lab.head("POST", &format!("/v1/jobs/{}/outputs/a/t", held.job), USER).await;
    let mut raw = lab.raw();
    raw.send(format!("{head}Node-Id: {}\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n", held.node));
    raw.reply().expect("an answer").expect(406);
}

#[tokio::test]
async fn the_request_id_is_echoed_if_it_is_plain_and_made_anew_if_not() {
    let lab = Lab::shared().await;
    let reply = lab.get("/healthz").anonymous().header("x-request-id", "run-42").await;
    assert_eq!(reply.header("x-request-id"), Some("run-42"));
    for bad in ["a b", &"x".repeat(500), ""] {
        let reply = lab.get("/healthz").anonymous().header("x-request-id", bad).await;
        assert!(reply.header("x-request-id").is_some_and(|id| id != bad && !id.is_empty()), "{reply}");
    }
    let reply = lab.get("/healthz").anonymous().header("x-request-id", b"\xc3\xa4").await;
    assert!(reply.headers["x-request-id"].to_str().is_ok());
}

#[tokio::test]
async fn a_target_without_a_path_is_404_like_any_other_that_names_nothing() {
    let lab = Lab::start();
    for line in ["GET x", "CONNECT x:80", "GET mailto:x", "OPTIONS lab", "POST x:99", "GET *"] {
        let mut raw = lab.raw();
        raw.send(format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let reply = raw.reply().unwrap_or_else(|| panic!("no answer to {line}"));
        reply.check(false);
        reply.refuses(404, "no_such_path");
    }
    still_answers(&lab).await;
    let said = lab.server(|server| server.said());
    assert!(!said.contains("panicked"), "{said}");
}
