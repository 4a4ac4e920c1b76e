//! A browser's own WebSocket, with the token in the query, since a script can send no header.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::{Value, json};

use super::transitions;
use crate::harness::{Lab, USER};

/// Where Debian's package puts it.
const BROWSER: &str = "/usr/bin/chromium";
/// How long the browser may take to start, and then for each report.
const REPORT_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(60);

/// What the page does: it reports its first message at once, and at the close all of them with the code.
const PAGE: &str = r#"<!doctype html><title>watching</title><script>
const messages = [];
const report = (body) => fetch("/", {method: "POST", body: JSON.stringify(body)});
const socket = new WebSocket("SOCKET");
socket.onmessage = (event) => {
    messages.push(JSON.parse(event.data));
    if (messages.length === 1) report({first: messages[0]});
};
socket.onclose = (event) => report({messages, code: event.code, clean: event.wasClean});
</script>"#;

/// A browser that is not left behind.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_hears_every_transition() {
    if !std::path::Path::new(BROWSER).exists() {
        println!("skipped: there is no {BROWSER}");
        return;
    }
    let lab = Lab::start();
    let held = lab.held().await;
    let token = lab.token(USER).await;
    let socket = format!("ws://127.0.0.1:{}/v1/jobs/{}?access_token={token}", lab.port(), held.job);
    let (address, reports) = serve(PAGE.replace("SOCKET", &socket));
    let profile = tempfile::tempdir().expect("a directory");
    let browser = Command::new(BROWSER)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        // It stays as long as it is asked to listen.
        .args(["--remote-debugging-port=0", &address])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _browser = Browser(browser.expect("the browser starts"));
    let first = reports.recv_timeout(REPORT_TIME_MAX).expect("the page hears the state");
    assert_eq!(first["first"]["transition"], "acquire", "{first}");
    lab.act(held, "start").await.expect(200);
    let path = format!("/v1/jobs/{}/progress/0.5", held.job);
    lab.post(&path).node(held.node).json(json!({"größe": "µm"})).await.expect(200);
    lab.act(held, "finish").await.expect(200);
    let last = reports.recv_timeout(REPORT_TIME_MAX).expect("the page hears the close");
    assert_eq!((&last["code"], &last["clean"]), (&json!(1000), &json!(true)), "{last}");
    let messages = last["messages"].as_array().expect("messages");
    assert_eq!(transitions(messages), ["acquire", "start", "progress", "finish"]);
    assert_eq!(messages[2]["transition_data"], json!({"größe": "µm"}));
}

/// Serves one page, and hands on what it posts.
fn serve(page: String) -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}/", listener.local_addr().expect("an address"));
    let (tell, reports) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A browser opens connections ahead and may leave one idle: each has a thread of its own.
            let (page, tell) = (page.clone(), tell.clone());
            std::thread::spawn(move || answer(stream.ok()?, &page, &tell));
        }
    });
    (address, reports)
}

/// Answers one request and closes.
fn answer(stream: TcpStream, page: &str, tell: &Sender<Value>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if first.starts_with("POST") {
        tell.send(serde_json::from_slice(&body).ok()?).ok()?;
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n";
    let reply = format!("{head}Content-Length: {}\r\n\r\n{page}", page.len());
    reader.get_mut().write_all(reply.as_bytes()).ok()
}
