//! Lists, page by page: a reader is held for one page and never across a slow client (contract §9).

use std::borrow::Cow;
use std::sync::Arc;

use rusqlite::{Row, params_from_iter};

use super::filter::{Query, Resource, Statement};
use super::{Error, Store};
use crate::domain::fields::Problems;
use crate::filter::{Cursor, Spec};

type Read<T> = dyn Fn(&Row<'_>) -> rusqlite::Result<T> + Send + Sync;

/// How the rows of a resource are read: its fields for filters, its columns over the alias `t`, and what reads them.
pub struct Listing<T> {
    resource: &'static Resource,
    columns: Cow<'static, str>,
    read: Arc<Read<T>>,
}

// Not derived, which would ask for rows that can be cloned.
impl<T> Clone for Listing<T> {
    fn clone(&self) -> Self {
        Self { resource: self.resource, columns: self.columns.clone(), read: self.read.clone() }
    }
}

impl<T: Send + 'static> Listing<T> {
    /// Puts one together; the first column is `t.pk`.
    pub(super) fn new(
        resource: &'static Resource,
        columns: impl Into<Cow<'static, str>>,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T> + Send + Sync + 'static,
    ) -> Self {
        Self { resource, columns: columns.into(), read: Arc::new(read) }
    }

    /// Checks a filter spec against the resource's fields.
    ///
    /// # Errors
    /// The problems of contract §9, each naming its culprit.
    pub fn parse(&self, body: &serde_json::Value) -> Result<Selection<T>, Problems> {
        let spec = crate::filter::parse(body, self.resource)?;
        let query = Query::new(self.resource, &spec)?;
        Ok(Selection { listing: self.clone(), spec, query: Arc::new(query) })
    }
}

/// A listing with the spec that says which rows, in which order.
pub struct Selection<T> {
    listing: Listing<T>,
    spec: Spec,
    query: Arc<Query>,
}

impl<T> Selection<T> {
    /// Builds the question whether one row, by its key, passes.
    pub(super) fn only(&self, pk: i64) -> Statement {
        self.query.only(pk)
    }

    /// Builds the statement for the keys of the first `max` rows.
    pub(super) fn keys(&self, max: u32) -> Statement {
        self.query.page("t.pk", self.query.start(), Some(max))
    }

    /// Gives the spec.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }
}

/// Some rows of a list, in order.
#[derive(Debug)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The cursor after the last of them, when there may be more.
    pub next: Option<String>,
}

/// A whole list on its way out: where it goes on.
#[derive(Debug)]
pub enum Rest {
    /// In order of the key, after this one.
    After(Option<Cursor>),
    /// These keys, in this order: an order by other fields is sorted once, not once a page.
    Keys(std::vec::IntoIter<i64>),
    /// At its end.
    Done,
}

impl Store {
    /// Reads one page: up to `limit` rows after the spec's cursor.
    pub async fn page<T: Send + 'static>(&self, selection: &Selection<T>, limit: u32) -> Result<Page<T>, Error> {
        let (listing, query) = (selection.listing.clone(), selection.query.clone());
        self.read_long(move |connection| {
            // One row more than wanted says whether there is a next page.
            let statement = query.page(&listing.columns, query.start(), Some(limit + 1));
            let mut rows = read_rows(connection, &statement, &listing, &query)?;
            let more = rows.len() > limit as usize;
            rows.truncate(limit as usize);
            let next = rows.last().filter(|_| more).map(|(_, cursor)| query.encode(cursor));
            Ok(Page { rows: rows.into_iter().map(|(row, _)| row).collect(), next })
        })
        .await
    }

    /// Counts the rows that pass, whatever the page.
    pub async fn count<T: Send + 'static>(&self, selection: &Selection<T>) -> Result<i64, Error> {
        let query = selection.query.clone();
        self.read_long(move |connection| {
            let Statement { sql, params } = query.count();
            Ok(connection.prepare_cached(&sql)?.query_row(params_from_iter(params), |row| row.get(0))?)
        })
        .await
    }

    /// Counts the rows that pass, but none beyond the first `max` and one more.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn count_up_to<T: Send + 'static>(&self, selection: &Selection<T>, max: u32) -> Result<i64, Error> {
        let query = selection.query.clone();
        self.read_long(move |connection| {
            let Statement { sql, params } = query.count_up_to(max);
            Ok(connection.prepare_cached(&sql)?.query_row(params_from_iter(params), |row| row.get(0))?)
        })
        .await
    }

    /// Begins a whole list.
    pub async fn begin<T: Send + 'static>(&self, selection: &Selection<T>) -> Result<Rest, Error> {
        let query = selection.query.clone();
        if query.key_count() == 0 {
            return Ok(Rest::After(query.start().cloned()));
        }
        self.read_long(move |connection| {
            let Statement { sql, params } = query.page("t.pk", query.start(), None);
            let mut prepared = connection.prepare_cached(&sql)?;
            let keys =
                prepared.query_map(params_from_iter(params), |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?;
            Ok(Rest::Keys(keys.into_iter()))
        })
        .await
    }

    /// Reads the next rows of a whole list, at most `limit`, and says where it goes on.
    pub async fn go_on<T: Send + 'static>(
        &self,
        selection: &Selection<T>,
        rest: Rest,
        limit: u32,
    ) -> Result<(Vec<T>, Rest), Error> {
        let (listing, query) = (selection.listing.clone(), selection.query.clone());
        self.read_long(move |connection| match rest {
            Rest::Done => Ok((Vec::new(), Rest::Done)),
            Rest::After(place) => {
                let statement = query.page(&listing.columns, place.as_ref(), Some(limit));
                let mut rows = read_rows(connection, &statement, &listing, &query)?;
                let full = rows.len() == limit as usize;
                let last = rows.pop();
                let mut rows: Vec<T> = rows.into_iter().map(|(row, _)| row).collect();
                let rest = match last {
                    Some((row, cursor)) => {
                        rows.push(row);
                        if full { Rest::After(Some(cursor)) } else { Rest::Done }
                    }
                    None => Rest::Done,
                };
                Ok((rows, rest))
            }
            Rest::Keys(mut keys) => {
                let sql = format!("SELECT {} FROM {} AS t WHERE t.pk = ?1", listing.columns, listing.resource.table());
                let mut prepared = connection.prepare_cached(&sql)?;
                let mut rows = Vec::new();
                for pk in keys.by_ref().take(limit as usize) {
                    // A row that was purged since the order was taken is left out.
                    rows.extend(super::found(prepared.query_row([pk], |row| (listing.read)(row)))?);
                }
                let rest = if keys.len() == 0 { Rest::Done } else { Rest::Keys(keys) };
                Ok((rows, rest))
            }
        })
        .await
    }
}

/// Runs a page's statement, whose first column is the key, and reads its rows with their places.
fn read_rows<T>(
    connection: &rusqlite::Connection,
    statement: &Statement,
    listing: &Listing<T>,
    query: &Query,
) -> Result<Vec<(T, Cursor)>, Error> {
    let mut prepared = connection.prepare_cached(&statement.sql)?;
    let first_key = prepared.column_count() - query.key_count();
    let rows = prepared.query_map(params_from_iter(&statement.params), |row| {
        let cursor = query.cursor(row, first_key, row.get(0)?)?;
        Ok(((listing.read)(row)?, cursor))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
