//! The rules of the house. Pure: no I/O, no clock, no HTTP, no SQL.

pub mod attempt;
pub mod contract;
pub mod fields;
pub mod file_name;
pub mod ids;
pub mod job;
pub mod lifecycle;
pub mod notification;
pub mod template;
pub mod time;
pub mod types;
pub mod values;
pub mod workflow;
