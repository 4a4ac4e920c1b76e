//! What the tests are written in: a server, a small language of requests, a dump of the data directory.

pub mod dump;
mod lab;
mod process;
pub mod raw;
mod request;
pub mod smtp;
mod watcher;

pub use lab::{ADMIN, Held, Lab, OTHER, USER, document};
pub use process::{PASSWORD, Server, Setup, binary, deadline, until};
pub use request::{Reply, Request};
pub use watcher::{Events, Piece, Said, Socket};
