//! The nodes: who is there, what each works on, and what it did last.

use std::time::Duration;

use askama::Template;
use serde_json::json;
use warp::reply::Response;

use super::jobs::row::{Row, rows};
use super::live::{self, Ended, Live};
use super::show::{self, When};
use super::{Frame, ok};
use crate::domain::ids::{JobId, NodeId};
use crate::server::App;
use crate::server::error::ApiError;
use crate::server::request::Call;
use crate::store::catalogue::HARDWARE;
use crate::store::nodes::listing;
use crate::wire::Node;

/// Nodes on the page.
const NODES_MAX: u32 = 200;
/// The last jobs of each node on the page of all, and on its own.
const JOBS_OF_EACH: u32 = 3;
const JOBS_OF_ONE: u32 = 30;
/// A node that called within this time is there, in seconds: two keep-alives of a patient worker.
const PRESENT_S: i64 = 120;
/// How often a page that is looked at is drawn anew: no event tells that a node called.
const DRAW_EVERY: Duration = Duration::from_secs(3);

/// A node as it is shown.
pub(super) struct Card {
    pub(super) pk: NodeId,
    pub(super) name: String,
    /// How it stands, in a word, with the class and icon of it.
    pub(super) word: &'static str,
    pub(super) kind: &'static str,
    pub(super) icon: &'static str,
    pub(super) seen: Option<When>,
    /// The job it works on, and what that is called.
    pub(super) current: Option<(JobId, String)>,
    pub(super) percent: u8,
    pub(super) progress: f64,
    /// What is known of its machine.
    pub(super) machine: String,
    pub(super) last: Vec<Row>,
}

/// Some nodes, and how many there are.
pub(super) struct Cards {
    pub(super) cards: Vec<Card>,
    pub(super) total: usize,
}

/// The page of all.
#[derive(Template)]
#[template(path = "nodes/page.html")]
struct Page {
    frame: Frame,
    table: Table,
}

/// The part of it that changes.
#[derive(Template)]
#[template(path = "nodes/table.html")]
struct Table {
    cards: Vec<Card>,
    /// How many there are, and how many of them are there now and work.
    total: usize,
    present: usize,
    working: usize,
}

/// The page of one.
#[derive(Template)]
#[template(path = "nodes/one.html")]
struct One {
    frame: Frame,
    now: OneNow,
}

