//! All that knows HTTP. `App` wires the store, the blobs and the table of routes together; [`Running`] is a server
//! that answers.

mod auth;
mod body;
mod claims;
pub mod download;
mod error;
mod handlers;
mod listen;
mod mail;
mod metrics;
mod openapi;
pub mod owner;
mod pages;
mod passwords;
mod request;
mod router;
pub mod routes;
mod send;
mod soft;
mod strict;
mod tasks;
mod throttle;
mod timeouts;
pub mod tls;
mod trace;
mod uploads;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::blobs::Blobs;
use crate::domain::notification::Actions;
use crate::domain::time::{Clock, SystemClock};
use crate::store::Store;
use crate::store::notify::Telling;
use crate::store::uploads::Bounds;
use auth::Tokens;
use claims::Claims;
use handlers::logs::LogHub;
use metrics::Metrics;
use pages::setup::Setup;
use passwords::Passwords;
use router::Router;
use soft::SoftState;
use throttle::Throttle;
use watch::Hub;

pub use mail::{MailSettings, SmtpTls};
pub(crate) use trace::time_told_of;

/// How long a stop waits for the requests under way.
const DRAIN_MAX: Duration = Duration::from_secs(8);

/// How long a stop waits for the good-byes of sockets, beyond that.
const SOCKETS_MAX: Duration = Duration::from_secs(2);

/// What a server is told at its start.
#[derive(Clone)]
pub struct Settings {
    /// The directory that holds everything; made if missing.
    pub data_dir: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The first user's password; a random one is made, and given back by [`Running::made_password`], when none is set.
    pub admin_password: Option<String>,
    /// How long an access token is good for, in seconds.
    pub access_token_lifetime_s: u32,
    /// How long a refresh token is good for, in seconds.
    pub refresh_token_lifetime_s: u32,
    /// How long a browser stays logged in without being used, in seconds; not 0.
    pub session_lifetime_s: u32,
    /// The largest output, in bytes.
    pub output_bytes_max: Option<u64>,
    /// What uploads must leave free on the disk, in bytes.
    pub headroom_bytes: u64,
    /// How many resumable uploads a user may have open, and for how long they are kept.
    pub upload_bounds: Bounds,
    /// Whether jobs can be watched by WebSocket without a token, as the reference's clients do.
    pub anonymous_watchers: bool,
    /// How much at once, and how slowly.
    pub limits: Limits,
    /// The certificate and the key; without them, connections are in clear.
    pub tls: Option<tls::Files>,
    /// How long a watcher may hear nothing before it is told that the server is still there, in seconds; not 0.
    pub watch_keep_alive_s: u32,
    /// What is told of jobs that ask for no notifications of their own.
    pub default_notifications: Actions,
    /// The mail server; without one, e-mails are logged as not sent.
    pub mail: Option<MailSettings>,
    /// How long jobs and outputs are kept; for ever, if nothing is set.
    pub ages: crate::store::retention::Ages,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Settings {
    /// Gives the defaults for a data directory: loopback on a free port.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin_password: None,
            access_token_lifetime_s: 300,
            refresh_token_lifetime_s: 8 * 60 * 60,
            session_lifetime_s: 8 * 60 * 60,
            output_bytes_max: None,
            headroom_bytes: 256 << 20,
            upload_bounds: Bounds::default(),
            anonymous_watchers: false,
            limits: Limits::default(),
            tls: None,
            watch_keep_alive_s: 15,
            default_notifications: Actions::websocket_for_all(),
            mail: None,
            ages: crate::store::retention::Ages::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// How much the listener takes at once, and how slowly a client may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections that may be open; one more is answered with 503 and closed.
    pub connections_max: u32,
    /// Requests that may be under way; one more is answered with 503. Streams count until they begin.
    pub in_flight_max: u32,
    /// How long a client may take to send the head of a request, its TLS handshake too.
    pub head_time_max: Duration,
    /// How long a connection may be kept without a request.
    pub idle_time_max: Duration,
    /// How long a body may be silent, and how long a client may read nothing of an answer.
    pub silence_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 8_192,
            in_flight_max: 4_096,
            head_time_max: Duration::from_secs(15),
            idle_time_max: Duration::from_secs(75),
            silence_max: Duration::from_secs(60),
        }
    }
}

