//! Empties the queue of e-mails.
//!
//! What the mail server does not take stays queued and is tried again, after a minute at first, then ever later, for a
//! day. That goes for refusals for good (5xx) as well: with the one mail server of a lab they come from a setting that
//! somebody mends more often than from an address that will never be. An e-mail goes off the queue only after the
//! server took it; so a crash between the two sends it again to one recipient, never more than one per crash, and so
//! does a connection that breaks after the text but before the server's answer to it. Both copies bear the same
//! `Message-ID`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::time::{Clock, Timestamp};
use crate::server::mail::{Failure, Mailer};
use crate::store::mail::{GivenUp, QueuedMail};
use crate::store::{self, Store};

/// How late an e-mail may be. A look costs one read of an empty index.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// E-mails that are read from the queue at a time.
const ROUND_MAX: u32 = 16;
/// How long a stop waits for the e-mail that is being handed over.
const LAST_WORDS_MAX: Duration = Duration::from_secs(5);

/// Sends what is queued.
pub(in crate::server) struct Postman {
    store: Arc<Store>,
    mailer: Mailer,
    stopping: watch::Receiver<bool>,
    /// Sent, but still in the queue because the database could not be written.
    delivered: Vec<i64>,
}

/// What came of one look at the queue.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Round {
    /// Recipients who have their e-mail now.
    pub(in crate::server) sent: usize,
    /// Attempts that failed.
    pub(in crate::server) failed: usize,
    /// Recipients who never get theirs.
    pub(in crate::server) given_up: usize,
}

impl Postman {
    pub(in crate::server) fn new(store: Arc<Store>, mailer: Mailer, stopping: watch::Receiver<bool>) -> Self {
        Self { store, mailer, stopping, delivered: Vec::new() }
    }

    /// Looks again and again until the server stops.
    pub(in crate::server) async fn run(mut self, clock: Arc<dyn Clock>) {
        let mut stopping = self.stopping.clone();
        if let Err(error) = self.store.retry_mails().await {
            tracing::warn!(%error, "the queue of e-mails could not be woken; each waits for its own time");
        }
        loop {
            let last_words = async {
                drop(stopping.wait_for(|stop| *stop).await);
                tokio::time::sleep(LAST_WORDS_MAX).await;
            };
            let result = tokio::select! {
                result = self.run_once(clock.now()) => result,
                () = last_words => return,
            };
            match result {
                // There may be more than one round's worth.
                Ok(round) if round.sent > 0 && !*self.stopping.borrow() => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the queue of e-mails could not be used; it is tried again"),
            }
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Sends what is due, a handful at the most. When the mail server can't be used at all, everything that is due
    /// waits.
    pub(in crate::server) async fn run_once(&mut self, now: Timestamp) -> Result<Round, store::Error> {
        let mut round = Round::default();
        self.take_off_delivered().await?;
        for mail in self.store.mails_due(now, ROUND_MAX)? {
            if *self.stopping.borrow() {
                break;
            }
            match self.mailer.send(&mail).await {
                Ok(()) => {
                    self.delivered.push(mail.key);
                    round.sent += 1;
                    self.take_off_delivered().await?;
                }
                Err(Failure::Unsendable(why)) => {
                    log_given_up(mail.job, &mail.recipient, 1, &why);
                    self.store.remove_mail(mail.key).await?;
                    round.given_up += 1;
                }
                Err(failure @ Failure::Refused(_)) => {
                    log_failed(&mail, &failure);
                    let given_up = self.store.mail_failed(mail.key, now).await?;
                    round.count_failed(&given_up, &failure);
                }
                Err(failure @ Failure::Server(_)) => {
                    log_failed(&mail, &failure);
                    let given_up = self.store.mails_failed(now).await?;
                    round.count_failed(&given_up, &failure);
                    break;
                }
            }
        }
        Ok(round)
    }

    /// Takes off the queue what was sent.
    async fn take_off_delivered(&mut self) -> Result<(), store::Error> {
        while let Some(key) = self.delivered.last() {
            self.store.remove_mail(*key).await?;
            self.delivered.pop();
        }
        Ok(())
    }
}

impl Round {
    fn count_failed(&mut self, given_up: &[GivenUp], failure: &Failure) {
        for GivenUp { job, recipient, attempts } in given_up {
            log_given_up(*job, recipient, *attempts, &failure.to_string());
        }
        self.given_up += given_up.len();
        self.failed += 1;
    }
}

fn log_failed(mail: &QueuedMail, failure: &Failure) {
    let QueuedMail { job, recipient, .. } = mail;
    tracing::warn!(target: "labrun::notification", %job, recipient, %failure, "an e-mail waits to be tried again");
}

fn log_given_up(job: crate::domain::ids::JobId, recipient: &str, attempts: i64, why: &str) {
    tracing::error!(target: "labrun::notification", %job, recipient, attempts, why, "an e-mail is given up");
}

#[cfg(test)]
#[path = "mail_tests.rs"]
mod tests;
