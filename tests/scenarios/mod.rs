//! What takes more than one route to tell.

mod bad_input;
mod claims;
mod due;
mod histories;
mod layers;
mod operations;
mod tls;
