//! What can go wrong in the store, as operations tell it to their callers.

use crate::domain::fields::Problems;
use crate::domain::lifecycle::Refusal;

/// Why an operation was not done. Whatever it says, nothing of the operation was kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such row (404).
    #[error("there is no such object")]
    NotFound,
    /// The rules of the lifecycle refuse it (403 or 406).
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// The state of something else refuses it (406); for programs a code, for people a sentence.
    #[error("{sentence}")]
    NotNow {
        /// The code of the answer.
        code: &'static str,
        /// The sentence of the answer.
        sentence: String,
    },
    /// The values are bad, or taken (400).
    #[error("{}", .0.sentence())]
    Invalid(Problems),
    /// An output of that name and type has other bytes (400 `duplicate_output`).
    #[error("an output of that name and type is there with other bytes")]
    DuplicateOutput,
    /// The node on whose behalf the call was made is not there any more (400 `bad_node_id`).
    #[error("the node is gone")]
    NodeGone,
    /// The user, or the token that the call came with, may not come in any more (401).
    #[error("the caller may not come in any more")]
    CallerGone,
    /// The call was made for an older attempt (409).
    #[error("the attempt is {current} by now")]
    StaleAttempt {
        /// The number of the present one.
        current: i64,
    },
    /// The user has as many open uploads as one may have (429).
    #[error("the user has {max} open uploads")]
    TooManyUploads {
        /// How many those are.
        max: u32,
    },
    /// The idempotency key stands for another request (409).
    #[error("the idempotency key stands for another request")]
    KeyReused,
    /// The writer's queue is full, or every reader is taken (503).
    #[error("the store is overloaded")]
    Busy,
    /// The store is closing (503).
    #[error("the store is closing")]
    Closing,
    /// The disk is full (507).
    #[error("the disk is full")]
    DiskFull,
    /// SQLite failed in a way that no caller can mend.
    #[error("SQLite: {0}")]
    Sqlite(rusqlite::Error),
    /// Something in the store broke its own rules; the text is for the log only.
    #[error("{0}")]
    Broken(String),
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        match error.sqlite_error_code() {
            Some(Code::DiskFull) => Self::DiskFull,
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Self::Busy,
            _ => Self::Sqlite(error),
        }
    }
}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        Self::Invalid(problems)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Says whether a statement failed on a UNIQUE constraint or index.
pub(super) fn is_unique_violation(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(failure, _)
        if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE)
}

/// Says whether a statement failed on a foreign key.
pub(super) fn is_reference_violation(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(failure, _)
        if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
}

/// Why a database can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It was written by a newer labrun.
    #[error(
        "the database has schema version {found}, but this labrun knows versions up to {known}: it was written by a \
         newer labrun, so use that one, or restore a copy from before the upgrade"
    )]
    NewerSchema {
        /// The version in the file.
        found: i64,
        /// The newest version that this binary knows.
        known: i64,
    },
    /// It was written by an older labrun, and only a start of the server brings it up to date.
    #[error("the database has schema version {found}, this labrun's is {known}: start the server once to upgrade it")]
    OlderSchema {
        /// The version in the file.
        found: i64,
        /// The version of this binary.
        known: i64,
    },
    /// It is a SQLite database of some other program.
    #[error("the database belongs to another program: choose another data directory")]
    Foreign,
    /// A setting that durability rests on did not take.
    #[error("SQLite did not take the setting {0}")]
    Setting(&'static str),
    /// SQLite finds it damaged.
    #[error(
        "the database is damaged ({0}): nothing was changed; keep the data directory as it is and restore a backup with \
         `labrun restore`"
    )]
    Damaged(String),
    /// SQLite can't read it.
    #[error("the database can't be opened: {0}")]
    Sqlite(rusqlite::Error),
    /// The pool of readers can't be made.
    #[error("the readers can't be opened: {0}")]
    Pool(#[from] r2d2::Error),
}

impl OpenError {
    /// Tells why a first look at the database failed.
    pub(super) fn unreadable(error: Error) -> Self {
        match error {
            Error::Sqlite(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        match error.sqlite_error_code() {
            Some(Code::NotADatabase) => Self::Damaged("the file is no database".to_owned()),
            Some(Code::DatabaseCorrupt) => Self::Damaged(error.to_string()),
            _ => Self::Sqlite(error),
        }
    }
}
