//! What workers call: claims, leases, attempts, the live log (contract §11).

use std::collections::BTreeMap;

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::call::{Call, json_of};
use super::{Client, ClientError};
use crate::domain::ids::{JobId, NodeId, OutputId, TemplateId};
use crate::wire::job::Attempt;
use crate::wire::node::NewNode;
use crate::wire::{Job, Node, Output};

/// Every method fails as `ClientError` tells; the statuses named are those that a right call may meet.
impl Client {
    /// Claims the next free job for this client's node, under a lease of so many seconds, waiting up to `wait_s` (60 at
    /// most) for one to come. `filter` holds `expressions` alone. `None` when none came. 404 or 405 from a server that
    /// does not know claims.
    pub async fn claim(&self, filter: &Value, wait_s: f64, lease_s: f64) -> Result<Option<Job>, ClientError> {
        let body = json!({"filter": filter, "wait": wait_s, "lease": lease_s});
        let answer = self.send(&Call::post("/v1/jobs/claim".to_owned()).json(&body)?).await?;
        if answer.status() == StatusCode::NO_CONTENT { Ok(None) } else { json_of(answer).await.map(Some) }
    }

    /// Takes hold of a job as `acquire` does, under a lease of so many seconds, 1 to 86,400.
    pub async fn acquire_for(&self, job: JobId, lease_s: f64) -> Result<Job, ClientError> {
        json_of(self.send(&Call::post(format!("/v1/jobs/{job}/acquire?lease={lease_s}"))).await?).await
    }

    /// Lists the attempts of a job, in order.
    pub async fn attempts(&self, job: JobId) -> Result<Vec<Attempt>, ClientError> {
        self.get(format!("/v1/jobs/{job}/attempts")).await
    }

    /// Appends to the live log of a job that this client's node holds: 1 MiB at most. 409 when the job is at another
    /// attempt by now.
    pub async fn append_log(&self, job: JobId, text: Bytes) -> Result<(), ClientError> {
        let call = Call::post(format!("/v1/jobs/{job}/log"))
            .header(CONTENT_TYPE, "text/plain; charset=utf-8".to_owned())
            .bytes(text);
        self.send(&call).await.map(drop::<Response>)
    }

    /// Gives the types of the outputs that a template says it makes, by name, those of its contract included.
    pub async fn template_outputs(&self, template: TemplateId) -> Result<BTreeMap<String, String>, ClientError> {
        self.get(format!("/v1/job-templates/{template}/get-outputs")).await
    }

    /// Tells what is known about an output, deleted or not.
    pub async fn output(&self, output: OutputId) -> Result<Output, ClientError> {
        self.get(format!("/v1/job-outputs/{output}")).await
    }

    /// Changes all of a node that can be changed.
    pub async fn update_node(&self, node: NodeId, to: &NewNode) -> Result<Node, ClientError> {
        json_of(self.send(&Call::new(Method::PUT, format!("/v1/nodes/{node}")).json(to)?).await?).await
    }
}