/// All that a request may need.
pub(crate) struct App {
    pub(crate) store: Arc<Store>,
    pub(crate) blobs: Blobs,
    pub(crate) routes: Router,
    pub(crate) tokens: Tokens,
    pub(crate) passwords: Passwords,
    pub(crate) throttle: Throttle,
    pub(in crate::server) setup: Setup,
    pub(crate) soft: SoftState,
    pub(crate) signs: tasks::SignsOfLife,
    pub(crate) claims: Claims,
    pub(crate) hub: Hub,
    pub(crate) metrics: Metrics,
    pub(crate) lines: trace::Lines,
    pub(crate) limits: Limits,
    pub(crate) logs: LogHub,
    pub(crate) anonymous_watchers: bool,
    pub(crate) session_lifetime_s: u32,
    pub(crate) has_tls: bool,
    pub(crate) keep_alive: Duration,
    pub(crate) default_notifications: Actions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) output_bytes_max: Option<u64>,
    pub(crate) upload_bounds: Bounds,
    pub(crate) uploads: Arc<uploads::Busy>,
    /// The right to make an archive.
    pub(crate) archives: Arc<tokio::sync::Semaphore>,
    pub(crate) ages: crate::store::retention::Ages,
    /// Turns true when the server stops; whatever runs for long ends then.
    pub(crate) stopping: tokio::sync::watch::Receiver<bool>,
}

/// Why a server can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process uses the data directory, or it can't be used.
    #[error(transparent)]
    Lock(#[from] crate::care::LockError),
    /// The folder of bytes is gone.
    #[error("the data directory {dir} has a database, but no folder `blobs`: put it back, or restore a backup")]
    BlobsMissing {
        /// The directory.
        dir: PathBuf,
    },
    /// The data directory can't be used.
    #[error("the data directory {dir} can't be used: {source}")]
    DataDir {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database can't be opened.
    #[error(transparent)]
    Store(#[from] crate::store::OpenError),
    /// The address can't be listened on.
    #[error("{address} can't be listened on: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificate or the key can't be used.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The first user can't be made.
    #[error("the first user can't be made: {0}")]
    FirstUser(String),
    /// The database can't be written.
    #[error("the database can't be written: {0}")]
    FirstWrite(String),
    /// The settings of e-mail can't be used.
    #[error("e-mail can't be sent: {0}")]
    Mail(String),
    /// The table of routes is wrong.
    #[error("the table of routes is wrong: {0}")]
    Routes(String),
}

/// A server that answers, until it is stopped.
pub struct Running {
    app: Arc<App>,
    address: SocketAddr,
    made_password: Option<String>,
    setup_secret: Option<String>,
    tls: Option<tls::Tls>,
    stop: tokio::sync::watch::Sender<bool>,
    serving: JoinHandle<()>,
    tasks: JoinHandle<()>,
    // Says where this server is, until it has ended.
    _announcement: Option<crate::care::Announcement>,
    // Held until everything else has ended; the system lets go of it even after a crash.
    _lock: std::fs::File,
}

impl Running {
    /// Opens the data directory and starts to listen.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let dir = settings.data_dir.clone();
        let unusable = |source| StartError::DataDir { dir: dir.clone(), source };
        let lock = crate::care::lock(&dir, settings.clock.now())?;
        let mailer = settings.mail.map(mail::Mailer::new).transpose().map_err(StartError::Mail)?;
        let telling = Telling::new(settings.default_notifications.clone(), mailer.is_some());
        let store = Arc::new(Store::open_telling(&dir.join("labrun.db"), settings.clock.clone(), telling)?);
        if !dir.join("blobs").is_dir() && store.names_any_bytes().map_err(|error| unusable(io::Error::other(error)))? {
            return Err(StartError::BlobsMissing { dir });
        }
        let blobs = Blobs::open(dir.join("blobs"), settings.headroom_bytes).map_err(unusable)?;
        let (access_s, refresh_s) = (settings.access_token_lifetime_s, settings.refresh_token_lifetime_s);
        let tokens = Tokens::open(&dir.join("token.key"), access_s, refresh_s).map_err(unusable)?;
        // All that can fail for a reason outside comes before the first user: its password is printed once, by a server that
        // then is there.
        let listener = tokio::net::TcpListener::bind(settings.listen)
            .await
            .map_err(|source| StartError::Listen { address: settings.listen, source })?;
        let address =
            listener.local_addr().map_err(|source| StartError::Listen { address: settings.listen, source })?;
        let certificate = settings.tls.as_ref().map(|files| files.cert.clone());
        let tls = settings.tls.map(tls::Tls::load).transpose()?;
        let passwords = Passwords::new();
        let made_password = make_first_user(&store, &passwords, settings.admin_password).await?;
        let setup_secret = made_password.is_some().then(auth::random_hex::<32>).transpose();
        let setup_secret = setup_secret.map_err(|error| StartError::FirstUser(error.to_string()))?;
        // No node could renew its lease while the server was away.
        store.renew_all_leases().await.map_err(|error| StartError::FirstWrite(error.to_string()))?;
        let announcement = crate::care::announce(&dir, address, certificate.as_deref()).map_err(unusable)?;
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let hub = Hub::over(store.newest_event());
        let app = Arc::new(App {
            store,
            blobs,
            routes: Router::new().map_err(StartError::Routes)?,
            tokens,
            passwords,
            throttle: Throttle::default(),
            setup: Setup::new(setup_secret.as_deref()),
            soft: SoftState::default(),
            signs: tasks::SignsOfLife::default(),
            claims: Claims::default(),
            hub,
            metrics: Metrics::default(),
            lines: trace::Lines::begin(),
            limits: settings.limits,
            logs: LogHub::default(),
            anonymous_watchers: settings.anonymous_watchers,
            session_lifetime_s: settings.session_lifetime_s,
            has_tls: tls.is_some(),
            keep_alive: Duration::from_secs(settings.watch_keep_alive_s.max(1).into()),
            default_notifications: settings.default_notifications,
            clock: settings.clock,
            output_bytes_max: settings.output_bytes_max,
            upload_bounds: settings.upload_bounds,
            uploads: Arc::default(),
            archives: Arc::new(tokio::sync::Semaphore::new(handlers::bundle::ARCHIVES_MAX)),
            ages: settings.ages,
            stopping,
        });
        uploads::tidy_up(&app).await.map_err(|error| StartError::FirstWrite(error.to_string()))?;
        let serving = tokio::spawn(listen::serve(listener, tls.clone(), app.clone(), DRAIN_MAX));
        let tasks = tokio::spawn(tasks::run(app.clone(), mailer));
        Ok(Self {
            app,
            address,
            made_password,
            setup_secret,
            tls,
            stop,
            serving,
            tasks,
            _announcement: announcement,
            _lock: lock,
        })
    }

    /// Gives the address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads the certificate and the key again, for the connections to come. What can't be used is not: the old ones
    /// stay, and the error says why. Without TLS there is nothing to do.
    ///
    /// # Errors
    /// When a file can't be read, or the two do not fit.
    pub fn reload_tls(&self) -> Result<(), tls::TlsError> {
        self.tls.as_ref().map_or(Ok(()), tls::Tls::reload)
    }

    /// Gives the first user's password, if this start made one up. It is kept nowhere else.
    pub fn made_password(&self) -> Option<&str> {
        self.made_password.as_deref()
    }

    /// Gives the path and query of the page where the first user's password is chosen, if this start made one up. It is
    /// good until it is used, or somebody logs in, or the server ends.
    pub fn setup_path(&self) -> Option<String> {
        self.setup_secret.as_ref().map(|secret| format!("/setup?key={secret}"))
    }

    /// Lets the requests under way end, for up to 8 s, then closes everything.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if self.serving.await.is_err() || self.tasks.await.is_err() {
            tracing::error!("a part of the server ended with a panic");
        }
        // Sockets are no connections of the accept loop any more; each says good-bye by itself, within a second.
        if tokio::time::timeout(SOCKETS_MAX, self.app.hub.all_closed()).await.is_err() {
            tracing::warn!("sockets that did not close in time were cut off");
        }
        if let Err(error) = tasks::flush_soft_state(&self.app).await {
            tracing::error!(%error, "the last-seen times could not be kept");
        }
        let app = self.app.clone();
        let close = move || {
            app.store.close();
            app.lines.end();
        };
        drop(tokio::task::spawn_blocking(close).await);
    }

    /// Returns when a part that must not end has ended, which only a mistake in the program can make happen.
    pub async fn failed(&mut self) {
        tokio::select! {
            _ = &mut self.serving => {}
            _ = &mut self.tasks => {}
        }
    }
}

