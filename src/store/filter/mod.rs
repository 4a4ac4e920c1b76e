//! Renders a list request into SQL (contract §9), with bound values only: no caller's text gets into the SQL.
//!
//! ```
//! use labrun::{filter, store::filter::{JOBS, Query, register}};
//! let db = rusqlite::Connection::open_in_memory().unwrap();
//! register(&db).unwrap();
//! let body = serde_json::json!({"expressions": [{"type": "exact", "field": "node.ip", "value": "lab-1"}]});
//! let query = Query::new(&JOBS, &filter::parse(&body, &JOBS).unwrap()).unwrap();
//! let page = query.page("t.pk, t.description", query.start(), Some(100));
//! assert!(page.sql.starts_with("SELECT t.pk, t.description FROM jobs AS t WHERE"));
//! ```

mod condition;
mod query;
mod resource;
mod tables;

pub use query::{Query, Statement};
pub use resource::Resource;
pub use tables::{
    CUDA, DOCKER, DOMAINS, FRAMEWORKS, HARDWARE, JOB_CONTRACTS, JOB_OUTPUTS, JOB_TEMPLATES, JOB_TYPES, JOBS, LICENCES,
    NODES, USERS,
};

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;

/// Adds the SQL function `fold(text)` to a connection: Unicode case folding; null stays null. Every connection that
/// runs a [`Query`] needs it.
pub fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("fold", 1, flags, |context| match context.get_raw(0) {
        ValueRef::Text(text) => Ok(Some(crate::filter::fold(&String::from_utf8_lossy(text)))),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => Ok(None),
    })
}
