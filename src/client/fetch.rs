//! Outputs fetched into files, gone on with where an earlier try broke off (contract §8).

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{IF_RANGE, RANGE};
use tokio::io::AsyncWriteExt;

use super::call::Call;
use super::files::{compare, hash_of};
use super::{Client, ClientError};
use crate::wire::Output;

/// How often a broken connection is made anew without a byte getting through.
const TRIES_MAX: u32 = 6;
/// The pause before the first new try; doubled for each one after it.
const PAUSE_FIRST: Duration = Duration::from_millis(200);

impl Client {
    /// Fetches an output into a file, in constant memory, and checks its SHA-256. The file appears under its name only
    /// when all of it is there and right; it replaces one that is there.
    ///
    /// Until then the bytes lie beside it, in a file whose name ends in `.part` and tells their digest. It goes on from
    /// there after a broken connection, also when it is called again. `progress` hears how many bytes are there, and of
    /// how many.
    ///
    /// # Errors
    /// `Damaged` when other bytes arrived than the output has; the part is removed then. `Refused` with 404 when the
    /// output is gone.
    pub async fn fetch_output(
        &self,
        output: &Output,
        file: &Path,
        mut progress: impl FnMut(u64, u64) + Send,
    ) -> Result<(), ClientError> {
        let part = part_of(file, &output.sha256);
        let mut pause = PAUSE_FIRST;
        let mut tries = 0;
        loop {
            let before = length_of(&part).await?;
            match self.fetch_rest(output, &part, before, &mut progress).await {
                Ok(()) => break,
                Err(error @ ClientError::Transport(_)) => {
                    let got_on = length_of(&part).await? > before;
                    (tries, pause) = if got_on { (0, PAUSE_FIRST) } else { (tries + 1, pause * 2) };
                    if tries >= TRIES_MAX {
                        return Err(error);
                    }
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
        }
        let (sha256, _) = hash_of(&part).await?;
        if let Err(error) = compare(output.sha256.clone(), sha256) {
            tokio::fs::remove_file(&part).await.ok();
            return Err(error);
        }
        tokio::fs::rename(&part, file).await.map_err(ClientError::file(file))
    }

    /// Fetches what is missing behind the bytes that are there.
    async fn fetch_rest(
        &self,
        output: &Output,
        part: &Path,
        there: u64,
        progress: &mut (impl FnMut(u64, u64) + Send),
    ) -> Result<(), ClientError> {
        let total = u64::try_from(output.size).unwrap_or_default();
        if there == total && there > 0 {
            return Ok(());
        }
        // By key: a name may be one that a URL can't carry.
        let mut call = Call::get(format!("/v1/job-outputs/{}/download", output.pk));
        if there > 0 && there < total {
            let tag = format!("\"{}\"", output.sha256);
            call = call.header(RANGE, format!("bytes={there}-")).header(IF_RANGE, tag);
        }
        let mut answer = self.send(&call).await?;
        let goes_on = answer.status() == StatusCode::PARTIAL_CONTENT;
        let mut options = tokio::fs::OpenOptions::new();
        options.create(true).write(true).append(goes_on).truncate(!goes_on);
        // A link that somebody else has put there, in a folder that is shared, must not lead to another file.
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let mut file = options.open(part).await.map_err(ClientError::file(part))?;
        let mut length = if goes_on { there } else { 0 };
        let written = async {
            while let Some(chunk) = answer.chunk().await? {
                file.write_all(&chunk).await.map_err(ClientError::file(part))?;
                length += chunk.len() as u64;
                progress(length, total.max(length));
            }
            Ok(())
        };
        let written = written.await;
        // Also after a break: what has come is gone on from.
        file.sync_all().await.map_err(ClientError::file(part))?;
        written
    }
}

/// Names the file where bytes wait until they are whole.
fn part_of(file: &Path, sha256: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.part", sha256.get(..12).unwrap_or(sha256)));
    name.into()
}

async fn length_of(part: &Path) -> Result<u64, ClientError> {
    match tokio::fs::symlink_metadata(part).await {
        Ok(about) => Ok(about.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(ClientError::file(part)(error)),
    }
}

/// Gives the SHA-256 of a file in hex, read in constant memory.
///
/// # Errors
/// `File` when it can't be read.
pub async fn sha256_of(file: &Path) -> Result<String, ClientError> {
    Ok(hash_of(file).await?.0)
}
