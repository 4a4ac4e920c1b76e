//! The queue of e-mails: filled in the transaction of the transition that an e-mail tells of, emptied as a mail server
//! takes them. It survives restarts.

use rusqlite::{OptionalExtension, Row, params};

use super::{Error, Store, WriteTx, found};
use crate::domain::ids::JobId;
use crate::domain::time::Timestamp;

/// How long the first retry waits, in seconds; doubled for each one after it.
const RETRY_S: i64 = 60;
/// How long a retry waits at the most, in seconds.
const RETRY_S_MAX: i64 = 60 * 60;
/// How old an e-mail gets, in seconds, before a failure is its last.
const AGE_S_MAX: i64 = 24 * 60 * 60;
/// How often an e-mail is tried at the least, however old it is: the days on which no server ran do not count.
const ATTEMPTS_MIN: i64 = 10;

/// An e-mail on its way into the queue.
#[derive(Debug)]
pub(super) struct NewMail<'a> {
    pub(super) job: JobId,
    /// `None` stands for the job's creator.
    pub(super) to: Option<&'a [String]>,
    pub(super) cc: &'a [String],
    pub(super) bcc: &'a [String],
    pub(super) subject: &'a str,
}

/// An e-mail that is to be sent to one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedMail {
    /// Its place in the queue.
    pub key: i64,
    /// The e-mail that it is part of: the same for all its recipients.
    pub mail: i64,
    /// The job that it tells of.
    pub job: JobId,
    /// Whom it is to be sent to.
    pub recipient: String,
    /// The addresses shown under `To`.
    pub to: Vec<String>,
    /// The addresses shown under `Cc`.
    pub cc: Vec<String>,
    /// The subject, on one line.
    pub subject: String,
    /// The text.
    pub body: String,
    /// When the transition was.
    pub created: Timestamp,
}

/// What came of a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// The job that the e-mail told of.
    pub job: JobId,
    /// Who does not get it.
    pub recipient: String,
    /// How often it was tried.
    pub attempts: i64,
}

/// Queues an e-mail; says whether there was anybody to send it to.
pub(super) fn queue(tx: &WriteTx<'_>, new: &NewMail<'_>, body: &str) -> Result<bool, Error> {
    let connection = tx.connection();
    let to = match new.to {
        Some(to) => to.to_vec(),
        None => {
            let creators = connection
                .prepare_cached("SELECT email FROM users WHERE pk = (SELECT creator FROM jobs WHERE pk = ?1)")?
                .query_row([new.job], |row| row.get::<_, String>(0));
            found(creators)?.filter(|address| !address.is_empty()).into_iter().collect()
        }
    };
    let recipients = || to.iter().chain(new.cc).chain(new.bcc);
    if recipients().next().is_none() {
        return Ok(false);
    }
    connection
        .prepare_cached(
            "INSERT INTO mails (job, to_shown, cc_shown, subject, body, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![new.job, json(&to), json(new.cc), new.subject, body, tx.now()])?;
    let mail = connection.last_insert_rowid();
    for recipient in recipients() {
        // Who is named twice gets it once.
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO mail_queue (mail, recipient, next_attempt_time) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![mail, recipient, tx.now()])?;
    }
    Ok(true)
}

fn json(addresses: &[String]) -> String {
    serde_json::Value::from(addresses).to_string()
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<QueuedMail> {
    let addresses = |index: usize| -> rusqlite::Result<Vec<String>> {
        serde_json::from_str(row.get_ref(index)?.as_str()?).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
        })
    };
    Ok(QueuedMail {
        key: row.get(0)?,
        mail: row.get(1)?,
        job: row.get(2)?,
        recipient: row.get(3)?,
        to: addresses(4)?,
        cc: addresses(5)?,
        subject: row.get(6)?,
        body: row.get(7)?,
        created: row.get(8)?,
    })
}

/// Takes a recipient off the queue, and the e-mail with the last one.
fn remove(tx: &WriteTx<'_>, key: i64) -> Result<(), Error> {
    let connection = tx.connection();
    let mail: Option<i64> = connection
        .prepare_cached("DELETE FROM mail_queue WHERE pk = ?1 RETURNING mail")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    connection
        .prepare_cached(
            "DELETE FROM mails WHERE pk = ?1 AND NOT EXISTS (SELECT 1 FROM mail_queue WHERE mail = mails.pk)",
        )?
        .execute([mail])?;
    Ok(())
}

