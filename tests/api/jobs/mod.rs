//! `/v1/jobs`: the table of actions and phases, then what is particular to each action.

mod acquire;
mod deletion;
mod lifecycle;
mod list;
mod retrieve;
mod table;
mod update;
