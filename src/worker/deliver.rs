//! Results on their way from the spool to the server.

use std::path::PathBuf;

use super::away::{Away, Pauses, passes};
use super::spool::{Entry, Outcome, Upload, WorkDir};
use super::standing::Standing;
use crate::client::{Client, ClientError};
use crate::domain::lifecycle::Phase;
use crate::wire::Job;
use crate::wire::job::Finish;

/// How often a step may be refused before the result is set aside.
const REFUSALS_MAX: u32 = 6;

/// What became of a result.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// The server has it; the job stands so.
    Taken(Phase),
    /// The server would not take it, for a reason; it was set aside.
    Refused {
        /// Why.
        why: String,
        /// Where it is now, if there was anything to keep.
        dir: Option<PathBuf>,
    },
}

/// What a step of a delivery ran into.
enum Trouble {
    /// It passes by itself.
    Passes(ClientError),
    /// The server said no.
    No(ClientError),
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        if passes(&error) { Self::Passes(error) } else { Self::No(error) }
    }
}

/// Delivers a result, waiting for the server as long as that takes. It can be given up at any point, and begun again
/// later: nothing is done twice.
pub(crate) async fn deliver(client: &Client, away: &Away, work: &WorkDir, mut entry: Entry) -> Delivered {
    let (mut pauses, mut refusals) = (Pauses::default(), 0);
    loop {
        match attempt(client, work, &mut entry).await {
            Ok(delivered) => {
                away.answered();
                return delivered;
            }
            Err(Trouble::Passes(error)) => {
                away.failed(&error);
                pauses.next().await;
            }
            // The job changed between two steps; how it stands now is asked anew. That it does so again and again is a
            // mistake somewhere, which must not stop the slot for good.
            Err(Trouble::No(error)) if refusals == REFUSALS_MAX => return refused(work, &entry, error.to_string()),
            Err(Trouble::No(error)) => {
                refusals += 1;
                tracing::debug!(%error, job = entry.run.job.0, "a step of a delivery was refused");
                pauses.next().await;
            }
        }
    }
}

async fn attempt(client: &Client, work: &WorkDir, entry: &mut Entry) -> Result<Delivered, Trouble> {
    let of_node = client.for_node(entry.run.node);
    let ours = of_node.for_attempt(entry.run.attempt);
    let (standing, job) = match of_node.job(entry.run.job).await {
        Ok(job) => (Standing::of(&job, &entry.run), Some(job)),
        Err(error) if error.status() == Some(404) => (Standing::Lost("the job was deleted for good".to_owned()), None),
        // Nothing can be done for a node that is gone (contract §2).
        Err(error) if error.code() == Some("bad_node_id") || error.status() == Some(403) => {
            (Standing::Lost(error.to_string()), None)
        }
        Err(error) => return Err(error.into()),
    };
    match standing {
        Standing::Running => match entry.report.outcome.clone() {
            Outcome::Finished => hand_in(&ours, work, entry, None).await,
            Outcome::Failed(why) => hand_in(&ours, work, entry, Some(why)).await,
            Outcome::GivenBack { why, counts } => give_back(&ours, entry, &why, counts).await,
            Outcome::Gone(_) => hand_in(&ours, work, entry, Some("the worker took the job for gone".to_owned())).await,
        },
        Standing::Held => {
            ours.release(entry.run.job).await?;
            Ok(Delivered::Taken(Phase::Created))
        }
        // The log of a cancelled run is still taken (contract §5).
        Standing::Cancelled => {
            let log = entry.report.uploads.last().filter(|upload| upload.name.starts_with("log")).cloned();
            if let Some(log) = log {
                drop(refusable(upload(&ours, entry, &log).await)?);
            }
            ours.finish(entry.run.job, &Finish::default()).await?;
            Ok(Delivered::Taken(Phase::Cancelled))
        }
        // The answer to an earlier delivery was lost, or there is nothing that could be lost.
        Standing::Finished => Ok(Delivered::Taken(Phase::Finished)),
        Standing::Errored(reason) => {
            free_node(&of_node, entry).await?;
            match &entry.report.outcome {
                // It was given back already, and the answer was lost.
                Outcome::GivenBack { why, counts } if *why == reason => after_failure(&ours, entry, job, *counts).await,
                Outcome::Finished => Ok(refused(work, entry, format!("the server had ended the job: {reason}"))),
                _ => Ok(Delivered::Taken(Phase::Errored)),
            }
        }
        Standing::Lost(why) => {
            // A later attempt by the same node is nothing to touch.
            if !job.is_some_and(|job| job.phase == Phase::Started && job.node == Some(entry.run.node)) {
                free_node(&of_node, entry).await?;
            }
            Ok(refused(work, entry, why))
        }
    }
}

