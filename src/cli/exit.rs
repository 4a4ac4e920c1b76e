//! Exit codes, the same for every command that calls a server.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::client::ClientError;

/// What `--help` says of them.
pub(super) const HELP: &str = "Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 not found, 4 refused (not logged in, \
    not permitted, or not possible as things stand), 5 server unreachable; `job watch` adds 10 a job errored, \
    11 a job was cancelled";

/// Gives what `--help` says after the arguments: an example, and the exit codes.
pub(super) fn help(example: &str) -> String {
    format!("Example:\n  {example}\n\n{HELP}")
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// It did what was asked.
    Done,
    /// Something failed that has no code of its own.
    Failed,
    /// The arguments were wrong; clap uses the same code.
    Usage,
    /// What was named is not there.
    NotFound,
    /// The server said no: not logged in, not permitted, or not possible as things stand.
    Refused,
    /// No server answered, or one that is not ready to.
    Unreachable,
    /// A watched job was cancelled.
    Cancelled,
    /// A watched job errored.
    Errored,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::Refused => 4,
            Exit::Unreachable => 5,
            Exit::Errored => 10,
            Exit::Cancelled => 11,
        })
    }
}

impl Exit {
    /// Finds the code for an error, by the first cause that has one.
    pub fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(of_cause).unwrap_or(Self::Failed)
    }
}

/// Says whether an error is that nobody reads the output any more, which is no failure: `labrun job list | head`.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let is_closed = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    // The client's own errors of this kind are about the network.
    !error.chain().any(|cause| cause.is::<ClientError>())
        && error.chain().any(|cause| cause.downcast_ref().is_some_and(is_closed))
}

/// Writes an error as a sentence for people, fit for a terminal.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let part = cause.to_string();
        // Many errors say in their own sentence what their cause says.
        if !parts.last().is_some_and(|before| before.ends_with(&part)) {
            parts.push(part);
        }
        // What a client error says ends with what its own cause has to say.
        if let Some(error) = cause.downcast_ref::<ClientError>() {
            parts.extend(hint(error));
            break;
        }
    }
    super::screen::text::plain_lines(&parts.join(": "))
}

/// Gives what helps further with an answer that was a no, or with none.
fn hint(error: &ClientError) -> Option<String> {
    match error {
        // Who has just given a password has logged in as well as they could.
        ClientError::Refused { status: 401, body } if body.detail.contains("name and password") => None,
        ClientError::Refused { status: 401, .. } => Some("`labrun login` logs in anew".to_owned()),
        // A stored login is a token too, which those who are told this may not know.
        ClientError::Refused { status: 403, body } if body.detail.contains("log in with a password") => {
            Some("say --user with --password-file, or set LABRUN_USER and LABRUN_PASSWORD".to_owned())
        }
        ClientError::Refused { body, .. } => {
            let problems = serde_json::to_value(body.errors.as_ref()?).ok()?;
            let problems = problems.as_object()?.iter().map(|(field, problems)| {
                let problems: Vec<&str> = problems.as_array()?.iter().filter_map(serde_json::Value::as_str).collect();
                Some(format!("{field}: {}", problems.join(" ")))
            });
            let problems = problems.collect::<Option<Vec<_>>>()?.join("; ");
            // Of a single problem the sentence tells already.
            (!body.detail.contains(&problems)).then_some(problems)
        }
        ClientError::Transport(error) => {
            let url = error.url()?;
            Some(format!("is a server running at {}?", url.origin().ascii_serialization()))
        }
        _ => None,
    }
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.exit);
    }
    Some(match cause.downcast_ref::<ClientError>()? {
        // What is in a request comes from the arguments.
        ClientError::Refused { status: 400, .. } => Exit::Usage,
        ClientError::Refused { status: 404, .. } => Exit::NotFound,
        ClientError::Refused { status: 401 | 403 | 406 | 409 | 423 | 429, .. } => Exit::Refused,
        ClientError::Refused { status: 502..=504, .. } | ClientError::Transport(_) => Exit::Unreachable,
        ClientError::Login(_) => Exit::Refused,
        _ => Exit::Failed,
    })
}

/// An error of the command line's own, with its exit code.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    sentence: String,
}

impl Failure {
    /// Makes an error about arguments that fit together badly.
    pub(super) fn usage(sentence: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Usage, sentence: sentence.into() }.into()
    }

    /// Makes an error about something that is not there.
    pub(super) fn not_found(sentence: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::NotFound, sentence: sentence.into() }.into()
    }

    /// Makes an error about a server that does not answer.
    pub(super) fn unreachable(sentence: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Unreachable, sentence: sentence.into() }.into()
    }

    /// Makes an error about something that is not allowed.
    pub(super) fn refused(sentence: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Refused, sentence: sentence.into() }.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    /// An error that says in its own sentence what its cause says.
    #[derive(Debug, thiserror::Error)]
    #[error("port 8000 can't be had: {0}")]
    struct Twice(#[source] io::Error);

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let in_use = || io::Error::from_raw_os_error(98);
        let told = "port 8000 can't be had: Address already in use (os error 98)";
        assert_eq!(sentence(&Twice(in_use()).into()), told);
        assert_eq!(sentence(&Err::<(), _>(in_use()).context("port 8000 can't be had").unwrap_err()), told);
        let outer = Err::<(), _>(Twice(in_use())).context("no server").unwrap_err();
        assert_eq!(sentence(&outer), format!("no server: {told}"));
    }
}
