//! Programs that are measured, each a process in a directory of its own; stopped when dropped.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// The first user's password on every measured server.
pub(crate) const PASSWORD: &str = "correct-horse-battery";

/// A running process.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a command that is told nothing.
    pub(crate) fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self(command.stdin(Stdio::null()).spawn()?))
    }

    /// Waits for the first line of its output that holds `mark`, and gives what follows the mark.
    fn line_with(&mut self, mark: &str) -> anyhow::Result<String> {
        let out = self.0.stdout.take().context("its output is piped")?;
        let mut lines = BufReader::new(out).lines();
        let line = lines.find_map(|line| line.ok()?.split_once(mark).map(|(_, rest)| rest.to_owned()));
        line.context("the process ended before it was ready")
    }

    /// Reads a size of its memory from the system, in bytes: `VmRSS` for now, `VmHWM` for the peak.
    pub(crate) fn memory(&self, field: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).context("the system tells no memory")?;
        let kib: f64 = line.trim_matches(|c: char| !c.is_ascii_digit()).parse()?;
        Ok(kib * 1_024.0)
    }

    /// Makes the peak begin anew.
    pub(crate) fn reset_peak(&self) -> anyhow::Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.0.id()), "5")?)
    }

    /// Lets it stop by itself, and waits for that.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let told = Command::new("kill").arg(self.0.id().to_string()).status()?;
        ensure!(told.success(), "the process could not be told to stop");
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A labrun server.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its process.
    pub(crate) process: Process,
    /// Its port.
    pub(crate) port: u16,
    /// From its start to the line that says it listens.
    pub(crate) start_up: Duration,
}

impl Server {
    /// Starts one on a data directory.
    pub(crate) fn start(dir: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_labrun"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LABRUN_")) {
            command.env_remove(name);
        }
        command.arg("serve").arg("--data-dir").arg(dir).args(["--listen", "127.0.0.1:0"]);
        // The harness logs in once.
        command.args(["--access-token-lifetime-s", "86400"]).env("LABRUN_ADMIN_PASSWORD", PASSWORD);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let began = Instant::now();
        let mut process = Process::spawn(&mut command).context("the server can't be started")?;
        let address = process.line_with("http://127.0.0.1:")?;
        let start_up = began.elapsed();
        let digits: String = address.chars().take_while(char::is_ascii_digit).collect();
        Ok(Self { process, port: digits.parse()?, start_up })
    }
}

/// Starts this harness again, to serve the empty route; gives its process and port.
pub(crate) fn start_empty_route() -> anyhow::Result<(Process, u16)> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut process = Process::spawn(command.arg("--serve-empty-route").stdout(Stdio::piped()))?;
    let port = process.line_with("port ")?.parse()?;
    Ok((process, port))
}

/// Finds a free port, for programs that can't choose one by themselves.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Says whether a program is installed.
pub(crate) fn is_installed(program: &str) -> bool {
    Command::new(program).arg("-v").stdin(Stdio::null()).output().is_ok()
}
