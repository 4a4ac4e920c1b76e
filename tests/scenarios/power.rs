//! Loss of power, replayed: the system calls of a server under traffic are recorded with strace, a disk is made of them
//! that has lost what was not synced at some moment, and the real binary is started on it. Every answer that had left
//! the server by then must hold, and `verify` must find nothing.
//!
//! The traffic is that of the crash test, of one worker, so that the calls come one after the other and each answer in
//! the record is that of a known call. Skipped, with a line that says so, where there is no strace.

mod disk;
mod record;

use crate::harness::{Lab, PASSWORD, Recorder, Server, Setup, USER};
use crate::scenarios::crash::caller::Caller;
use crate::scenarios::crash::told::{Count, Told};
use crate::scenarios::crash::traffic::{Templates, Worker};
use crate::scenarios::crash::{Dice, callers, seed, verify};
use crate::scenarios::workflows::row;
use disk::{Disk, Kept};
use record::{ARGUMENTS, Step, steps};

/// The largest upload, in bytes: more than the server gathers before it writes.
const UPLOAD_BYTES_MAX: u64 = 700 << 10;
/// Calls that are made at the least: so many that the log of the database is brought into it meanwhile.
const CALLS_MIN: usize = 260;

/// Starts a server on what is left of a disk, and holds what was told against it.
async fn start_on(disk: &Disk, kept: &mut Kept, told: &Told, username: &str, node: i64) -> Count {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let dir = temp.path().join("data");
    disk.write_to(&dir, kept);
    let lab = Lab::on(Server::start_on(Setup::default(), &dir));
    let token = lab.obtain(username, PASSWORD).await.expect(200).json()["access"].as_str().expect("a token").to_owned();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let base = format!("http://127.0.0.1:{}", lab.port());
    let count = told.hold(&Caller { http, base, token, node: Some(node) }).await;
    verify(&lab);
    count
}

/// Records traffic and replays it; cuts the power after each `every`th answer, and once at a random step before each.
async fn replay(every: usize, seed: u64) {
    // Seen when the test fails.
    println!("seed {seed}");
    let lab = Lab::start();
    let (templates, node) = (Templates { plain: lab.template().await, flow: row(&lab).await }, lab.node(USER).await);
    let (username, (user, admin)) = (lab.username(USER).await, callers(&lab).await);
    let dir = lab.server(|server| server.dir().to_owned());
    let Some(recorder) = Recorder::attach(lab.server(|server| server.pid()), &ARGUMENTS) else { return };
    let mut disk = Disk::of(&dir);
    let mut dice = Dice::new(seed);
    let mut worker = Worker {
        user: Caller { node: Some(node), ..user },
        admin,
        templates,
        dice: Dice::new(dice.below(u64::MAX)),
        upload_bytes_max: UPLOAD_BYTES_MAX,
        told: Told::default(),
        history: Some(Vec::new()),
    };
    while worker.history.as_ref().is_some_and(|history| history.len() < CALLS_MIN) {
        worker.life().await.expect("the server runs");
    }
    lab.server(|server| server.stop());
    let steps = steps(&recorder.record(), &dir);
    let mut history = worker.history.unwrap_or_default();
    history.push(worker.told);
    let answers = steps.iter().filter(|step| matches!(step, Step::Answer)).count();
    assert_eq!(answers, history.len() - 1, "each call has its answer in the record");
    let is_checkpoint = |step: &Step| matches!(step, Step::Write { path, .. } if path.ends_with("labrun.db"));
    assert!(steps.iter().any(is_checkpoint), "the log was never brought into the database");

    let (mut answered, mut cuts, mut count) = (0, 0, Count::default());
    let mut next_random = dice.below(steps.len() as u64 / 8) as usize;
    for (index, step) in steps.iter().enumerate() {
        disk.step(step);
        let told = |answered: usize| history.get(answered).expect("a call has its place in the history");
        if matches!(step, Step::Answer) {
            answered += 1;
            if answered % every == 0 {
                // The answer has just left: nothing that was not synced may be needed.
                count += start_on(&disk, &mut Kept::Nothing, told(answered), &username, node).await;
                cuts += 1;
            }
        }
        if index == next_random {
            let mut kept = Kept::Some(Dice::new(dice.below(u64::MAX)));
            count += start_on(&disk, &mut kept, told(answered), &username, node).await;
            cuts += 1;
            next_random += 1 + dice.below((2 * every * steps.len() / answers) as u64) as usize;
        }
    }
    // The record tells of all that was done, or the cuts would have been of another disk.
    disk.expect_equal(&dir);
    let Count { jobs, outputs, uploads, workflows } = count;
    println!(
        "loss of power: {answers} answers, {} steps, {cuts} cuts; {jobs} jobs, {outputs} outputs, {uploads} uploads in \
         pieces and {workflows} workflows held against their answers, losses 0 (seed {seed})",
        steps.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_is_lost_to_a_loss_of_power() {
    replay(40, seed()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; CI runs it"]
async fn nothing_that_was_answered_is_lost_to_a_loss_of_power_after_any_answer() {
    replay(1, seed()).await;
}
