//! What the tests are written in: a server, a small language of requests, a dump of the data directory.

mod browser;
mod command;
pub(crate) mod dump;
mod lab;
mod process;
mod proxy;
pub(crate) mod raw;
mod request;
#[expect(dead_code, unreachable_pub, reason = "it is shared with tests beside the code, which need other parts of it")]
pub(crate) mod smtp;
mod strace;
mod visitor;
mod watcher;
mod worker;

pub(crate) use browser::Browser;
pub(crate) use command::{Person, Ran};
pub(crate) use lab::{ADMIN, Held, Lab, OTHER, USER, document};
pub(crate) use process::{PASSWORD, Server, Setup, binary, deadline, until};
pub(crate) use proxy::Proxy;
pub(crate) use request::{Reply, Request};
pub(crate) use strace::Recorder;
pub(crate) use visitor::{Visitor, attribute, form};
pub(crate) use watcher::{Events, Piece, Said, Socket};
pub(crate) use worker::{Hands, Worker, shell_template};

/// Gives the SHA-256 of bytes, in hex.
pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
