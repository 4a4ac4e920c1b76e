//! The client's large files: over connections that break and servers that are killed, every byte arrives, and none
//! twice without need.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use labrun::client::{Client, RESUMABLE_ABOVE_BYTES};
use labrun::domain::ids::{JobId, NodeId};

use crate::harness::smtp::ClosedPort;
use crate::harness::{Held, Lab, PASSWORD, Proxy, Server, USER, sha256};

/// Makes a file that differs everywhere; gives its SHA-256 in hex.
fn large_file(dir: &Path, name: &str, length: u64) -> (PathBuf, String) {
    let path = dir.join(name);
    let mut bytes = Vec::with_capacity(length as usize + 8);
    let mut number = length | 1;
    while (bytes.len() as u64) < length {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.truncate(length as usize);
    std::fs::write(&path, &bytes).expect("the file can be written");
    (path, sha256(&bytes))
}

/// Logs the lab's user in through a proxy.
async fn client(lab: &Lab, proxy: &Proxy) -> Client {
    let username = lab.username(USER).await;
    Client::login(&proxy.address(), &username, PASSWORD).await.expect("the user may come in")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_output_arrives_over_broken_connections_and_a_killed_server() {
    let lab = Lab::start();
    let held = lab.started().await;
    let proxy = Proxy::before(lab.port());
    let client = client(&lab, &proxy).await.for_node(NodeId(held.node));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let length = RESUMABLE_ABOVE_BYTES * 5 / 2 + 17;
    let (file, sha256) = large_file(dir.path(), "large.raw", length);
    proxy.cut(&[20 << 20, 1 << 20, 70 << 20]);
    let killed = AtomicUsize::new(0);
    let mut told = Vec::new();
    let progress = |done: u64, of: u64| {
        assert!(done <= of && of == length);
        told.push(done);
        // Once, in the middle, the server goes, and another comes.
        if done > length / 2 && killed.fetch_add(1, Ordering::SeqCst) == 0 {
            lab.server(Server::restart);
            proxy.redirect(lab.port());
        }
    };
    let output = client.upload_file(JobId(held.job), "large", "str", &file, progress).await.expect("it arrives");
    assert_eq!((output.sha256.as_str(), output.size), (sha256.as_str(), length as i64));
    assert!(proxy.cuts_made() >= 3 && killed.into_inner() > 0, "nothing was broken");
    assert_eq!(told.last(), Some(&length));
    // It is there as if it had come whole; a second time it need not be sent, nor as a blob.
    let again = AtomicUsize::new(0);
    let count = |done: u64, _: u64| {
        again.fetch_max(usize::from(done < length), Ordering::SeqCst);
    };
    let output_again = client.upload_file(JobId(held.job), "large", "str", &file, count).await.expect("it is there");
    assert_eq!((output_again.pk, again.into_inner()), (output.pk, 0));
    assert!(client.has_blob(&sha256).await.expect("an answer"));
    let back = dir.path().join("back.raw");
    let got = client.get_blob_file(&sha256, &back, |_, _| ()).await.expect("it comes back");
    assert_eq!(got, length);
    assert_eq!(std::fs::read(&back).expect("it was written"), std::fs::read(&file).expect("it is there"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_put_as_a_blob_goes_on_where_an_earlier_run_stopped_and_is_sent_once() {
    let lab = Lab::start();
    let proxy = Proxy::before(lab.port());
    let client = client(&lab, &proxy).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let length = RESUMABLE_ABOVE_BYTES + RESUMABLE_ABOVE_BYTES / 2;
    let (file, sha256) = large_file(dir.path(), "large.raw", length);
    // The first run is given up in its second piece, when the first one is acknowledged.
    let first = {
        let (client, file) = (client.clone(), file.clone());
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let tell = move |done, _| tell.send(done).expect("the test listens");
        let run = tokio::spawn(async move { client.put_blob_file(&file, tell).await });
        while told.recv().await.expect("it goes on") <= RESUMABLE_ABOVE_BYTES {}
        run.abort();
        run.await
    };
    assert!(first.is_err_and(|error| error.is_cancelled()));
    let mut least = u64::MAX;
    let blob = client.put_blob_file(&file, |done, _| least = least.min(done)).await.expect("it arrives");
    assert_eq!((blob.sha256.as_str(), blob.size), (sha256.as_str(), length));
    assert!(least >= RESUMABLE_ABOVE_BYTES, "it began anew");
    assert_eq!(client.uploads().await.expect("an answer").len(), 1);
    let small = client.put_blob("a small blob".into()).await.expect("it arrives");
    assert_eq!(client.get_blob(&small.sha256).await.expect("it is there"), "a small blob");
    assert!(!client.has_blob(&"0".repeat(64)).await.expect("an answer"));
    let refused = client.get_blob(&"0".repeat(64)).await.expect_err("it is not there");
    assert_eq!(refused.status(), Some(404));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_ends_an_upload_at_once() {
    let lab = Lab::start();
    let Held { job, node } = lab.finished().await;
    let client = client(&lab, &Proxy::before(lab.port())).await.for_node(NodeId(node));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (file, _) = large_file(dir.path(), "large.raw", RESUMABLE_ABOVE_BYTES + 1);
    let refused = client.upload_file(JobId(job), "late", "str", &file, |_, _| ()).await.expect_err("it is too late");
    assert_eq!((refused.status(), refused.code()), (Some(406), Some("wrong_phase")));
}

/// What the example worker in Python says of a password that is wrong, or that nobody gave.
#[tokio::test(flavor = "multi_thread")]
async fn the_worker_in_python_says_in_one_line_that_it_cannot_log_in() {
    let lab = Lab::start();
    let url = format!("http://127.0.0.1:{}", lab.port());
    for password in [Some("a-wrong-password"), None] {
        let Some(said) = last_words_of_the_worker_in_python(&url, password).await else { return };
        assert!(said.contains("LABRUN_PASSWORD"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_in_python_says_in_one_line_that_there_is_no_server() {
    let closed = ClosedPort::take();
    let url = format!("http://127.0.0.1:{}", closed.port());
    let Some(said) = last_words_of_the_worker_in_python(&url, Some(PASSWORD)).await else { return };
    assert!(said.contains(&url) && said.contains("LABRUN_URL"), "{said}");
}

/// Runs the example worker in Python, which is to fail and to say why in one line: that line, or `None`, with a line,
/// where there is no Python.
async fn last_words_of_the_worker_in_python(url: &str, password: Option<&str>) -> Option<String> {
    let mut command = std::process::Command::new("python3");
    command.args(["examples/worker.py", "--once"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env("LABRUN_URL", url).env("LABRUN_USER", "admin").env_remove("LABRUN_PASSWORD");
    command.envs(password.map(|password| ("LABRUN_PASSWORD", password)));
    let run = tokio::task::spawn_blocking(move || command.output());
    let Ok(output) = run.await.expect("no panic") else {
        println!("SKIPPED: no python3");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    Some(said)
}

/// The upload of the example worker in Python, in pieces of 1,000 bytes.
#[tokio::test(flavor = "multi_thread")]
async fn the_worker_in_python_uploads_in_pieces_too() {
    let lab = Lab::start();
    let held = lab.started().await;
    let proxy = Proxy::before(lab.port());
    proxy.cut(&[1_200, 1, 700]);
    let script = format!(
        r#"
source = open("examples/worker.py").read().split("\nme = ")[0]
exec(source)
session["Node-Id"] = "{}"
upload("/jobs/{}/outputs/{{}}/str".format("small"), b"small", 1000)
upload("/jobs/{}/outputs/{{}}/str".format("large"), bytes(range(256)) * 50, 1000)
"#,
        held.node, held.job, held.job
    );
    let mut command = std::process::Command::new("python3");
    command.args(["-c", &script]).current_dir(env!("CARGO_MANIFEST_DIR")).env("LABRUN_PASSWORD", PASSWORD);
    command.env("LABRUN_URL", proxy.address()).env("LABRUN_USER", lab.username(USER).await);
    let run = tokio::task::spawn_blocking(move || command.output());
    let Ok(output) = run.await.expect("no panic") else {
        println!("SKIPPED: no python3");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(proxy.cuts_made(), 3);
    let bytes = lab.get(&format!("/v1/jobs/{}/outputs/large/str", held.job)).await.expect(200).body;
    assert_eq!(bytes, (0..=255_u8).collect::<Vec<_>>().repeat(50));
    assert_eq!(lab.get("/v1/uploads").await.expect(200).json()[0]["received"], bytes.len());
}
