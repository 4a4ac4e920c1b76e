//! What takes more than one route to tell.

mod bad_input;
mod care;
mod claims;
mod cli;
mod concurrency;
mod crash;
mod due;
mod durability;
mod faults;
mod histories;
mod layers;
mod mail;
mod operations;
mod power;
mod retention;
mod stories;
mod sync_order;
mod templates;
mod tls;
mod uploads;
mod watching;
mod worker;
mod workflows;
