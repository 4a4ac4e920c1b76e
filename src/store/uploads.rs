//! Uploads that come in pieces: how far each is, and what it is to become.
//!
//! A row is `open` until all of its bytes are there. It is `sealed` once they are on disk, checked, and about to be moved
//! to their place, and `finished` in the transaction that names them: so a crash in between leaves a row that says what
//! is still to be done.

use rusqlite::{Connection, Row, params};

use super::blobs::await_name;
use super::outputs::{Adder, NewOutput, add, may_add, read_live};
use super::{Error, Store, WriteTx, found};
use crate::domain::ids::{JobId, NodeId, UploadId, UserId};
use crate::wire;

const COLUMNS: &str = "pk, job, name, type, size, received, sha256, creator, creation_time, expiry_time, finished_time, \
     output, sealed, metadata, node, attempt";

/// An upload, with what is not shown of it.
#[derive(Debug, Clone)]
pub struct Upload {
    /// What is shown.
    pub shown: wire::Upload,
    /// Whether its bytes are all on disk and must not be written in any more.
    pub sealed: bool,
    /// What its client said of it.
    pub metadata: String,
    /// The node on whose behalf it was begun.
    pub node: Option<NodeId>,
    /// The attempt of the job that it belongs to.
    pub attempt: Option<i64>,
}

/// Reads a row of [`COLUMNS`].
fn from_row(row: &Row<'_>) -> rusqlite::Result<Upload> {
    let shown = wire::Upload {
        pk: row.get(0)?,
        job: row.get(1)?,
        name: row.get(2)?,
        type_name: row.get(3)?,
        size: row.get(4)?,
        received: row.get(5)?,
        sha256: row.get(6)?,
        creator: row.get(7)?,
        creation_time: row.get(8)?,
        expiry_time: row.get(9)?,
        finished_time: row.get(10)?,
        output: row.get(11)?,
    };
    let (sealed, metadata) = (row.get(12)?, row.get(13)?);
    Ok(Upload { shown, sealed, metadata, node: row.get(14)?, attempt: row.get(15)? })
}

/// An upload that is to begin.
#[derive(Debug, Clone)]
pub struct NewUpload {
    /// The job, name and type of the output that it is to become, if it is one.
    pub output: Option<(JobId, String, String)>,
    /// How long it will be, in bytes.
    pub size: i64,
    /// The SHA-256 that it will have, in hex, if that is known.
    pub sha256: Option<String>,
    /// What its client says of it.
    pub metadata: String,
}

/// How many there may be, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Open uploads that a user may have.
    pub open_max: u32,
    /// Seconds after its last piece at which an upload is forgotten.
    pub lifetime_s: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { open_max: 256, lifetime_s: 24 * 60 * 60 }
    }
}

