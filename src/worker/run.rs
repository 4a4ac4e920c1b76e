//! One run of a job: its folder, its inputs, its command, its outputs, and how it ended.

use std::collections::BTreeMap;
use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::away::Away;
use super::command::{Style, Values, prepare, text_of};
use super::inputs;
use super::log::Log;
use super::outputs::{self, collect};
use super::process::{Place, failure, launch};
use super::progress::Lines;
use super::spool::{Outcome, Report, Run, Upload};
use super::tell::{Conversation, Said};
use super::{Settings, Stop, stopped_now};
use crate::client::Client;
use crate::wire::Job;
use crate::wire::job::ParameterValue;
use crate::wire::template::Workable;

/// Bytes of output that are read at a time.
const READ_BYTES: usize = 64 << 10;
/// How long the output is read on after the last process is gone.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// The output that the log is kept as, and the one when the template has an output of that name.
const LOG_NAMES: [&str; 2] = ["log", "log-of-labrun"];
const LOG_TYPE: &str = "BLOB<'txt'>";
/// Lines of output that an error quotes.
const QUOTED_LINES: usize = 10;

/// What a run needs.
pub(crate) struct Work<'a> {
    /// Speaks for the run's node and attempt.
    pub(crate) client: Client,
    /// What the operator set.
    pub(crate) settings: &'a Settings,
    /// Whether the worker is to stop.
    pub(crate) stop: Stop,
    /// Whether the server is away.
    pub(crate) away: Arc<Away>,
    /// What the run belongs to.
    pub(crate) run: Run,
    /// Its folder.
    pub(crate) dir: PathBuf,
    /// The job, started.
    pub(crate) job: Job,
    /// Its template.
    pub(crate) template: Workable,
    /// The types of all outputs that the template promises, by name.
    pub(crate) declared: BTreeMap<String, String>,
    /// How the template's body is meant.
    pub(crate) style: Style,
    /// Variables of the worker's slot, such as that which shows a command its GPU.
    pub(crate) variables: Vec<(String, String)>,
}

impl Work<'_> {
    /// Does the job, and says how it ended and what is to be uploaded.
    pub(crate) async fn run(self) -> Report {
        let log = match make_folders(&self.dir).and_then(|()| Log::begin(&self.dir)) {
            Ok(log) => log,
            Err(error) => {
                let why = format!("the folder of the run can't be written: {error}");
                return Report::new(Outcome::GivenBack { why, counts: false }, Vec::new());
            }
        };
        let said = Arc::new(Said::new(log));
        let progress_file = self.dir.join("progress");
        let lease_s = self.settings.lease_s;
        let talk = Conversation::begin(
            self.client.clone(),
            self.run.clone(),
            said.clone(),
            self.away.clone(),
            progress_file,
            lease_s,
        );
        let ended = self.work(&said, &talk).await;
        let collected = ended.and_then(|()| collect(&self.dir, &self.declared).map_err(Outcome::Failed));
        let (outcome, mut uploads) = match collected {
            Ok(collected) => {
                for note in collected.notes {
                    said.log(|log| log.append(format!("labrun: {note}\n").as_bytes()));
                }
                (Outcome::Finished, collected.uploads)
            }
            Err(outcome) => (outcome, Vec::new()),
        };
        if let Outcome::Failed(why) = &outcome {
            said.log(|log| log.append(format!("labrun: {}\n", first_line(why)).as_bytes()));
        }
        talk.end().await;
        match Arc::into_inner(said).map(|said| said.into_log().finish()) {
            Some(Ok(file)) => uploads.push(self.log_upload(file)),
            Some(Err(error)) => tracing::warn!("the log of job {} can't be kept: {error}", self.job.pk),
            // Somebody still reads what a process writes that could not be stopped.
            None => tracing::warn!("the log of job {} is not kept: it still grows", self.job.pk),
        }
        Report::new(outcome, uploads)
    }

    /// Names the log among the outputs.
    fn log_upload(&self, file: &str) -> Upload {
        let name = LOG_NAMES.into_iter().find(|name| !self.declared.contains_key(*name)).unwrap_or(LOG_NAMES[1]);
        Upload { name: name.to_owned(), type_name: LOG_TYPE.to_owned(), file: file.into() }
    }

    /// Fetches the inputs and runs the command.
    async fn work(&self, said: &Arc<Said>, talk: &Conversation) -> Result<(), Outcome> {
        let inputs =
            self.job.inputs().map_err(|error| Outcome::Failed(format!("the inputs can't be read: {error}")))?;
        let fetched = tokio::select! {
            fetched = inputs::fetch(&self.client, &self.away, inputs, &self.dir) => fetched.map_err(Outcome::Failed)?,
            outcome = self.interrupted(talk) => return Err(outcome),
        };
        let values = self.values(fetched).map_err(Outcome::Failed)?;
        let command = prepare(self.style, &self.template.body, &values)
            .map_err(|error| Outcome::Failed(format!("the command can't be made: {error}")))?;
        let place = Place {
            cwd: &self.dir.join("work"),
            variables: self.variables(),
            memory_bytes: self.settings.limits.memory_bytes,
            script: &self.dir.join("script"),
            mark: &self.run.mark,
        };
        let (processes, output) = launch(&command, place).map_err(|error| Outcome::Failed(error.to_string()))?;
        let mut reading = tokio::spawn(read(output, said.clone()));
        let limits = self.settings.limits.exceeded(self.job.timeout, &self.dir, processes.group());
        let interruption = tokio::select! {
            () = processes.ended() => None,
            why = limits => Some(Outcome::Failed(why)),
            outcome = self.interrupted(talk) => Some(outcome),
        };
        let status = processes.stop(self.settings.kill_grace).await;
        if tokio::time::timeout(DRAIN_MAX, &mut reading).await.is_err() {
            reading.abort();
            drop(reading.await);
        }
        if let Some(outcome) = interruption {
            return Err(outcome);
        }
        let status = status.map_err(|error| Outcome::Failed(format!("the command can't be waited for: {error}")))?;
        match failure(status) {
            None => Ok(()),
            Some(why) => Err(Outcome::Failed(with_last_words(why, &said.log(|log| log.last_words())))),
        }
    }

    /// Waits until the run must end for a reason that is not its own.
    async fn interrupted(&self, talk: &Conversation) -> Outcome {
        let mut stop = self.stop.clone();
        tokio::select! {
            why = talk.gone() => Outcome::Gone(why),
            () = stopped_now(&mut stop) => Outcome::GivenBack { why: "the worker was stopped".to_owned(), counts: false },
        }
    }

    /// Puts together what placeholders may stand for.
    fn values(&self, inputs: BTreeMap<String, String>) -> Result<Values, String> {
        let mut parameters = BTreeMap::new();
        for (name, parameter) in &self.template.parameters {
            if let Some(default) = &parameter.default {
                parameters.insert(name.clone(), text_of(default));
            }
        }
        let given = self.job.parameters().map_err(|error| format!("the parameters can't be read: {error}"))?;
        for (name, value) in given {
            let text = match value {
                ParameterValue::Text(text) => text,
                ParameterValue::Typed(typed) => text_of(&typed.value),
            };
            parameters.insert(name, text);
        }
        let folder = |name| self.dir.join(name).display().to_string();
        let own = [
            ("job".to_owned(), self.job.pk.to_string()),
            ("inputs".to_owned(), folder(inputs::FOLDER)),
            ("outputs".to_owned(), folder(outputs::FOLDER)),
        ];
        Ok(Values { own: own.into(), parameters, inputs })
    }

    /// Gives the variables that every command finds.
    fn variables(&self) -> Vec<(String, String)> {
        let folder = |name| self.dir.join(name).display().to_string();
        let mut variables = self.variables.clone();
        variables.extend([
            ("LABRUN_JOB".to_owned(), self.job.pk.to_string()),
            ("LABRUN_ATTEMPT".to_owned(), self.job.attempt.to_string()),
            ("LABRUN_INPUTS".to_owned(), folder(inputs::FOLDER)),
            ("LABRUN_OUTPUTS".to_owned(), folder(outputs::FOLDER)),
            ("LABRUN_PROGRESS".to_owned(), folder("progress")),
            ("TMPDIR".to_owned(), folder("tmp")),
            ("PWD".to_owned(), folder("work")),
        ]);
        variables
    }
}

