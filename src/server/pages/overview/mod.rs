//! The first page: how the lab is now, and what went on lately. The database is asked at most once a second for all who
//! look, as for `/metrics`.

mod chart;

use std::time::Duration;

use askama::Template;
use warp::reply::Response;

use super::jobs::row::{Row, rows};
use super::live::{self, Ended, Live};
use super::nodes::{self, Card};
use super::show;
use super::{Frame, ok};
use crate::domain::lifecycle::Phase;
use crate::server::error::ApiError;
use crate::server::request::Call;
use crate::server::{App, metrics};
use crate::store::activity::Activity;
use chart::{Chart, Form, Layer};

const MINUTE_US: i64 = 60 * 1_000_000;
/// Steps into which a span is cut.
const STEPS: usize = 48;
/// How often a page that is looked at is drawn anew.
const DRAW_EVERY: Duration = Duration::from_secs(5);
/// Nodes that are shown.
const NODES_MAX: u32 = 8;

/// A span of time that can be looked at.
struct Look {
    name: &'static str,
    /// How the query calls it.
    key: &'static str,
    /// How long it is, as it is told.
    length: &'static str,
    step_us: i64,
    /// What stands at the axis, from the left.
    marks: [&'static str; 5],
}

/// How many there are.
pub(in crate::server) const SPANS: usize = LOOKS.len();

const LOOKS: [Look; 3] = [
    Look {
        name: "Hour",
        key: "hour",
        length: "1 h",
        step_us: 75 * 1_000_000,
        marks: ["60 min ago", "45 min", "30 min", "15 min", "now"],
    },
    Look {
        name: "Day",
        key: "day",
        length: "24 h",
        step_us: 30 * MINUTE_US,
        marks: ["24 h ago", "18 h", "12 h", "6 h", "now"],
    },
    Look {
        name: "Week",
        key: "week",
        length: "7 d",
        step_us: 210 * MINUTE_US,
        marks: ["7 d ago", "5¼ d", "3½ d", "1¾ d", "now"],
    },
];

/// The span that is shown when none is asked for.
const USUAL: usize = 1;

/// The page.
#[derive(Template)]
#[template(path = "overview/page.html")]
struct Page {
    frame: Frame,
    now: Now,
    key: &'static str,
    /// Name, path, and whether it is the one that is shown.
    spans: Vec<(&'static str, String, bool)>,
}

/// What changes by itself.
#[derive(Template)]
#[template(path = "overview/now.html")]
struct Now {
    span: &'static str,
    tiles: Vec<Tile>,
    disk: Option<Disk>,
    charts: Vec<Chart>,
    failed: Vec<Row>,
    nodes: Vec<Card>,
    /// Nodes in all.
    nodes_total: usize,
    is_cut: bool,
    is_new: bool,
    is_staff: bool,
}

/// A figure that people look for.
struct Tile {
    name: &'static str,
    figure: String,
    /// What to know beside it.
    beside: String,
    href: &'static str,
    /// The class and icon of a phase, or nothing.
    kind: &'static str,
}

/// The disk.
struct Disk {
    free: String,
    outputs: String,
    database: String,
    headroom: String,
    /// How much of what is there is used, from 0 to 1, by labrun's own figures.
    share: f64,
    is_short: bool,
}

/// `GET /?span=KEY`.
pub(in crate::server) async fn show(call: &mut Call) -> Result<Response, ApiError> {
    let at = look(call);
    let now = now(&call.app, at, call.caller()?.is_staff).await?;
    let spans = LOOKS.iter().enumerate();
    let spans = spans.map(|(place, look)| (look.name, format!("/?span={}", look.key), place == at)).collect();
    let key = LOOKS.get(at).map_or("", |look| look.key);
    ok(&Page { frame: Frame::of(call, "Overview", "/")?, now, key, spans })
}

/// `GET /overview/live?span=KEY`: the page as time goes by.
pub(in crate::server) async fn live(call: &mut Call) -> Result<Response, ApiError> {
    let (at, is_staff) = (look(call), call.caller()?.is_staff);
    Ok(live::begin(call, None, move |live| follow(live, at, is_staff)))
}

async fn follow(mut live: Live, at: usize, is_staff: bool) -> Result<(), Ended> {
    loop {
        let html = now(&live.app, at, is_staff).await;
        live.draw(html.and_then(|now| now.render().map_err(ApiError::internal))).await?;
        live.rest(DRAW_EVERY).await?;
    }
}

/// Reads which span is asked for; one that there is not is the usual one.
fn look(call: &Call) -> usize {
    let key = call.query_param("span");
    LOOKS.iter().position(|look| Some(look.key) == key.as_deref()).unwrap_or(USUAL)
}

async fn now(app: &App, at: usize, is_staff: bool) -> Result<Now, ApiError> {
    let (Some(look), Some(kept)) = (LOOKS.get(at), app.metrics.activity.get(at)) else {
        return Err(ApiError::not_found());
    };
    let gauges = metrics::gauges(app).await?;
    let activity = kept.get(app.store.activity(app.clock.now(), look.step_us, STEPS)).await?;
    let of_phase =
        |phase: &str| gauges.jobs_by_phase.iter().find(|(name, _)| name == phase).map_or(0, |(_, jobs)| *jobs);
    let oldest = gauges.oldest_free.map(|oldest| app.clock.now().0.saturating_sub(oldest.0));
    let mut failed = Vec::new();
    for job in &activity.failed {
        // It may have been taken up again since.
        failed.extend(app.store.job(*job)?.filter(|job| job.phase == Phase::Errored && job.deletion_time.is_none()));
    }
    let cards = nodes::newest(app, NODES_MAX).await?;
    let total: i64 = gauges.jobs_by_phase.iter().map(|(_, jobs)| jobs).sum();
    Ok(Now {
        span: look.length,
        tiles: tiles(&activity, look, of_phase("created"), of_phase("started"), oldest),
        disk: disk(app, &gauges),
        charts: charts(&activity, look),
        // No boxes to choose them by: that is done on the page of jobs.
        failed: rows(app, failed, false)?,
        nodes_total: cards.total,
        nodes: cards.cards,
        is_cut: activity.is_cut,
        is_new: total == 0,
        is_staff,
    })
}

fn tiles(activity: &Activity, look: &Look, waiting: i64, running: i64, oldest_us: Option<i64>) -> Vec<Tile> {
    let sum = |kind: usize| activity.ended.iter().filter_map(|kinds| kinds.get(kind)).sum::<i64>();
    let (finished, errored) = (sum(0), sum(1));
    let hours = (look.step_us * STEPS as i64) as f64 / (60 * MINUTE_US) as f64;
    let rate = finished as f64 / hours;
    let rate = if rate < 9.95 { format!("{rate:.1}") } else { show::count(rate.round() as i64) };
    let run = activity.median_run_us.map(|us| format!(", half within {}", show::span(us))).unwrap_or_default();
    let wait = activity.median_wait_us.map(|us| format!("half of them waited up to {}", show::span(us)));
    vec![
        Tile {
            name: "Waiting",
            figure: show::count(waiting),
            beside: oldest_us
                .map_or_else(|| "none waits for a node".to_owned(), |us| format!("the oldest for {}", show::span(us))),
            href: "/jobs?q=phase%3Acreated",
            kind: "created",
        },
        Tile {
            name: "Running",
            figure: show::count(running),
            beside: wait.unwrap_or_default(),
            href: "/jobs?q=phase%3Astarted",
            kind: "started",
        },
        Tile {
            name: "Finished",
            figure: show::count(finished),
            beside: format!("{rate} an hour{run}"),
            href: "/jobs?q=phase%3Afinished",
            kind: "finished",
        },
        Tile {
            name: "Failed",
            figure: show::count(errored),
            beside: match finished + errored {
                0 => String::new(),
                all => format!("{:.0} % of those that ended", 100.0 * errored as f64 / all as f64),
            },
            href: "/jobs?q=phase%3Aerrored",
            kind: "errored",
        },
    ]
}

fn disk(app: &App, gauges: &crate::store::stats::Gauges) -> Option<Disk> {
    let free = app.blobs.free_bytes().ok()?;
    let headroom = app.blobs.headroom_bytes();
    let database = gauges.database_bytes.saturating_add(gauges.wal_bytes);
    let used = u64::try_from(gauges.blob_bytes).unwrap_or(0).saturating_add(database);
    let written = |bytes: u64| show::bytes(i64::try_from(bytes).unwrap_or(i64::MAX));
    Some(Disk {
        free: written(free),
        outputs: show::bytes(gauges.blob_bytes),
        database: written(database),
        headroom: written(headroom),
        share: used as f64 / used.saturating_add(free).max(1) as f64,
        is_short: free < headroom,
    })
}

fn charts(activity: &Activity, look: &Look) -> Vec<Chart> {
    let share = |place: usize| place as f64 / (look.marks.len() - 1) as f64;
    let marks: Vec<(f64, String)> =
        look.marks.iter().enumerate().map(|(place, text)| (share(place), (*text).to_owned())).collect();
    let ended = |kind: usize| activity.ended.iter().filter_map(|kinds| kinds.get(kind).copied()).collect();
    let now = [
        Layer { name: "running", kind: "started", counts: activity.running.clone() },
        Layer { name: "waiting", kind: "created", counts: activity.waiting.clone() },
    ];
    let done = [
        Layer { name: "finished", kind: "finished", counts: ended(0) },
        Layer { name: "failed", kind: "errored", counts: ended(1) },
        Layer { name: "cancelled", kind: "cancelled", counts: ended(2) },
    ];
    vec![Chart::of("Waiting and running", Form::Area, &now, &marks), Chart::of("Ended", Form::Bars, &done, &marks)]
}
