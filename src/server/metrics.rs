//! What monitoring can see: requests by route, counted as they end, and what is asked of the rest when somebody looks
//! (contract §11). Written out in Prometheus' text format by hand: five kinds of lines, less than a crate's interface.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use warp::http::StatusCode;

use super::App;
use super::error::ApiError;
use super::pages::overview::SPANS;
use super::routes::{ROUTES, Route};
use crate::store;
use crate::store::activity::Activity;
use crate::store::stats::{Gauges, Histogram};

/// Bounds of the time of a request, in microseconds.
const REQUEST_US: &[u64] = &[
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
];
/// Statuses that are counted one by one; any other is counted by the last entry.
const STATUSES: &[u16] =
    &[101, 200, 201, 204, 206, 304, 400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 416, 429, 500, 503, 507, 0];
/// The label of requests whose path no route has.
const NO_ROUTE: &str = "none";
/// How long the answers of the database are good for.
const GAUGES_AGE_MAX: Duration = Duration::from_secs(1);
/// For each second that asking took, how many pass before the database is asked again: a scraper can't keep it busy.
const REST_PER_WORK: u32 = 20;
/// How long one look at the database's health is good for.
const HEALTH_AGE_MAX: Duration = Duration::from_secs(1);
/// How long a write may take before the server counts as not ready.
const HEALTH_TIME_MAX: Duration = Duration::from_secs(5);

/// The requests of one route.
#[derive(Debug)]
struct RouteStats {
    by_status: Vec<AtomicU64>,
    time_us: Histogram,
}

/// What the server counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// One for each row of the table, then one for paths that no row has.
    routes: Vec<RouteStats>,
    in_flight: AtomicI64,
    pub(crate) connections: AtomicI64,
    pub(crate) connections_refused: AtomicU64,
    requests_refused: AtomicU64,
    started: Instant,
    gauges: Kept<Gauges>,
    /// What the overview shows, for each of its spans.
    pub(crate) activity: [Kept<Activity>; SPANS],
    health: Mutex<Option<Looked<Result<(), String>>>>,
}

/// An answer, and until when it is good.
#[derive(Debug)]
struct Looked<T> {
    until: Instant,
    what: T,
}

/// An answer of the database that takes time to give, and so is given again for a while: for the longer, the longer it
/// took.
#[derive(Debug)]
pub(crate) struct Kept<T>(Mutex<Option<Looked<T>>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Kept<T> {
    /// Gives the answer that is kept, or asks anew. Any number of callers ask once.
    pub(crate) async fn get(&self, ask: impl Future<Output = Result<T, store::Error>>) -> Result<T, ApiError> {
        let mut kept = self.0.lock().await;
        if let Some(looked) = kept.as_ref().filter(|looked| looked.until > Instant::now()) {
            return Ok(looked.what.clone());
        }
        let began = Instant::now();
        let what = ask.await?;
        let rest = began.elapsed().saturating_mul(REST_PER_WORK).max(GAUGES_AGE_MAX);
        *kept = Some(Looked { until: Instant::now() + rest, what: what.clone() });
        Ok(what)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let row = || RouteStats {
            by_status: STATUSES.iter().map(|_| AtomicU64::new(0)).collect(),
            time_us: Histogram::new(REQUEST_US),
        };
        Self {
            routes: (0..=ROUTES.len()).map(|_| row()).collect(),
            in_flight: AtomicI64::new(0),
            connections: AtomicI64::new(0),
            connections_refused: AtomicU64::new(0),
            requests_refused: AtomicU64::new(0),
            started: Instant::now(),
            gauges: Kept::default(),
            activity: Default::default(),
            health: Mutex::new(None),
        }
    }
}

/// Counts a request, or a connection, as under way until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay<'a>(&'a AtomicI64);

impl<'a> UnderWay<'a> {
    /// Counts one more.
    pub(crate) fn new(count: &'a AtomicI64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts a request as under way.
    ///
    /// # Errors
    /// 503 when there are `max` already.
    pub(crate) fn enter(&self, max: u32) -> Result<UnderWay<'_>, ApiError> {
        let entered = UnderWay::new(&self.in_flight);
        if self.in_flight.load(Ordering::Relaxed) > i64::from(max) {
            self.requests_refused.fetch_add(1, Ordering::Relaxed);
            return Err(ApiError::unavailable("The server has too many requests under way; try again."));
        }
        Ok(entered)
    }

    /// Counts a request that has been answered.
    pub(crate) fn answered(&self, route: Option<&Route>, status: StatusCode, time: Duration) {
        let index = route.map_or(ROUTES.len(), |route| route.index);
        let Some(stats) = self.routes.get(index) else { return };
        let status = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        if let Some(count) = stats.by_status.get(status) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        stats.time_us.observe_time(time);
    }
}

/// Says whether the server can do its work: the database takes a write, and the disk has its headroom.
///
/// # Errors
/// A sentence that says what is wrong.
pub(crate) async fn ready(app: &App) -> Result<(), String> {
    // Locked while it looks, so that any number of callers make one write a second.
    let mut health = app.metrics.health.lock().await;
    if let Some(looked) = health.as_ref().filter(|looked| looked.until > Instant::now()) {
        return looked.what.clone();
    }
    let what = match tokio::time::timeout(HEALTH_TIME_MAX, app.store.check_writable()).await {
        Err(_) => Err("The database takes too long to write.".to_owned()),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the database can't be written");
            Err("The database can't be written.".to_owned())
        }
        Ok(Ok(())) if app.blobs.check_headroom(0).is_err() => {
            Err("The disk has less free than its headroom; uploads are refused.".to_owned())
        }
        Ok(Ok(())) => Ok(()),
    };
    *health = Some(Looked { until: Instant::now() + HEALTH_AGE_MAX, what: what.clone() });
    what
}

