//! `labrun work`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::connect::Connection;
use super::exit::Failure;
use super::{Exit, logs};
use crate::cli::screen::say;
use crate::client::Client;
use crate::wire::list::exact;
use crate::worker::{Keep, Limits, Settings, Stopping, WorkError, Worker};

/// How long a server that is not there yet, or has not written down where it is, is waited for in silence.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two tries to reach it.
const RETRY: Duration = Duration::from_millis(300);
/// The longest lease, in seconds (contract §11).
const LEASE_MAX_S: f64 = 86_400.0;

/// Run jobs whose template is a command, until Ctrl-C or SIGTERM.
///
/// Takes jobs of the executor classes labrun.Command and labrun.Shell, runs each in a folder of its own, and brings
/// back the declared outputs and the log. The first signal lets the jobs that run end; a second one, or the end of the
/// grace time, stops them and gives them back. While the server is away the work goes on, and results wait in the
/// worker's folder.
///
/// Jobs run with the rights of the user who starts the worker: give it a user of its own where others submit jobs.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  labrun work                                    # for the server on this machine\n  \
    labrun work --server https://lab:8000 --slots 4 --filter labels.instrument=hplc\n  \
    labrun work --once                             # do what is free now, then end"
)]
pub(super) struct Work {
    /// Jobs to run at a time; each slot is a node of its own to the server
    #[arg(long, env = "LABRUN_SLOTS", value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    slots: u16,

    /// Jobs to take, as FIELD=VALUE (template.name=peak_finder, labels.instrument=hplc), or as an expression or an array
    /// of them in the JSON of the list filters; may be given several times, and all must hold
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    filter: Vec<Filter>,

    /// End when no job is free, and when no server is there for five seconds at the start (exit code 5)
    #[arg(long)]
    once: bool,

    /// The worker's own folder: runs, and results until they are delivered [default: the platform's, see the first
    /// line it prints]
    #[arg(long, env = "LABRUN_WORK_DIR", value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Name of this machine to the server, at most 39 characters [default: the system's]
    #[arg(long, env = "LABRUN_NODE_NAME", value_name = "NAME")]
    name: Option<String>,

    /// Index of the first slot's node on this machine [default: the same as before, else the first free one]
    #[arg(long, env = "LABRUN_NODE_INDEX", value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(0..=32_767))]
    index: Option<i64>,

    /// Seconds without a sign of life after which the server gives this worker's jobs to others
    #[arg(long, alias = "lease", env = "LABRUN_LEASE_S", value_name = "SECONDS", default_value_t = 300.0, value_parser = lease)]
    lease_s: f64,

    /// Longest time for a run, in seconds; a job's own timeout counts too [default: no limit]
    #[arg(long, env = "LABRUN_RUN_TIME_MAX_S", value_name = "SECONDS", value_parser = seconds)]
    run_time_max_s: Option<f64>,

    /// Most memory for a run, in bytes: for each process to allocate, and for all of them to occupy [default: no limit]
    #[arg(long, env = "LABRUN_MEMORY_BYTES_MAX", value_name = "BYTES")]
    memory_bytes_max: Option<u64>,

    /// Most room on disk for the folder of a run, in bytes [default: no limit]
    #[arg(long, env = "LABRUN_DISK_BYTES_MAX", value_name = "BYTES")]
    disk_bytes_max: Option<u64>,

    /// Time for processes to end between SIGTERM and SIGKILL, in seconds
    #[arg(long, env = "LABRUN_KILL_GRACE_S", value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    kill_grace_s: f64,

    /// Time for jobs to end after the first signal, in seconds
    #[arg(long, env = "LABRUN_STOP_GRACE_S", value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    stop_grace_s: f64,

    /// Which runs' folders to keep; the newest 50 are
    #[arg(long, env = "LABRUN_KEEP", value_name = "WHICH", value_enum, default_value_t = KeepFlag::Error)]
    keep: KeepFlag,

    #[command(flatten)]
    connection: Connection,

    /// Form of the log on stderr
    #[arg(long, env = "LABRUN_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = logs::Format::Text)]
    log_format: logs::Format,

    /// What the log tells at the least
    #[arg(long, env = "LABRUN_LOG_LEVEL", value_name = "LEVEL", value_enum, default_value_t = logs::Level::Info)]
    log_level: logs::Level,
}

/// Which runs' folders are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KeepFlag {
    /// All.
    Always,
    /// Those of runs that failed.
    Error,
    /// None.
    Never,
}

/// The expressions that one `--filter` stands for.
#[derive(Debug, Clone)]
struct Filter(Vec<Value>);

/// Reads `FIELD=VALUE`, an expression, or an array of expressions.
fn filter(text: &str) -> Result<Filter, String> {
    if text.trim_start().starts_with(['{', '[']) {
        return match serde_json::from_str(text) {
            Ok(Value::Array(expressions)) => Ok(Filter(expressions)),
            Ok(expression) => Ok(Filter(vec![expression])),
            Err(error) => Err(format!("no JSON: {error}")),
        };
    }
    let (field, value) = text.split_once('=').ok_or("neither FIELD=VALUE nor JSON")?;
    // Numbers and truth values are written as such; labels are texts, whatever they look like.
    let scalar = serde_json::from_str(value).ok().filter(|value: &Value| value.is_number() || value.is_boolean());
    let value = scalar.filter(|_| !field.starts_with("labels.")).unwrap_or_else(|| value.into());
    Ok(Filter(vec![exact(field, value)]))
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| Duration::try_from_secs_f64(*seconds).is_ok());
    seconds.ok_or_else(|| "not a number of seconds".to_owned())
}

