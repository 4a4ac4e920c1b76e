//! Where the server of a data directory can be called from this machine, written down by the server for the
//! directory's owner.
//!
//! The file is locked while the server runs, and the system lets go of the lock even after a crash, so that an address
//! that nobody answers at any more, or somebody else by now, is not taken for the server's.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The name of the file in a data directory.
const ADDRESS: &str = "server.json";
/// The form of the file.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    url: String,
    pid: u32,
    /// The file of the server's certificate, under TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<PathBuf>,
}

/// What a data directory says of its running server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Where it can be called, such as `http://127.0.0.1:8000`.
    pub url: String,
    /// The file of its certificate, under TLS.
    pub certificate: Option<PathBuf>,
}

/// An address that stands in the data directory; dropped, it is taken away.
#[derive(Debug)]
pub struct Announcement {
    path: PathBuf,
    // The lock on it says that the server runs.
    _file: File,
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // Without the file or with a file that nobody locks any more, the address is not used either way.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Writes down where the server of `dir` listens, for its owner's eyes only, in place of what a server before it may
/// have left. Nothing is written for an address that this machine's loopback does not lead to: what the owner sends
/// must not leave the machine.
///
/// The caller holds the lock on the directory.
pub fn announce(dir: &Path, listens_on: SocketAddr, certificate: Option<&Path>) -> io::Result<Option<Announcement>> {
    let path = dir.join(ADDRESS);
    let Some(address) = on_loopback(listens_on) else {
        return match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(None),
        };
    };
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let written = Written {
        version: VERSION,
        url: format!("{scheme}://{address}"),
        pid: std::process::id(),
        certificate: certificate.map(std::path::absolute).transpose()?,
    };
    // Locked before it gets its name, so that nobody finds it without its lock; a new file, so that whoever still
    // looks at the old one is not in the way.
    let draft = path.with_extension("draft");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.try_lock().map_err(io::Error::from)?;
    file.write_all(&serde_json::to_vec(&written)?)?;
    std::fs::rename(&draft, &path)?;
    Ok(Some(Announcement { path, _file: file }))
}

/// Gives the address at which this machine reaches a listener through its loopback.
fn on_loopback(listens_on: SocketAddr) -> Option<SocketAddr> {
    let ip = match listens_on.ip() {
        ip if ip.is_loopback() => ip,
        ip if ip.is_unspecified() && ip.is_ipv4() => std::net::Ipv4Addr::LOCALHOST.into(),
        ip if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, listens_on.port()))
}

/// Reads where the server of a data directory can be called. `None` when none runs, or none that can be reached through
/// the loopback.
///
/// # Errors
/// When the file can't be read, or another user could have written or read it.
pub fn announced(dir: &Path) -> io::Result<Option<Announced>> {
    let path = dir.join(ADDRESS);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    check_private(&path, &file)?;
    match file.try_lock_shared() {
        // The server that wrote it has gone.
        Ok(()) => return Ok(None),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let broken = || io::Error::other(format!("{} is not what a server of this version writes", path.display()));
    let written: Written = serde_json::from_reader(&file).map_err(|_| broken())?;
    let address = written.url.split_once("://").and_then(|(_, address)| address.parse::<SocketAddr>().ok());
    let is_sound = written.version == VERSION && address.is_some_and(|address| address.ip().is_loopback());
    if !is_sound {
        return Err(broken());
    }
    Ok(Some(Announced { url: written.url, certificate: written.certificate }))
}

/// Reads a file of a data directory that is for its owner alone: `None` when it is not there.
///
/// # Errors
/// When it can't be read, or another user could have.
pub fn read_private(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    check_private(path, &file)?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(Some(bytes))
}

/// Refuses a file that belongs to somebody else (the superuser may read everybody's anyway), or that others may use.
fn check_private(path: &Path, file: &File) -> io::Result<()> {
    let about = file.metadata()?;
    let me = rustix::process::geteuid().as_raw();
    if (about.uid() == me || me == 0) && about.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!("{} is not private to this user, so that it is not trusted", path.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn url(dir: &tempfile::TempDir) -> String {
        announced(dir.path()).unwrap().unwrap().url
    }

    #[test]
    fn an_address_is_there_while_its_server_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(announced(dir.path()).unwrap(), None);
        let first = announce(dir.path(), at("127.0.0.1:8000"), None).unwrap().unwrap();
        assert_eq!(url(&dir), "http://127.0.0.1:8000");
        assert_eq!(std::fs::metadata(dir.path().join(ADDRESS)).unwrap().mode() & 0o777, 0o600);
        // As after a crash: the lock goes, the file stays.
        let left = std::fs::read(dir.path().join(ADDRESS)).unwrap();
        drop(first);
        assert!(!dir.path().join(ADDRESS).exists());
        let options = OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
        options.open(dir.path().join(ADDRESS)).unwrap().write_all(&left).unwrap();
        assert_eq!(announced(dir.path()).unwrap(), None);
        let second = announce(dir.path(), at("[::]:9"), Some(Path::new("/c.pem"))).unwrap().unwrap();
        assert_eq!(url(&dir), "https://[::1]:9");
        drop(second);
    }

    #[test]
    fn nothing_is_said_of_an_address_that_is_not_this_machines_own() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(ADDRESS), "old").unwrap();
        assert!(announce(dir.path(), at("192.0.2.7:8000"), None).unwrap().is_none());
        assert!(!dir.path().join(ADDRESS).exists());
        let there = announce(dir.path(), at("0.0.0.0:8000"), None).unwrap();
        assert_eq!(url(&dir), "http://127.0.0.1:8000");
        drop(there);
    }

    #[test]
    fn what_others_may_touch_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let there = announce(dir.path(), at("127.0.0.1:8000"), None).unwrap();
        let path = dir.path().join(ADDRESS);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(announced(dir.path()).unwrap_err().to_string().contains("not private"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        // Locked and private, but made to lead elsewhere.
        std::fs::write(&path, r#"{"version":1,"url":"http://192.0.2.7:80","pid":1}"#).unwrap();
        assert!(announced(dir.path()).is_err());
        drop(there);
    }
}
