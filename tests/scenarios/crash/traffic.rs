//! What the workers do until the server is gone.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::Dice;
use super::caller::Caller;
use super::told::{Said, Sent, Told, outputs};
use crate::harness::sha256;

/// The templates that there are.
#[derive(Debug, Clone, Copy)]
pub(in crate::scenarios) struct Templates {
    /// One that asks for nothing.
    pub(in crate::scenarios) plain: i64,
    /// A workflow whose `scan` gives `o` to `fit`, which gives `p`.
    pub(in crate::scenarios) flow: i64,
}

/// A worker: its callers, its luck, and what it was told.
#[derive(Debug)]
pub(in crate::scenarios) struct Worker {
    pub(in crate::scenarios) user: Caller,
    pub(in crate::scenarios) admin: Caller,
    pub(in crate::scenarios) templates: Templates,
    pub(in crate::scenarios) dice: Dice,
    /// The largest upload, in bytes.
    pub(in crate::scenarios) upload_bytes_max: u64,
    pub(in crate::scenarios) told: Told,
    /// What it was told before each of its calls, if that is kept.
    pub(in crate::scenarios) history: Option<Vec<Told>>,
}

impl Worker {
    /// Works through the lives of jobs until the server is gone.
    pub(in crate::scenarios) async fn work(mut self) -> Told {
        while self.life().await.is_some() {}
        self.told
    }

    fn remember(&mut self) {
        if let Some(history) = &mut self.history {
            history.push(self.told.clone());
        }
    }

    fn as_user(&mut self) -> Caller {
        self.remember();
        self.user.clone()
    }

    fn as_admin(&mut self) -> Caller {
        self.remember();
        self.admin.clone()
    }

    /// One job's life, or one workflow's; `None` when the server is gone.
    pub(in crate::scenarios) async fn life(&mut self) -> Option<()> {
        if self.dice.below(4) == 0 { self.workflow().await } else { self.job().await }
    }

    async fn create(&mut self, template: i64, body: Value) -> Option<i64> {
        let path = format!("/v1/job-templates/{template}/create-job");
        let job = self.as_user().done("POST", &path, body.to_string().into()).await?;
        let pk = job["pk"].as_i64().expect("a key");
        assert!(self.told.jobs.insert(pk, Said::Job(job)).is_none(), "the key {pk} was given out twice");
        self.told.answers += 1;
        Some(pk)
    }

    async fn job(&mut self) -> Option<()> {
        static JOBS: AtomicU64 = AtomicU64::new(0);
        let label = JOBS.fetch_add(1, Ordering::Relaxed).to_string();
        let body = json!({"input_values": {}, "labels": {"of": label}});
        let pk = self.create(self.templates.plain, body).await?;
        if self.dice.below(2) == 0 {
            self.act(pk, "GET", "acquire", json!({})).await?;
        } else {
            let mine = json!({"expressions": [{"type": "exact", "field": "labels.of", "value": label}]});
            self.change(pk, "POST", "/v1/jobs/claim", "claim", json!({"filter": mine})).await?;
        }
        self.act(pk, "POST", "start", json!({})).await?;
        for number in 0..self.dice.below(4) {
            let (name, bytes) = (format!("o{number}"), self.dice.bytes(self.upload_bytes_max));
            match self.dice.below(5) {
                0 | 1 => self.pieces(pk, &name, bytes).await?,
                2 => self.known(pk, &name, bytes).await?,
                _ => self.whole(pk, &name, "str", bytes).await?,
            }
            self.act(pk, "POST", "progress/0.5", json!({"at": number})).await?;
        }
        if self.dice.below(4) == 0 {
            self.delete_an_output(pk).await?;
        }
        let error = (self.dice.below(3) == 0).then_some("the lamp is dark");
        self.act(pk, "POST", "finish", json!({"error": error})).await?;
        if error.is_some() && self.dice.below(2) == 0 {
            self.act(pk, "DELETE", "reset", Value::Null).await?;
            self.act(pk, "DELETE", "release", Value::Null).await?;
        }
        if self.dice.below(4) == 0 {
            self.delete_for_good(pk).await?;
        }
        Some(())
    }

    /// Both children of a workflow, to its end. What becomes of the parent is told by reading it.
    async fn workflow(&mut self) -> Option<()> {
        let top = self.create(self.templates.flow, json!({"input_values": {}})).await?;
        self.told.workflows.push(top);
        for (index, (name, output)) in [("scan", "o"), ("fit", "p")].into_iter().enumerate() {
            let children = self.as_user().list_children(top).await?;
            let child = children.get(index).unwrap_or_else(|| panic!("LOST: child {name} of {top}")).clone();
            let pk = child["pk"].as_i64().expect("a key");
            assert!(self.told.jobs.insert(pk, Said::Job(child)).is_none(), "the key {pk} was given out twice");
            self.told.bytes.insert((top, format!("{name}:{output}")), sha256(b"{}"));
            for verb in ["acquire", "start", "upload", "progress/0.5", "finish"] {
                self.told.doubtful.insert(top, "child");
                match verb {
                    "upload" => self.whole(pk, output, "JSON", b"{}".to_vec()).await?,
                    "acquire" => self.act(pk, "GET", verb, json!({})).await?,
                    _ => self.act(pk, "POST", verb, json!({})).await?,
                }
                // What was read was committed: it must be there as well.
                let parent = self.as_user().done("GET", &format!("/v1/jobs/{top}"), Vec::new()).await?;
                self.told.doubtful.remove(&top);
                self.told.jobs.insert(top, Said::Job(parent));
            }
        }
        if self.dice.below(3) == 0 {
            self.delete_for_good(top).await?;
        }
        Some(())
    }

