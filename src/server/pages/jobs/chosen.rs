//! What staff do to the jobs that they chose: first how many it would change, then the deed.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use super::selection;
use crate::domain::ids::JobId;
use crate::server::error::ApiError;
use crate::server::pages::{Frame, form, ok, show, wants_part};
use crate::server::request::{Call, decimal};
use crate::server::{App, trace};
use crate::store::audit::NewEntry;
use crate::store::deeds::{Deed, Outlook};

/// Jobs that are acted on at once.
const JOBS_MAX: u32 = 10_000;
/// Jobs that share a commit: few enough that others who write need not wait for long.
const JOBS_AT_A_TIME: usize = 200;

/// How a deed is spoken of.
struct Words {
    deed: Deed,
    /// Its name in forms, and on the button.
    name: &'static str,
    title: &'static str,
    /// What becomes of the jobs.
    becomes: &'static str,
    /// What happens, for those who do not know.
    meaning: &'static str,
    /// Why a job would stay as it is.
    stays: &'static str,
    /// The API's route that does the same to one job, and the end of its path.
    action: &'static str,
    tail: &'static str,
}

const DEEDS: &[Words] = &[
    Words {
        deed: Deed::Cancel,
        name: "cancel",
        title: "Cancel",
        becomes: "cancelled",
        meaning: "They end as cancelled and are never run again; a node that works on one learns of it at its next call.",
        stays: "ended or cancelled already",
        action: "jobs.cancel",
        tail: "/cancel",
    },
    Words {
        deed: Deed::Abort,
        name: "abort",
        title: "Abort",
        becomes: "aborted",
        meaning: "They are taken away from their nodes, lose the outputs of this run, and wait to be done again.",
        stays: "waiting already",
        action: "jobs.abort",
        tail: "/abort",
    },
    Words {
        deed: Deed::Delete,
        name: "delete",
        title: "Delete",
        becomes: "deleted",
        meaning: "They are put aside with all that belongs to them. The filter is:deleted finds them, and Restore brings them back.",
        stays: "deleted already",
        action: "jobs.destroy",
        tail: "",
    },
    Words {
        deed: Deed::Restore,
        name: "restore",
        title: "Restore",
        becomes: "restored",
        meaning: "They come back as they were.",
        stays: "not deleted",
        action: "jobs.reinstate",
        tail: "/reinstate",
    },
];

/// Finds a deed by its name in the form.
fn words(name: Option<&str>) -> Result<&'static Words, ApiError> {
    DEEDS.iter().find(|words| Some(words.name) == name).ok_or_else(|| ApiError::field("deed", "There is no such deed."))
}

/// Jobs that stay as they are, for one reason.
struct Others {
    count: String,
    why: String,
}

/// The question before a deed, and what came of it after.
#[derive(Template)]
#[template(path = "jobs/chosen.html")]
struct Chosen {
    csrf: String,
    words: &'static Words,
    /// How many jobs it is about, and how many of them are changed.
    total: String,
    changing: String,
    is_any: bool,
    is_one: bool,
    others: Vec<Others>,
    /// The keys of those that change.
    keys: String,
    back: String,
    /// Whether more jobs pass the filter than are acted on at once.
    is_cut: bool,
}

/// The same as a page of its own, for browsers without scripts.
#[derive(Template)]
#[template(path = "jobs/chosen_page.html")]
struct Page<T: Template> {
    frame: Frame,
    part: T,
}

/// What was done.
#[derive(Template)]
#[template(path = "jobs/done.html")]
struct Outcome {
    done: String,
    becomes: &'static str,
    others: Vec<Others>,
    back: String,
}

/// `POST /jobs/preview`: says what a deed would come to, and asks.
pub(in crate::server) async fn preview(call: &mut Call) -> Result<Response, ApiError> {
    let form = form::read(call).await?.clone();
    let words = words(form.get("deed"))?;
    let q = form.get("q").unwrap_or_default();
    let (jobs, is_cut) = if form.get("all").is_some() {
        let (_, selection) = selection(call, q.trim(), None).map_err(|problem| ApiError::field("q", problem))?;
        let mut jobs = call.app.store.keys_up_to(&selection, JOBS_MAX + 1).await?;
        let is_cut = jobs.len() > JOBS_MAX as usize;
        jobs.truncate(JOBS_MAX as usize);
        (jobs, is_cut)
    } else {
        (keys(form.all("job"))?, false)
    };
    let total = jobs.len();
    let outlooks = call.app.store.outlook(jobs, words.deed, call.app.clock.now()).await?;
    let mut changing = Vec::new();
    let mut others = Reasons::new();
    for (job, outlook) in outlooks {
        match reason(words, outlook) {
            Ok(()) => changing.push(job),
            Err((_, why)) => *others.entry(why).or_default() += 1,
        }
    }
    let part = Chosen {
        csrf: call.session.as_ref().map(|session| session.csrf.clone()).unwrap_or_default(),
        words,
        total: jobs_in_words(total),
        changing: jobs_in_words(changing.len()),
        is_any: !changing.is_empty(),
        is_one: total == 1,
        others: counted(others),
        keys: changing.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        back: back(form.get("back"), q),
        is_cut,
    };
    if wants_part(call) {
        return ok(&part);
    }
    ok(&Page { frame: Frame::of(call, words.title, "/jobs")?, part })
}

