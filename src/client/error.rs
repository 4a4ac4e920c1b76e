//! What can go wrong with a call.

use std::path::{Path, PathBuf};

use crate::wire::ErrorBody;

/// Why a call did not give what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server understood and said no (contract §1).
    #[error("{} ({status} {})", .body.detail, .body.code)]
    Refused {
        /// The HTTP status, 400 or above.
        status: u16,
        /// What the server said of it.
        body: Box<ErrorBody>,
    },
    /// No whole answer came.
    #[error("no answer from the server: {}", innermost(.0))]
    Transport(#[source] reqwest::Error),
    /// An answer came that a labrun server does not give; another program may listen there.
    #[error("the server answered something else: {0}")]
    Unexpected(String),
    /// The bytes that came are not those that the server has, or the other way round.
    #[error("damaged on the way: SHA-256 {expected} was sent, {actual} arrived")]
    Damaged {
        /// The SHA-256 at the sender, in hex.
        expected: String,
        /// The SHA-256 at the receiver, in hex.
        actual: String,
    },
    /// A file of the caller could not be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said of it.
        source: std::io::Error,
    },
    /// The server's address, or a name that would be part of a path, can't be written as a URL.
    #[error("{0:?} can't be part of a URL")]
    Url(String),
    /// The certificates to be trusted can't be read.
    #[error("the certificates to be trusted can't be used: {0}")]
    Certificates(String),
    /// No token could be made for the call.
    #[error("no token could be made: {0}")]
    Login(String),
}

impl ClientError {
    /// Gives the HTTP status when the server said no.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Gives the error's kind in snake case when the server said no.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { body, .. } => Some(&body.code),
            _ => None,
        }
    }

    pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), source }
    }
}

impl From<reqwest::Error> for ClientError {
    fn from(error: reqwest::Error) -> Self {
        Self::Transport(error)
    }
}

/// Finds the cause that says most: reqwest's own sentences stop at "error sending request".
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
