//! The order of syncs, as the system saw it: no answer leaves before what it says is safe from a loss of power.
//!
//! The server's system calls are recorded with strace during an upload and a transition, and each step must have
//! ended before the next one begins. Skipped, with a line that says so, where there is no strace or no right to use it.

use crate::harness::{Held, Lab, Recorder, USER};

/// Records the calls that matter for an answer; `None` where they can't be recorded.
fn attach(lab: &Lab) -> Option<Recorder> {
    let calls = "trace=fsync,fdatasync,rename,renameat,renameat2,pwrite64,write,writev,sendto,sendmsg";
    Recorder::attach(lab.server(|server| server.pid()), &["-s", "40", "-e", calls])
}

/// Gives the calls in the order of time: where each began and where it ended, as line numbers, and its text.
fn calls_of(recorder: Recorder) -> Vec<(usize, usize, String)> {
    let text = recorder.record();
    let lines: Vec<&str> = text.lines().collect();
    let mut calls = Vec::new();
    for (began, line) in lines.iter().enumerate().filter(|(_, line)| !line.contains(" resumed>")) {
        let thread = line.split(' ').next().unwrap_or_default();
        let resumed = |other: &&str| other.starts_with(&format!("{thread} ")) && other.contains(" resumed>");
        let ended = if line.ends_with("<unfinished ...>") {
            began + lines[began..].iter().position(resumed).unwrap_or(lines.len())
        } else {
            began
        };
        calls.push((began, ended, (*line).to_owned()));
    }
    calls
}

/// Fails unless each step begins after the one before it has ended; each is told by texts that its call contains.
#[track_caller]
fn in_order(calls: &[(usize, usize, String)], steps: &[&[&str]]) {
    let mut after = 0;
    for step in steps {
        let found =
            calls.iter().find(|(began, _, text)| *began >= after && step.iter().all(|part| text.contains(part)));
        let Some((_, ended, _)) = found else {
            let all: Vec<&str> = calls.iter().map(|(_, _, text)| text.as_str()).collect();
            panic!("no call with {step:?} after line {after} of:\n{}", all.join("\n"))
        };
        after = ended + 1;
    }
}

#[tokio::test]
async fn no_answer_leaves_before_its_bytes_and_its_row_are_synced() {
    let lab = Lab::start();
    let held = lab.held().await;
    lab.token(USER).await;
    let Some(recorder) = attach(&lab) else { return };
    lab.act(held, "start").await.expect(200);
    let calls = calls_of(recorder);
    let answer = ["HTTP/1.1 200"].as_slice();
    in_order(&calls, &[&["pwrite64(", "labrun.db-wal"], &["sync(", "labrun.db-wal"], answer]);
    assert_eq!(answers(&calls), 1, "one call was made");

    let Some(recorder) = attach(&lab) else { return };
    let output = lab.upload(Held { ..held }, "o", "str", "bytes that must not be lost").await.expect(200).json();
    let calls = calls_of(recorder);
    let digest = output["sha256"].as_str().expect("a digest");
    let (shard, name) = (format!("/blobs/{}", &digest[..2]), &digest[2..]);
    let steps: [&[&str]; 7] = [
        &["pwrite64(", "/blobs/incoming/"],
        &["fsync(", "/blobs/incoming/"],
        &["rename", "/blobs/incoming/", name],
        &["fsync(", &format!("{shard}>")],
        &["pwrite64(", "labrun.db-wal"],
        &["sync(", "labrun.db-wal"],
        answer,
    ];
    in_order(&calls, &steps);
    assert_eq!(answers(&calls), 1, "one call was made");
}

/// Counts the answers that were sent.
fn answers(calls: &[(usize, usize, String)]) -> usize {
    calls.iter().filter(|(_, _, text)| text.contains("HTTP/1.1 ")).count()
}