/// Asks the database, unless it was asked a moment ago.
pub(crate) async fn gauges(app: &App) -> Result<Gauges, ApiError> {
    app.metrics.gauges.get(app.store.gauges()).await
}

/// Writes everything in Prometheus' text format.
pub(crate) async fn render(app: &Arc<App>) -> Result<String, ApiError> {
    let gauges = gauges(app).await?;
    let mut page = Page::default();
    requests(&mut page, &app.metrics);
    let metrics = &app.metrics;
    page.gauge("labrun_requests_in_flight", "Requests under way.", count(metrics.in_flight.load(Ordering::Relaxed)));
    let refused = metrics.requests_refused.load(Ordering::Relaxed);
    page.counter("labrun_requests_refused_total", "Requests beyond the limit, answered with 503.", refused);
    page.gauge("labrun_connections", "Open connections.", count(metrics.connections.load(Ordering::Relaxed)));
    let refused = metrics.connections_refused.load(Ordering::Relaxed);
    page.counter("labrun_connections_refused_total", "Connections beyond the limit.", refused);
    page.gauge("labrun_watchers", "Watchers of jobs, by WebSocket or events.", app.hub.watching() as f64);

    page.head("labrun_jobs", "gauge", "Jobs that are not deleted, by phase.");
    for phase in ["created", "started", "finished", "errored", "cancelled"] {
        let found = gauges.jobs_by_phase.iter().find(|(name, _)| name == phase).map_or(0, |(_, jobs)| *jobs);
        page.line("labrun_jobs", &format!("phase=\"{phase}\""), count(found));
    }
    let age_us = gauges.oldest_free.map_or(0, |oldest| (app.clock.now().0 - oldest.0).max(0));
    page.gauge(
        "labrun_queue_age_seconds",
        "Age of the oldest job that waits for a node.",
        seconds(age_us.unsigned_abs()),
    );

    let writer = app.store.writer_stats();
    page.gauge("labrun_writer_queue_length", "Commands that wait for the writer.", writer.queue_length() as f64);
    page.counter("labrun_writer_refused_total", "Commands that the full queue did not take.", writer.refused());
    page.counter("labrun_writer_lost_total", "Transactions that could not be committed.", writer.lost());
    page.head("labrun_writer_commit_seconds", "histogram", "Time of a commit, its sync included.");
    page.histogram("labrun_writer_commit_seconds", "", &writer.commit_us, seconds);
    page.head("labrun_writer_batch_commands", "histogram", "Commands that shared a commit.");
    page.histogram("labrun_writer_batch_commands", "", &writer.batch, |commands| commands as f64);

    page.gauge("labrun_blob_bytes", "Bytes of all outputs, shared ones once.", count(gauges.blob_bytes));
    page.gauge("labrun_database_bytes", "Size of the database.", gauges.database_bytes as f64);
    page.gauge("labrun_wal_bytes", "Size of the write-ahead log.", gauges.wal_bytes as f64);
    if let Ok(free) = app.blobs.free_bytes() {
        page.gauge("labrun_disk_free_bytes", "Bytes that the disk has left.", free as f64);
    }
    page.gauge("labrun_uptime_seconds", "Time since the start.", metrics.started.elapsed().as_secs_f64());
    page.head("labrun_build_info", "gauge", "The version that runs.");
    page.line("labrun_build_info", concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1.0);
    Ok(page.0)
}

