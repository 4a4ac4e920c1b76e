//! `labrun serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::logs;
use super::notifications::Notifications;
use crate::cli::screen::say;
use crate::server::tls::Files;
use crate::server::{Limits, Running, Settings};
use crate::store::uploads::Bounds;

/// Serve the jobs API until Ctrl-C or SIGTERM.
///
/// Everything is kept in the data directory, which one server uses at a time. The first start makes the staff user
/// `admin`; without a password from the flags, a random one is printed once, with a link to choose another in a browser.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  labrun serve --data-dir ./lab --listen 127.0.0.1:8000")]
pub(super) struct Serve {
    /// Directory that holds everything; made if missing [default: the platform's, see the first line it prints]
    #[arg(long, env = "LABRUN_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "LABRUN_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,

    /// Password of the first user, `admin`; looked at when there is no user yet. Others on this machine can see
    /// arguments: prefer the variable or the file
    #[arg(long, env = "LABRUN_ADMIN_PASSWORD", value_name = "TEXT", hide_env_values = true)]
    admin_password: Option<String>,

    /// File whose first line is the password of the first user
    #[arg(long, env = "LABRUN_ADMIN_PASSWORD_FILE", value_name = "FILE", conflicts_with = "admin_password")]
    admin_password_file: Option<PathBuf>,

    /// How long an access token is good for, in seconds
    #[arg(long, env = "LABRUN_ACCESS_TOKEN_LIFETIME_S", value_name = "SECONDS", default_value_t = 300,
          value_parser = clap::value_parser!(u32).range(1..))]
    access_token_lifetime_s: u32,

    /// How long a refresh token is good for, in seconds
    #[arg(long, env = "LABRUN_REFRESH_TOKEN_LIFETIME_S", value_name = "SECONDS", default_value_t = 28_800,
          value_parser = clap::value_parser!(u32).range(1..))]
    refresh_token_lifetime_s: u32,

    /// How long a browser stays logged in to the pages without being used, in seconds
    #[arg(long, env = "LABRUN_SESSION_LIFETIME_S", value_name = "SECONDS", default_value_t = 28_800,
          value_parser = clap::value_parser!(u32).range(1..))]
    session_lifetime_s: u32,

    /// Largest output, in bytes [default: no limit]
    #[arg(long, env = "LABRUN_OUTPUT_BYTES_MAX", value_name = "BYTES")]
    output_bytes_max: Option<u64>,

    /// What uploads must leave free on the disk, in bytes
    #[arg(long, env = "LABRUN_HEADROOM_BYTES", value_name = "BYTES", default_value_t = 256 << 20)]
    headroom_bytes: u64,

    /// How long a resumable upload is kept that nobody goes on with, in seconds
    #[arg(long, env = "LABRUN_UPLOAD_LIFETIME_S", value_name = "SECONDS",
          default_value_t = Bounds::default().lifetime_s, value_parser = clap::value_parser!(u32).range(1..))]
    upload_lifetime_s: u32,

    /// Resumable uploads that a user may have open; one more is answered with 429
    #[arg(long, env = "LABRUN_UPLOADS_OPEN_MAX", value_name = "COUNT",
          default_value_t = Bounds::default().open_max, value_parser = clap::value_parser!(u32).range(1..))]
    uploads_open_max: u32,

    #[command(flatten)]
    ages: super::retention::Ages,

    /// Let jobs be watched by WebSocket without a token, as clients of the reference do
    #[arg(long, env = "LABRUN_ANONYMOUS_WATCHERS")]
    anonymous_watchers: bool,

    /// How long a watcher may hear nothing before it is told that the server is still there, in seconds
    #[arg(long, env = "LABRUN_WATCH_KEEP_ALIVE_S", value_name = "SECONDS", default_value_t = 15,
          value_parser = clap::value_parser!(u32).range(1..))]
    watch_keep_alive_s: u32,
    #[command(flatten)]
    notifications: Notifications,

    /// Certificate for TLS, PEM, followed by those between it and the root; read again on SIGHUP
    #[arg(long, env = "LABRUN_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Key of the certificate, PEM
    #[arg(long, env = "LABRUN_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Connections that may be open; one more is answered with 503
    #[arg(long, env = "LABRUN_CONNECTIONS_MAX", value_name = "COUNT", default_value_t = Limits::default().connections_max,
          value_parser = clap::value_parser!(u32).range(1..))]
    connections_max: u32,

    /// Requests that may be under way; one more is answered with 503
    #[arg(long, env = "LABRUN_IN_FLIGHT_MAX", value_name = "COUNT", default_value_t = Limits::default().in_flight_max,
          value_parser = clap::value_parser!(u32).range(1..))]
    in_flight_max: u32,

    /// How long a client may take to send the head of a request, in milliseconds
    #[arg(long, env = "LABRUN_HEAD_TIME_MAX_MS", value_name = "MS", default_value_t = 15_000,
          value_parser = clap::value_parser!(u32).range(1..))]
    head_time_max_ms: u32,

    /// How long a connection is kept between two requests, in milliseconds
    #[arg(long, env = "LABRUN_IDLE_TIME_MAX_MS", value_name = "MS", default_value_t = 75_000,
          value_parser = clap::value_parser!(u32).range(1..))]
    idle_time_max_ms: u32,

    /// How long a body may be silent, or an answer be left unread, in milliseconds
    #[arg(long, env = "LABRUN_SILENCE_MAX_MS", value_name = "MS", default_value_t = 60_000,
          value_parser = clap::value_parser!(u32).range(1..))]
    silence_max_ms: u32,

    /// Form of the log on stderr
    #[arg(long, env = "LABRUN_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = logs::Format::Text)]
    log_format: logs::Format,

    /// What the log tells at the least; `info` has a line for each request
    #[arg(long, env = "LABRUN_LOG_LEVEL", value_name = "LEVEL", value_enum, default_value_t = logs::Level::Info)]
    log_level: logs::Level,
}