/// Makes the folders within that of a run.
fn make_folders(dir: &Path) -> std::io::Result<()> {
    [inputs::FOLDER, outputs::FOLDER, "work", "tmp"]
        .into_iter()
        .try_for_each(|name| std::fs::create_dir(dir.join(name)))
}

/// Reads what the command writes, to its end. It never waits for anything but the disk, so that no command has to wait
/// for the server.
async fn read(output: PipeReader, said: Arc<Said>) {
    let mut output = match pipe::Receiver::from_owned_fd(OwnedFd::from(output)) {
        Ok(output) => output,
        Err(error) => {
            tracing::error!("the output of a command can't be read: {error}");
            return;
        }
    };
    let (mut buffer, mut lines) = (vec![0; READ_BYTES], Lines::default());
    loop {
        match output.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                said.log(|log| log.append(&buffer[..length]));
                if let Some(progress) = lines.take(&buffer[..length]) {
                    said.note(progress);
                }
            }
        }
    }
    if let Some(progress) = lines.end() {
        said.note(progress);
    }
}

/// What stands between why a command failed and the last lines that it wrote.
const BEFORE_LAST_WORDS: &str = "; it said last:";

/// Adds the last lines that a command wrote to why it failed.
fn with_last_words(why: String, last_words: &str) -> String {
    let lines: Vec<_> = last_words.lines().filter(|line| !line.trim().is_empty()).collect();
    match &lines[lines.len().saturating_sub(QUOTED_LINES)..] {
        [] => why,
        last => format!("{why}{BEFORE_LAST_WORDS}\n{}", last.join("\n")),
    }
}

/// Gives the first line of why a command failed, for logs, which have its last words elsewhere.
pub(super) fn first_line(why: &str) -> &str {
    let line = why.lines().next().unwrap_or_default();
    line.strip_suffix(BEFORE_LAST_WORDS).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_announce_no_last_words_that_they_do_not_give() {
        let why = with_last_words("it ended with 3".to_owned(), "one\n\ntwo\n");
        assert_eq!((why.as_str(), first_line(&why)), ("it ended with 3; it said last:\none\ntwo", "it ended with 3"));
        assert_eq!(first_line(&with_last_words("it ended with 3".to_owned(), "\n")), "it ended with 3");
        assert_eq!(first_line(""), "");
    }
}
