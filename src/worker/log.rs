//! What a command writes: kept in files of bounded size, and read from there for the live log and the output `log`.
//!
//! Of a log that grows too long the beginning and the end are kept, as the server does with live logs (contract §11).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes that are kept from the beginning.
const HEAD_BYTES: u64 = 8 << 20;
/// Bytes of each part of the end; the last two parts are kept.
const PART_BYTES: u64 = 4 << 20;
const PARTS: usize = 2;
/// The end of the log that an error shows, in bytes.
const LAST_WORDS_BYTES: u64 = 2 << 10;

/// The log of a run.
#[derive(Debug)]
pub(crate) struct Log {
    dir: PathBuf,
    head: File,
    /// The parts of the end that are there, with the number of the first.
    parts: VecDeque<File>,
    first_part: u64,
    /// Bytes written in all, those that were dropped included.
    end: u64,
    head_bytes: u64,
    part_bytes: u64,
    /// Bytes that could not be written.
    lost_bytes: u64,
}

/// A piece of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// How many bytes before it are gone.
    pub(crate) skipped: u64,
    /// What was written.
    pub(crate) bytes: Vec<u8>,
    /// The place behind it.
    pub(crate) end: u64,
}

impl Log {
    /// Begins a log in the folder of a run.
    pub(crate) fn begin(dir: &Path) -> io::Result<Self> {
        Self::sized(dir, HEAD_BYTES, PART_BYTES)
    }

    fn sized(dir: &Path, head_bytes: u64, part_bytes: u64) -> io::Result<Self> {
        let head = file(&dir.join("log"))?;
        Ok(Self {
            dir: dir.to_owned(),
            head,
            parts: VecDeque::new(),
            first_part: 0,
            end: 0,
            head_bytes,
            part_bytes,
            lost_bytes: 0,
        })
    }

    /// Says how many bytes were written so far.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Appends. What can't be written, since the disk is full, is dropped and counted: the command must not wait.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = match self.end.checked_sub(self.head_bytes) {
                None => self.head_bytes - self.end,
                Some(behind) => self.part_bytes - behind % self.part_bytes,
            };
            let now = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            if let Err(error) = self.write(&bytes[..now]) {
                if self.lost_bytes == 0 {
                    tracing::warn!(
                        "the log in {} can't be written ({error}): what the command says is dropped",
                        self.dir.display()
                    );
                }
                self.lost_bytes += now as u64;
            }
            self.end += now as u64;
            bytes = &bytes[now..];
        }
    }

    /// Writes into the head or the part that `end` is in; the bytes fit there.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(behind) = self.end.checked_sub(self.head_bytes) else {
            return write_at(&mut self.head, self.end, bytes);
        };
        let part = behind / self.part_bytes;
        while self.first_part + (self.parts.len() as u64) <= part {
            self.parts.push_back(file(&self.dir.join(format!("log.{}", self.first_part + self.parts.len() as u64)))?);
            if self.parts.len() > PARTS {
                self.parts.pop_front();
                std::fs::remove_file(self.dir.join(format!("log.{}", self.first_part)))?;
                self.first_part += 1;
            }
        }
        match self.parts.back_mut() {
            Some(file) => write_at(file, behind % self.part_bytes, bytes),
            None => Ok(()),
        }
    }

    /// Reads on from a place, at most so many bytes.
    pub(crate) fn read(&mut self, from: u64, bytes_max: usize) -> io::Result<Piece> {
        let kept_from = self.head_bytes + self.first_part * self.part_bytes;
        let is_gone = from >= self.head_bytes && from < kept_from;
        let start = if is_gone { kept_from } else { from }.min(self.end);
        let mut bytes = Vec::new();
        let (file, at, until) = match start.checked_sub(self.head_bytes) {
            None => (&mut self.head, start, self.head_bytes),
            Some(behind) => {
                let index = usize::try_from(behind / self.part_bytes - self.first_part).map_err(io::Error::other)?;
                match self.parts.get_mut(index) {
                    Some(file) => (file, behind % self.part_bytes, self.part_bytes),
                    None => return Ok(Piece { skipped: start - from, bytes, end: start }),
                }
            }
        };
        file.seek(SeekFrom::Start(at))?;
        file.take((until - at).min(bytes_max as u64)).read_to_end(&mut bytes)?;
        Ok(Piece { skipped: start - from, end: start + bytes.len() as u64, bytes })
    }

    /// Gives the last lines, for an error to quote.
    pub(crate) fn last_words(&mut self) -> String {
        let mut from = self.end.saturating_sub(LAST_WORDS_BYTES);
        let mut bytes = Vec::new();
        while from < self.end {
            match self.read(from, usize::MAX) {
                Ok(piece) if piece.end > from => {
                    bytes.extend(piece.bytes);
                    from = piece.end;
                }
                _ => break,
            }
        }
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// Ends the log: makes one file of it, and gives its name in the folder.
    pub(crate) fn finish(mut self) -> io::Result<&'static str> {
        let name = "log";
        let kept_from = self.head_bytes + self.first_part * self.part_bytes;
        let mut at = self.head_bytes.min(self.end);
        // Lost bytes leave holes, or nothing at all, so that the places do not fit any more.
        self.head.seek(SeekFrom::End(0))?;
        if kept_from > self.head_bytes {
            let cut = kept_from - self.head_bytes;
            write!(self.head, "\n[{cut} bytes are cut out here]\n")?;
            at = kept_from;
        }
        while at < self.end {
            let piece = self.read(at, 1 << 20)?;
            if piece.bytes.is_empty() {
                break;
            }
            self.head.seek(SeekFrom::End(0))?;
            self.head.write_all(&piece.bytes)?;
            at = piece.end;
        }
        if self.lost_bytes > 0 {
            write!(self.head, "\n[{} bytes could not be written]\n", self.lost_bytes)?;
        }
        for part in self.first_part..self.first_part + self.parts.len() as u64 {
            std::fs::remove_file(self.dir.join(format!("log.{part}")))?;
        }
        Ok(name)
    }
}

