//! The commands that call a server, as a person types them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::Lab;
use super::process::binary;

/// Somebody at a terminal: a folder to work in, another for the settings, and a way to a server.
#[derive(Debug)]
pub(crate) struct Person {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code.
    pub(crate) code: i32,
    /// What it wrote to stdout.
    pub(crate) out: String,
    /// What it wrote to stderr.
    pub(crate) err: String,
}

impl Person {
    /// Somebody who knows of no server.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary directory"), variables: Vec::new() }
    }

    /// Somebody who owns a server's data directory.
    pub(crate) fn owner(lab: &Lab) -> Self {
        let dir = lab.server(|server| server.dir().to_string_lossy().into_owned());
        Self::new().with("LABRUN_DATA_DIR", dir)
    }

    /// Somebody with the token of a role.
    pub(crate) async fn with_token(lab: &Lab, role: &'static str) -> Self {
        let token = lab.token(role).await;
        Self::new().with("LABRUN_SERVER", format!("http://127.0.0.1:{}", lab.port())).with("LABRUN_TOKEN", token)
    }

    /// Sets a variable for all commands.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// The folder that commands run in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command that has not run yet.
    pub(crate) fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(self.folder()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // Neither the settings nor the data directory of whoever runs the tests.
        command.env("HOME", self.folder()).env("LABRUN_CONFIG_DIR", self.folder().join("settings"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Ran {
        Ran::from(self.command(arguments).output().expect("the binary can be started"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is text");
        Self { code: output.status.code().expect("no signal"), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ran {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Asserts that it failed with this code and said this.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, saying: &str) -> Self {
        assert!(self.code == code && self.err.contains(saying) && !self.err.contains("panicked"), "{self:#?}");
        self
    }

    /// Reads stdout as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }

    /// Gives the columns of a table's rows, the titles first.
    pub(crate) fn rows(&self) -> Vec<Vec<&str>> {
        self.out.lines().map(|line| line.split_whitespace().collect()).collect()
    }
}
