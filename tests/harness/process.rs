//! The server as a process: started, signalled, watched, and never left behind.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The admin's password on every server of the tests.
pub(crate) const PASSWORD: &str = "correct-horse-battery";

/// How long anything may take that a test waits for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    /// Arguments behind `serve --data-dir … --listen …`.
    pub(crate) arguments: Vec<String>,
    /// Starts without a password for the admin.
    pub(crate) without_password: bool,
    /// The port; a free one when none.
    pub(crate) port: Option<u16>,
}

impl Setup {
    /// Adds arguments.
    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&text| text.to_owned()));
        self
    }

    /// The command that starts a server on a directory and a free port.
    pub(crate) fn command(&self, dir: &Path) -> Command {
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LABRUN_")) {
            command.env_remove(name);
        }
        let listen = format!("127.0.0.1:{}", self.port.unwrap_or(0));
        command.arg("serve").arg("--data-dir").arg(dir).args(["--listen", &listen]).args(&self.arguments);
        if !self.without_password {
            command.env("LABRUN_ADMIN_PASSWORD", PASSWORD);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// The binary under test: the one built for the tests, or the one that `LABRUN_TEST_BIN` names.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("LABRUN_TEST_BIN").map_or_else(|| env!("CARGO_BIN_EXE_labrun").into(), PathBuf::from)
}

/// A running server. Dropped, it is killed; its directory goes with it.
#[derive(Debug)]
pub(crate) struct Server {
    setup: Setup,
    dir: PathBuf,
    // Removes the directory, if it is the server's own.
    _temp: Option<tempfile::TempDir>,
    child: Child,
    guard: Child,
    port: u16,
    said: Arc<Mutex<String>>,
}

impl Server {
    /// Starts a server in a new directory.
    pub(crate) fn start(setup: Setup) -> Self {
        let temp = tempfile::TempDir::with_prefix("labrun-test-").expect("a temporary directory");
        let dir = temp.path().join("data");
        Self::start_in(setup, dir, Some(temp))
    }

    /// Starts a server on a directory that stays.
    pub(crate) fn start_on(setup: Setup, dir: &Path) -> Self {
        Self::start_in(setup, dir.to_owned(), None)
    }

    fn start_in(setup: Setup, dir: PathBuf, temp: Option<tempfile::TempDir>) -> Self {
        let (child, port, said) = launch(&setup, &dir);
        let guard = guard(&child, temp.as_ref().map_or(Path::new(""), tempfile::TempDir::path));
        Self { setup, dir, _temp: temp, child, guard, port, said }
    }

    /// The port that it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The data directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// All that it wrote to stdout and stderr so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("no test panics while it holds this").clone()
    }

    /// Cuts it off, as a power cut would (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Asks it to stop (SIGTERM) and gives its exit status and how long it took.
    pub(crate) fn stop(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        self.signal("TERM");
        let status = self.wait();
        (status, began.elapsed())
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until("the server's end", || child.try_wait().expect("a child can be asked"))
    }

    /// Starts it again on the same directory, on another port; kills it first if it still runs.
    pub(crate) fn restart(&mut self) {
        if self.child.try_wait().expect("a child can be asked").is_none() {
            self.kill();
        }
        dismiss(&mut self.guard);
        let (child, port, said) = launch(&self.setup, &self.dir);
        let temp = self._temp.as_ref().map_or(Path::new(""), tempfile::TempDir::path);
        self.guard = guard(&child, temp);
        (self.child, self.port, self.said) = (child, port, said);
    }

    /// Makes the next [`Server::restart`] take the port that it has now, for clients that are to find it again.
    pub(crate) fn keep_port(&mut self) {
        self.setup.port = Some(self.port);
    }

    /// Changes how the next [`Server::restart`] starts it.
    pub(crate) fn set_up(&mut self, setup: Setup) {
        self.setup = setup;
    }

    /// The number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        dismiss(&mut self.guard);
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts the process and waits for the line that names its address.
fn launch(setup: &Setup, dir: &Path) -> (Child, u16, Arc<Mutex<String>>) {
    let mut child = setup.command(dir).spawn().expect("the server's binary can be started");
    let (said, lines) = overhear(&mut child);
    let port = port_line(&lines).unwrap_or_else(|| {
        drop(child.kill());
        panic!("the server did not start; it said:\n{}", said.lock().expect("no reader panics"))
    });
    (child, port, said)
}

/// Collects what a process writes to stdout and stderr, and gives its lines one by one.
pub(super) fn overhear(child: &mut Child) -> (Arc<Mutex<String>>, Receiver<String>) {
    let said = Arc::new(Mutex::new(String::new()));
    let (tell, lines) = channel();
    for stream in [
        child.stdout.take().map(|out| Box::new(out) as Box<dyn std::io::Read + Send>),
        child.stderr.take().map(|out| Box::new(out) as Box<dyn std::io::Read + Send>),
    ] {
        let (said, tell) = (said.clone(), tell.clone());
        let stream = stream.expect("both streams are piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                said.lock().expect("no reader panics").push_str(&format!("{line}\n"));
                drop(tell.send(line));
            }
        });
    }
    (said, lines)
}

/// Waits for the line with the address; `None` when the server ends, or says nothing for too long.
fn port_line(lines: &Receiver<String>) -> Option<u16> {
    loop {
        let line = lines.recv_timeout(DEADLINE).ok()?;
        if let Some((_, rest)) = line.split_once("://127.0.0.1:") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            return digits.parse().ok();
        }
    }
}

/// Starts a process that outlives a killed test run for the moment it takes to end the server and remove its
/// directory: it notices by the end of its input.
pub(super) fn guard(server: &Child, temp: &Path) -> Child {
    let script = r#"read -r _; kill -s KILL "$1" 2>/dev/null; if [ -n "$2" ]; then rm -rf "$2"; fi"#;
    Command::new("sh")
        .args(["-c", script, "sh", &server.id().to_string()])
        .arg(temp)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh runs")
}

/// Sends a signal by name.
pub(super) fn signal(to: &Child, name: &str) {
    let pid = to.id().to_string();
    let sent = Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "sh", name, &pid]).status();
    assert!(sent.expect("sh runs").success(), "SIG{name} could not be sent");
}

/// Ends a guard whose server is taken care of.
pub(super) fn dismiss(guard: &mut Child) {
    drop(guard.kill());
    drop(guard.wait());
}

/// Gives the moment at which waiting from now on has taken too long.
pub(crate) fn deadline() -> Instant {
    Instant::now() + DEADLINE
}

/// Asks again and again until there is an answer; fails past the deadline.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = deadline();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