/// Counts a failure of one recipient, or of all that are due; takes those off for whom it was the last.
fn fail(tx: &WriteTx<'_>, key: Option<i64>, now: Timestamp) -> Result<Vec<GivenUp>, Error> {
    let connection = tx.connection();
    let hopeless = connection
        .prepare_cached(
            "SELECT q.pk, m.job, q.recipient, q.attempts + 1 FROM mail_queue AS q JOIN mails AS m ON m.pk = q.mail
             WHERE (q.pk = ?1 OR (?1 IS NULL AND q.next_attempt_time <= ?2))
                 AND q.attempts + 1 >= ?3 AND m.created <= ?4
             ORDER BY q.pk",
        )?
        .query_map(params![key, now, ATTEMPTS_MIN, now.plus_seconds(-AGE_S_MAX)], |row| {
            Ok((row.get(0)?, GivenUp { job: row.get(1)?, recipient: row.get(2)?, attempts: row.get(3)? }))
        })?
        .collect::<Result<Vec<(i64, GivenUp)>, _>>()?;
    let given_up = hopeless.into_iter().map(|(key, given_up)| remove(tx, key).map(|()| given_up)).collect();
    connection
        .prepare_cached(
            "UPDATE mail_queue
             SET attempts = attempts + 1, next_attempt_time = ?2 + 1000000 * min(?3, ?4 << min(attempts, 20))
             WHERE pk = ?1 OR (?1 IS NULL AND next_attempt_time <= ?2)",
        )?
        .execute(params![key, now, RETRY_S_MAX, RETRY_S])?;
    given_up
}

impl Store {
    /// Reads what is to be sent by now: what was tried least first, so that an e-mail on which the mail server chokes
    /// does not keep it from the rest. `limit` at the most.
    pub fn mails_due(&self, now: Timestamp, limit: u32) -> Result<Vec<QueuedMail>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT q.pk, m.pk, m.job, q.recipient, m.to_shown, m.cc_shown, m.subject, m.body, m.created
                 FROM (SELECT * FROM mail_queue WHERE next_attempt_time <= ?1 ORDER BY attempts, pk LIMIT ?2) AS q
                 JOIN mails AS m ON m.pk = q.mail
                 ORDER BY q.attempts, q.pk",
            )?;
            let mails = statement.query_map(params![now, limit], from_row)?;
            Ok(mails.collect::<Result<_, _>>()?)
        })
    }

    /// Counts the recipients in the queue.
    pub fn mails_waiting(&self) -> Result<i64, Error> {
        self.read(|connection| {
            Ok(connection.prepare_cached("SELECT count(*) FROM mail_queue")?.query_row([], |row| row.get(0))?)
        })
    }

    /// Takes a recipient off the queue: it has the e-mail, or can't ever have it.
    pub async fn remove_mail(&self, key: i64) -> Result<(), Error> {
        self.write(move |tx| remove(tx, key)).await
    }

    /// Counts a failed attempt, after which the recipient waits: a minute at first, twice as long each time, an hour at
    /// the most. Gives back those that have waited a day and been tried often enough; they are off the queue.
    pub async fn mail_failed(&self, key: i64, now: Timestamp) -> Result<Vec<GivenUp>, Error> {
        self.write(move |tx| fail(tx, Some(key), now)).await
    }

    /// Counts a failed attempt of everything that is due, as [`Store::mail_failed`] does for one.
    pub async fn mails_failed(&self, now: Timestamp) -> Result<Vec<GivenUp>, Error> {
        self.write(move |tx| fail(tx, None, now)).await
    }

    /// Makes everything in the queue due now: a new start may well be with other settings.
    pub async fn retry_mails(&self) -> Result<(), Error> {
        self.write(|tx| {
            tx.connection()
                .prepare_cached("UPDATE mail_queue SET next_attempt_time = ?1 WHERE next_attempt_time > ?1")?
                .execute([tx.now()])?;
            Ok(())
        })
        .await
    }
}
