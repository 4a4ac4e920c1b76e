//! Looking at a directory of bytes from outside: for checks and copies, beside a server or without one.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::Digest;

/// How much is read and hashed at a time.
const PIECE_BYTES: usize = 1 << 20;

/// What is wrong with bytes.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// There is no file.
    #[error("the file is missing")]
    Missing,
    /// The file is longer or shorter than the rows say.
    #[error("the file has {found} bytes where the database says {named}")]
    Size {
        /// The file's size.
        found: u64,
        /// The size in the database.
        named: u64,
    },
    /// The bytes are others.
    #[error("the bytes hash to {found}")]
    Content {
        /// Their SHA-256.
        found: Digest,
    },
    /// The disk does not give them.
    #[error("the file can't be read: {0}")]
    Unreadable(io::Error),
}

/// Says where in a blob directory bytes have their place.
pub fn place(dir: &Path, digest: Digest) -> PathBuf {
    let mut shard = digest.to_string();
    let name = shard.split_off(2);
    dir.join(shard).join(name)
}

/// Gives how many bytes the file of an upload has that comes in pieces; none when there is no file.
pub fn partial_bytes(dir: &Path, number: u64) -> io::Result<u64> {
    match std::fs::metadata(super::resume::partial_place(dir, number)) {
        Ok(found) => Ok(found.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Reads bytes through and tells what is wrong with them. `size` is what the database says, if it names them.
/// `read` is told how many bytes came, piece by piece.
pub fn examine(dir: &Path, digest: Digest, size: Option<u64>, mut read: impl FnMut(u64)) -> Result<(), Damage> {
    let mut file = match File::open(place(dir, digest)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Damage::Missing),
        Err(error) => return Err(Damage::Unreadable(error)),
    };
    let found = file.metadata().map_err(Damage::Unreadable)?.len();
    if let Some(named) = size.filter(|named| *named != found) {
        return Err(Damage::Size { found, named });
    }
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(piece.get(..count).unwrap_or_default());
                read(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Damage::Unreadable(error)),
        }
    }
    match Digest(hasher.finalize().into()) {
        found if found == digest => Ok(()),
        found => Err(Damage::Content { found }),
    }
}

/// Lists the digests of the bytes in one of the 256 folders of a blob directory. A folder that is not there has none.
pub fn list_shard(dir: &Path, shard: u8) -> io::Result<Vec<Digest>> {
    let entries = match dir.join(format!("{shard:02x}")).read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let hex = name.to_str().map(|name| format!("{shard:02x}{name}"));
        let digest = hex.as_ref().and_then(|hex| hex.parse::<Digest>().ok());
        found.extend(digest.filter(|digest| Some(digest.to_string()) == hex));
    }
    Ok(found)
}

/// Gives how many bytes lie in a blob directory under their digests, whoever names them.
pub fn bytes_on_disk(dir: &Path) -> io::Result<u64> {
    let mut total = 0;
    for shard in 0..=u8::MAX {
        for digest in list_shard(dir, shard)? {
            // What is gone by now, or can't be looked at, adds nothing: whoever reads the bytes tells of it.
            total += std::fs::metadata(place(dir, digest)).map_or(0, |found| found.len());
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_whole_bytes_from_each_kind_of_damage() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"whole");
        let path = place(dir.path(), digest);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert!(matches!(examine(dir.path(), digest, Some(5), |_| ()), Err(Damage::Missing)));
        std::fs::write(&path, b"whole").unwrap();
        let mut read = 0;
        examine(dir.path(), digest, Some(5), |count| read += count).unwrap();
        assert_eq!(read, 5);
        std::fs::write(&path, b"whOle").unwrap();
        let other = Digest::of(b"whOle");
        let found = examine(dir.path(), digest, None, |_| ());
        assert!(matches!(found, Err(Damage::Content { found }) if found == other));
        std::fs::write(&path, b"who").unwrap();
        let found = examine(dir.path(), digest, Some(5), |_| ());
        assert!(matches!(found, Err(Damage::Size { found: 3, named: 5 })));
        assert_eq!(list_shard(dir.path(), digest.0[0]).unwrap(), [digest]);
        assert!(list_shard(dir.path(), digest.0[0].wrapping_add(1)).unwrap().is_empty());
    }
}
