//! The logins that `labrun login` keeps: one for each server, in a file for its owner alone.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::care;

/// The form of the file.
const VERSION: u32 = 1;

/// A login at one server.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredLogin {
    /// Who logged in.
    pub(super) user: String,
    /// Key of the API token that the login made.
    pub(super) token_pk: i64,
    /// The token itself.
    pub(super) token: String,
    /// The certificates to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ca_file: Option<PathBuf>,
}

/// All stored logins.
#[derive(Serialize, Deserialize)]
pub(super) struct Logins {
    version: u32,
    /// The address last logged in at.
    last: Option<String>,
    servers: BTreeMap<String, StoredLogin>,
}

impl Default for Logins {
    fn default() -> Self {
        Self { version: VERSION, last: None, servers: BTreeMap::new() }
    }
}

/// Gives the file.
fn file() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("LABRUN_CONFIG_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let platforms = || directories::ProjectDirs::from("", "", "labrun").map(|dirs| dirs.config_dir().to_owned());
    let dir = named.or_else(platforms);
    Ok(dir.context("this system names no directory for settings: say one with LABRUN_CONFIG_DIR")?.join("logins.json"))
}

impl Logins {
    /// Reads them; none are stored where no file is.
    ///
    /// # Errors
    /// When others may read the file, or it is not what is written here.
    pub(super) fn load() -> anyhow::Result<Self> {
        let Ok(file) = file() else { return Ok(Self::default()) };
        let bytes = care::read_private(&file).with_context(|| {
            format!("the stored logins can't be used; `chmod 600 {}` if nobody else has read them", file.display())
        })?;
        let Some(bytes) = bytes else { return Ok(Self::default()) };
        let logins = serde_json::from_slice::<Self>(&bytes).ok().filter(|logins| logins.version == VERSION);
        logins.with_context(|| {
            format!("the stored logins {} are not of this version: remove the file and log in again", file.display())
        })
    }

    /// Gives the login at a server.
    pub(super) fn at(&self, address: &str) -> Option<&StoredLogin> {
        self.servers.get(address)
    }

    /// Gives the address last logged in at.
    pub(super) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// Gives the addresses that there are logins for.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.servers.keys().map(String::as_str)
    }

    /// Keeps a login, in place of an earlier one at the same server.
    pub(super) fn put(&mut self, address: &str, login: StoredLogin) {
        self.servers.insert(address.to_owned(), login);
        self.last = Some(address.to_owned());
    }

    /// Forgets a login.
    pub(super) fn remove(&mut self, address: &str) {
        self.servers.remove(address);
        if self.last.as_deref() == Some(address) {
            self.last = None;
        }
    }

    /// Writes them, beside the file and renamed, so that a crash leaves the old ones or the new ones.
    pub(super) fn save(&self) -> anyhow::Result<()> {
        let file = file()?;
        let folder = file.parent().context("the file of logins lies in a folder")?;
        let write = || -> std::io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            // A name of this process's own: two that log in at once must not write into one draft.
            let draft = file.with_extension(format!("{}.draft", std::process::id()));
            let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            out.write_all(&serde_json::to_vec_pretty(self)?)?;
            out.write_all(b"\n")?;
            out.sync_all()?;
            std::fs::rename(&draft, &file)
        };
        write().with_context(|| format!("the login can't be stored in {}", file.display()))
    }
}