    /// Makes a call that answers with the job as it then is.
    async fn change(&mut self, pk: i64, method: &str, path: &str, what: &'static str, body: Value) -> Option<()> {
        self.told.doubtful.insert(pk, what);
        let body = if body.is_null() { Vec::new() } else { body.to_string().into() };
        let job = self.as_user().done(method, path, body).await?;
        assert_eq!(job["pk"], pk, "{what} gave another job");
        self.told.doubtful.remove(&pk);
        self.told.jobs.insert(pk, Said::Job(job));
        self.told.answers += 1;
        Some(())
    }

    async fn act(&mut self, pk: i64, method: &str, verb: &'static str, body: Value) -> Option<()> {
        self.change(pk, method, &format!("/v1/jobs/{pk}/{verb}"), verb, body).await
    }

    /// Notes that an output is about to come.
    fn expect_output(&mut self, pk: i64, name: &str, bytes: &[u8]) {
        self.told.doubtful.insert(pk, "outputs");
        self.told.bytes.insert((pk, name.to_owned()), sha256(bytes));
    }

    /// Notes that an output is there.
    fn has_output(&mut self, pk: i64, output: &Value) {
        self.told.doubtful.remove(&pk);
        let Some(Said::Job(job)) = self.told.jobs.get_mut(&pk) else { panic!("an output of a job that is not there") };
        let listed = json!({"pk": output["pk"], "name": output["name"], "type": output["type"]});
        job["outputs"].as_array_mut().expect("a list").push(listed);
        self.told.answers += 1;
    }

    /// Uploads an output in one call.
    async fn whole(&mut self, pk: i64, name: &str, type_name: &str, bytes: Vec<u8>) -> Option<()> {
        self.expect_output(pk, name, &bytes);
        let sha256 = sha256(&bytes);
        let path = format!("/v1/jobs/{pk}/outputs/{name}/{type_name}");
        let output = self.as_user().done("POST", &path, bytes).await?;
        assert_eq!(output["sha256"], sha256.as_str());
        self.has_output(pk, &output);
        Some(())
    }

    /// Puts bytes by their digest, and attaches them.
    async fn known(&mut self, pk: i64, name: &str, bytes: Vec<u8>) -> Option<()> {
        let sha256 = sha256(&bytes);
        self.as_user().done("PUT", &format!("/v1/blobs/{sha256}"), bytes.clone()).await?;
        self.told.answers += 1;
        self.expect_output(pk, name, &bytes);
        let path = format!("/v1/jobs/{pk}/outputs/{name}/str?blob=sha256:{sha256}");
        let output = self.as_user().done("POST", &path, Vec::new()).await?;
        self.has_output(pk, &output);
        Some(())
    }

    /// Uploads an output in pieces.
    async fn pieces(&mut self, pk: i64, name: &str, bytes: Vec<u8>) -> Option<()> {
        // One of no bytes is there at once.
        self.expect_output(pk, name, &bytes);
        let begun = self.as_user().begin(&format!("/v1/jobs/{pk}/outputs/{name}/str"), bytes.len()).await?;
        let upload = begun["pk"].as_i64().expect("a key");
        let sent = Sent { job: pk, name: name.to_owned(), bytes: bytes.clone(), acknowledged: 0 };
        assert!(self.told.uploads.insert(upload, sent).is_none(), "the key {upload} was given out twice");
        self.told.answers += 1;
        let path = format!("/v1/uploads/{upload}");
        let mut offset = 0;
        while offset < bytes.len() {
            let length = (self.dice.below(bytes.len() as u64) as usize + 1).min(bytes.len() - offset);
            let (status, body) = self.as_user().piece(&path, offset, bytes[offset..offset + length].to_vec()).await?;
            assert_eq!(status, 204, "a piece of {path}: {}", String::from_utf8_lossy(&body));
            offset += length;
            self.told.uploads.get_mut(&upload).expect("it began").acknowledged = offset;
            self.told.answers += 1;
        }
        let done = self.as_user().done("GET", &path, Vec::new()).await?;
        assert!(done["output"].is_i64(), "{done}");
        self.has_output(pk, &json!({"pk": done["output"], "name": name, "type": "str"}));
        Some(())
    }

    async fn delete_an_output(&mut self, pk: i64) -> Option<()> {
        let Some(Said::Job(job)) = self.told.jobs.get(&pk) else { return Some(()) };
        let Some(output) = outputs(job).first().cloned() else { return Some(()) };
        self.told.doubtful.insert(pk, "delete output");
        let path = format!("/v1/jobs/{pk}/outputs/{}/str", output["name"].as_str().expect("a name"));
        self.as_admin().done("DELETE", &path, Vec::new()).await?;
        self.told.doubtful.remove(&pk);
        let Some(Said::Job(job)) = self.told.jobs.get_mut(&pk) else { return Some(()) };
        job["outputs"].as_array_mut().expect("a list").remove(0);
        self.told.answers += 1;
        Some(())
    }

    /// Deletes a job for good, and its children with it.
    async fn delete_for_good(&mut self, pk: i64) -> Option<()> {
        let of = |job: &Said| matches!(job, Said::Job(job) if job["pk"] == pk || job["parent"] == pk);
        let gone: Vec<i64> = self.told.jobs.iter().filter(|(_, said)| of(said)).map(|(key, _)| *key).collect();
        self.told.doubtful.extend(gone.iter().map(|key| (*key, "hard")));
        self.as_admin().done("DELETE", &format!("/v1/jobs/{pk}/hard"), Vec::new()).await?;
        for key in gone {
            self.told.doubtful.remove(&key);
            self.told.jobs.insert(key, Said::Gone);
        }
        self.told.answers += 1;
        Some(())
    }
}
