//! `labrun serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::server::{Running, Settings};

/// Serve the jobs API until Ctrl-C or SIGTERM.
///
/// Everything is kept in the data directory, which one server uses at a time. The first start makes the staff user
/// `admin`; without a password from the flags, a random one is printed once.
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

    /// Largest output, in bytes [default: no limit]
    #[arg(long, env = "LABRUN_OUTPUT_BYTES_MAX", value_name = "BYTES")]
    output_bytes_max: Option<u64>,

    /// What uploads must leave free on the disk, in bytes
    #[arg(long, env = "LABRUN_HEADROOM_BYTES", value_name = "BYTES", default_value_t = 256 << 20)]
    headroom_bytes: u64,

    /// Let jobs be watched by WebSocket without a token, as clients of the reference do
    #[arg(long, env = "LABRUN_ANONYMOUS_WATCHERS")]
    anonymous_watchers: bool,
}

impl Serve {
    /// Serves until a signal comes.
    pub(super) fn run(self) -> anyhow::Result<()> {
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::INFO).init();
        let settings = self.settings()?;
        let runtime = tokio::runtime::Runtime::new().context("the runtime can't be started")?;
        runtime.block_on(serve(settings))
    }

    fn settings(self) -> anyhow::Result<Settings> {
        let data_dir = match self.data_dir {
            Some(dir) => dir,
            None => directories::ProjectDirs::from("", "", "labrun")
                .context("this system names no directory for data: say one with --data-dir")?
                .data_local_dir()
                .to_owned(),
        };
        let admin_password = match self.admin_password_file {
            None => self.admin_password,
            Some(file) => {
                let text = std::fs::read_to_string(&file)
                    .with_context(|| format!("the password file {} can't be read", file.display()))?;
                let line = text.lines().next().unwrap_or_default().to_owned();
                anyhow::ensure!(!line.is_empty(), "the password file {} is empty", file.display());
                Some(line)
            }
        };
        Ok(Settings {
            listen: self.listen,
            admin_password,
            access_token_lifetime_s: self.access_token_lifetime_s,
            refresh_token_lifetime_s: self.refresh_token_lifetime_s,
            output_bytes_max: self.output_bytes_max,
            headroom_bytes: self.headroom_bytes,
            anonymous_watchers: self.anonymous_watchers,
            ..Settings::new(data_dir)
        })
    }
}

/// Runs a server from its start to a signal.
async fn serve(settings: Settings) -> anyhow::Result<()> {
    // Listened for before anything else, so that a signal during the start is not lost.
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("Ctrl-C can't be listened for")?;
    let data_dir = settings.data_dir.clone();
    let mut running = Running::start(settings).await?;
    println!("labrun listens on http://{} and keeps everything in {}", running.address(), data_dir.display());
    if let Some(password) = running.made_password() {
        println!("The first user is admin with the password {password}; it is not shown again.");
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = running.failed() => anyhow::bail!("a part of the server ended by itself; its log says why"),
    }
    tracing::info!("stopping: requests under way may end");
    running.stop().await;
    Ok(())
}
