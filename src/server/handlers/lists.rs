//! What every `POST …/list` does: one page when a limit is given, else the whole list, streamed (contract §9).

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;
use warp::http::header::CONTENT_TYPE;
use warp::http::{HeaderValue, StatusCode};
use warp::reply::{Reply, Response};

use crate::server::error::ApiError;
use crate::server::request::{Call, json};
use crate::store::list::{Listing, Rest, Selection};
use crate::store::{self, Store};

/// Rows read at a time while a whole list is streamed.
const ROWS_AT_A_TIME: u32 = 500;
/// Pieces that may wait for a slow client.
const PIECES_WAITING: usize = 2;

/// Answers a list request; `show` turns a row into what this caller may see of it.
pub(super) async fn list<T, V>(
    call: &mut Call,
    listing: Listing<T>,
    show: impl Fn(T) -> V + Send + Sync + 'static,
) -> Result<Response, ApiError>
where
    T: Send + 'static,
    V: Serialize + Send + 'static,
{
    let body = serde_json::Value::Object(call.json().await?);
    let selection = listing.parse(&body)?;
    let store = call.app.store.clone();
    let count = if selection.spec().count { Some(store.count(&selection).await?) } else { None };
    let mut response = match selection.spec().limit {
        Some(limit) => {
            let page = store.page(&selection, limit).await?;
            let rows: Vec<V> = page.rows.into_iter().map(show).collect();
            let mut response = json(StatusCode::OK, &rows);
            if let Some(next) = page.next.and_then(|next| HeaderValue::from_str(&next).ok()) {
                response.headers_mut().insert("x-next-cursor", next);
            }
            response
        }
        None => whole(store, selection, show).await?,
    };
    if let Some(count) = count {
        response.headers_mut().insert("x-total-count", HeaderValue::from(count));
    }
    Ok(response)
}

/// Streams a whole list in constant memory. Its first rows are read before the answer begins, so that a failure
/// still has its status.
async fn whole<T, V>(
    store: Arc<Store>,
    selection: Selection<T>,
    show: impl Fn(T) -> V + Send + Sync + 'static,
) -> Result<Response, ApiError>
where
    T: Send + 'static,
    V: Serialize + Send + 'static,
{
    let rest = store.begin(&selection).await?;
    let (rows, rest) = store.go_on(&selection, rest, ROWS_AT_A_TIME).await?;
    let mut first = Vec::from(*b"[");
    append(&mut first, rows.into_iter().map(&show))?;
    if matches!(rest, Rest::Done) {
        first.push(b']');
        let mut response = Response::new(first.into());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return Ok(response);
    }
    let (sender, mut pieces) = mpsc::channel::<Result<Bytes, store::Error>>(PIECES_WAITING);
    tokio::spawn(async move {
        if sender.send(Ok(first.into())).await.is_err() {
            return;
        }
        if let Err(error) = go_on(&store, &selection, rest, show, &sender).await {
            tracing::error!(%error, "a list broke off");
            // The connection is cut, so that the client does not take the part for the whole.
            drop(sender.send(Err(error)).await);
        }
    });
    let stream = futures_util::stream::poll_fn(move |context| pieces.poll_recv(context));
    let mut response = warp::reply::stream(stream).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Sends the rest of a list, until its end or until nobody listens any more.
async fn go_on<T, V>(
    store: &Store,
    selection: &Selection<T>,
    mut rest: Rest,
    show: impl Fn(T) -> V,
    sender: &mpsc::Sender<Result<Bytes, store::Error>>,
) -> Result<(), store::Error>
where
    T: Send + 'static,
    V: Serialize,
{
    while !matches!(rest, Rest::Done) {
        let (rows, later) = store.go_on(selection, rest, ROWS_AT_A_TIME).await?;
        rest = later;
        let mut piece = Vec::new();
        for row in rows {
            piece.push(b',');
            write(&mut piece, &show(row)).map_err(|error| store::Error::Broken(error.to_string()))?;
        }
        if matches!(rest, Rest::Done) {
            piece.push(b']');
        }
        if sender.send(Ok(piece.into())).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Appends rows as JSON, with commas between them.
fn append<V: Serialize>(out: &mut Vec<u8>, rows: impl Iterator<Item = V>) -> Result<(), ApiError> {
    for (index, row) in rows.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, &row).map_err(ApiError::internal)?;
    }
    Ok(())
}

fn write<V: Serialize>(out: &mut Vec<u8>, row: &V) -> serde_json::Result<()> {
    serde_json::to_writer(out, row)
}