/// `POST /jobs/chosen`: does it to each job that still allows it.
pub(in crate::server) async fn carry_out(call: &mut Call) -> Result<Response, ApiError> {
    let form = form::read(call).await?.clone();
    let words = words(form.get("deed"))?;
    let jobs = keys(form.get("jobs").unwrap_or_default().split(',').filter(|key| !key.is_empty()))?;
    let entry = trace::entry(call.caller, call.peer, &call.id, words.action);
    // In a task of its own: a browser that leaves must not stop it half-way, or before it is written down.
    let deeds = tokio::spawn(all(call.app.clone(), words, jobs, entry));
    let (done, others) = deeds.await.map_err(ApiError::internal)??;
    let part = Outcome {
        done: jobs_in_words(done),
        becomes: words.becomes,
        others: counted(others),
        back: back(form.get("back"), form.get("q").unwrap_or_default()),
    };
    if !wants_part(call) {
        return ok(&Page { frame: Frame::of(call, words.title, "/jobs")?, part });
    }
    let mut response = ok(&part)?;
    let headers = response.headers_mut();
    headers.insert("hx-retarget", HeaderValue::from_static("#notice"));
    headers.insert("hx-trigger-after-settle", HeaderValue::from_static("labrun:done"));
    Ok(response)
}

/// Does a deed to each of some jobs, with an entry of the audit log for each; gives how many it was done to, and why not
/// to how many others.
async fn all(
    app: Arc<App>,
    words: &'static Words,
    jobs: Vec<JobId>,
    entry: NewEntry,
) -> Result<(usize, Reasons), ApiError> {
    let (mut done, mut others) = (0, Reasons::new());
    for some in jobs.chunks(JOBS_AT_A_TIME) {
        let mut entries = Vec::with_capacity(some.len());
        for (job, outlook) in app.store.carry_out_deeds(some.to_vec(), words.deed).await? {
            let status = match reason(words, outlook) {
                Ok(()) => {
                    done += 1;
                    StatusCode::OK
                }
                Err((status, why)) => {
                    *others.entry(why).or_default() += 1;
                    status
                }
            };
            let target = format!("POST /v1/jobs/{job}{}", words.tail);
            entries.push(NewEntry { target, status: status.as_u16(), ..entry.clone() });
        }
        trace::keep(&app, entries).await;
    }
    Ok((done, others))
}

/// How many jobs stay as they are, by why.
type Reasons = BTreeMap<String, usize>;

/// Says why a job stays as it is, if it does, with the status that the API would answer with.
fn reason(words: &Words, outlook: Outlook) -> Result<(), (StatusCode, String)> {
    match outlook {
        Outlook::Changes => Ok(()),
        Outlook::Stays => Err((StatusCode::OK, words.stays.to_owned())),
        Outlook::Refused(refusal) => {
            let error = ApiError::from(refusal);
            Err((error.status(), error.detail().to_owned()))
        }
        Outlook::Gone => Err((StatusCode::NOT_FOUND, "gone for good".to_owned())),
    }
}

/// Reads keys of jobs.
fn keys<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<JobId>, ApiError> {
    let keys: Option<Vec<JobId>> = texts.into_iter().map(|text| decimal(text).map(JobId)).collect();
    match keys {
        Some(keys) if keys.len() <= JOBS_MAX as usize => Ok(keys),
        Some(_) => Err(ApiError::field("jobs", format!("At most {JOBS_MAX} jobs can be acted on at once."))),
        None => Err(ApiError::field("jobs", "Must be the keys of jobs.")),
    }
}

/// Gives the page to go back to: that of a job, or the list.
fn back(asked: Option<&str>, q: &str) -> String {
    let job = asked.and_then(|path| path.strip_prefix("/jobs/")).and_then(decimal);
    job.map_or_else(|| super::href(q.trim()), |job| format!("/jobs/{job}"))
}

fn jobs_in_words(count: usize) -> String {
    match count {
        0 => "no job".to_owned(),
        1 => "1 job".to_owned(),
        _ => format!("{} jobs", show::count(i64::try_from(count).unwrap_or(i64::MAX))),
    }
}

fn counted(reasons: Reasons) -> Vec<Others> {
    let others = reasons.into_iter().map(|(why, count)| Others { count: jobs_in_words(count), why });
    others.collect()
}
