//! The processes of a run: started in a group of their own, and all of them stopped at its end.
//!
//! A process can leave its group, but hardly its environment. So on Linux, whatever carries the run's mark in its
//! environment is stopped too: a grandchild that made a session of its own, or what a killed worker left behind.

use std::io::{self, PipeReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tokio::sync::watch;

use super::command::Command;

/// The variable that carries a run's mark.
pub(crate) const MARK: &str = "LABRUN_RUN";
/// How often what is left is looked for before it is given up.
const ROUNDS_MAX: usize = 50;
/// The pause between two looks.
const ROUND: Duration = Duration::from_millis(20);

/// What a process is started with, beside the command.
pub(crate) struct Place<'a> {
    /// The folder that it begins in.
    pub(crate) cwd: &'a Path,
    /// Variables on top of the worker's own, of which all `LABRUN_…` are left out.
    pub(crate) variables: Vec<(String, String)>,
    /// What each process may allocate, in bytes.
    pub(crate) memory_bytes: Option<u64>,
    /// Where a script is put.
    pub(crate) script: &'a Path,
    /// The run's mark.
    pub(crate) mark: &'a str,
}

/// The processes of a run.
#[derive(Debug)]
pub(crate) struct Processes {
    leader: Pid,
    mark: String,
    ended: watch::Receiver<bool>,
    child: Child,
    are_stopped: bool,
}

/// Why a command could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error("the program {0:?} was not found on this worker")]
    NotFound(String),
    #[error("the program {0:?} may not be run by this worker")]
    NotAllowed(String),
    #[error("the values are too long to be passed to {0:?} as arguments or variables")]
    TooLong(String),
    #[error("the command can't be started: {0}")]
    System(#[from] io::Error),
}

/// Starts a command. Gives its processes and the one pipe that both its output and its errors go to, so that they keep
/// their order.
pub(crate) fn launch(command: &Command, place: Place<'_>) -> Result<(Processes, PipeReader), LaunchError> {
    let Place { cwd, mut variables, memory_bytes, script, mark } = place;
    let mut words = Vec::new();
    match command {
        Command::Program { program, arguments } => {
            words.push(program.clone());
            words.extend_from_slice(arguments);
        }
        Command::Script { text, variables: values } => {
            std::fs::write(script, text)?;
            // It ends at the first command that fails and at the first misspelt variable.
            words.extend(["/bin/sh".to_owned(), "-eu".to_owned(), script.display().to_string()]);
            variables.extend_from_slice(values);
        }
    }
    let named = words[0].clone();
    if !is_program(&named) {
        return Err(LaunchError::NotFound(named));
    }
    if let Some(bytes) = memory_bytes {
        // The limit has to hold before the program begins, and only a shell can set it without unsafe code. The words
        // are its arguments, which it does not look into.
        let limited = format!("ulimit -d {} && exec \"$@\"", (bytes / 1024).max(1));
        words.splice(0..0, ["/bin/sh", "-c", &limited, "labrun"].map(str::to_owned));
    }
    let (output, input) = io::pipe()?;
    let mut process = std::process::Command::new(&words[0]);
    process.args(&words[1..]).current_dir(cwd).process_group(0);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LABRUN_") {
            process.env_remove(name);
        }
    }
    process.envs(variables).env(MARK, mark);
    process.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
    let child = process.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => LaunchError::NotFound(named),
        io::ErrorKind::PermissionDenied => LaunchError::NotAllowed(named),
        io::ErrorKind::ArgumentListTooLong => LaunchError::TooLong(named),
        _ => LaunchError::System(error),
    })?;
    // The write ends of the pipe go with `process`, so that its end is seen when the last process has closed it.
    drop(process);
    let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let leader = leader.ok_or_else(|| io::Error::other("a process without a number"))?;
    let (sender, ended) = watch::channel(false);
    std::thread::Builder::new().name("labrun-wait".to_owned()).spawn(move || {
        // The leader stays a zombie for now, so that the number of its group can't become that of another.
        while matches!(
            waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT),
            Err(rustix::io::Errno::INTR)
        ) {}
        sender.send_replace(true);
    })?;
    Ok((Processes { leader, mark: mark.to_owned(), ended, child, are_stopped: false }, output))
}

