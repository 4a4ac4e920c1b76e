//! labrun: a job server that ships beside a lab instrument. One binary, one data directory, one command.
//!
//! The map of the house; arrows point down only.

pub mod client;
pub mod domain;
pub mod wire;
