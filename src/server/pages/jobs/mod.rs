//! The table of jobs.

pub(in crate::server) mod chosen;
mod query;
pub(super) mod row;

use askama::Template;
use warp::reply::Response;

use super::live::{self, Ended, Live};
use super::{Frame, ok, wants_part};
use crate::domain::ids::JobId;
use crate::server::App;
use crate::server::error::ApiError;
use crate::server::request::{Call, decimal};
use crate::store::jobs::listing;
use crate::store::list::Selection;
use crate::wire::Job;
use query::Asked;
use row::Row;

/// Rows of a page.
const ROWS: u32 = 50;
/// Jobs that are counted; beyond it, "more than" says enough.
const COUNTED_MAX: u32 = 10_000;

/// New jobs that are looked at at a time, whether they pass the filter.
const NEWS_MAX: usize = 500;

/// Filters that people want again and again, as links.
const PRESETS: &[(&str, &str)] = &[
    ("All", ""),
    ("Running", "phase:started"),
    ("Waiting", "is:waiting"),
    ("Failed", "phase:errored"),
    ("Finished", "phase:finished"),
    ("Mine", "by:me"),
    ("Today", "age:<1d"),
    ("Deleted", "is:deleted"),
];

/// A link to a filter.
struct Link {
    name: &'static str,
    href: String,
    is_here: bool,
}

/// The page.
#[derive(Template)]
#[template(path = "jobs/page.html")]
struct Page {
    frame: Frame,
    links: Vec<Link>,
    terms: &'static [(&'static str, &'static str)],
    table: Table,
}

/// The part of it that a filter changes.
#[derive(Template)]
#[template(path = "jobs/table.html")]
struct Table {
    csrf: String,
    is_staff: bool,
    /// The text in the box.
    q: String,
    /// What is wrong with it.
    problem: String,
    rows: Vec<Row>,
    /// The keys of the rows, for the stream of their changes.
    keys: String,
    /// The path of this list, without a place in it.
    href: String,
    /// The path of the next page, if there is one.
    next: String,
    is_first: bool,
    /// The same filter as the API takes it.
    spec: String,
}

