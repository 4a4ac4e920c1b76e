//! What the workers were told, and whether it is so.

use std::collections::BTreeMap;

use serde_json::Value;

use super::caller::Caller;
use crate::harness::sha256;

/// What the server said of a job, and must keep to.
#[derive(Debug, Clone)]
pub(in crate::scenarios) enum Said {
    /// The job as it was shown.
    Job(Value),
    /// That it is gone for good.
    Gone,
}

/// An upload in pieces.
#[derive(Debug, Clone)]
pub(in crate::scenarios) struct Sent {
    /// The job that it adds an output to, and the output's name.
    pub(in crate::scenarios) job: i64,
    pub(in crate::scenarios) name: String,
    pub(in crate::scenarios) bytes: Vec<u8>,
    /// How many of them were acknowledged.
    pub(in crate::scenarios) acknowledged: usize,
}

/// What one worker was told.
#[derive(Debug, Clone, Default)]
pub(in crate::scenarios) struct Told {
    pub(in crate::scenarios) jobs: BTreeMap<i64, Said>,
    /// Jobs of which a call was not answered, with the call.
    pub(in crate::scenarios) doubtful: BTreeMap<i64, &'static str>,
    /// Name of an output to the SHA-256 of its bytes, by job.
    pub(in crate::scenarios) bytes: BTreeMap<(i64, String), String>,
    /// Uploads in pieces that began, by key.
    pub(in crate::scenarios) uploads: BTreeMap<i64, Sent>,
    /// Meta-jobs with their two children, as far as these were seen.
    pub(in crate::scenarios) workflows: Vec<i64>,
    pub(in crate::scenarios) answers: u64,
}

/// What was looked at.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::scenarios) struct Count {
    pub(in crate::scenarios) jobs: usize,
    pub(in crate::scenarios) outputs: usize,
    pub(in crate::scenarios) uploads: usize,
    pub(in crate::scenarios) workflows: usize,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.jobs += other.jobs;
        self.outputs += other.outputs;
        self.uploads += other.uploads;
        self.workflows += other.workflows;
    }
}

/// Gives the outputs that a job is shown with.
pub(in crate::scenarios) fn outputs(job: &Value) -> &Vec<Value> {
    job["outputs"].as_array().expect("a list")
}

impl Told {
    /// Holds what was said against what is there. `worker` calls as the one who was told.
    pub(in crate::scenarios) async fn hold(&self, worker: &Caller) -> Count {
        let mut count = Count::default();
        for (pk, said) in &self.jobs {
            count.jobs += 1;
            count.outputs += self.hold_job(worker, *pk, said).await;
        }
        for (pk, sent) in &self.uploads {
            count.uploads += usize::from(self.hold_upload(worker, *pk, sent).await);
        }
        for parent in &self.workflows {
            count.workflows += 1;
            hold_workflow(worker, *parent).await;
        }
        count
    }

    /// Looks at one job; gives how many outputs it has.
    async fn hold_job(&self, reader: &Caller, pk: i64, said: &Said) -> usize {
        let (status, body) = reader.read(&format!("/v1/jobs/{pk}")).await;
        let doubt = self.doubtful.get(&pk).copied();
        let said = match (said, status) {
            (Said::Gone, 404) => return 0,
            (Said::Job(_), 404) if doubt == Some("hard") => return 0,
            (Said::Job(said), 200) => said,
            _ => panic!("LOST: job {pk} was said to be {said:?}, and is {status} (in doubt: {doubt:?})"),
        };
        let now: Value = serde_json::from_slice(&body).expect("JSON");
        if doubt.is_none() {
            assert_eq!(&now, said, "LOST: job {pk} is not as it was said to be");
        }
        if !matches!(doubt, Some("reset" | "delete output")) {
            for output in outputs(said) {
                assert!(outputs(&now).contains(output), "LOST: output {output} of job {pk} (in doubt: {doubt:?})");
            }
        }
        for output in outputs(&now) {
            let (status, bytes) = reader.read(&format!("/v1/job-outputs/{}/download", output["pk"])).await;
            assert_eq!(status, 200, "LOST: the bytes of output {output}");
            let name = output["name"].as_str().expect("a name").to_owned();
            assert_eq!(self.bytes.get(&(pk, name)), Some(&sha256(&bytes)), "LOST: other bytes of output {output}");
        }
        outputs(&now).len()
    }

    /// Looks at an upload in pieces, and goes on with it to its end; says whether it is still there.
    async fn hold_upload(&self, worker: &Caller, pk: i64, sent: &Sent) -> bool {
        let path = format!("/v1/uploads/{pk}");
        let (status, body) = worker.read(&path).await;
        let gone = matches!(self.jobs.get(&sent.job), Some(Said::Gone));
        let doubt = self.doubtful.get(&sent.job).copied();
        if status == 404 && (gone || doubt == Some("hard")) {
            return false;
        }
        assert_eq!(status, 200, "LOST: upload {pk} of job {} (in doubt: {doubt:?}): {sent:?}", sent.job);
        let now: Value = serde_json::from_slice(&body).expect("JSON");
        let received = now["received"].as_u64().expect("a number") as usize;
        assert!(received >= sent.acknowledged, "LOST: upload {pk} has {received} of {} bytes", sent.acknowledged);
        if now["finished_time"].is_null() {
            let rest = sent.bytes[received..].to_vec();
            let (status, body) = worker.piece(&path, received, rest).await.expect("an answer");
            assert_eq!(status, 204, "LOST: upload {pk} can't go on: {}", String::from_utf8_lossy(&body));
            let (status, bytes) = worker.read(&format!("/v1/jobs/{}/outputs/{}/str", sent.job, sent.name)).await;
            assert_eq!((status, sha256(&bytes)), (200, sha256(&sent.bytes)), "LOST: bytes of upload {pk}");
        }
        true
    }
}

/// Looks whether a workflow of `scan` and `fit` is at one of its places, not between two of them.
async fn hold_workflow(reader: &Caller, parent: i64) {
    let (status, body) = reader.read(&format!("/v1/jobs/{parent}")).await;
    if status == 404 {
        return;
    }
    let top: Value = serde_json::from_slice(&body).expect("JSON");
    let children = reader.children(parent).await;
    let phase = |index: usize| children.get(index).map(|child| child["phase"].as_str().unwrap_or_default());
    let named = |name: &str| outputs(&top).iter().any(|output| output["name"] == name);
    let scan_is_done = phase(0) == Some("finished");
    let fit_is_done = phase(1) == Some("finished");
    assert_eq!(children.len(), if scan_is_done { 2 } else { 1 }, "HALF: the children of {top}");
    assert_eq!((named("scan:o"), named("fit:p")), (scan_is_done, fit_is_done), "HALF: the outputs of {top}");
    let expected = match (phase(0), fit_is_done) {
        (_, true) => "finished",
        (Some("created"), _) => "created",
        _ => "started",
    };
    assert_eq!(top["phase"], expected, "HALF: {top} over {children:?}");
}
