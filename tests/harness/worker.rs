//! A worker as a process, and templates for it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::lab::{Lab, USER};
use super::process::{DEADLINE, PASSWORD, binary, dismiss, guard, overhear, signal, until};

/// How a worker is started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hands {
    /// Arguments behind `work --server … --dir …`.
    pub(crate) arguments: Vec<String>,
    /// Variables, `PATH` for one.
    pub(crate) variables: Vec<(String, String)>,
    /// Its folder; one of its own, which goes with it, when none.
    pub(crate) dir: Option<PathBuf>,
}

impl Hands {
    /// Adds arguments.
    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&text| text.to_owned()));
        self
    }

    /// Adds a variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes a folder that stays.
    pub(crate) fn on(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }
}

/// A running worker of the user [`USER`], who is not staff. Dropped, it is killed; its own folder goes with it.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    guard: Child,
    dir: PathBuf,
    // Removes the folder, if it is the worker's own.
    _temp: tempfile::TempDir,
    said: Arc<Mutex<String>>,
    lines: Receiver<String>,
}

impl Worker {
    /// Starts a worker under a name that no other has, so that workers of many tests do not share nodes.
    pub(crate) async fn start(lab: &Lab, hands: Hands) -> Self {
        let user = lab.username(USER).await;
        let temp = tempfile::TempDir::with_prefix("labrun-work-").expect("a temporary directory");
        let dir = hands.dir.unwrap_or_else(|| temp.path().join("work"));
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LABRUN_")) {
            command.env_remove(name);
        }
        command.args(["work", "--kill-grace-s", "0.3"]).arg("--dir").arg(&dir).env("LABRUN_SERVER", lab.url(""));
        command.args(&hands.arguments).env("LABRUN_CONFIG_DIR", temp.path().join("config"));
        command.env("LABRUN_USER", user).env("LABRUN_PASSWORD", PASSWORD).envs(hands.variables);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be started");
        let (said, lines) = overhear(&mut child);
        let guard = guard(&child, temp.path());
        Self { child, guard, dir, _temp: temp, said, lines }
    }

    /// The worker's folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// All that it wrote to stdout and stderr so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("no reader panics").clone()
    }

    /// Cuts it off (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Waits for its end, and until all that it said is there.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = until("the worker's end", || child.try_wait().expect("a child can be asked"));
        while self.lines.recv_timeout(DEADLINE).is_ok() {}
        status
    }

    /// Waits until it has said something.
    #[track_caller]
    pub(crate) fn says(&self, part: &str) {
        until(&format!("the worker to say {part:?}; it said:\n{}", self.said()), || {
            self.said().contains(part).then_some(())
        });
    }

    /// The files in one of its folders: `jobs`, `spool`, `kept` or `refused`.
    pub(crate) fn folders(&self, part: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.join(part)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        dismiss(&mut self.guard);
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("the worker said:\n{}", self.said());
        }
    }
}

/// A template document whose body is a script for `sh`, with parameters `{name: type}` and outputs `{name: type}`.
pub(crate) fn shell_template(name: &str, parameters: &[(&str, &str)], outputs: &[(&str, &str)], body: &str) -> Value {
    let parameters: serde_json::Map<_, _> = parameters
        .iter()
        .map(|(name, type_name)| ((*name).to_owned(), json!({"types": [type_name], "help": ""})))
        .collect();
    let outputs: Vec<_> =
        outputs.iter().map(|(name, type_name)| json!({"name": name, "type": type_name, "help": ""})).collect();
    json!({
        "name": name, "description": "made by a test", "scope": "public", "licence": "Apache 2.0",
        "specific": {
            "job_type": "", "executor_class": "labrun.Shell", "required_packages": "",
            "parameters": parameters, "outputs": outputs, "body": body,
        },
    })
}