impl Serve {
    /// Serves until a signal comes.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let _logs = logs::begin(self.log_format, self.log_level)?;
        let settings = self.settings()?;
        let runtime = tokio::runtime::Runtime::new().context("the runtime can't be started")?;
        runtime.block_on(serve(settings))
    }

    fn settings(self) -> anyhow::Result<Settings> {
        let data_dir = match self.data_dir {
            Some(dir) => dir,
            None => super::place::platforms()?,
        };
        let admin_password = match self.admin_password_file {
            None => self.admin_password,
            Some(file) => Some(super::first_line(&file)?),
        };
        let (default_notifications, mail) = self.notifications.settings()?;
        Ok(Settings {
            listen: self.listen,
            admin_password,
            access_token_lifetime_s: self.access_token_lifetime_s,
            refresh_token_lifetime_s: self.refresh_token_lifetime_s,
            session_lifetime_s: self.session_lifetime_s,
            output_bytes_max: self.output_bytes_max,
            headroom_bytes: self.headroom_bytes,
            upload_bounds: Bounds { open_max: self.uploads_open_max, lifetime_s: self.upload_lifetime_s },
            ages: self.ages.in_seconds(),
            limits: Limits {
                connections_max: self.connections_max,
                in_flight_max: self.in_flight_max,
                head_time_max: Duration::from_millis(self.head_time_max_ms.into()),
                idle_time_max: Duration::from_millis(self.idle_time_max_ms.into()),
                silence_max: Duration::from_millis(self.silence_max_ms.into()),
            },
            tls: self.tls_cert.zip(self.tls_key).map(|(cert, key)| Files { cert, key }),
            anonymous_watchers: self.anonymous_watchers,
            watch_keep_alive_s: self.watch_keep_alive_s,
            default_notifications,
            mail,
            ..Settings::new(data_dir)
        })
    }
}

/// Runs a server from its start to a signal.
async fn serve(settings: Settings) -> anyhow::Result<()> {
    // Listened for before anything else, so that a signal during the start is not lost.
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("Ctrl-C can't be listened for")?;
    let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP can't be listened for")?;
    let data_dir = settings.data_dir.clone();
    let has_tls = settings.tls.is_some();
    raise_open_files_max();
    let mut running = Running::start(settings).await?;
    let scheme = if has_tls { "https" } else { "http" };
    if !has_tls && !running.address().ip().is_loopback() {
        tracing::warn!(
            address = %running.address(),
            "passwords and tokens cross the network in clear, and whoever reads along can use them: give --tls-cert and \
             --tls-key, or listen on 127.0.0.1 behind a proxy that has TLS"
        );
    }
    drop(say(format_args!(
        "labrun listens on {scheme}://{} and keeps everything in {}",
        running.address(),
        data_dir.display()
    )));
    if let Some(password) = running.made_password() {
        drop(say(format_args!("The first user is admin with the password {password}; it is not shown again.")));
    }
    if let Some(path) = running.setup_path() {
        drop(say(format_args!("Or choose the password in a browser: {scheme}://{}{path}", running.address())));
        drop(say(format_args!("The link is good once, until somebody logs in.")));
    }
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => reload(&running, has_tls),
            () = running.failed() => anyhow::bail!("a part of the server ended by itself; its log says why"),
        }
    }
    tracing::info!("stopping: requests under way may end");
    running.stop().await;
    Ok(())
}

/// Reads the certificate again.
fn reload(running: &Running, has_tls: bool) {
    match running.reload_tls() {
        Ok(()) if has_tls => tracing::info!("the TLS certificate and key were read again"),
        Ok(()) => tracing::info!("SIGHUP: there is no TLS certificate to read again"),
        Err(error) => tracing::error!("{error}; the old certificate and key stay in use"),
    }
}

/// Lets this process have as many open files as the system allows it: every connection is one, and the usual limit is
/// far below `--connections-max`.
fn raise_open_files_max() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}