/// Waits until a flag is true, or can't become so any more.
async fn raised(flag: &mut tokio::sync::watch::Receiver<bool>) {
    drop(flag.wait_for(|up| *up).await);
}

/// Makes the staff user `admin` when there is no user at all (contract §2). Gives the password if it made one up.
async fn make_first_user(
    store: &Store,
    passwords: &Passwords,
    password: Option<String>,
) -> Result<Option<String>, StartError> {
    let failed = |error: crate::store::Error| StartError::FirstUser(error.to_string());
    if store.has_users().map_err(failed)? {
        if password.is_some() {
            tracing::info!(
                "the admin's password is given for the first start alone: the users who are here keep theirs"
            );
        }
        return Ok(None);
    }
    let made = password.is_none().then(auth::random_hex::<12>).transpose();
    let made = made.map_err(|error| StartError::FirstUser(error.to_string()))?;
    let password = password.or_else(|| made.clone()).unwrap_or_default();
    if password.chars().count() < 8 {
        return Err(StartError::FirstUser("the admin's password must have at least 8 characters".to_owned()));
    }
    let hash = passwords.hash(password).await.map_err(|error| StartError::FirstUser(format!("{error:?}")))?;
    store.create_first_user(hash).await.map_err(failed)?;
    Ok(made)
}
