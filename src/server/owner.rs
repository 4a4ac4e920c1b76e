//! Calls by whoever owns the data directory, without a password: who can read the key of the tokens can sign one, and
//! could read and write everything else as well.
//!
//! The tokens are for the first active staff user, and short-lived. They are for the address alone that the running
//! server wrote down, which is one of this machine's loopback.

use std::io;
use std::path::{Path, PathBuf};

use super::auth::{TokenKind, Tokens};
use crate::care;
use crate::domain::time::{Clock, SystemClock};
use crate::store::offline::Offline;

/// How long a token is good for, in seconds: calls are made at once, and the next token costs next to nothing.
const LIFETIME_S: u32 = 60;

/// The owner of a data directory whose server runs.
pub struct Owner {
    server: care::Announced,
    database: PathBuf,
    tokens: Tokens,
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owner").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Owner {
    /// Gives the owner of `data_dir`; `None` when no server runs on it, or none that the loopback leads to.
    ///
    /// # Errors
    /// When the directory is not this user's own, or can't be read.
    pub fn of(data_dir: &Path) -> io::Result<Option<Self>> {
        let Some(server) = care::announced(data_dir)? else { return Ok(None) };
        let Some(key) = care::read_private(&data_dir.join("token.key"))? else { return Ok(None) };
        let tokens = Tokens::with_key(&key, LIFETIME_S, 0);
        Ok(Some(Self { server, database: data_dir.join("labrun.db"), tokens }))
    }

    /// Gives the one address that the tokens may be sent to.
    pub fn address(&self) -> &str {
        &self.server.url
    }

    /// Gives the file of the server's certificate, under TLS.
    pub fn certificate(&self) -> Option<&Path> {
        self.server.certificate.as_deref()
    }

    /// Signs an access token. Blocks while it looks into the database.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn token(&self) -> Result<String, String> {
        let database = Offline::open(&self.database).map_err(|error| error.to_string())?;
        let staff = database.first_active_staff().map_err(|error| error.to_string())?;
        let (user, credentials) = staff.ok_or("the data directory has no active staff user")?;
        let signed = self.tokens.issue(TokenKind::Access, user, credentials, SystemClock.now());
        signed.map_err(|_| "the token could not be signed".to_owned())
    }
}
