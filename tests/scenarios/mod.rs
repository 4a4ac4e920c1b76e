//! What takes more than one route to tell.

mod bad_input;
mod care;
mod claims;
mod crash;
mod due;
mod histories;
mod layers;
