//! A worker whose disk is full or can't be written, and results that are large.

use serde_json::json;

use super::super::faults::Disk;
use super::{submit, wait_for};
use crate::harness::{Hands, Lab, Worker, shell_template, until};

#[tokio::test]
async fn a_spool_that_can_not_be_written_is_told_and_the_result_is_delivered_all_the_same() {
    let lab = Lab::start();
    let worker = Worker::start(&lab, Hands::default()).await;
    worker.says("keeps runs in");
    std::fs::remove_dir(worker.dir().join("spool")).expect("it is empty");
    std::fs::write(worker.dir().join("spool"), "").expect("a file in its place");
    let template =
        lab.import(shell_template("spoolless", &[], &[], "echo x > \"$LABRUN_OUTPUTS/x\"")).await.expect(200).pk();
    let job = submit(&lab, template, json!({}), json!({})).await;
    let done = wait_for(&lab, job, "finished").await;
    assert_eq!(done["outputs"].as_array().map(Vec::len), Some(2));
    worker.says("can't be written");
    worker.says("Make room there");
    until("the folder of the run to go", || worker.folders("jobs").is_empty().then_some(()));
}

#[tokio::test]
async fn a_worker_on_a_full_disk_fails_the_run_that_filled_it_and_goes_on() {
    let Some(disk) = Disk::mount(8) else { return };
    let lab = Lab::start();
    let worker = Worker::start(&lab, Hands::default().on(&disk.dir()).with(&["--keep", "never"])).await;
    // It fills the disk to the last byte and goes on writing to its log.
    let body = "cat /dev/zero > big || true; yes | head -c 1000000; exit 3";
    let template = lab.import(shell_template("fills", &[], &[], body)).await.expect(200).pk();
    let job = submit(&lab, template, json!({}), json!({})).await;
    let ended = wait_for(&lab, job, "errored").await;
    assert!(ended["error_reason"].as_str().is_some_and(|reason| reason.contains("exit code 3")), "{ended}");
    worker.says("is dropped");
    worker.says("Make room there");
    // The folder of the run is gone, and with it what filled the disk.
    let template = lab.import(shell_template("small", &[], &[], "echo small")).await.expect(200).pk();
    let job = submit(&lab, template, json!({}), json!({})).await;
    wait_for(&lab, job, "finished").await;
}

#[tokio::test]
async fn a_large_output_goes_up_in_pieces_and_is_the_same() {
    let lab = Lab::start();
    let _worker = Worker::start(&lab, Hands::default().with(&["--lease-s", "2"])).await;
    let body = "yes 0123456789abcde | head -c 75000000 > \"$LABRUN_OUTPUTS/big\"\nsha256sum < \"$LABRUN_OUTPUTS/big\"";
    let template = lab.import(shell_template("large", &[], &[("big", "BLOB<'bin'>")], body)).await.expect(200).pk();
    let job = submit(&lab, template, json!({}), json!({})).await;
    let done = wait_for(&lab, job, "finished").await;
    assert_eq!(done["attempt"], 1, "the lease was kept");
    let output = lab.get(&format!("/v1/job-outputs/{}", done["outputs"][0]["pk"])).await.expect(200).json();
    assert_eq!(output["size"], 75_000_000);
    let digest = super::kept_log(&lab, job).await;
    assert!(digest.starts_with(output["sha256"].as_str().expect("a digest")), "{digest}");
    let uploads = lab.get("/v1/uploads").await.expect(200).json();
    assert_eq!(uploads.as_array().map(Vec::len), Some(1), "it went up in pieces: {uploads}");
}