/// Says whether a name leads to a program: by itself when it is a path, else on the `PATH`.
pub(crate) fn is_program(name: &str) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let is_executable = |path: &Path| path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    if name.contains('/') {
        return is_executable(Path::new(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    !name.is_empty() && std::env::split_paths(&path).any(|dir| is_executable(&dir.join(name)))
}

impl Processes {
    /// Gives the number of the group.
    pub(crate) fn group(&self) -> Pid {
        self.leader
    }

    /// Waits until the first process has ended. Those that it started may go on.
    pub(crate) async fn ended(&self) {
        // An error means that the waiting thread is gone, which is after the end too.
        drop(self.ended.clone().wait_for(|ended| *ended).await);
    }

    /// Stops whatever of the run is still there: asks it to end, and ends it after the grace time. Gives how the first
    /// process ended.
    pub(crate) async fn stop(mut self, grace: Duration) -> io::Result<ExitStatus> {
        if !*self.ended.borrow() {
            self.signal(Signal::TERM);
            drop(tokio::time::timeout(grace, self.ended()).await);
        } else if self.anything_left() {
            self.signal(Signal::TERM);
            let deadline = tokio::time::Instant::now() + grace;
            while self.anything_left() && tokio::time::Instant::now() < deadline {
                tokio::time::sleep(ROUND).await;
            }
        }
        for _ in 0..ROUNDS_MAX {
            self.signal(Signal::KILL);
            self.ended().await;
            if !self.anything_left() {
                break;
            }
            tokio::time::sleep(ROUND).await;
        }
        self.are_stopped = true;
        self.child.wait()
    }

    fn signal(&self, signal: Signal) {
        // An error says that nobody is left to hear it.
        kill_process_group(self.leader, signal).ok();
        for pid in marked(&self.mark) {
            kill_process(pid, signal).ok();
        }
    }

    /// Says whether a process of the run goes on, the first one aside.
    fn anything_left(&self) -> bool {
        !marked(&self.mark).is_empty() || in_group(self.leader).iter().any(|pid| *pid != self.leader)
    }
}

impl Drop for Processes {
    /// A run that is given up halfway leaves nothing either.
    fn drop(&mut self) {
        if !self.are_stopped {
            self.signal(Signal::KILL);
        }
    }
}

/// Ends what an earlier process of the worker left of a run.
pub(crate) async fn end_marked(mark: &str) {
    for _ in 0..ROUNDS_MAX {
        let left = marked(mark);
        if left.is_empty() {
            return;
        }
        tracing::warn!("{} processes of a run that was cut off are still there: ended", left.len());
        for pid in left {
            kill_process(pid, Signal::KILL).ok();
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// Finds the live processes whose environment has the mark. Only those of this user can be looked into.
fn marked(mark: &str) -> Vec<Pid> {
    let wanted = format!("{MARK}={mark}");
    let has_mark = |pid: &Pid| {
        let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    all().filter(|pid| has_mark(pid)).collect()
}

/// Finds the processes of a group that are no zombies.
pub(crate) fn in_group(group: Pid) -> Vec<Pid> {
    let belongs = |pid: &Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        // The name, in brackets, may hold anything.
        let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let state = fields.next();
        let its_group = fields.nth(1).and_then(|number| number.parse::<i32>().ok());
        !matches!(state, None | Some("Z" | "X")) && its_group == Some(group.as_raw_nonzero().get())
    };
    all().filter(belongs).collect()
}

/// Lists all processes; none where there is no `/proc`.
fn all() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

/// Says in words how a command ended; `None` when it ended well.
pub(crate) fn failure(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("the command ended with exit code {code}")),
        (None, Some(signal)) => Some(format!("the command was ended by signal {signal}")),
        (None, None) => Some("the command ended in an unknown way".to_owned()),
    }
}
