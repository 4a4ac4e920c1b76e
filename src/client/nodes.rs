//! Worker nodes.

use reqwest::Response;

use super::call::Call;
use super::{Client, ClientError};
use crate::domain::ids::NodeId;
use crate::wire::Node;
use crate::wire::list::ListSpec;
use crate::wire::node::NewNode;

/// Every method fails as `ClientError` tells; the statuses named are those that a right call may meet.
impl Client {
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
}