/// Uploads all that a run made, and ends it.
async fn hand_in(
    ours: &Client,
    work: &WorkDir,
    entry: &mut Entry,
    mut error: Option<String>,
) -> Result<Delivered, Trouble> {
    for output in &entry.report.uploads {
        if let Err(no) = refusable(upload(ours, entry, output).await)? {
            if !matches!(no.status(), Some(400 | 413) | None) {
                return Err(Trouble::No(no));
            }
            // The server takes the job's results, but not this one: that is an error of the job's.
            error.get_or_insert(format!("the output {:?} could not be uploaded: {no}", output.name));
        }
    }
    if let (Some(why), Outcome::Finished) = (&error, &entry.report.outcome) {
        entry.report.outcome = Outcome::Failed(why.clone());
        if let Err(error) = work.rewrite(entry) {
            tracing::warn!("the spool can't be written: {error}");
        }
    }
    let job = ours.finish(entry.run.job, &Finish { success: Some(error.is_none()), error }).await?;
    Ok(Delivered::Taken(job.phase))
}

async fn upload(client: &Client, entry: &Entry, output: &Upload) -> Result<(), ClientError> {
    let Upload { name, type_name, file } = output;
    client.upload_file(entry.run.job, name, type_name, &entry.dir.join(file), |_, _| {}).await.map(drop)
}

/// Tells a refusal from trouble that passes.
fn refusable<T>(result: Result<T, ClientError>) -> Result<Result<T, ClientError>, Trouble> {
    match result {
        Err(error) if passes(&error) => Err(Trouble::Passes(error)),
        other => Ok(other),
    }
}

/// Gives a job back that was started: it is ended with an error, and made ready for another worker.
async fn give_back(ours: &Client, entry: &Entry, why: &str, counts: bool) -> Result<Delivered, Trouble> {
    let ended = ours.finish(entry.run.job, &Finish { success: Some(false), error: Some(why.to_owned()) }).await?;
    after_failure(ours, entry, Some(ended), counts).await
}

/// Makes a job ready again whose run was given back. While attempts are left, the server sees to it. When those that were
/// asked for are used up and this one `counts`, the job stays errored: one that brings its workers down must stop.
async fn after_failure(ours: &Client, entry: &Entry, job: Option<Job>, counts: bool) -> Result<Delivered, Trouble> {
    let is_ready_again = |job: &Job| {
        let may_go_on = if counts { job.max_attempts <= 1 } else { job.attempt >= job.max_attempts };
        job.phase == Phase::Errored && job.node == Some(entry.run.node) && may_go_on
    };
    match job {
        Some(job) if is_ready_again(&job) => {
            ours.reset(entry.run.job).await?;
            let job = ours.release(entry.run.job).await?;
            Ok(Delivered::Taken(job.phase))
        }
        Some(job) => Ok(Delivered::Taken(job.phase)),
        None => Ok(Delivered::Taken(Phase::Errored)),
    }
}

/// Sets a result aside that came too late. A run without one leaves nothing to keep.
fn refused(work: &WorkDir, entry: &Entry, why: String) -> Delivered {
    let dir = match entry.report.outcome {
        Outcome::Finished | Outcome::Failed(_) => Some(work.set_aside(entry, &why)),
        Outcome::GivenBack { .. } | Outcome::Gone(_) => None,
    };
    Delivered::Refused { why, dir }
}

/// Lets the node go that still counts as working on a job which was taken from it (contract §5).
async fn free_node(of_node: &Client, entry: &Entry) -> Result<(), Trouble> {
    let node = match refusable(of_node.node(entry.run.node).await)? {
        Ok(node) => node,
        // It is gone, and with it what it works on.
        Err(_) => return Ok(()),
    };
    if node.current_job == Some(entry.run.job) {
        // Without the number of the attempt, since it is that of another by now. The job is not this node's, so that
        // nothing but the node changes.
        drop(refusable(of_node.finish(entry.run.job, &Finish::default()).await)?);
    }
    Ok(())
}
