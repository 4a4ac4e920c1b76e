//! What takes more than one route to tell.
