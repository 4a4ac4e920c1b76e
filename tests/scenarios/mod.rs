//! What takes more than one route to tell.

mod bad_input;
mod care;
mod histories;
mod layers;
