//! Jobs, and the verbs that change them.
//!
//! The verbs go out as POST, which no cache on the way may answer or repeat (contract §1).

use reqwest::header::HeaderName;
use serde_json::Value;

use super::call::{Call, json_of};
use super::{Client, ClientError};
use crate::domain::ids::{JobId, TemplateId};
use crate::wire::Job;
use crate::wire::job::{Finish, NewJob};
use crate::wire::list::ListSpec;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Every method fails as `ClientError` tells; the statuses named are those that a right call may meet.
impl Client {
    async fn verb(&self, job: JobId, verb: &str) -> Result<Job, ClientError> {
        json_of(self.send(&Call::post(format!("/v1/jobs/{job}/{verb}"))).await?).await
    }

    /// Makes a job as `create_job` does, once for a key of the caller's choice: called again with the same key and job,
    /// it gives the same one. 409 when the key was used for another job.
    pub async fn create_job_once(&self, template: TemplateId, job: &NewJob, key: &str) -> Result<Job, ClientError> {
        let call = Call::post(format!("/v1/job-templates/{template}/create-job")).json(job)?;
        json_of(self.send(&call.header(IDEMPOTENCY_KEY, key.to_owned())).await?).await
    }

    /// Makes a job. 400 when an input or parameter does not fit, 406 when the template is deleted.
    pub async fn create_job(&self, template: TemplateId, job: &NewJob) -> Result<Job, ClientError> {
        self.post(format!("/v1/job-templates/{template}/create-job"), job).await
    }

    /// Gives a job.
    pub async fn job(&self, job: JobId) -> Result<Job, ClientError> {
        self.get(format!("/v1/jobs/{job}")).await
    }

    /// Lists jobs.
    pub async fn jobs(&self, spec: &ListSpec) -> Result<Vec<Job>, ClientError> {
        self.list("jobs", spec).await
    }

    /// Takes hold of a job for this client's node. 406 when another node was faster.
    pub async fn acquire(&self, job: JobId) -> Result<Job, ClientError> {
        self.verb(job, "acquire").await
    }

    /// Lets go of a job that this client's node holds and has not started.
    pub async fn release(&self, job: JobId) -> Result<Job, ClientError> {
        self.verb(job, "release").await
    }

    /// Starts a held job. 406 when the node already works on one.
    pub async fn start(&self, job: JobId) -> Result<Job, ClientError> {
        self.post(format!("/v1/jobs/{job}/start"), &serde_json::json!({})).await
    }

    /// Says how far a started job is, from 0 to 1, with data for its watchers. 406 when it was cancelled meanwhile.
    pub async fn progress(&self, job: JobId, amount: f64, data: Option<&Value>) -> Result<Job, ClientError> {
        let path = format!("/v1/jobs/{job}/progress/{amount}");
        match data {
            Some(data) => self.post(path, data).await,
            None => json_of(self.send(&Call::post(path)).await?).await,
        }
    }

    /// Ends a started job, well or with an error. 200 as well when it was cancelled or aborted meanwhile.
    pub async fn finish(&self, job: JobId, how: &Finish) -> Result<Job, ClientError> {
        self.post(format!("/v1/jobs/{job}/finish"), how).await
    }

    /// Puts an errored job that this client's node holds back to created; its outputs go.
    pub async fn reset(&self, job: JobId) -> Result<Job, ClientError> {
        self.verb(job, "reset").await
    }

    /// Takes a job away from its node and puts it back to created; its outputs go. For the staff.
    pub async fn abort(&self, job: JobId) -> Result<Job, ClientError> {
        self.verb(job, "abort").await
    }

    /// Ends a job for good. For the staff.
    pub async fn cancel(&self, job: JobId) -> Result<Job, ClientError> {
        self.verb(job, "cancel").await
    }
}