impl Store {
    /// Begins an upload. With the `sha256` of bytes that are here already and held, it is finished at once.
    ///
    /// # Errors
    /// What [`Store::add_output`] says of the output, as far as it can be told yet; `TooManyUploads` when the user has
    /// too many.
    pub async fn begin_upload(
        &self,
        new: NewUpload,
        by: Adder,
        bounds: Bounds,
        bytes_are_here: bool,
    ) -> Result<Upload, Error> {
        self.write(move |tx| {
            let connection = tx.connection();
            if let Some((job, name, type_name)) = &new.output {
                may_add(connection, *job, by, tx.now())?;
                let there = read_live(connection, *job, name, type_name)?;
                if there.is_some_and(|there| new.sha256.as_ref().is_some_and(|sha256| *sha256 != there.sha256)) {
                    return Err(Error::DuplicateOutput);
                }
            }
            let open: u32 = connection
                .prepare_cached("SELECT count(*) FROM uploads WHERE creator = ?1 AND finished_time IS NULL")?
                .query_row([by.user], |row| row.get(0))?;
            if open >= bounds.open_max && !bytes_are_here {
                return Err(Error::TooManyUploads { max: bounds.open_max });
            }
            let attempt = new.output.as_ref().map(|(job, _, _)| attempt_of(connection, *job)).transpose()?;
            let (job, name, type_name) = match new.output {
                Some((job, name, type_name)) => (Some(job), Some(name), Some(type_name)),
                None => (None, None, None),
            };
            // Held bytes make it finished in the same breath; the row must say so from the start, by the CHECKs.
            let (received, finished) = if bytes_are_here { (new.size, Some(tx.now())) } else { (0, None) };
            let expiry = tx.now().plus_seconds(bounds.lifetime_s.into());
            connection
                .prepare_cached(
                    "INSERT INTO uploads (creator, node, attempt, job, name, type, size, received, sha256, sealed,
                         metadata, creation_time, expiry_time, finished_time)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
                )?
                .execute(params![
                    by.user,
                    by.node,
                    attempt,
                    job,
                    name,
                    type_name,
                    new.size,
                    received,
                    new.sha256,
                    bytes_are_here,
                    new.metadata,
                    tx.now(),
                    expiry,
                    finished
                ])?;
            let pk = UploadId(connection.last_insert_rowid());
            if bytes_are_here {
                let upload = read(connection, pk)?.ok_or(Error::NotFound)?;
                name_bytes(tx, &upload, by)?;
            }
            read(connection, pk)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Reads an upload; `None` when there is none, or not any more.
    pub fn upload(&self, pk: UploadId) -> Result<Option<Upload>, Error> {
        self.read(|connection| read(connection, pk))
    }

    /// Lists the uploads of a user, those that are finished but not forgotten as well.
    pub async fn uploads_of(&self, user: UserId) -> Result<Vec<wire::Upload>, Error> {
        self.read_long(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM uploads WHERE creator = ?1 ORDER BY pk");
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([user], |row| Ok(from_row(row)?.shown))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Says how many bytes are still to come of all open uploads.
    pub fn upload_bytes_to_come(&self) -> Result<u64, Error> {
        self.read(|connection| {
            let sql = "SELECT coalesce(sum(size - received), 0) FROM uploads WHERE finished_time IS NULL";
            Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
        })
    }

    /// Acknowledges that so many bytes are on disk, fewer than all; the upload lives on from now.
    ///
    /// # Errors
    /// `NotFound` when it is gone, `Refused` and the like when its output could not be added any more.
    pub async fn note_received(&self, pk: UploadId, received: u64, by: Adder, bounds: Bounds) -> Result<(), Error> {
        self.write(move |tx| {
            let connection = tx.connection();
            let upload = read_open(connection, pk)?;
            if let Some(job) = upload.shown.job {
                may_add(connection, job, Adder { attempt: upload.attempt, ..by }, tx.now())?;
            }
            connection
                .prepare_cached("UPDATE uploads SET received = ?2, expiry_time = ?3 WHERE pk = ?1 AND sealed = 0")?
                .execute(params![pk, received, tx.now().plus_seconds(bounds.lifetime_s.into())])?;
            Ok(())
        })
        .await
    }

    /// Notes that all bytes are on disk and have this SHA-256 (hex): from now on they are not written in.
    ///
    /// # Errors
    /// `NotFound` when the upload is gone.
    pub async fn seal_upload(&self, pk: UploadId, sha256: String) -> Result<(), Error> {
        self.write(move |tx| {
            read_open(tx.connection(), pk)?;
            tx.connection()
                .prepare_cached("UPDATE uploads SET sealed = 1, sha256 = ?2 WHERE pk = ?1")?
                .execute(params![pk, sha256])?;
            Ok(())
        })
        .await
    }

    /// Finishes a sealed upload whose bytes are in their place and held: adds the output, or lets them wait for a name.
    /// One that is finished already stays as it is.
    ///
    /// # Errors
    /// As [`Store::add_output`]; `NotFound` when the upload is gone.
    pub async fn finish_upload(&self, pk: UploadId, by: Adder) -> Result<Upload, Error> {
        self.write(move |tx| {
            let connection = tx.connection();
            let upload = read(connection, pk)?.filter(|upload| upload.sealed).ok_or(Error::NotFound)?;
            if upload.shown.finished_time.is_none() {
                connection
                    .prepare_cached("UPDATE uploads SET received = size, finished_time = ?2 WHERE pk = ?1")?
                    .execute(params![pk, tx.now()])?;
                name_bytes(tx, &upload, by)?;
            }
            read(connection, pk)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Forgets an upload; says whether it was there. Its file is the caller's to remove.
    pub async fn forget_upload(&self, pk: UploadId) -> Result<bool, Error> {
        self.write_freeing(move |tx| {
            Ok(tx.connection().prepare_cached("DELETE FROM uploads WHERE pk = ?1")?.execute([pk])? > 0)
        })
        .await
    }

    /// Forgets uploads whose time is over, at most `limit`, and gives their keys; their files are the caller's to remove.
    pub async fn take_expired_uploads(&self, limit: u32) -> Result<Vec<UploadId>, Error> {
        self.write_freeing(move |tx| {
            // A sealed one is about to be finished; one that a crash cut off, the next start finishes.
            let mut statement = tx.connection().prepare_cached(
                "DELETE FROM uploads WHERE pk IN (
                     SELECT pk FROM uploads WHERE expiry_time <= ?1 AND (sealed = 0 OR finished_time IS NOT NULL)
                     ORDER BY expiry_time LIMIT ?2)
                 RETURNING pk",
            )?;
            let taken = statement.query_map(params![tx.now(), limit], |row| row.get(0))?;
            Ok(taken.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Lists the open uploads, behind a key, at most `limit`.
    pub async fn open_uploads(&self, after: UploadId, limit: u32) -> Result<Vec<Upload>, Error> {
        self.read_long(move |connection| open_uploads(connection, after, limit)).await
    }

    /// Says whether an upload is open.
    pub fn is_open_upload(&self, pk: UploadId) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM uploads WHERE pk = ?1 AND finished_time IS NULL)";
        self.read(|connection| super::access::has(connection, sql, pk.0))
    }
}

pub(super) fn open_uploads(connection: &Connection, after: UploadId, limit: u32) -> Result<Vec<Upload>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM uploads WHERE finished_time IS NULL AND pk > ?1 ORDER BY pk LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![after, limit], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn read(connection: &Connection, pk: UploadId) -> Result<Option<Upload>, Error> {
    static SQL: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("SELECT {COLUMNS} FROM uploads WHERE pk = ?1"));
    found(connection.prepare_cached(&SQL)?.query_row([pk], from_row))
}

/// Reads an upload that still takes bytes.
fn read_open(connection: &Connection, pk: UploadId) -> Result<Upload, Error> {
    read(connection, pk)?.filter(|upload| !upload.sealed).ok_or(Error::NotFound)
}

/// Gives the attempt that a job is at.
fn attempt_of(connection: &Connection, job: JobId) -> Result<i64, Error> {
    Ok(super::jobs::standing(connection, job)?.attempts.number)
}

/// Gives the bytes of an upload the name that they were sent for.
fn name_bytes(tx: &WriteTx<'_>, upload: &Upload, by: Adder) -> Result<(), Error> {
    let shown = &upload.shown;
    let lacks = |what: &str| Error::Broken(format!("the upload {} is sealed without its {what}", shown.pk));
    let sha256 = shown.sha256.clone().ok_or_else(|| lacks("SHA-256"))?;
    let Some(job) = shown.job else { return await_name(tx, &sha256) };
    let new = NewOutput {
        job,
        name: shown.name.clone().ok_or_else(|| lacks("name"))?,
        type_name: shown.type_name.clone().ok_or_else(|| lacks("type"))?,
        size: i64::try_from(shown.size).map_err(|error| Error::Broken(error.to_string()))?,
        sha256,
    };
    let by = Adder { attempt: upload.attempt, ..by };
    let output = add(tx, new, by)?.pk;
    tx.connection()
        .prepare_cached("UPDATE uploads SET output = ?2 WHERE pk = ?1")?
        .execute(params![shown.pk, output])?;
    Ok(())
}
