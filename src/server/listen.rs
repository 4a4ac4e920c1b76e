//! The accept loop: warp as a service behind hyper, with limits, TLS, `TCP_NODELAY`, and a stop that drains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1::{Builder, UpgradeableConnection};
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use warp::Filter;
use warp::path::FullPath;

use super::App;
use super::request::{self, Body, Incoming};
use super::timeouts::{Answer, Gate, Timed};
use super::tls::Tls;

/// A pause after a failed accept, so that a full file table does not turn into a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections beyond the limit that are told so at the same time; the others are just closed.
const REFUSALS_MAX: usize = 64;
/// How long telling one may take.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(2);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Held by everything that the server's end waits for; when the last clone is gone, nothing comes any more.
pub(super) type OpenMark = tokio::sync::mpsc::Sender<()>;

/// The connection that a request came on; put into every request's extensions.
#[derive(Debug, Clone)]
struct Peer {
    address: SocketAddr,
    /// Cuts the connection, whatever is on its way.
    hang_up: Arc<Notify>,
    open: OpenMark,
}

/// What every connection needs.
#[derive(Clone)]
struct Shared {
    app: Arc<App>,
    http: Builder,
    tls: Option<Tls>,
    stopping: watch::Receiver<bool>,
    cut_off: watch::Sender<bool>,
    open: OpenMark,
    refusals: Arc<Semaphore>,
}

/// Serves until the app stops; then lets the requests under way end for up to `drain_max`, and cuts off the rest.
pub(super) async fn serve(listener: TcpListener, tls: Option<Tls>, app: Arc<App>, drain_max: Duration) {
    let mut stopping = app.stopping.clone();
    let mut http = Builder::new();
    // The stream has the time-outs; see `timeouts.rs`. A request may have 100 header lines, as hyper has it unless told: it
    // reads heads faster then.
    http.header_read_timeout(None);
    let service = TowerToHyperService::new(warp::service(filter(app.clone())));
    let (open, mut all_closed) = tokio::sync::mpsc::channel::<()>(1);
    let cut_off = watch::Sender::new(false);
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let shared = Shared { app, http, tls, stopping: stopping.clone(), cut_off, open, refusals };
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
        let (shared, service) = (shared.clone(), service.clone());
        let metrics = &shared.app.metrics;
        if metrics.connections.load(Ordering::Relaxed) >= i64::from(shared.app.limits.connections_max) {
            metrics.connections_refused.fetch_add(1, Ordering::Relaxed);
            refuse(shared, socket);
            continue;
        }
        // Counted here and not in the task, so that a burst of connections can't all be let in.
        metrics.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let _leaves = Leaves(shared.app.clone());
            greet(shared, service, socket, address).await;
        });
    }
    drop((listener, shared.open));
    if tokio::time::timeout(drain_max, all_closed.recv()).await.is_err() {
        tracing::warn!("requests that did not end in time were cut off");
        shared.cut_off.send_replace(true);
    }
}

/// Counts a connection as gone when it is dropped.
struct Leaves(Arc<App>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Shakes hands where there is TLS, then runs the connection.
async fn greet<T>(shared: Shared, service: T, socket: TcpStream, address: SocketAddr)
where
    T: Service<Request<hyper::body::Incoming>, Response = warp::reply::Response> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
{
    let Some(tls) = &shared.tls else { return converse(shared, service, socket, address).await };
    let handshake = tls.acceptor().accept(socket);
    match tokio::time::timeout(shared.app.limits.head_time_max, handshake).await {
        Ok(Ok(stream)) => converse(shared, service, stream, address).await,
        Ok(Err(error)) => tracing::debug!(%error, %address, "a TLS handshake failed"),
        Err(_) => tracing::debug!(%address, "a TLS handshake took too long"),
    }
}

/// Runs a connection to its end.
async fn converse<T, S>(shared: Shared, service: T, stream: S, address: SocketAddr)
where
    T: Service<Request<hyper::body::Incoming>, Response = warp::reply::Response> + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gate = Gate::default();
    let peer = Peer { address, hang_up: Arc::default(), open: shared.open };
    let hang_up = peer.hang_up.clone();
    let stream = Timed::new(stream, gate.clone(), shared.app.limits);
    let service = hyper::service::service_fn(move |mut request: Request<hyper::body::Incoming>| {
        gate.request_began();
        give_a_path(&mut request);
        request.extensions_mut().insert(peer.clone());
        let (answer, gate) = (service.call(request), gate.clone());
        async move {
            let answer = answer.await?;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                gate.upgraded();
            }
            Ok::<_, T::Error>(answer.map(|body| Answer::new(body, gate)))
        }
    });
    let future = shared.http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let (stopping, cut_off) = (shared.stopping, shared.cut_off.subscribe());
    let connection = Connection { stopping, cut_off, hang_up };
    connection.run(address, future).await;
}