/// The part of it that changes.
#[derive(Template)]
#[template(path = "nodes/one_now.html")]
struct OneNow {
    card: Card,
    owner: String,
    hardware: Vec<(&'static str, String)>,
}

/// `GET /nodes`.
pub(in crate::server) async fn list(call: &mut Call) -> Result<Response, ApiError> {
    let table = table(&call.app).await?;
    ok(&Page { frame: Frame::of(call, "Nodes", "/nodes")?, table })
}

/// `GET /nodes/live`.
pub(in crate::server) async fn live(call: &mut Call) -> Result<Response, ApiError> {
    Ok(live::begin(call, None, follow))
}

async fn follow(mut live: Live) -> Result<(), Ended> {
    loop {
        let html = table(&live.app).await;
        live.draw(html.and_then(|table| table.render().map_err(ApiError::internal))).await?;
        live.rest(DRAW_EVERY).await?;
    }
}

/// `GET /nodes/{PK}`.
pub(in crate::server) async fn show(call: &mut Call) -> Result<Response, ApiError> {
    let now = one(&call.app, NodeId(call.pk())).await?;
    ok(&One { frame: Frame::of(call, now.card.name.clone(), "/nodes")?, now })
}

/// `GET /nodes/{PK}/live`.
pub(in crate::server) async fn live_one(call: &mut Call) -> Result<Response, ApiError> {
    let pk = NodeId(call.pk());
    Ok(live::begin(call, None, move |live| follow_one(live, pk)))
}

async fn follow_one(mut live: Live, pk: NodeId) -> Result<(), Ended> {
    loop {
        let html = one(&live.app, pk).await;
        live.draw(html.and_then(|one| one.render().map_err(ApiError::internal))).await?;
        live.rest(DRAW_EVERY).await?;
    }
}

async fn one(app: &App, pk: NodeId) -> Result<OneNow, ApiError> {
    let node = app.store.node(pk)?.ok_or_else(ApiError::not_found)?;
    let owner = app.store.username(node.creator)?.unwrap_or_default();
    let mut hardware = vec![("Memory", show::bytes(node.cpu_mem))];
    if let Some(bytes) = node.gpu_mem {
        hardware.push(("GPU memory", show::bytes(bytes)));
    }
    if let Some(generation) = node.hardware_generation {
        let row = app.store.catalogue_row(&HARDWARE, generation, false)?;
        let name = row.as_ref().and_then(|row| row.get("generation")?.as_str());
        hardware.push(("GPU generation", name.map_or_else(|| generation.to_string(), str::to_owned)));
    }
    if let Some(driver) = &node.driver_version {
        hardware.push(("Driver", driver.clone()));
    }
    let last = app.store.last_jobs_of(vec![pk], JOBS_OF_ONE).await?.pop().unwrap_or_default();
    let card = Card { last: rows(app, last, false)?, ..card(app, node)? };
    Ok(OneNow { card, owner, hardware })
}

async fn table(app: &App) -> Result<Table, ApiError> {
    let Cards { mut cards, total } = newest(app, NODES_MAX).await?;
    let keys = cards.iter().map(|card| card.pk).collect();
    let jobs = app.store.last_jobs_of(keys, JOBS_OF_EACH).await?;
    for (card, jobs) in cards.iter_mut().zip(jobs) {
        card.last = rows(app, jobs, false)?;
    }
    let of = |kinds: &[&str]| cards.iter().filter(|card| kinds.contains(&card.kind)).count();
    let (present, working) = (of(&["finished", "started"]), of(&["started"]));
    Ok(Table { cards, total, present, working })
}

/// Gives the nodes that called last.
pub(super) async fn newest(app: &App, max: u32) -> Result<Cards, ApiError> {
    // Sorted by what the database knows, which is some seconds old, and then by what is known here.
    let spec = json!({"order_by": [{"field": "last_seen", "ascending": false, "nulls_first": false}]});
    let selection = listing().parse(&spec)?;
    let page = app.store.page(&selection, max).await?;
    let total = match &page.next {
        None => page.rows.len(),
        Some(_) => usize::try_from(app.store.count(&selection).await?).unwrap_or(usize::MAX),
    };
    let mut nodes: Vec<Node> = page.rows.into_iter().map(|node| app.soft.node(node)).collect();
    nodes.sort_by_key(|node| (node.current_job.is_none(), std::cmp::Reverse(node.last_seen), node.pk));
    let cards = nodes.into_iter().map(|node| card(app, node)).collect::<Result<_, _>>()?;
    Ok(Cards { cards, total })
}

fn card(app: &App, node: Node) -> Result<Card, ApiError> {
    let now = app.clock.now();
    let node = app.soft.node(node);
    let age_s = node.last_seen.map(|seen| now.as_seconds().saturating_sub(seen.as_seconds()));
    let job = node.current_job.map(|job| app.store.job(job)).transpose()?.flatten();
    let (word, kind, icon) = match (&job, age_s) {
        (Some(_), _) => ("works", "started", "started"),
        (None, Some(age_s)) if age_s <= PRESENT_S => ("is free", "finished", "finished"),
        (None, Some(_)) => ("is away", "cancelled", "unmade"),
        (None, None) => ("never called", "created", "created"),
    };
    let progress = job.as_ref().map_or(0.0, |job| job.progress_amount);
    let machine = match node.gpu_mem {
        Some(gpu) => format!("{}, GPU {}", show::bytes(node.cpu_mem), show::bytes(gpu)),
        None => show::bytes(node.cpu_mem),
    };
    Ok(Card {
        pk: node.pk,
        name: super::jobs::row::called(&node),
        word,
        kind,
        icon,
        seen: node.last_seen.map(|seen| When::new(seen, now)),
        current: job.map(|job| (job.pk, super::jobs::row::title(&job))),
        percent: (progress * 100.0) as u8,
        progress,
        machine,
        last: Vec::new(),
    })
}