/// Writes what is counted by route; routes that nobody called are left out.
fn requests(page: &mut Page, metrics: &Metrics) {
    let names = ROUTES.iter().map(|route| route.name.as_ref()).chain([NO_ROUTE]);
    let called: Vec<_> = names.zip(&metrics.routes).filter(|(_, stats)| stats.time_us.read().1 > 0).collect();
    page.head("labrun_http_requests_total", "counter", "Requests answered, by route and status.");
    for (name, stats) in &called {
        for (status, requests) in STATUSES.iter().zip(&stats.by_status) {
            let requests = requests.load(Ordering::Relaxed);
            if requests > 0 {
                let status = if *status == 0 { "other".to_owned() } else { status.to_string() };
                let labels = format!("route=\"{name}\",status=\"{status}\"");
                page.line("labrun_http_requests_total", &labels, requests as f64);
            }
        }
    }
    page.head("labrun_http_request_seconds", "histogram", "Time from a request's head to the answer's, by route.");
    for (name, stats) in &called {
        page.histogram("labrun_http_request_seconds", &format!("route=\"{name}\""), &stats.time_us, seconds);
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn count(number: i64) -> f64 {
    number as f64
}

/// The text, as it grows.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.line(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.line(name, "", value as f64);
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram, unit: fn(u64) -> f64) {
        let (buckets, total, sum) = histogram.read();
        let comma = if labels.is_empty() { "" } else { "," };
        for (bound, below) in buckets {
            self.line(&format!("{name}_bucket"), &format!("{labels}{comma}le=\"{}\"", unit(bound)), below as f64);
        }
        self.line(&format!("{name}_bucket"), &format!("{labels}{comma}le=\"+Inf\""), total as f64);
        self.line(&format!("{name}_sum"), labels, unit(sum));
        self.line(&format!("{name}_count"), labels, total as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_limit_are_refused_and_leaving_makes_room() {
        let metrics = Metrics::default();
        let first = metrics.enter(1).unwrap();
        assert_eq!(metrics.enter(1).unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        assert!(metrics.enter(1).is_ok());
    }

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let metrics = Metrics::default();
        metrics.answered(ROUTES.first(), StatusCode::OK, Duration::from_micros(300));
        metrics.answered(None, StatusCode::NOT_FOUND, Duration::from_secs(100));
        metrics.answered(None, StatusCode::IM_A_TEAPOT, Duration::ZERO);
        let mut page = Page::default();
        requests(&mut page, &metrics);
        for line in [
            "labrun_http_requests_total{route=\"healthz\",status=\"200\"} 1",
            "labrun_http_requests_total{route=\"none\",status=\"404\"} 1",
            "labrun_http_requests_total{route=\"none\",status=\"other\"} 1",
            "labrun_http_request_seconds_bucket{route=\"healthz\",le=\"0.00025\"} 0",
            "labrun_http_request_seconds_bucket{route=\"healthz\",le=\"0.0005\"} 1",
            "labrun_http_request_seconds_bucket{route=\"none\",le=\"10\"} 1",
            "labrun_http_request_seconds_bucket{route=\"none\",le=\"+Inf\"} 2",
            "labrun_http_request_seconds_count{route=\"none\"} 2",
        ] {
            assert!(page.0.lines().any(|there| there == line), "{line} is missing in\n{}", page.0);
        }
    }
}
