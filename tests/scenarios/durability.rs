//! Starts, stops and crashes: what was answered with yes is there afterwards, and what was not has left nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::dump::{files, open};
use crate::harness::{ADMIN, Held, Lab, Server, Setup, USER, until};

/// How long a stop may take (issue: "drain and stop within 10 s").
const STOP_MAX: Duration = Duration::from_secs(10);

/// Runs a server that is expected to end by itself.
fn fails_to_start(setup: &Setup, dir: &Path) -> Output {
    let output = setup.command(dir).output().expect("the server's binary can be started");
    assert!(!output.status.success(), "it started: {output:?}");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn sigterm_and_ctrl_c_stop_a_server_that_idle_clients_are_connected_to() {
    for signal in ["TERM", "INT"] {
        let lab = Lab::start();
        // The client keeps its connection; another has sent nothing yet, a third half a head.
        lab.get("/healthz").anonymous().await.expect(200);
        let _silent = lab.raw();
        let mut halting = lab.raw();
        halting.send("GET /healthz HTTP/1.1\r\nHo");
        let began = std::time::Instant::now();
        let status = lab.server(|server| {
            server.signal(signal);
            server.wait()
        });
        assert!(status.success(), "SIG{signal}: {status}");
        assert!(began.elapsed() < STOP_MAX, "SIG{signal}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_stuck_upload_does_not_keep_the_server_and_leaves_nothing() {
    let lab = Lab::start();
    let held = lab.started().await;
    let mut upload = begin_upload(&lab, held, "stuck", 1 << 20).await;
    let (status, took) = lab.server(Server::stop);
    assert!(status.success() && took < STOP_MAX, "{status} after {took:?}");
    assert!(upload.reply().is_none_or(|reply| reply.status >= 400));
    lab.server(Server::restart);
    assert_eq!(lab.read(held.job).await["outputs"], json!([]));
    assert_eq!(files(&lab.server(|server| server.dir().join("blobs"))), []);
}

/// Begins an upload and sends half of what it announced; returns when the server has some of it on disk.
async fn begin_upload(lab: &Lab, held: Held, name: &str, bytes: usize) -> crate::harness::raw::Raw {
    let head = lab.head("POST", &format!("/v1/jobs/{}/outputs/{name}/t", held.job), USER).await;
    let mut raw = lab.raw();
    raw.send(format!("{head}Node-Id: {}\r\nContent-Length: {bytes}\r\n\r\n", held.node));
    raw.send(vec![7; bytes / 2]);
    let incoming = lab.server(|server| server.dir().join("blobs"));
    until("the upload's file", || files(&incoming).iter().any(|(name, _)| name.starts_with("incoming")).then_some(()));
    raw
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_server_stops() {
    let lab = Lab::start();
    let held = lab.started().await;
    let bytes = 1 << 20;
    let mut upload = begin_upload(&lab, held, "last", bytes).await;
    lab.server(|server| server.signal("TERM"));
    // New connections are refused from now on; the one under way is not.
    let port = lab.port();
    until("the closed door", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err().then_some(()));
    upload.send(vec![7; bytes / 2]);
    upload.reply().expect("an answer").expect(200);
    assert!(lab.server(Server::wait).success());
    lab.server(Server::restart);
    let path = format!("/v1/jobs/{}/outputs/last/t", held.job);
    assert_eq!(lab.get(&path).await.expect(200).body, vec![7; bytes]);
}

#[tokio::test]
async fn a_second_server_on_the_directory_is_told_who_has_it() {
    let lab = Lab::start();
    let (dir, pid) = lab.server(|server| (server.dir().to_owned(), server.pid()));
    let output = fails_to_start(&Setup::default(), &dir);
    let said = text(&output.stderr);
    assert!(said.contains("in use") && said.contains(&format!("process {pid}")), "{said}");
    assert!(said.contains(&dir.display().to_string()) && !said.contains("panicked"), "{said}");
    lab.get("/healthz").anonymous().await.expect(200);
    // A crash lets go of the directory.
    lab.server(Server::kill);
    lab.server(Server::restart);
    lab.get("/healthz").anonymous().await.expect(200);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let lab = Lab::start();
    lab.job().await;
    lab.server(Server::stop);
    let dir = lab.server(|server| server.dir().to_owned());
    let version = |set: Option<i64>| {
        let database = rusqlite::Connection::open(dir.join("labrun.db")).expect("the database opens");
        if let Some(version) = set {
            database.pragma_update(None, "user_version", version).expect("the version can be set");
        }
        database.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).expect("a version")
    };
    let ours = version(None);
    version(Some(ours + 1_000));
    let output = fails_to_start(&Setup::default(), &dir);
    let said = text(&output.stderr);
    assert!(said.contains("newer"), "{said}");
    assert!(!said.contains("panicked") && said.lines().count() < 4, "{said}");
    assert_eq!(version(None), ours + 1_000, "it was changed");
    version(Some(ours));
    lab.server(Server::restart);
    lab.read(1).await;
}

#[test]
fn what_is_no_database_of_ours_is_refused_with_a_sentence() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(temp.path().join("labrun.db"), "this is no database at all, but it is long enough ".repeat(100))
        .expect("a file can be written");
    let said = text(&fails_to_start(&Setup::default(), temp.path()).stderr);
    assert!(said.starts_with("labrun: ") || said.contains("\nlabrun: "), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn settings_that_can_not_be_are_refused_with_a_sentence() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let file = temp.path().join("file");
    std::fs::write(&file, "").expect("a file can be written");
    let file = file.to_str().expect("a path of ASCII");
    for arguments in [
        &["--listen", "nowhere"][..],
        &["--listen", "127.0.0.1:70000"],
        &["--access-token-lifetime-s", "0"],
        &["--admin-password-file", "/nowhere/at/all"],
        &["--admin-password-file", file],
        &["--data-dir", file],
        &["--colour", "red"],
    ] {
        let mut setup = Setup::default().with(arguments);
        setup.without_password = true;
        let said = text(&fails_to_start(&setup, &temp.path().join("data")).stderr);
        assert!(!said.is_empty() && !said.contains("panicked"), "{arguments:?}: {said}");
    }
    let mut command = Setup::default().command(&temp.path().join("short"));
    let output = command.env("LABRUN_ADMIN_PASSWORD", "short").output().expect("the server's binary can be started");
    assert!(!output.status.success() && text(&output.stderr).contains("8 characters"), "{output:?}");
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut_at_any_moment() {
    let lab = Lab::start();
    let (first, node) = (lab.started().await, lab.node(USER).await);
    for round in 0..3 {
        let mut uploads = vec![begin_upload(&lab, first, &format!("half-{round}"), 1 << 20).await];
        let jobs = join_all((0..20).map(|_| lab.job())).await;
        let taken = join_all(jobs.iter().map(|&job| {
            let lab = &lab;
            async move { lab.act(Held { job, node }, "acquire").await.expect(200).json() }
        }))
        .await;
        let name = format!("whole-{round}");
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let output = lab.upload(first, &name, "t", bytes.clone()).await.expect(200).json();
        lab.act(first, &format!("progress/0.{round}5")).await.expect(200);
        let before = lab.read(first.job).await;
        lab.server(Server::kill);
        uploads.clear();
        lab.server(Server::restart);
        for job in taken {
            assert_eq!(lab.read(job["pk"].as_i64().expect("a key")).await, job);
        }
        assert_eq!(lab.read(first.job).await, before);
        let path = format!("/v1/jobs/{}/outputs/{name}/t", first.job);
        assert_eq!(lab.get(&path).await.expect(200).body, bytes);
        assert_eq!(lab.get(&format!("{path}/info")).await.expect(200).json(), output);
        lab.get(&format!("/v1/jobs/{}/outputs/half-{round}/t", first.job)).await.expect(404);
    }
    // The half uploads are gone from the disk, too: what is left has the rows that name it.
    let dir = lab.server(|server| server.dir().to_owned());
    let named: i64 = open(&dir)
        .query_row("SELECT count(DISTINCT sha256) FROM job_outputs", [], |row| row.get(0))
        .expect("the outputs can be counted");
    assert_eq!(files(&dir.join("blobs")).len() as i64, named);
    let sound: String = open(&dir).query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(sound, "ok");
}

#[tokio::test]
async fn tokens_and_logins_survive_a_restart() {
    let lab = Lab::start();
    let bearer = format!("Bearer {}", lab.token(USER).await);
    let name = lab.username(USER).await;
    lab.server(Server::stop);
    lab.server(Server::restart);
    lab.post("/v1/jobs/list").header("authorization", bearer).await.expect(200);
    lab.obtain(&name, crate::harness::PASSWORD).await.expect(200);
    let user = lab.get(&format!("/v1/users/{}", lab.user_pk(USER).await)).by(ADMIN).await.expect(200).json();
    assert!(user["last_login"].is_string(), "{user}");
}

#[tokio::test]
async fn what_is_seen_of_a_node_is_kept_over_a_stop() {
    let lab = Lab::start();
    let node = lab.node(USER).await;
    let seen = lab.get("/v1/nodes/ping").node(node).await.expect(200).json()["last_seen"].clone();
    assert!(seen.is_string());
    lab.server(Server::stop);
    lab.server(Server::restart);
    assert_eq!(lab.read_node(node).await["last_seen"], seen);
}

#[tokio::test]
async fn everything_in_the_directory_is_the_owners_alone() {
    let lab = Lab::start();
    let held = lab.started().await;
    lab.upload(held, "a", "t", "some bytes").await.expect(200);
    let dir = lab.server(|server| server.dir().to_owned());
    let mut looked_at = 0;
    let mut folders = vec![dir];
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).expect("a folder can be read") {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(mode(&path) & 0o077, 0, "{} is {:o}", path.display(), mode(&path));
                looked_at += 1;
            }
        }
    }
    // The lock, the key, the database and its log, the bytes.
    assert!(looked_at >= 5, "{looked_at} files");
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("it is there").permissions().mode() & 0o777
}

#[test]
fn a_password_that_was_made_up_is_printed_once_and_good() {
    let setup = Setup { without_password: true, ..Setup::default() };
    let mut server = Server::start(setup);
    let said = until("the password", || {
        let said = server.said();
        said.contains("with the password ").then_some(said)
    });
    let (_, rest) = said.split_once("with the password ").expect("just seen");
    let password: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
    assert!(password.len() >= 16, "{said}");
    server.stop();
    server.restart();
    assert!(!server.said().contains(&password), "it is printed twice");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let lab = Lab::on(server);
    runtime.block_on(async {
        lab.obtain(ADMIN, &password).await.expect(200);
        lab.obtain(ADMIN, "").await.expect(400);
        for guess in ["admin", "password", "labrun"] {
            lab.obtain(ADMIN, guess).await.expect(401);
        }
    });
    let dir = lab.server(|server| server.dir().to_owned());
    for (name, _) in files(&dir) {
        let bytes = std::fs::read(dir.join(&name)).expect("a file can be read");
        let found = bytes.windows(password.len()).any(|window| window == password.as_bytes());
        assert!(!found, "the password is in {name}");
    }
}

#[tokio::test]
async fn the_password_of_a_later_start_changes_nothing() {
    let lab = Lab::start();
    lab.server(Server::stop);
    let temp = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(temp.path(), "another-password-2\n").expect("a file can be written");
    let file = temp.path().to_str().expect("a path of ASCII").to_owned();
    lab.server(|server| {
        server.set_up(Setup {
            without_password: true,
            arguments: vec!["--admin-password-file".to_owned(), file],
            ..Setup::default()
        });
        server.restart();
    });
    lab.obtain(ADMIN, "another-password-2").await.expect(401);
    lab.obtain(ADMIN, crate::harness::PASSWORD).await.expect(200);
}

#[test]
fn without_a_command_the_help_is_shown_and_it_is_an_error() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_labrun")).output().expect("the binary can be started");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Usage: labrun"), "{output:?}");
}
