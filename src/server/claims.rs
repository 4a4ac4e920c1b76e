//! Nodes that wait for a job: served in order of arrival, woken by the commit that makes a job free (contract §11).
//!
//! Every claim goes through one queue and one task, also those that do not wait: a claim that came later never gets
//! past one that came before it and wants the same. A waiting claim is a place in the queue and holds no thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::App;
use crate::store;
use crate::store::claims::{Claimant, ClaimedBy, Wanted};
use crate::store::jobs::{By, Verb};
use crate::wire::Job;

/// Claims that may wait at the same time; one more is told to come back later.
const WAITING_MAX: usize = 10_000;

/// What a claim is answered: a job, or none.
type Answer = Result<Option<Job>, store::Error>;

/// A claim that waits.
struct Waiter {
    by: ClaimedBy,
    wanted: Arc<Wanted>,
    lease_s: Option<f64>,
    /// Whether it has not been tried yet. Afterwards only jobs that become free are of interest to it.
    is_new: bool,
    /// Whether it is to be told of the first try that is in vain.
    once: bool,
    reply: Arc<Mutex<Option<oneshot::Sender<Answer>>>>,
}

impl Waiter {
    /// Says whether somebody still waits for the answer.
    fn is_there(&self) -> bool {
        let reply = self.reply.lock().unwrap_or_else(PoisonError::into_inner);
        reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }

    /// Answers; gives back what nobody was there to take.
    fn answer(&self, answer: Answer) -> Option<Answer> {
        let reply = self.reply.lock().unwrap_or_else(PoisonError::into_inner).take();
        match reply {
            Some(reply) => reply.send(answer).err(),
            None => Some(answer),
        }
    }
}

/// The claims that wait.
#[derive(Default)]
pub(crate) struct Claims {
    waiting: Mutex<VecDeque<Waiter>>,
    came: Notify,
}

impl Claims {
    /// Waits for a job, for up to `wait`; with no time to wait, for one try.
    ///
    /// # Errors
    /// `Busy` when too many wait already, `NodeGone` and `CallerGone` when the node was destroyed or the caller shut out
    /// by the time there is a job, and what the store says of the try.
    pub(crate) async fn claim(
        &self,
        by: ClaimedBy,
        wanted: Arc<Wanted>,
        lease_s: Option<f64>,
        wait: Duration,
    ) -> Answer {
        let (reply, mut answer) = oneshot::channel();
        let reply = Arc::new(Mutex::new(Some(reply)));
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= WAITING_MAX {
                return Err(store::Error::Busy);
            }
            waiting.push_back(Waiter { by, wanted, lease_s, is_new: true, once: wait.is_zero(), reply });
        }
        self.came.notify_one();
        if wait.is_zero() {
            return answer.await.unwrap_or(Err(store::Error::Closing));
        }
        match tokio::time::timeout(wait, &mut answer).await {
            Ok(answer) => answer.unwrap_or(Err(store::Error::Closing)),
            Err(_) => {
                // From here on nothing can be sent; what was sent in the last moment still counts.
                answer.close();
                answer.try_recv().unwrap_or(Ok(None))
            }
        }
    }

    /// Takes the claims of those who still wait, in order of arrival.
    fn take(&self) -> Vec<Waiter> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.drain(..).filter(Waiter::is_there).collect()
    }

    /// Puts claims back to where they were: before all that came meanwhile.
    fn put_back(&self, waiters: Vec<Waiter>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for waiter in waiters.into_iter().rev() {
            waiting.push_front(waiter);
        }
    }
}

/// Serves claims until the server stops, then tells the rest that there is nothing.
pub(super) async fn run(app: Arc<App>) {
    let mut stopping = app.stopping.clone();
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => break,
            () = app.claims.came.notified() => {}
            () = app.store.free_jobs().came() => {}
        }
        run_once(&app).await;
    }
    for waiter in app.claims.take() {
        waiter.answer(Ok(None));
    }
}

/// Tries every waiting claim once, in order.
async fn run_once(app: &Arc<App>) {
    // Before anything is read: what becomes free later counts for the next time.
    let freed = app.store.free_jobs().take();
    let waiters = app.claims.take();
    if waiters.is_empty() {
        return;
    }
    let wanted = waiters.iter().map(|waiter| (waiter.wanted.clone(), waiter.is_new)).collect();
    let given = match app.store.any_to_claim(wanted, &freed).await {
        Ok(false) => Ok(Vec::new()),
        Ok(true) => app.store.claim(waiters.iter().map(claimant).collect(), &freed).await,
        Err(error) => Err(error),
    };
    let given = match given {
        Ok(given) => given,
        Err(error) => {
            tracing::warn!(%error, "claims could not be served");
            for waiter in waiters {
                waiter.answer(Err(store::Error::Busy));
            }
            return;
        }
    };
    let mut answers: std::collections::HashMap<usize, Result<Job, store::Error>> = given.into_iter().collect();
    let mut rest = Vec::new();
    for (position, waiter) in waiters.into_iter().enumerate() {
        match answers.remove(&position) {
            Some(Ok(job)) => hand_over(app, &waiter, job).await,
            Some(Err(refusal)) => drop(waiter.answer(Err(refusal))),
            None if waiter.once => drop(waiter.answer(Ok(None))),
            None => rest.push(Waiter { is_new: false, ..waiter }),
        }
    }
    app.claims.put_back(rest);
}

fn claimant(waiter: &Waiter) -> Claimant {
    let reply = waiter.reply.clone();
    let is_there = move || {
        let reply = reply.lock().unwrap_or_else(PoisonError::into_inner);
        reply.as_ref().is_some_and(|reply| !reply.is_closed())
    };
    let (by, wanted, lease_s) = (waiter.by.clone(), waiter.wanted.clone(), waiter.lease_s);
    Claimant { by, wanted, is_first_try: waiter.is_new, lease_s, is_there: Box::new(is_there) }
}

/// Gives a claimant its job; one that hung up during the commit gives it back.
async fn hand_over(app: &Arc<App>, waiter: &Waiter, job: Job) {
    let (pk, attempt) = (job.pk, job.attempt);
    if waiter.answer(Ok(Some(job))).is_none() {
        return;
    }
    let by = By { node: Some(waiter.by.node), attempt: Some(attempt) };
    if let Err(error) = app.store.act(pk, by, Verb::Release).await {
        tracing::warn!(%error, job = pk.0, "a job whose claimant hung up could not be given back");
    }
}
