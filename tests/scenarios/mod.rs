//! What takes more than one route to tell.

mod bad_input;
mod histories;
mod layers;