/// `GET /jobs?q=FILTER&after=CURSOR`.
pub(in crate::server) async fn list(call: &mut Call) -> Result<Response, ApiError> {
    let table = table(call).await?;
    if wants_part(call) {
        return ok(&table);
    }
    let link = |(name, q): &(&'static str, &str)| Link { name, href: href(q), is_here: *q == table.q };
    let links = PRESETS.iter().map(link).collect();
    ok(&Page { frame: Frame::of(call, "Jobs", "/jobs")?, links, terms: query::TERMS, table })
}

async fn table(call: &mut Call) -> Result<Table, ApiError> {
    let q = call.query_param("q").unwrap_or_default().trim().to_owned();
    let after = call.query_param("after").filter(|after| !after.is_empty());
    let mut table = Table {
        csrf: call.session.as_ref().map(|session| session.csrf.clone()).unwrap_or_default(),
        is_staff: call.caller()?.is_staff,
        href: href(&q),
        is_first: after.is_none(),
        q,
        problem: String::new(),
        rows: Vec::new(),
        keys: String::new(),
        next: String::new(),
        spec: String::new(),
    };
    let (asked, selection) = match selection(call, &table.q, after) {
        Ok(found) => found,
        Err(problem) => return Ok(Table { problem, ..table }),
    };
    table.spec = serde_json::to_string_pretty(&asked.spec).map_err(ApiError::internal)?;
    let page = call.app.store.page(&selection, ROWS).await?;
    table.rows = row::rows(&call.app, page.rows, table.is_staff)?;
    table.keys = table.rows.iter().map(|row| row.pk.to_string()).collect::<Vec<_>>().join(",");
    if let Some(next) = page.next {
        let sign = if table.q.is_empty() { '?' } else { '&' };
        table.next = format!("{}{sign}after={next}", table.href);
    }
    Ok(table)
}

/// Reads the text in the box, and makes a list of it.
///
/// # Errors
/// A sentence that says what is wrong.
pub(super) fn selection(call: &Call, q: &str, after: Option<String>) -> Result<(Asked, Selection<Job>), String> {
    let caller = call.caller().map_err(|error| error.detail().to_owned())?;
    let mut asked = query::read(q, call.app.clock.now(), caller.user)?;
    let shown = asked.spec.clone();
    if let (Some(after), Some(spec)) = (after, asked.spec.as_object_mut()) {
        spec.insert("after".to_owned(), after.into());
    }
    let selection = listing().parse(&asked.spec).map_err(|problems| problems.sentence())?;
    Ok((Asked { spec: shown }, selection))
}

/// Gives the path of a filter's list: the link to save.
fn href(q: &str) -> String {
    if q.is_empty() {
        return "/jobs".to_owned();
    }
    let encoded: String = form_urlencoded::byte_serialize(q.as_bytes()).collect();
    format!("/jobs?q={encoded}")
}

/// `GET /jobs/count?q=FILTER`: asked after the page is there, since counting takes longer the more jobs there are.
pub(in crate::server) async fn count(call: &mut Call) -> Result<Response, ApiError> {
    let q = call.query_param("q").unwrap_or_default();
    let (_, selection) = selection(call, q.trim(), None).map_err(|problem| ApiError::field("q", problem))?;
    let counted = call.app.store.count_up_to(&selection, COUNTED_MAX).await?;
    let text = match counted {
        1 => "1 job".to_owned(),
        _ if counted > i64::from(COUNTED_MAX) => format!("more than {} jobs", super::show::count(COUNTED_MAX.into())),
        _ => format!("{} jobs", super::show::count(counted)),
    };
    super::text(text)
}

/// `GET /jobs/live?keys=KEYS&first=BOOL&q=FILTER`: the rows that are shown, drawn anew when something becomes of their
/// jobs; and on the first page how many jobs are new that pass the filter.
pub(in crate::server) async fn live(call: &mut Call) -> Result<Response, ApiError> {
    let keys = call.query_param("keys").unwrap_or_default();
    let shown: Option<Vec<JobId>> =
        keys.split(',').filter(|key| !key.is_empty()).map(|key| decimal(key).map(JobId)).collect();
    let shown = shown.filter(|shown| shown.len() <= ROWS as usize);
    let shown = shown.ok_or_else(|| ApiError::field("keys", format!("Must be the keys of at most {ROWS} jobs.")))?;
    let is_staff = call.caller()?.is_staff;
    let news = match call.query_param("first").as_deref() {
        Some("true") => {
            let q = call.query_param("q").unwrap_or_default();
            Some(selection(call, q.trim(), None).map_err(|problem| ApiError::field("q", problem))?.1)
        }
        _ => None,
    };
    Ok(live::begin(call, None, move |live| follow(live, shown, news, is_staff)))
}

async fn follow(mut live: Live, shown: Vec<JobId>, news: Option<Selection<Job>>, is_staff: bool) -> Result<(), Ended> {
    // The page may have been drawn some time ago.
    live.draw(draw(&live.app, &shown, is_staff)).await?;
    loop {
        let has_news = news.is_some();
        let changes = live.changed(|told| shown.contains(&told.job) || (told.is_first && has_news)).await?;
        let changed = |job: &&JobId| changes.missed || changes.jobs.contains(job);
        let changed: Vec<JobId> = shown.iter().filter(changed).copied().collect();
        live.draw(draw(&live.app, &changed, is_staff)).await?;
        if let Some(filter) = &news {
            let store = &live.app.store;
            let made = changes.made.iter().take(NEWS_MAX).filter(|job| store.passes(filter, **job).unwrap_or(false));
            let count = made.count();
            if count > 0 {
                live.send("news", None, &count.to_string()).await?;
            }
        }
    }
}

/// Draws the rows of some jobs; those that are gone for good are left as they were.
fn draw(app: &App, jobs: &[JobId], is_staff: bool) -> Result<String, ApiError> {
    let mut found = Vec::with_capacity(jobs.len());
    for job in jobs {
        found.extend(app.store.job(*job)?);
    }
    let mut html = String::new();
    for row in row::rows(app, found, is_staff)? {
        html.push_str(&row.render().map_err(ApiError::internal)?);
    }
    Ok(html)
}
