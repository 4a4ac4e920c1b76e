//! One slot of a worker: a node that takes one job after another.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::away::{Away, Pauses, passes};
use super::claim::{Claims, can_run, workable};
use super::command::Style;
use super::deliver::{Delivered, deliver};
use super::process::end_marked;
use super::run::{Work, first_line};
use super::spool::{Entry, Outcome, Report, Run, WorkDir};
use super::{Keep, Settings, Stop, Stopping, WorkError, stopped_now, stops};
use crate::client::{Client, ClientError};
use crate::domain::ids::JobId;
use crate::domain::lifecycle::Phase;
use crate::wire::list::{ListSpec, exact};
use crate::wire::template::Workable;
use crate::wire::{Job, Node};

/// How long a worker that was asked to stop goes on to try to deliver a result. The spool keeps what is not delivered.
const LAST_TRY: Duration = Duration::from_secs(10);
/// How long a worker that stops looks for a job that was given to it at that moment.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// How often it is looked whether the server is still away.
const LOOK: Duration = Duration::from_millis(500);
/// The pause after something on this machine went wrong, so that not all jobs are taken in vain.
const REST: Duration = Duration::from_secs(10);

/// A slot.
pub(crate) struct Slot {
    /// Speaks for the slot's node.
    pub(crate) client: Client,
    /// The node.
    pub(crate) node: Node,
    /// What the operator set.
    pub(crate) settings: Arc<Settings>,
    /// The worker's folder.
    pub(crate) work: Arc<WorkDir>,
    /// How jobs are taken.
    pub(crate) claims: Arc<Claims>,
    /// Whether the server is away.
    pub(crate) away: Arc<Away>,
    /// Whether the worker is to stop.
    pub(crate) stop: Stop,
    /// Variables for the slot's commands.
    pub(crate) variables: Vec<(String, String)>,
}

/// A job that is taken, and all that is known of it before it begins.
struct Prepared {
    job: Job,
    template: Workable,
    style: Style,
    declared: std::collections::BTreeMap<String, String>,
}

impl Slot {
    /// Takes jobs until the worker is to stop, or until none is free if it is to end then.
    pub(crate) async fn run(self) -> Result<(), WorkError> {
        let mut pauses = Pauses::default();
        let mut is_tidy = false;
        loop {
            self.deliver_spooled().await;
            if stops(&self.stop) {
                return Ok(());
            }
            if let Err(error) = self.work.check() {
                let dir = self.work.root().display();
                tracing::error!("the worker's folder {dir} can't be written ({error}): no job is taken until it can");
                self.pause(REST).await;
                continue;
            }
            let mut stop = self.stop.clone();
            let next = async {
                if !is_tidy {
                    self.tidy_up().await?;
                }
                self.claims.next(&self.client).await
            };
            let next = tokio::select! {
                next = next => Some(next),
                _ = stop.wait_for(|stopping| *stopping != Stopping::Not) => None,
            };
            let Some(next) = next else {
                // A job may have been on its way here.
                drop(tokio::time::timeout(LAST_LOOK, self.give_back_held()).await);
                return Ok(());
            };
            match next {
                Ok(job) => {
                    self.away.answered();
                    (is_tidy, pauses) = (true, Pauses::default());
                    match job {
                        Some(job) => self.take(job).await,
                        None if self.settings.once => return Ok(()),
                        None => {}
                    }
                }
                Err(error) if error.code() == Some("bad_node_id") => return Err(WorkError::NodeGone(self.node.pk)),
                // A filter that the server does not take, or a token that may not.
                Err(error) if matches!(error.status(), Some(400 | 403)) => return Err(error.into()),
                Err(error) => {
                    // The answer that is missing may have been a job.
                    is_tidy = false;
                    self.away.failed(&error);
                    self.pause(pauses.longer()).await;
                }
            }
        }
    }

    /// Pauses, unless the worker is to stop.
    async fn pause(&self, time: Duration) {
        let mut stop = self.stop.clone();
        drop(tokio::time::timeout(time, stop.wait_for(|stopping| *stopping != Stopping::Not)).await);
    }

