//! Worker nodes (contract §4).

use serde_json::{Map, Value};
use warp::reply::Response;

use super::lists;
use crate::domain::fields::{Fields, Problems, integer, nullable, text};
use crate::domain::ids::NodeId;
use crate::server::error::ApiError;
use crate::server::request::{Call, created, no_content, ok};
use crate::store::nodes::{NodeChanges, listing};
use crate::wire::node::NewNode;

/// Characters of an ip.
const IP_CHARS: std::ops::RangeInclusive<usize> = 1..=39;
/// The highest index of a node on its machine.
const INDEX_MAX: i64 = 32_767;
/// Characters of a driver's version.
const DRIVER_CHARS_MAX: usize = 16;
/// What is shown but not taken.
const READ_ONLY: [&str; 4] = ["pk", "last_seen", "current_job", "creator"];

/// `POST /v1/nodes/list`.
pub(crate) async fn list(call: &mut Call) -> Result<Response, ApiError> {
    super::write_soft_state(&call.app).await;
    let app = call.app.clone();
    lists::list(call, listing(), move |node| app.soft.node(node)).await
}

/// `POST /v1/nodes/create`.
pub(crate) async fn create(call: &mut Call) -> Result<Response, ApiError> {
    let creator = call.caller()?.user;
    let body = call.json().await?;
    let NodeChanges { ip, index, driver_version, hardware_generation, gpu_mem, cpu_mem } = parse(&body, true)?;
    let (Some(ip), Some(index), Some(cpu_mem)) = (ip, index, cpu_mem) else {
        return Err(Problems::default().into());
    };
    let new = NewNode {
        ip,
        index,
        driver_version: driver_version.flatten(),
        hardware_generation: hardware_generation.flatten(),
        gpu_mem: gpu_mem.flatten(),
        cpu_mem,
    };
    created(&call.app.store.create_node(new, creator).await?)
}

/// `GET /v1/nodes/ping`: says that the node is there; gives the node.
pub(crate) async fn ping(call: &mut Call) -> Result<Response, ApiError> {
    let node = call.caller()?.node.ok_or_else(|| ApiError::forbidden("This is called for a node."))?;
    super::jobs::note_sign_of_life(call);
    show(call, node)
}

/// `GET /v1/nodes/{PK}`.
pub(crate) async fn retrieve(call: &mut Call) -> Result<Response, ApiError> {
    show(call, NodeId(call.pk()))
}

/// `PUT /v1/nodes/{PK}`.
pub(crate) async fn update(call: &mut Call) -> Result<Response, ApiError> {
    change(call, true).await
}

/// `PATCH /v1/nodes/{PK}`.
pub(crate) async fn partial_update(call: &mut Call) -> Result<Response, ApiError> {
    change(call, false).await
}

/// `DELETE /v1/nodes/{PK}`: removes it for good.
pub(crate) async fn destroy(call: &mut Call) -> Result<Response, ApiError> {
    let pk = NodeId(call.pk());
    call.app.store.destroy_node(pk).await?;
    call.app.soft.forget_node(pk);
    no_content()
}

fn show(call: &Call, pk: NodeId) -> Result<Response, ApiError> {
    let node = call.app.store.node(pk)?.ok_or_else(ApiError::not_found)?;
    ok(&call.app.soft.node(node))
}

async fn change(call: &mut Call, whole: bool) -> Result<Response, ApiError> {
    let body = call.json().await?;
    let changes = parse(&body, whole)?;
    let node = call.app.store.update_node(NodeId(call.pk()), changes).await?;
    ok(&call.app.soft.node(node))
}

/// Takes a body apart; `whole` wants all required fields.
fn parse(body: &Map<String, Value>, whole: bool) -> Result<NodeChanges, Problems> {
    let mut fields = Fields::new(body);
    fields.pass_over(&READ_ONLY);
    let changes = NodeChanges {
        ip: fields.needed_if(whole, "ip", text(IP_CHARS)),
        index: fields.needed_if(whole, "index", integer(0..=INDEX_MAX)),
        driver_version: fields.optional("driver_version", nullable(text(0..=DRIVER_CHARS_MAX))),
        hardware_generation: fields.optional("hardware_generation", nullable(integer(1..=i64::MAX))),
        gpu_mem: fields.optional("gpu_mem", nullable(integer(0..=i64::MAX))),
        cpu_mem: fields.needed_if(whole, "cpu_mem", integer(0..=i64::MAX)),
    };
    fields.finish()?;
    Ok(changes)
}