/// Gives a target that is a name alone, as `CONNECT lab:80` has it, the path `*`, which no route has: warp takes for
/// granted that there is a path, and panics where there is none.
fn give_a_path<B>(request: &mut Request<B>) {
    if request.uri().path_and_query().is_none() {
        *request.uri_mut() = Uri::from_static("*");
    }
}

/// Tells a client that there are too many connections, if that can be done at once.
fn refuse(shared: Shared, socket: TcpStream) {
    let Ok(permit) = shared.refusals.clone().try_acquire_owned() else { return };
    tokio::spawn(async move {
        let told = tokio::time::timeout(REFUSAL_TIME_MAX, async {
            match &shared.tls {
                None => turn_away(socket).await,
                Some(tls) => turn_away(tls.acceptor().accept(socket).await?).await,
            }
        });
        drop(told.await);
        drop(permit);
    });
}

/// Answers and closes. What the client sends is read to its end, since a reset would take the answer from it; it is not
/// looked at, so that the request's id is one of ours.
async fn turn_away(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    const BODY: &str = r#"{"detail":"The server has too many connections; try again.","code":"unavailable"}"#;
    let head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1";
    let head = format!("{head}\r\nConnection: close\r\nContent-Length: {}\r\nX-Request-Id: ", BODY.len());
    let answer = [head.as_bytes(), request::new_request_id().as_bytes(), b"\r\n\r\n", BODY.as_bytes()].concat();
    stream.write_all(&answer).await?;
    stream.shutdown().await?;
    let mut unread = [0; 4_096];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

/// What ends a connection beside its client.
struct Connection {
    /// Turns true when the request under way is to be the last.
    stopping: watch::Receiver<bool>,
    /// Turns true when even that may not end any more.
    cut_off: watch::Receiver<bool>,
    /// Given by a request whose client does not read its answer.
    hang_up: Arc<Notify>,
}

impl Connection {
    /// Runs a connection to its end.
    async fn run<I, S>(mut self, address: SocketAddr, future: UpgradeableConnection<TokioIo<I>, S>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: hyper::service::HttpService<hyper::body::Incoming> + Send + 'static,
        S::Error: Into<BoxError>,
        S::ResBody: Send + 'static,
        <S::ResBody as hyper::body::Body>::Error: Into<BoxError>,
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
                () = self.hang_up.notified() => return,
            }
        }
    }
}

/// The one filter behind which the table of routes stands. It takes every request and never rejects: a rejection
/// would fall through to a filter that is not there.
fn filter(app: Arc<App>) -> impl Filter<Extract = (warp::reply::Response,), Error = warp::Rejection> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::any()
        .and(warp::method())
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        // hyper puts it there when the client asks for an upgrade; the handshake stands in `watch/upgrade.rs`.
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::body::stream())
        .then(move |method, path: FullPath, query, headers, peer: Option<Peer>, upgrade, body| {
            let body = Body::new(body, app.limits.silence_max);
            let path = path.as_str().to_owned();
            let (hang_up, open) = match &peer {
                Some(peer) => (peer.hang_up.clone(), Some(peer.open.clone())),
                None => Default::default(),
            };
            let peer = peer.map(|peer| peer.address);
            request::answer(app.clone(), Incoming { method, path, query, headers, peer, hang_up, open, upgrade, body })
        })
}
