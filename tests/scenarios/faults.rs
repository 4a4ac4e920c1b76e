//! Disks that are full or read-only, and large outputs in little memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::{StreamExt, stream};

use crate::harness::{ADMIN, Held, Lab, Reply, Server, Setup, USER, binary, until};

/// A small disk, unmounted when dropped.
pub(super) struct Disk(tempfile::TempDir);

impl Disk {
    /// Mounts one of so many MiB; `None`, with a line that says so, where that is not allowed.
    pub(super) fn mount(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = format!("size={mib}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "labrun-test"]).arg(dir.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        println!("SKIPPED: this user can't mount a small disk");
        None
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.0.path().join("data")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

fn verify(dir: &Path) {
    let output = Command::new(binary()).arg("verify").arg("--data-dir").arg(dir).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Uploads pieces until one is refused; gives what was taken and the refusal.
async fn fill(lab: &Lab, held: Held, piece_bytes: usize) -> (Vec<i64>, Reply) {
    let mut taken = Vec::new();
    loop {
        let mut bytes = vec![7; piece_bytes];
        bytes[..8].copy_from_slice(&(taken.len() as u64).to_le_bytes());
        let reply = lab.upload(held, &format!("p{piece_bytes}-{}", taken.len()), "str", bytes).await;
        match reply.status {
            200 => taken.push(reply.pk()),
            _ => return (taken, reply),
        }
    }
}

#[tokio::test]
async fn below_the_headroom_uploads_are_507_while_all_else_goes_on() {
    let Some(disk) = Disk::mount(48) else { return };
    let setup = Setup::default().with(&["--headroom-bytes", "16000000"]);
    let lab = Lab::on(Server::start_on(setup, &disk.dir()));
    let held = lab.started().await;
    let (taken, refused) = fill(&lab, held, 4 << 20).await;
    refused.refuses(507, "no_space");
    assert!(taken.len() > 2, "there was room for some");
    lab.get(&format!("/v1/job-outputs/{}/download", taken[0])).await.expect(200);
    lab.job().await;
    for output in &taken {
        lab.delete(&format!("/v1/job-outputs/{output}/hard")).by(ADMIN).await.expect(200);
    }
    let again = async || lab.upload(held, "again", "str", vec![1; 4 << 20]).await.status == 200;
    let end = crate::harness::deadline();
    while !again().await {
        assert!(std::time::Instant::now() < end, "the room of deleted outputs never came back");
    }
    verify(&disk.dir());
}

#[tokio::test]
async fn on_a_full_disk_writes_are_507_reads_and_deletes_go_on_and_nothing_is_lost() {
    let Some(disk) = Disk::mount(24) else { return };
    let setup = Setup::default().with(&["--headroom-bytes", "0"]);
    let lab = Lab::on(Server::start_on(setup, &disk.dir()));
    let held = lab.started().await;
    let mut outputs = Vec::new();
    for piece_bytes in [1 << 20, 64 << 10, 4 << 10] {
        let (taken, refused) = fill(&lab, held, piece_bytes).await;
        refused.refuses(507, "no_space");
        outputs.extend(taken);
    }
    let create = format!("/v1/job-templates/{}/create-job", lab.template().await);
    let mut created = Vec::new();
    for length in [500_000, 20_000, 1] {
        let body = serde_json::json!({"input_values": {}, "description": "d".repeat(length)});
        loop {
            let reply = lab.post(&create).json(body.clone()).await;
            match reply.status {
                200 => created.push(reply.pk()),
                _ => {
                    reply.refuses(507, "no_space");
                    break;
                }
            }
            assert!(created.len() < 2_000, "the disk was never full");
        }
    }
    for job in created.iter().chain([&held.job]) {
        lab.read(*job).await;
    }
    lab.get(&format!("/v1/job-outputs/{}/download", outputs[0])).await.expect(200);
    // With a log of the database that has to grow, and another program that takes all of the room.
    lab.server(Server::stop);
    lab.server(Server::restart);
    let ballast = std::fs::File::create(disk.dir().join("ballast")).expect("a name takes no room");
    while std::io::Write::write(&mut &ballast, &[0; 4096]).is_ok() {}
    lab.post(&create).json(serde_json::json!({"input_values": {}})).await.refuses(507, "no_space");
    // Room comes back by deletes alone; until there is enough, nothing else is written.
    let large = outputs.split_off(outputs.len() / 2);
    for output in std::mem::replace(&mut outputs, large) {
        lab.delete(&format!("/v1/job-outputs/{output}/hard")).by(ADMIN).await.expect(200);
    }
    until("the log", || lab.server(|server| server.said()).contains("only what frees room is written").then_some(()));
    let again = async || lab.post(&create).json(serde_json::json!({"input_values": {}})).await;
    let end = crate::harness::deadline();
    let mut reply = again().await;
    while reply.status == 507 {
        assert!(std::time::Instant::now() < end, "the room of deleted outputs never came back");
        reply = again().await;
    }
    let next = reply.expect(200).pk();
    assert!(created.iter().all(|job| *job < next), "a key was given out twice");
    lab.server(Server::restart);
    for job in created.iter().chain([&held.job, &next]) {
        lab.read(*job).await;
    }
    assert_eq!(lab.read(held.job).await["outputs"].as_array().map(Vec::len), Some(outputs.len()));
    verify(&disk.dir());
}

#[tokio::test]
async fn a_start_on_a_read_only_directory_is_refused_with_a_sentence() {
    let Some(disk) = Disk::mount(24) else { return };
    drop(Server::start_on(Setup::default(), &disk.dir()));
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(disk.0.path()).status().expect("mount runs");
    assert!(remounted.success());
    let output = Setup::default().command(&disk.dir()).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("can't be used") && !said.contains("panicked"), "{said}");
}

/// The most memory that a process ever had, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux tells the peak");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// An upload and a download of so many bytes; the server grows by 32 MiB at the most.
async fn large_output(mib: u64) {
    let lab = Lab::start();
    let held = lab.started().await;
    lab.upload(held, "small", "str", vec![1; 1 << 20]).await.expect(200);
    let pid = lab.server(|server| server.pid());
    let before = peak_kib(pid);
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let base = format!("http://127.0.0.1:{}/v1/jobs/{}/outputs/large/str", lab.port(), held.job);
    let piece = bytes::Bytes::from(vec![0xa5; 1 << 20]);
    let pieces = stream::iter((0..mib).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
    let token = lab.token(USER).await;
    let request = http.post(&base).bearer_auth(&token).header("node-id", held.node);
    let reply = request.body(reqwest::Body::wrap_stream(pieces)).send().await.expect("an answer");
    assert_eq!(reply.status(), 200);
    let uploaded = peak_kib(pid);
    let reply = http.get(&base).bearer_auth(&token).send().await.expect("an answer");
    let mut length = 0;
    let mut body = reply.bytes_stream();
    while let Some(piece) = body.next().await {
        length += piece.expect("a piece").len() as u64;
    }
    assert_eq!(length, mib << 20);
    let downloaded = peak_kib(pid);
    println!("{mib} MiB: peak {before} KiB before, {uploaded} after the upload, {downloaded} after the download");
    assert!(downloaded - before <= 32 << 10, "the server grew from {before} to {downloaded} KiB");
}

#[tokio::test]
async fn a_large_output_passes_through_little_memory() {
    large_output(256).await;
}

#[tokio::test]
#[ignore = "moves 4 GiB twice; CI runs it"]
async fn a_very_large_output_passes_through_little_memory() {
    large_output(4_096).await;
}
