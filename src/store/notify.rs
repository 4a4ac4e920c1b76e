//! Decides, inside the transaction that makes a transition, who is told of it besides the watchers: a line for the log,
//! written after the commit, or an e-mail, queued in the same transaction (contract §10).

use serde_json::value::RawValue;

use super::events::NewEvent;
use super::{Error, WriteTx, mail};
use crate::domain::ids::JobId;
use crate::domain::lifecycle::Transition;
use crate::domain::notification::{Actions, Means, Message, Requested, effective, render};

/// How the server tells of transitions.
#[derive(Debug, Clone)]
pub struct Telling {
    defaults: Actions,
    /// Whether the defaults have anything that is not for the watchers, who read the event log by themselves.
    defaults_speak: bool,
    mails: bool,
}

impl Telling {
    /// Makes one from the notifications of jobs that ask for none, and whether e-mail can be sent.
    pub fn new(defaults: Actions, mails: bool) -> Self {
        let defaults_speak = defaults.all().any(|entry| entry.means != Means::Websocket {});
        Self { defaults, defaults_speak, mails }
    }
}

impl Default for Telling {
    fn default() -> Self {
        Self::new(Actions::websocket_for_all(), false)
    }
}

/// A line for the server's log.
#[derive(Debug)]
pub(super) enum Notice {
    /// A notification that is printed.
    Printed { job: JobId, line: String },
    /// An e-mail that can't be sent, and why.
    NotMailed { job: JobId, subject: String, why: &'static str },
}

impl Notice {
    /// Writes it.
    pub(super) fn log(&self) {
        match self {
            Self::Printed { job, line } => tracing::info!(target: "labrun::notification", %job, "{line}"),
            Self::NotMailed { job, subject, why } => {
                tracing::warn!(target: "labrun::notification", %job, %subject, "an e-mail is not sent: {why}");
            }
        }
    }
}

/// Sees to the notifications that an event calls for. A job that asked for nothing, under defaults that are for the
/// watchers only, costs nothing.
pub(super) fn tell(tx: &WriteTx<'_>, event: &NewEvent<'_>, has_asked: bool) -> Result<(), Error> {
    let telling = tx.telling();
    if event.transition == Transition::Create || !(has_asked || telling.defaults_speak) {
        return Ok(());
    }
    let (asked, has_parent): (String, bool) = tx
        .connection()
        .prepare_cached("SELECT notifications, parent IS NOT NULL FROM jobs WHERE pk = ?1")?
        .query_row([event.job], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let broken = |error| Error::Broken(format!("what job {} asked of notifications can't be read: {error}", event.job));
    let asked = Requested::from_json(&asked).map_err(broken)?;
    let actions = effective(&telling.defaults, asked.own.as_ref());
    let mut message = None;
    for means in actions.due(event.transition, has_parent) {
        if *means == (Means::Websocket {}) {
            continue;
        }
        let message = match &message {
            Some(message) => message,
            None => message.insert(message_of(event)?),
        };
        match means {
            Means::Websocket {} => {}
            Means::Print { message: text } => {
                tx.note_line(Notice::Printed { job: event.job, line: on_one_line(&render(text, message)) });
            }
            Means::Email { subject, body, to, cc, bcc } => {
                let subject = on_one_line(&render(subject, message));
                if !telling.mails {
                    let why = "no SMTP server is set";
                    tx.note_line(Notice::NotMailed { job: event.job, subject, why });
                    continue;
                }
                let new = mail::NewMail { job: event.job, to: to.as_deref(), cc, bcc, subject: &subject };
                if !mail::queue(tx, &new, &render(body, message))? {
                    let why = "it names nobody, and the job's creator has no address";
                    tx.note_line(Notice::NotMailed { job: event.job, subject, why });
                }
            }
        }
    }
    Ok(())
}

/// Makes the message of an event that is on its way into the log.
fn message_of(event: &NewEvent<'_>) -> Result<Message, Error> {
    let NewEvent { seq: _, job, chain: _, transition, node, progress, error, description, data } = event;
    let broken = |error| Error::Broken(format!("the data of a transition of job {job} is no JSON: {error}"));
    Ok(Message {
        transition: *transition,
        description: (*description).to_owned(),
        pk: *job,
        progress: *progress,
        cancelled: *transition == Transition::Cancel,
        node: *node,
        error: error.map(str::to_owned),
        transition_data: RawValue::from_string((*data).to_owned()).map_err(broken)?,
    })
}

/// Escapes control characters: a description with a line break in it must not be able to forge a line of the log, or a
/// header of an e-mail.
fn on_one_line(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let mut line = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}