fn file(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(true).open(path)
}

fn write_at(file: &mut File, at: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads everything that is there, as the live log does.
    fn all(log: &mut Log) -> (u64, Vec<u8>) {
        let (mut at, mut skipped, mut bytes) = (0, 0, Vec::new());
        while at < log.end() {
            let piece = log.read(at, 7).unwrap();
            assert!(piece.end > at);
            skipped += piece.skipped;
            bytes.extend(piece.bytes);
            at = piece.end;
        }
        (skipped, bytes)
    }

    #[test]
    fn a_short_log_is_kept_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::begin(dir.path()).unwrap();
        log.append(b"one\n");
        log.append(b"two\n\n");
        assert_eq!(log.read(4, 100).unwrap(), Piece { skipped: 0, bytes: b"two\n\n".to_vec(), end: 9 });
        assert_eq!(log.last_words(), "one\ntwo");
        let name = log.finish().unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(name)).unwrap(), "one\ntwo\n\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// However long it gets, the beginning and the end are there, and the disk does not fill.
        #[test]
        fn the_beginning_and_the_end_are_kept(lengths in proptest::collection::vec(0_usize..60, 0..12)) {
            let dir = tempfile::tempdir().unwrap();
            let mut log = Log::sized(dir.path(), 40, 20).unwrap();
            let mut written = Vec::new();
            for (number, length) in lengths.iter().enumerate() {
                let piece = vec![b'a' + number as u8; *length];
                log.append(&piece);
                written.extend(piece);
            }
            let (skipped, bytes) = all(&mut log);
            let head = written.len().min(40);
            prop_assert_eq!(&bytes[..head], &written[..head]);
            prop_assert!(bytes.len() <= 80 && bytes.len() + skipped as usize == written.len());
            prop_assert!(written.ends_with(&bytes[head..]));
            let name = log.finish().unwrap();
            let kept = std::fs::read(dir.path().join(name)).unwrap();
            let note = if skipped > 0 { format!("\n[{skipped} bytes are cut out here]\n") } else { String::new() };
            prop_assert_eq!(kept, [&bytes[..head], note.as_bytes(), &bytes[head..]].concat());
            prop_assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }
}
