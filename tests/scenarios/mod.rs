//! What takes more than one route to tell.

mod bad_input;
mod care;
mod claims;
mod concurrency;
mod crash;
mod due;
mod durability;
mod histories;
mod layers;
mod mail;
mod operations;
mod stories;
mod templates;
mod tls;
mod watching;
mod workflows;
