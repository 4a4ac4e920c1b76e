//! labrun: a job server that ships beside a lab instrument. One binary, one data directory, one command.
//!
//! The map of the house. Arrows point down only: `cli` → `worker` → `client` → `wire` → `domain`;
//! `server` → `store`, `blobs`, `filter`, `wire` → `domain`. `ARCHITECTURE.md` says more.

pub mod blobs;
pub mod care;
pub mod cli;
pub mod client;
pub mod domain;
pub mod filter;
pub mod server;
pub mod store;
pub mod wire;
pub mod worker;