    /// Gives back jobs that this node holds and has not started: the answer that told of them was lost.
    async fn give_back_held(&self) -> Result<(), ClientError> {
        let held = ListSpec::default().with(exact("phase", "created")).with(exact("node.pk", self.node.pk.0));
        for job in self.client.jobs(&held).await? {
            tracing::info!("job {} was held for this node and had not begun: given back", job.pk);
            match self.client.release(job.pk).await {
                Err(error) if passes(&error) => return Err(error),
                // It was taken away meanwhile.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Puts right what an earlier worker left of this node: jobs that it held and never started, and one that it worked
    /// on and of which nothing is known here.
    async fn tidy_up(&self) -> Result<(), ClientError> {
        self.give_back_held().await?;
        let Some(current) = self.client.node(self.node.pk).await?.current_job else { return Ok(()) };
        let attempt = match self.client.job(current).await {
            Ok(job) => job.attempt,
            Err(error) if error.status() == Some(404) => return Ok(()),
            Err(error) => return Err(error),
        };
        tracing::warn!("job {current} was left behind by an earlier worker: given back");
        let run = Run::unknown(self.client.address(), self.node.pk, current, attempt);
        let why = "the worker ended in the middle of the run".to_owned();
        let report = Report::new(Outcome::GivenBack { why, counts: true }, Vec::new());
        deliver(&self.client, &self.away, &self.work, Entry { dir: PathBuf::new(), run, report }).await;
        Ok(())
    }

    /// Delivers what lies in the spool for this node.
    async fn deliver_spooled(&self) {
        for entry in self.work.spooled() {
            if entry.run.server == self.client.address() && entry.run.node == self.node.pk {
                self.deliver(entry).await;
            }
        }
    }

    /// Delivers one result, keeping the lease meanwhile. A worker that is to stop does not wait for a server that is
    /// away.
    pub(crate) async fn deliver(&self, entry: Entry) {
        let (job, dir, outcome) = (entry.run.job, entry.dir.clone(), entry.report.outcome.clone());
        let alive = self.client.for_node(entry.run.node);
        let beating = async {
            loop {
                tokio::time::sleep(Duration::from_secs_f64(self.settings.lease_s / 4.0)).await;
                // Whether it is heard, the delivery finds out.
                drop(alive.ping().await);
            }
        };
        let mut stop = self.stop.clone();
        let given_up = async {
            stopped_now(&mut stop).await;
            tokio::time::sleep(LAST_TRY).await;
        };
        let delivered = tokio::select! {
            delivered = deliver(&self.client, &self.away, &self.work, entry) => delivered,
            () = beating => return,
            () = given_up => return left(job, &dir),
            () = self.server_stays_away() => return left(job, &dir),
        };
        self.delivered(job, &dir, &outcome, delivered);
    }

    /// Returns when the worker is to stop and the server has been away for a while. A large result that is on its way is
    /// waited for.
    async fn server_stays_away(&self) {
        let mut stop = self.stop.clone();
        drop(stop.wait_for(|stopping| *stopping != Stopping::Not).await);
        let mut away_for = Duration::ZERO;
        while away_for < LAST_TRY {
            tokio::time::sleep(LOOK).await;
            away_for = if self.away.is_away() { away_for + LOOK } else { Duration::ZERO };
        }
    }

    /// Says what became of a result, and keeps or removes the folder of the run.
    fn delivered(&self, job: JobId, dir: &std::path::Path, outcome: &Outcome, delivered: Delivered) {
        let is_good = match &delivered {
            Delivered::Taken(Phase::Finished) => {
                tracing::info!("job {job} is finished");
                true
            }
            Delivered::Taken(Phase::Cancelled) => {
                tracing::info!("job {job} was cancelled");
                true
            }
            Delivered::Taken(phase) => {
                let why = match outcome {
                    Outcome::Finished => "",
                    Outcome::Failed(why) | Outcome::GivenBack { why, .. } | Outcome::Gone(why) => why,
                };
                tracing::warn!("job {job} is {phase}: {}", first_line(why));
                false
            }
            Delivered::Refused { why, dir: None } => {
                tracing::warn!("job {job} is not this worker's any more: {why}");
                true
            }
            Delivered::Refused { why, dir: Some(dir) } => {
                tracing::error!("the result of job {job} came too late ({why}); it lies in {}", dir.display());
                return;
            }
        };
        match self.settings.keep {
            Keep::Always => drop(self.work.keep(dir)),
            Keep::OnError if !is_good => {
                let kept = self.work.keep(dir);
                tracing::info!("the folder of the run is kept in {}", kept.display());
            }
            Keep::OnError | Keep::Never => self.work.remove(dir),
        }
    }

    /// Does a job that was given to this node.
    async fn take(&self, job: Job) {
        let pk = job.pk;
        let prepared = match self.prepare(job).await {
            Ok(prepared) => prepared,
            Err(why) => {
                tracing::warn!("job {pk} is given back: {why}");
                return self.give_back_unstarted(pk).await;
            }
        };
        let Prepared { job, template, style, declared } = prepared;
        let (dir, run) = match self.work.begin(self.client.address(), self.node.pk, pk, job.attempt) {
            Ok(begun) => begun,
            Err(error) => {
                tracing::error!(
                    "job {pk} is given back: the worker's folder {} can't be written ({error})",
                    self.work.root().display()
                );
                self.give_back_unstarted(pk).await;
                return self.pause(REST).await;
            }
        };
        let client = self.client.for_attempt(job.attempt);
        if let Err(why) = self.patiently(|| client.start(pk)).await {
            tracing::warn!("job {pk} can't be started: {why}");
            self.work.remove(&dir);
            return self.give_back_unstarted(pk).await;
        }
        tracing::info!("job {pk} ({} v{}) begins, attempt {}", job.template.name, job.template.version, job.attempt);
        let work = Work {
            client,
            settings: &self.settings,
            stop: self.stop.clone(),
            away: self.away.clone(),
            run: run.clone(),
            dir: dir.clone(),
            job,
            template,
            declared,
            style,
            variables: self.variables.clone(),
        };
        let report = work.run().await;
        let is_own_fault = matches!(report.outcome, Outcome::GivenBack { .. }) && !stops(&self.stop);
        let entry = match self.work.spool(&dir, run.clone(), report.clone()) {
            Ok(entry) => entry,
            Err(error) => {
                tracing::error!(
                    "the spool in {} can't be written ({error}): the result of job {pk} is delivered from where it is, and lost if \
                     this worker stops before the server has it. Make room there",
                    self.work.root().display()
                );
                Entry { dir, run, report }
            }
        };
        self.deliver(entry).await;
        if is_own_fault {
            self.pause(REST).await;
        }
    }

    /// Finds out how a job is to be run, before it begins.
    async fn prepare(&self, job: Job) -> Result<Prepared, String> {
        let template = self.patiently(|| self.client.template(job.template.pk)).await?;
        let template = workable(template).ok_or("it is made of other jobs")?;
        let style = can_run(&template)?;
        let declared = self.patiently(|| self.client.template_outputs(job.template.pk)).await?;
        Ok(Prepared { job, template, style, declared })
    }

    /// Makes a call again and again while the server is away, unless the worker is stopped.
    async fn patiently<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        call: impl Fn() -> F,
    ) -> Result<T, String> {
        let mut pauses = Pauses::default();
        let mut stop = self.stop.clone();
        loop {
            match call().await {
                Err(error) if passes(&error) => {
                    self.away.failed(&error);
                    tokio::select! {
                        () = pauses.next() => {}
                        () = stopped_now(&mut stop) => return Err(error.to_string()),
                    }
                }
                Ok(answer) => {
                    self.away.answered();
                    return Ok(answer);
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Gives a job back that did not begin.
    async fn give_back_unstarted(&self, job: JobId) {
        // What can't be given back is freed when its lease runs out.
        if let Err(why) = self.patiently(|| self.client.release(job)).await {
            tracing::warn!("job {job} can't be given back: {why}");
        }
    }
}

/// Says that a result is left to the next start.
fn left(job: JobId, dir: &std::path::Path) {
    tracing::warn!("the result of job {job} waits in {}: the next start of the worker delivers it", dir.display());
}

/// Ends what runs of an earlier worker left, and puts them into the spool to be given back.
pub(crate) async fn recover(work: &WorkDir) {
    for (dir, run) in work.cut_off() {
        end_marked(&run.mark).await;
        tracing::warn!("the run of job {} was cut off with the worker: it is given back", run.job);
        let why = "the worker ended in the middle of the run".to_owned();
        if let Err(error) = work.spool(&dir, run, Report::new(Outcome::GivenBack { why, counts: true }, Vec::new())) {
            tracing::error!("the spool in {} can't be written: {error}", work.root().display());
        }
    }
}