fn lease(text: &str) -> Result<f64, String> {
    let in_range = |lease_s: &f64| (1.0..=LEASE_MAX_S).contains(lease_s);
    seconds(text).ok().filter(in_range).ok_or_else(|| format!("not a number of seconds from 1 to {LEASE_MAX_S}"))
}

impl Work {
    /// Works until a signal comes.
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let _logs = logs::begin(self.log_format, self.log_level)?;
        let runtime = tokio::runtime::Runtime::new().context("the runtime can't be started")?;
        runtime.block_on(self.work())
    }

    async fn work(self) -> anyhow::Result<Exit> {
        let stop = stop_by_signals(Duration::from_secs_f64(self.stop_grace_s))?;
        let settings = self.settings()?;
        let mut stopped = stop.clone();
        let starting = start(&self.connection, &settings);
        let worker = tokio::select! {
            worker = starting => worker?,
            _ = stopped.wait_for(|stopping| *stopping != Stopping::Not) => return Ok(Exit::Done),
        };
        let nodes: Vec<_> =
            worker.nodes().iter().map(|node| format!("{} ({}#{})", node.pk, node.ip, node.index)).collect();
        drop(say(format_args!(
            "labrun works for {} as node {} and keeps runs in {}",
            worker.server(),
            nodes.join(", "),
            settings.dir.display()
        )));
        worker.run(stop).await.map_err(told)?;
        Ok(Exit::Done)
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => {
                let dirs = directories::ProjectDirs::from("", "", "labrun");
                let dirs = dirs.context("this system names no directory for data: say one with --dir")?;
                dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir()).join("worker")
            }
        };
        // Commands run in folders of their own, where a relative path leads elsewhere.
        let dir = std::path::absolute(dir).context("the current folder can't be read")?;
        let limits = Limits {
            wall_s: self.run_time_max_s,
            memory_bytes: self.memory_bytes_max,
            disk_bytes: self.disk_bytes_max,
        };
        Ok(Settings {
            slots: self.slots,
            name: self.name.clone(),
            first_index: self.index,
            filter: self.filter.iter().flat_map(|filter| filter.0.iter().cloned()).collect(),
            once: self.once,
            lease_s: self.lease_s,
            limits,
            kill_grace: Duration::from_secs_f64(self.kill_grace_s),
            keep: match self.keep {
                KeepFlag::Always => Keep::Always,
                KeepFlag::Error => Keep::OnError,
                KeepFlag::Never => Keep::Never,
            },
            ..Settings::new(dir)
        })
    }
}

/// Gets in at the server and registers, as soon as it is there: the two may be started together. A worker that is to run
/// once gives up after a while: whoever waits for its end, such as a timer, is to hear that there is no server.
async fn start(connection: &Connection, settings: &Settings) -> anyhow::Result<Worker> {
    let began = Instant::now();
    let mut has_said = false;
    loop {
        let error = match connect(connection, settings).await {
            Ok(worker) => return Ok(worker),
            Err(error) => error,
        };
        let is_away = Exit::of(&error) == Exit::Unreachable;
        // A server that is just being started has not yet written down where its owner finds it.
        let may_be_starting = error.is::<Failure>() && began.elapsed() < PATIENCE;
        if !is_away && !may_be_starting {
            return Err(error);
        }
        if settings.once && began.elapsed() > PATIENCE {
            return Err(error.context("no server to work for (without --once the worker waits for one)"));
        }
        if is_away && !has_said && began.elapsed() > PATIENCE {
            tracing::warn!("{error}; waiting for the server");
            has_said = true;
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn connect(connection: &Connection, settings: &Settings) -> anyhow::Result<Worker> {
    let client: Client = connection.client().await?;
    Worker::start(client, settings.clone()).await.map_err(told)
}

/// Shows the error of a call as such, so that it has its exit code.
fn told(error: WorkError) -> anyhow::Error {
    match error {
        WorkError::Client(error) => error.into(),
        other => other.into(),
    }
}

/// Listens for SIGTERM, Ctrl-C and the end of the terminal: the first one stops soon, and a second one, or the end of the grace time, at once.
fn stop_by_signals(grace: Duration) -> anyhow::Result<watch::Receiver<Stopping>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("Ctrl-C can't be listened for")?;
    let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP can't be listened for")?;
    let (tell, stop) = watch::channel(Stopping::Not);
    tokio::spawn(async move {
        let mut signalled = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hang_up.recv() => {}
            }
        };
        signalled().await;
        tracing::info!("stopping: jobs that run may end; once more to stop them");
        tell.send_replace(Stopping::Soon);
        drop(tokio::time::timeout(grace, signalled()).await);
        tracing::warn!("stopping now: jobs that run are given back");
        tell.send_replace(Stopping::Now);
        // Kept, so that whoever waits for it is not woken by its end.
        std::future::pending::<()>().await;
        drop(tell);
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_is_a_field_and_a_value_or_json() {
        let read = |text: &str| filter(text).unwrap().0;
        assert_eq!(read("template.name=peak_finder"), [exact("template.name", "peak_finder")]);
        assert_eq!(read("priority=5"), [exact("priority", 5)]);
        assert_eq!(read("labels.plate=5"), [exact("labels.plate", "5")]);
        assert_eq!(read("description=a=b"), [exact("description", "a=b")]);
        assert_eq!(read(r#"[{"type": "isnull", "field": "parent"}]"#), [json!({"type": "isnull", "field": "parent"})]);
        assert!(filter("peak_finder").is_err() && filter("{").is_err());
    }

    #[test]
    fn seconds_and_leases_are_checked() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        assert!(["-1", "x", "nan", "1e300"].iter().all(|text| seconds(text).is_err()));
        assert!(lease("0.5").is_err() && lease("1").is_ok());
    }
}
