//! `/v1/jobs`: one file for each action.

mod acquire;
mod log;
