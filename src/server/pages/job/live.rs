//! The page of a job as it changes: its parts are drawn anew when something becomes of it, and its log is passed on.

use std::time::Duration;

use askama::Template;
use warp::reply::Response;

use super::log::{self, Place};
use super::{Looks, graph, head, is_meta, outputs, steps};
use crate::domain::ids::{JobId, OutputId};
use crate::domain::lifecycle::Phase;
use crate::server::error::ApiError;
use crate::server::pages::live::{self, Ended, Live};
use crate::server::request::Call;

/// How often a running job's outputs are looked at: adding one is no transition, and so no event tells of it.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long what is written to the log is gathered.
const GATHER: Duration = Duration::from_millis(150);

/// `GET /jobs/{PK}/live?place=PLACE`.
pub(in crate::server) async fn follow(call: &mut Call) -> Result<Response, ApiError> {
    let pk = JobId(call.pk());
    let looks = super::looks(call)?;
    let id = call.headers.get("last-event-id").and_then(|id| id.to_str().ok().map(str::to_owned));
    let place = id.or_else(|| call.query_param("place")).as_deref().and_then(Place::parse);
    // What becomes of its children is seen on a meta-job's page too.
    let watched = if is_meta(&call.app, pk)? { None } else { Some(pk) };
    Ok(live::begin(call, watched, move |live| run(live, pk, looks, place)))
}

/// What is known of the page that is shown.
struct Shown {
    pk: JobId,
    looks: Looks,
    outputs: Vec<OutputId>,
    is_running: bool,
    children: Vec<JobId>,
    place: Place,
}

async fn run(mut live: Live, pk: JobId, looks: Looks, place: Option<Place>) -> Result<(), Ended> {
    let place = place.unwrap_or(Place { attempt: 1, bytes: 0 });
    let mut shown = Shown { pk, looks, outputs: Vec::new(), is_running: false, children: Vec::new(), place };
    // Followed before the page is drawn and the log is read, so that nothing comes unseen between the two.
    let mut grown = live.app.logs.follow(pk);
    let mut look = tokio::time::interval(LOOK_EVERY);
    // The page may have been drawn some time ago.
    let mut html = draw(&live, &mut shown).await;
    live.draw(html).await?;
    log::send(&mut live, pk, &mut shown.place).await?;
    loop {
        let children = shown.children.clone();
        tokio::select! {
            changes = live.changed(|told| told.job == pk || children.contains(&told.job) || told.is_first) => {
                drop(changes?);
                html = draw(&live, &mut shown).await;
                live.draw(html).await?;
            }
            Ok(()) = grown.changed() => {
                tokio::time::sleep(GATHER).await;
            }
            _ = look.tick(), if shown.is_running => {
                html = draw_outputs(&live, &mut shown).await;
                live.draw(html).await?;
                continue;
            }
        }
        log::send(&mut live, pk, &mut shown.place).await?;
    }
}

/// Draws all parts of the page that can change.
async fn draw(live: &Live, shown: &mut Shown) -> Result<String, ApiError> {
    let app = &live.app;
    let job = app.store.job(shown.pk)?.ok_or_else(ApiError::not_found)?;
    let mut html = String::new();
    let mut add = |part: Result<String, askama::Error>| -> Result<(), ApiError> {
        html.push_str(&part.map_err(ApiError::internal)?);
        Ok(())
    };
    let outputs = outputs(app, &job).await?;
    shown.outputs = job.outputs.iter().map(|output| output.pk).collect();
    shown.is_running = job.phase == Phase::Started;
    add(outputs.render())?;
    add(steps(app, job.pk).await?.render())?;
    if let Some(graph) = graph(app, &job).await? {
        shown.children = graph.drawing.jobs();
        add(graph.render())?;
    }
    if job.attempt > shown.place.attempt {
        // The log of a new attempt begins.
        shown.place = Place { attempt: job.attempt, bytes: 0 };
        html.push_str(r#"<pre id="log" class="log" tabindex="0" aria-label="Log"></pre>"#);
    }
    html.push_str(&head(app, job, &shown.looks)?.render().map_err(ApiError::internal)?);
    Ok(html)
}

/// Draws the outputs, if they are others than those shown.
async fn draw_outputs(live: &Live, shown: &mut Shown) -> Result<String, ApiError> {
    let Some(job) = live.app.store.job(shown.pk)? else { return Ok(String::new()) };
    let now: Vec<OutputId> = job.outputs.iter().map(|output| output.pk).collect();
    if now == shown.outputs {
        return Ok(String::new());
    }
    let outputs = outputs(&live.app, &job).await?;
    shown.outputs = now;
    outputs.render().map_err(ApiError::internal)
}
