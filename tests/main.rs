//! The integration tests: every one talks to a real server, the binary itself, in a directory of its own.

mod api;
mod browser;
mod harness;
mod pages;
mod scenarios;
