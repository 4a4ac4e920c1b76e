//! Runs that want too much: time, disk, memory, attention.

use serde_json::json;

use super::{gone, kept_log, submit, wait_for, wait_until};
use crate::harness::{Hands, Lab, Worker, shell_template};

#[tokio::test]
async fn a_run_that_takes_too_long_is_ended() {
    let lab = Lab::start();
    let worker = Worker::start(&lab, Hands::default().with(&["--run-time-max-s", "5000"])).await;
    let body = "echo $$ > \"$LABRUN_OUTPUTS/pid\"; echo 'labrun-progress: 1'; sleep 1000";
    let template = lab.import(shell_template("slow", &[], &[], body)).await.expect(200).pk();
    let job = submit(&lab, template, json!({}), json!({"timeout": 2.5})).await;
    wait_until(&lab, job, "its progress", |job| job["progress_amount"] == 1.0).await;
    let run = worker.folders("jobs").pop().expect("the folder of the run");
    let pid = std::fs::read_to_string(run.join("outputs/pid")).expect("the pid");
    let ended = wait_for(&lab, job, "errored").await;
    assert_eq!(ended["error_reason"], "Timed out after 2.5 s");
    gone(pid.trim());

    // The worker has a limit of its own, for jobs without one.
    drop(worker);
    let _worker = Worker::start(&lab, Hands::default().with(&["--run-time-max-s", "0.3"])).await;
    let job = submit(&lab, template, json!({}), json!({})).await;
    assert_eq!(wait_for(&lab, job, "errored").await["error_reason"], "Timed out after 0.3 s");
}

#[tokio::test]
async fn a_run_that_fills_the_disk_is_ended() {
    let lab = Lab::start();
    let _worker = Worker::start(&lab, Hands::default().with(&["--disk-bytes-max", "1000000"])).await;
    let body = "head -c 3000000 /dev/zero > big; sleep 1000";
    let template = lab.import(shell_template("fills", &[], &[], body)).await.expect(200).pk();
    let job = submit(&lab, template, json!({}), json!({})).await;
    let reason = wait_for(&lab, job, "errored").await["error_reason"].to_string();
    assert!(reason.contains("too much disk") && reason.contains("1000000"), "{reason}");
}

#[tokio::test]
async fn a_run_that_wants_too_much_memory_does_not_get_it() {
    let lab = Lab::start();
    let _worker = Worker::start(&lab, Hands::default().with(&["--memory-bytes-max", "100000000"])).await;
    // One process that asks for too much, which it does not get.
    let body = "echo \"$(ulimit -d)\"; head -c 300000000 /dev/zero | tail -n 1 | wc -c";
    let template = lab.import(shell_template("eats", &[], &[("x", "str")], body)).await.expect(200).pk();
    let job = submit(&lab, template, json!({}), json!({})).await;
    wait_for(&lab, job, "errored").await;
    let log = kept_log(&lab, job).await;
    assert!(log.starts_with("97656\n"), "the limit is there before the command begins: {log}");
    assert!(log.contains("emory") && !log.contains("300000000"), "{log}");
}

#[tokio::test]
async fn a_command_that_floods_its_output_neither_blocks_nor_fills_anything() {
    let lab = Lab::start();
    let _worker = Worker::start(&lab, Hands::default()).await;
    // 48 MiB; the log keeps the first 8 and the last 4 to 8 MiB.
    let body = "echo first; yes 0123456789abcde | head -c 50331648; echo; echo 'labrun-progress: 0.5'; echo last >&2";
    let template = lab.import(shell_template("floods", &[], &[], body)).await.expect(200).pk();
    let job = submit(&lab, template, json!({}), json!({})).await;
    let done = wait_for(&lab, job, "finished").await;
    assert_eq!(done["outputs"][0]["name"], "log");
    let log = kept_log(&lab, job).await;
    assert!(log.starts_with("first\n0123456789abcde\n") && log.ends_with("\nlabrun-progress: 0.5\nlast\n"));
    assert!(log.contains(" bytes are cut out here]\n"));
    assert!((12 << 20..17 << 20).contains(&log.len()), "{} bytes are kept", log.len());
}
