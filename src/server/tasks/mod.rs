//! What runs in the background: each loop stands over a step that tests can call by itself.

mod due;
mod mail;
mod retention;
mod sweep;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use super::App;
use super::mail::Mailer;
use crate::store;

pub(super) use due::{Pulse, SignsOfLife};
pub(super) use sweep::reclaim;

/// How long soft state (last seen, last login) may stay in memory only.
const FLUSH_EVERY: Duration = Duration::from_secs(3);

/// How often retention and the sweep look for what is to go.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// Runs until the server stops.
pub(super) async fn run(app: Arc<App>, mailer: Option<Mailer>) {
    let sweep = tokio::spawn(every(app.clone(), SWEEP_EVERY, tidy_up));
    let due = tokio::spawn(due::run(app.clone()));
    let claims = tokio::spawn(super::claims::run(app.clone()));
    let mail = tokio::spawn(run_mail(app.clone(), mailer));
    let hub = tokio::spawn(super::watch::hub::run(app.clone()));
    flush_again_and_again(&app).await;
    for ended in [sweep.await, due.await, claims.await, hub.await, mail.await] {
        if let Err(error) = ended {
            tracing::error!(%error, "a background task ended with a panic");
        }
    }
}

/// Sends e-mails, if there is a mail server.
async fn run_mail(app: Arc<App>, mailer: Option<Mailer>) {
    match mailer {
        Some(mailer) => {
            mail::Postman::new(app.store.clone(), mailer, app.stopping.clone()).run(app.clock.clone()).await
        }
        None => match app.store.mails_waiting() {
            Ok(0) => {}
            Ok(waiting) => tracing::warn!(waiting, "e-mails from before wait for an SMTP server, and none is set"),
            Err(error) => tracing::warn!(%error, "the queue of e-mails could not be read"),
        },
    }
}

/// Writes the soft state down every few seconds, until the server stops.
async fn flush_again_and_again(app: &App) {
    let mut stopping = app.stopping.clone();
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(FLUSH_EVERY) => {}
        }
        if let Err(error) = flush_soft_state(app).await {
            tracing::warn!(%error, "the last-seen times could not be written; they are tried again");
        }
    }
}

/// Does something at once and then again and again, until the server stops.
async fn every<F: Future<Output = ()>>(app: Arc<App>, pause: Duration, step: impl Fn(Arc<App>) -> F) {
    let mut stopping = app.stopping.clone();
    loop {
        step(app.clone()).await;
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn tidy_up(app: Arc<App>) {
    match retention::retain_once(&app, app.ages).await {
        Ok(0) => {}
        Ok(gone) => tracing::info!(gone, "jobs and outputs that were kept long enough are deleted"),
        Err(error) => tracing::warn!(%error, "retention broke off; it is tried again"),
    }
    match uploads::expire_once(&app).await {
        Ok(0) => {}
        Ok(gone) => tracing::info!(gone, "uploads that nobody went on with are gone"),
        Err(error) => {
            tracing::warn!(%error, "uploads that nobody goes on with could not be removed; it is tried again")
        }
    }
    match sweep::sweep_once(&app).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "bytes that nothing referred to for a day are gone"),
        Err(error) => tracing::warn!(%error, "the sweep broke off; it is tried again"),
    }
}

/// Writes the soft state down.
pub(super) async fn flush_soft_state(app: &App) -> Result<(), store::Error> {
    let (nodes, users) = app.soft.take_dirty();
    let written = async {
        if !nodes.is_empty() {
            app.store.set_last_seen(nodes.clone()).await?;
        }
        if !users.is_empty() {
            app.store.set_last_logins(users.clone()).await?;
        }
        Ok(())
    };
    let result: Result<(), store::Error> = written.await;
    if result.is_err() {
        app.soft.put_back(nodes, users);
    }
    result
}
