//! Plays a server with answers written down beforehand, to see what the client makes of them.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::domain::ids::{JobId, UserId};

const USER: &str = r#"{"pk":1,"username":"ada","first_name":"","last_name":"","email":"","is_active":true,"is_staff":true,
    "is_superuser":false,"date_joined":"2026-01-02T03:04:05.000006Z","last_login":null}"#;
const SHA256_OF_HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const DIGEST_OF_HELLO: &str = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";

/// A request as it came: its first line and headers, then its body.
type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Answers a connection each with the next of `answers`, and notes the requests.
async fn scripted(answers: Vec<String>) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let request = read_request(&mut stream).await;
            noted.lock().unwrap().push(request);
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (address, seen)
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> (String, Vec<u8>) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).await.unwrap(), 0, "the request stopped after {head:?}");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    (head, body)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

fn login(access: &str) -> String {
    answer("200 OK", "", &format!(r#"{{"access":"{access}","refresh":"r"}}"#))
}

fn refused(status: &str, code: &str) -> String {
    answer(status, "", &format!(r#"{{"detail":"No.","code":"{code}"}}"#))
}

fn lines(seen: &Seen) -> Vec<String> {
    seen.lock().unwrap().iter().filter_map(|(head, _)| head.lines().next().map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_token_that_is_turned_down_is_refreshed_and_the_call_made_again() {
    let fresh = answer("200 OK", "", r#"{"access":"second"}"#);
    let script = vec![login("first"), refused("401 Unauthorized", "x"), fresh, answer("200 OK", "", USER)];
    let (address, seen) = scripted(script).await;
    let client = Client::login(&address, "ada", "secret").await.unwrap();
    assert_eq!(client.user(UserId(1)).await.unwrap().username, "ada");
    let calls = [
        "POST /v1/auth/obtain HTTP/1.1",
        "GET /v1/users/1 HTTP/1.1",
        "POST /v1/auth/refresh HTTP/1.1",
        "GET /v1/users/1 HTTP/1.1",
    ];
    assert_eq!(lines(&seen), calls);
    assert!(seen.lock().unwrap()[3].0.contains("authorization: Bearer second\r\n"));
}

#[tokio::test]
async fn a_token_at_its_end_is_renewed_before_the_call_and_by_password_if_need_be() {
    // The claims {"iat":5,"exp":5}: a life of no time at all.
    let script =
        vec![login("h.eyJpYXQiOjUsImV4cCI6NX0.s"), refused("401 x", "x"), login("next"), answer("200 OK", "", USER)];
    let (address, seen) = scripted(script).await;
    let client = Client::login(&address, "ada", "secret").await.unwrap();
    client.user(UserId(1)).await.unwrap();
    assert_eq!(lines(&seen)[1..3], ["POST /v1/auth/refresh HTTP/1.1", "POST /v1/auth/obtain HTTP/1.1"]);
    assert!(seen.lock().unwrap()[3].0.contains("authorization: Bearer next\r\n"));
}

#[tokio::test]
async fn a_refusal_tells_status_code_and_sentence() {
    let (address, _) = scripted(vec![login("a"), refused("406 Not Acceptable", "job_held")]).await;
    let client = Client::login(&address, "ada", "secret").await.unwrap().for_node(NodeId(4));
    let error = client.acquire(JobId(7)).await.unwrap_err();
    assert_eq!((error.status(), error.code()), (Some(406), Some("job_held")));
    assert_eq!(error.to_string(), "No. (406 job_held)");
}

#[tokio::test]
async fn an_answer_of_another_program_is_not_taken_for_one_of_ours() {
    let (address, _) = scripted(vec![answer("404 Not Found", "", "<html>nginx</html>")]).await;
    let error = Client::login(&address, "ada", "secret").await.unwrap_err();
    assert_eq!(error.to_string(), "the server answered something else: 404 Not Found <html>nginx</html>");
}

#[tokio::test]
async fn the_node_and_the_digest_go_with_an_upload_and_the_name_keeps_its_slash() {
    let (address, seen) = scripted(vec![login("a"), refused("406 x", "x")]).await;
    let client = Client::login(&address, "ada", "secret").await.unwrap().for_node(NodeId(4));
    client.upload(JobId(7), "a/b ü", "Array<int>", "hello".into()).await.unwrap_err();
    let (head, body) = seen.lock().unwrap()[1].clone();
    assert!(head.starts_with("POST /v1/jobs/7/outputs/a%2Fb%20%C3%BC/Array%3Cint%3E HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("node-id: 4\r\n") && head.contains(&format!("content-digest: {DIGEST_OF_HELLO}\r\n")),
        "{head}"
    );
    assert_eq!(body, b"hello");
}

#[tokio::test]
async fn a_name_that_a_url_would_swallow_is_refused_here() {
    let (address, seen) = scripted(vec![login("a")]).await;
    let client = Client::login(&address, "ada", "secret").await.unwrap();
    assert!(matches!(client.download(JobId(7), "..", "str").await, Err(ClientError::Url(_))));
    assert_eq!(lines(&seen).len(), 1);
}

#[tokio::test]
async fn a_file_goes_up_whole_and_is_checked_against_the_servers_digest() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace.bin");
    let bytes: Vec<u8> = (0..600_000_u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(&file, &bytes).unwrap();
    let stored = |sha256: &str| {
        let body = format!(
            r#"{{"pk":1,"job":7,"name":"n","type":"t","creator":1,"creation_time":"2026-01-02T03:04:05.000006Z",
                "deletion_time":null,"size":600000,"sha256":"{sha256}"}}"#
        );
        answer("200 OK", "", &body)
    };
    let digest = call::hex(&<sha2::Sha256 as sha2::Digest>::digest(&bytes));
    let (address, seen) = scripted(vec![login("a"), stored(&digest), stored(SHA256_OF_HELLO)]).await;
    let client = Client::login(&address, "ada", "secret").await.unwrap();
    assert_eq!(client.upload_file(JobId(7), "n", "t", &file, |_, _| ()).await.unwrap().sha256, digest);
    assert_eq!(seen.lock().unwrap()[1].1, bytes);
    let error = client.upload_file(JobId(7), "n", "t", &file, |_, _| ()).await.unwrap_err();
    assert!(matches!(&error, ClientError::Damaged { actual, .. } if actual == SHA256_OF_HELLO), "{error}");
}

#[tokio::test]
async fn a_download_is_kept_only_when_its_digest_is_right() {
    let good = answer("200 OK", &format!("Content-Digest: md5=:xx:, {DIGEST_OF_HELLO}\r\n"), "hello");
    let by_etag = answer("200 OK", &format!("ETag: \"{SHA256_OF_HELLO}\"\r\n"), "hello");
    let damaged = answer("200 OK", &format!("Content-Digest: {DIGEST_OF_HELLO}\r\n"), "hellO");
    let bare = answer("200 OK", "", "hello");
    let cut = damaged.replace("Content-Length: 5", "Content-Length: 9");
    let (address, _) = scripted(vec![login("a"), good, by_etag, damaged, bare, cut]).await;
    let client = Client::login(&address, "ada", "secret").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("out");
    let job = JobId(7);

    assert_eq!(client.download_file(job, "n", "t", &file, |_, _| ()).await.unwrap(), 5);
    assert_eq!(std::fs::read(&file).unwrap(), b"hello");
    assert_eq!(client.download(job, "n", "t").await.unwrap(), "hello");
    std::fs::write(&file, "old").unwrap();
    assert!(matches!(client.download_file(job, "n", "t", &file, |_, _| ()).await, Err(ClientError::Damaged { .. })));
    assert!(matches!(client.download_file(job, "n", "t", &file, |_, _| ()).await, Err(ClientError::Unexpected(_))));
    assert!(matches!(client.download_file(job, "n", "t", &file, |_, _| ()).await, Err(ClientError::Transport(_))));
    assert_eq!(std::fs::read(&file).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "a partial file was left");
}
