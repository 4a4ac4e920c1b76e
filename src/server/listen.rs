//! The accept loop: warp as a service behind hyper, with time-outs, `TCP_NODELAY`, and a stop that drains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1::UpgradeableConnection;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use warp::Filter;
use warp::path::FullPath;

use super::App;
use super::request::{self, Body, Incoming};

/// How long a client may take to send the head of a request; also how long an idle connection is kept.
const HEAD_TIME_MAX: Duration = Duration::from_secs(60);
/// Header lines that a request may have.
const HEADERS_MAX: usize = 100;
/// A pause after a failed accept, so that a full file table does not turn into a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where a connection comes from; put into every request's extensions.
#[derive(Debug, Clone, Copy)]
struct Peer(SocketAddr);

/// Serves until the app stops; then lets the requests under way end for up to `drain_max`, and cuts off the rest.
pub(super) async fn serve(listener: TcpListener, app: Arc<App>, drain_max: Duration) {
    let mut stopping = app.stopping.clone();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).max_headers(HEADERS_MAX);
    let service = TowerToHyperService::new(warp::service(filter(app)));
    let cut_off = watch::Sender::new(false);
    // Every connection keeps a clone of the sender; when the last is gone, nothing comes any more.
    let (open, mut all_closed) = tokio::sync::mpsc::channel::<()>(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are small and written whole: waiting to fill a packet would only add delay.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let service = service.clone();
        let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(Peer(address));
            hyper::service::Service::call(&service, request)
        });
        let future = http.serve_connection(TokioIo::new(socket), service).with_upgrades();
        let connection = Connection { stopping: stopping.clone(), cut_off: cut_off.subscribe(), _open: open.clone() };
        tokio::spawn(connection.run(address, future));
    }
    drop((listener, open));
    if tokio::time::timeout(drain_max, all_closed.recv()).await.is_err() {
        tracing::warn!("requests that did not end in time were cut off");
        cut_off.send_replace(true);
    }
}

/// What ends a connection beside its client.
struct Connection {
    /// Turns true when the request under way is to be the last.
    stopping: watch::Receiver<bool>,
    /// Turns true when even that may not end any more.
    cut_off: watch::Receiver<bool>,
    _open: tokio::sync::mpsc::Sender<()>,
}

impl Connection {
    /// Runs a connection to its end.
    async fn run<S>(mut self, address: SocketAddr, future: UpgradeableConnection<TokioIo<TcpStream>, S>)
    where
        S: hyper::service::HttpService<hyper::body::Incoming> + Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::ResBody: 'static,
        <S::ResBody as hyper::body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut future = std::pin::pin!(future);
        let mut told = false;
        loop {
            tokio::select! {
                ended = future.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, %address, "a connection ended with an error");
                    }
                    return;
                }
                _ = self.stopping.wait_for(|stop| *stop), if !told => {
                    told = true;
                    future.as_mut().graceful_shutdown();
                }
                _ = self.cut_off.wait_for(|cut| *cut) => return,
            }
        }
    }
}

/// The one filter behind which the table of routes stands. It takes every request and never rejects: a rejection
/// would fall through to a filter that is not there.
fn filter(app: Arc<App>) -> impl Filter<Extract = (warp::reply::Response,), Error = warp::Rejection> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let upgrade = warp::ws().map(Some).or(warp::any().map(|| None)).unify();
    warp::any()
        .and(warp::method())
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(upgrade)
        .and(warp::body::stream())
        .then(move |method, path: FullPath, query, headers, peer: Option<Peer>, upgrade, body| {
            let body = Body::new(body);
            let peer = peer.map(|Peer(address)| address);
            let path = path.as_str().to_owned();
            request::answer(app.clone(), Incoming { method, path, query, headers, peer, upgrade, body })
        })
}
