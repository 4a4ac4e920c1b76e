//! Writing a file and syncing it: what an upload can be at the best.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// A block that sizes are made of. It is not all zeros, which some disks know how to skip.
pub(crate) fn block(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = Vec::with_capacity(bytes);
    while block.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend_from_slice(&state.to_le_bytes());
    }
    block.truncate(bytes);
    block
}

/// Writes so many bytes, a block at a time, syncs them and their name, and removes them. Gives the seconds up to the
/// sync.
pub(crate) fn write_and_sync(dir: &Path, block: &[u8], bytes: u64) -> anyhow::Result<f64> {
    let path = dir.join("plain");
    let began = Instant::now();
    let mut file = File::create(&path)?;
    let mut rest = bytes;
    while rest > 0 {
        let now = rest.min(block.len() as u64);
        file.write_all(&block[..usize::try_from(now)?])?;
        rest -= now;
    }
    file.sync_all()?;
    File::open(dir)?.sync_all()?;
    let seconds = began.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(seconds)
}
