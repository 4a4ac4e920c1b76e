//! Users, nodes, templates and jobs.
//!
//! The verbs that change a job go out as POST, which no cache on the way may answer or repeat (contract §1).

use reqwest::{Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::call::{Call, json_of};
use super::{Client, ClientError};
use crate::domain::ids::{JobId, NodeId, TemplateId, UserId};
use crate::wire::job::{Finish, NewJob};
use crate::wire::list::ListSpec;
use crate::wire::node::NewNode;
use crate::wire::token::{ApiToken, MadeApiToken, NewApiToken};
use crate::wire::user::NewUser;
use crate::wire::{Job, Node, Template, User};

/// Every method fails as `ClientError` tells; the statuses named are those that a right call may meet.
impl Client {
    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, ClientError> {
        json_of(self.send(&Call::get(path)).await?).await
    }

    async fn post<T: DeserializeOwned>(&self, path: String, body: &impl Serialize) -> Result<T, ClientError> {
        json_of(self.send(&Call::post(path).json(body)?).await?).await
    }

    async fn list<T: DeserializeOwned>(&self, of: &str, spec: &ListSpec) -> Result<Vec<T>, ClientError> {
        self.post(format!("/v1/{of}/list"), spec).await
    }

    async fn verb(&self, job: JobId, verb: &str) -> Result<Job, ClientError> {
        json_of(self.send(&Call::post(format!("/v1/jobs/{job}/{verb}"))).await?).await
    }

    /// Gives a user. For the staff, and for the user itself.
    pub async fn user(&self, user: UserId) -> Result<User, ClientError> {
        self.get(format!("/v1/users/{user}")).await
    }

    /// Lists users. For the staff.
    pub async fn users(&self, spec: &ListSpec) -> Result<Vec<User>, ClientError> {
        self.list("users", spec).await
    }

    /// Makes a user. For the staff. 400 for a name that is taken or a short password.
    pub async fn create_user(&self, user: &NewUser) -> Result<User, ClientError> {
        self.post("/v1/users/create".to_owned(), user).await
    }

    /// Makes an API token. For oneself, and for others by the staff.
    pub async fn create_api_token(&self, token: &NewApiToken) -> Result<MadeApiToken, ClientError> {
        self.post("/v1/auth/tokens".to_owned(), token).await
    }

    /// Lists one's API tokens, or everybody's, for the staff.
    pub async fn api_tokens(&self, all: bool) -> Result<Vec<ApiToken>, ClientError> {
        self.get(format!("/v1/auth/tokens{}", if all { "?user=all" } else { "" })).await
    }

    /// Makes an API token void.
    pub async fn revoke_api_token(&self, pk: i64) -> Result<ApiToken, ClientError> {
        json_of(self.send(&Call::new(Method::DELETE, format!("/v1/auth/tokens/{pk}"))).await?).await
    }

    /// Gives a node.
    pub async fn node(&self, node: NodeId) -> Result<Node, ClientError> {
        self.get(format!("/v1/nodes/{node}")).await
    }

    /// Lists nodes.
    pub async fn nodes(&self, spec: &ListSpec) -> Result<Vec<Node>, ClientError> {
        self.list("nodes", spec).await
    }

    /// Makes a node. 400 when its pair of `ip` and `index` is taken.
    pub async fn create_node(&self, node: &NewNode) -> Result<Node, ClientError> {
        self.post("/v1/nodes/create".to_owned(), node).await
    }

    /// Tells the server that this client's node is there.
    pub async fn ping(&self) -> Result<(), ClientError> {
        self.send(&Call::get("/v1/nodes/ping".to_owned())).await.map(drop::<Response>)
    }

    /// Gives a template.
    pub async fn template(&self, template: TemplateId) -> Result<Template, ClientError> {
        self.get(format!("/v1/job-templates/{template}")).await
    }

    /// Lists templates.
    pub async fn templates(&self, spec: &ListSpec) -> Result<Vec<Template>, ClientError> {
        self.list("job-templates", spec).await
    }

    /// Imports a template document. For the staff. 400 when the document is not a good one (contract §7).
    pub async fn import_template(&self, document: &Value) -> Result<Template, ClientError> {
        self.post("/v1/job-templates/import".to_owned(), document).await
    }

    /// Gives the document that imports as this template. For the staff.
    pub async fn export_template(&self, template: TemplateId) -> Result<Value, ClientError> {
        self.get(format!("/v1/job-templates/{template}/export")).await
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
