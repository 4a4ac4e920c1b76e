//! What a process did to files and sockets, read from the record of its system calls.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What strace is to record: all bytes, in hex, so that nothing in them can be taken for its own signs.
pub(super) const ARGUMENTS: [&str; 5] = [
    "-xx",
    "-s",
    "4194304",
    "-e",
    "trace=openat,open,creat,write,writev,pwrite64,pwritev,ftruncate,fsync,fdatasync,rename,renameat,renameat2,unlink,\
     unlinkat,link,linkat,mkdir,mkdirat,fallocate,copy_file_range,sendto,sendmsg",
];

/// A step, in the order of time. A write, a change of a name and an answer count from their beginning.
#[derive(Debug)]
pub(super) enum Step {
    /// A file may have been made, empty; cut to nothing, if it says so.
    Open { path: PathBuf, cut: bool },
    /// Bytes were written: at a place, or behind what is there. `by` is the thread, if the call had not ended when
    /// another began.
    Write { path: PathBuf, at: Option<u64>, bytes: Vec<u8>, by: Option<u32> },
    /// A file was cut or grew.
    Truncate { path: PathBuf, length: u64 },
    /// A name was changed.
    Rename { from: PathBuf, to: PathBuf },
    /// A file got a second name.
    Link { from: PathBuf, to: PathBuf },
    /// A name was taken away.
    Unlink { path: PathBuf },
    /// A thread began to sync a file or a folder.
    SyncBegins { thread: u32, path: PathBuf },
    /// The thread's sync, or its write, is over.
    Ends { thread: u32 },
    /// An answer left the server.
    Answer,
}

/// Reads a record; paths outside of `dir` are left out.
pub(super) fn steps(record: &str, dir: &Path) -> Vec<Step> {
    let mut steps = Vec::new();
    for line in record.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let (Ok(thread), call) = (thread.parse::<u32>(), call.trim_start()) else { continue };
        if call.starts_with("<...") {
            steps.push(Step::Ends { thread });
            continue;
        }
        let Some((name, arguments)) = call.split_once('(') else { continue };
        let unfinished = arguments.ends_with("<unfinished ...>");
        let texts = texts(arguments);
        let path = |index: usize| texts.get(index).map(|text| PathBuf::from(text.as_text()));
        let inside = |path: Option<PathBuf>| path.filter(|path| path.starts_with(dir));
        let by = unfinished.then_some(thread);
        match name {
            "write" | "writev" | "sendto" | "sendmsg" | "pwrite64" | "pwritev" => {
                let bytes: Vec<u8> = texts.iter().skip(1).flat_map(|text| text.0.clone()).collect();
                if let Some(path) = inside(path(0)) {
                    let is_placed = name.starts_with('p');
                    steps.push(Step::Write { path, at: is_placed.then(|| last_number(arguments)), bytes, by });
                } else if bytes.starts_with(b"HTTP/1.1 ") {
                    steps.push(Step::Answer);
                }
            }
            "open" | "openat" | "creat" => {
                // The folder that the path is relative to comes first in one of them.
                let name = if name == "openat" { path(1) } else { path(0) };
                if let Some(path) = inside(name).filter(|_| arguments.contains("O_CREAT")) {
                    steps.push(Step::Open { path, cut: arguments.contains("O_TRUNC") });
                }
            }
            "ftruncate" => {
                steps.extend(inside(path(0)).map(|path| Step::Truncate { path, length: last_number(arguments) }))
            }
            "fsync" | "fdatasync" => {
                if let Some(path) = inside(path(0)) {
                    steps.push(Step::SyncBegins { thread, path });
                    if !unfinished {
                        steps.push(Step::Ends { thread });
                    }
                }
            }
            "rename" => steps.extend(inside(path(0)).zip(inside(path(1))).map(|(from, to)| Step::Rename { from, to })),
            "renameat" | "renameat2" => {
                steps.extend(inside(path(1)).zip(inside(path(3))).map(|(from, to)| Step::Rename { from, to }))
            }
            "linkat" => steps.extend(inside(path(1)).zip(inside(path(3))).map(|(from, to)| Step::Link { from, to })),
            "unlink" => steps.extend(inside(path(0)).map(|path| Step::Unlink { path })),
            "unlinkat" => steps.extend(inside(path(1)).map(|path| Step::Unlink { path })),
            // What the server is not known to do must not go by unseen.
            other => {
                let touched = (0..texts.len()).any(|index| inside(path(index)).is_some());
                assert!(!touched, "the replay does not know the call {other}: {}", &call[..call.len().min(300)]);
            }
        }
    }
    steps
}

/// A text of the record.
struct Text(Vec<u8>);

impl Text {
    fn as_text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0).into_owned();
        text.strip_suffix(" (deleted)").map(str::to_owned).unwrap_or(text)
    }
}

/// Gives all texts among the arguments of a call, those beside its file descriptors included, in their order. What the
/// call returned is no argument.
fn texts(arguments: &str) -> Vec<Text> {
    let mut found = Vec::new();
    let mut rest = arguments;
    while let Some(at) = rest.find(['"', '<', ')']) {
        let end = match rest.as_bytes()[at] {
            b'"' => '"',
            b'<' => '>',
            _ => break,
        };
        rest = &rest[at + 1..];
        let Some(length) = rest.find(end) else { break };
        if let Some(bytes) = unhex(&rest[..length]) {
            found.push(Text(bytes));
        }
        rest = &rest[length + 1..];
    }
    found
}

/// Reads `\x41\x42…`; `None` for what is not written so, such as the signs of sockets.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (quads, []) = text.as_bytes().as_chunks::<4>() else { return None };
    quads
        .iter()
        .map(|[slash, x, high, low]| match (slash, x) {
            (b'\\', b'x') => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// Gives the last number among the arguments of a call.
fn last_number(arguments: &str) -> u64 {
    let end = arguments.find(") = ").or_else(|| arguments.find(" <unfinished")).unwrap_or(arguments.len());
    let last = arguments[..end].rsplit(", ").next().unwrap_or_default();
    last.trim().parse().unwrap_or_else(|_| panic!("no number at the end of {:?}", &last[..last.len().min(100)]))
}

/// Threads whose call has not ended.
pub(super) type UnderWay<T> = HashMap<u32, T>;
