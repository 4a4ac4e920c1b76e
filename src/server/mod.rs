//! All that knows HTTP.

pub mod download;
