//! The rules of the house. Pure: no I/O, no clock, no HTTP, no SQL.

pub mod fields;
pub mod ids;
pub mod lifecycle;
pub mod time;
pub mod types;
