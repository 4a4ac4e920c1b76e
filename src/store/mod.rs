//! SQLite: everything that knows SQL.

pub mod filter;
