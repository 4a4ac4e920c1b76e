//! `labrun job fetch`: a job's outputs as files.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::screen::bars::Bars;
use crate::cli::screen::text::{bytes, plain};
use crate::client::Client;
use crate::domain::ids::JobId;
use crate::wire::Output;
use crate::wire::list::{ListSpec, exact};
use crate::worker::names::{Taken, extension};

/// Fetch a job's outputs into files, with their SHA-256 checked.
///
/// A fetch that broke off goes on where it was. A file that is there already stays: with the same bytes it counts as
/// fetched, with others it is an error unless --force is said.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  labrun job fetch 12\n  labrun job fetch 12 peaks -o results")]
pub(super) struct Fetch {
    /// Key of the job
    #[arg(value_parser = crate::cli::key)]
    pk: i64,

    /// Names of the outputs [default: all]
    name: Vec<String>,

    /// Folder for the files; made if missing
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    output: PathBuf,

    /// Overwrite files that have other bytes
    #[arg(long, short)]
    force: bool,
}

impl Fetch {
    pub(super) async fn run(self, client: &Client, screen: Screen) -> anyhow::Result<Exit> {
        let outputs = self.outputs(client).await?;
        std::fs::create_dir_all(&self.output)
            .with_context(|| format!("the folder {} can't be made", self.output.display()))?;
        let (bars, mut taken, mut fetched) = (Bars::new(), Taken::default(), Vec::new());
        for output in &outputs {
            let file = self.output.join(taken.name(&output.name, extension(&output.type_name).as_deref()));
            let is_there = self.is_there(&file, output).await?;
            if !is_there {
                let bar = bars.bytes(&output.name);
                client.fetch_output(output, &file, |done, total| bar.done(done, total)).await?;
                bar.end("");
            }
            if !screen.wants_json() {
                let size = bytes(u64::try_from(output.size).unwrap_or_default());
                let how = if is_there { "there already" } else { &size };
                screen.line(&format!("{}  {how}", plain(&file.to_string_lossy())))?;
            }
            // Names of files need not be UTF-8, and strings of JSON are.
            fetched.push(json!({"output": output, "file": file.to_string_lossy(), "was_there": is_there}));
        }
        if screen.wants_json() {
            screen.json(&Value::Array(fetched))?;
        } else if outputs.is_empty() {
            screen.note(&format!("job {} has no outputs", self.pk));
        }
        Ok(Exit::Done)
    }

    /// Gives the outputs that were asked for.
    async fn outputs(&self, client: &Client) -> anyhow::Result<Vec<Output>> {
        let job = client.job(JobId(self.pk)).await.with_context(|| format!("job {}", self.pk))?;
        let mut outputs = client.outputs(&ListSpec::default().with(exact("job.pk", self.pk))).await?;
        for name in &self.name {
            if !outputs.iter().any(|output| output.name == *name) {
                let there: Vec<String> = outputs.iter().map(|output| plain(&output.name)).collect();
                let there = if there.is_empty() { "none yet".to_owned() } else { there.join(", ") };
                let phase = job.phase.as_str();
                return Err(Failure::not_found(format!(
                    "job {} has no output {}; it is {phase} and has {there}",
                    self.pk,
                    plain(name)
                )));
            }
        }
        outputs.retain(|output| self.name.is_empty() || self.name.contains(&output.name));
        Ok(outputs)
    }

    /// Says whether a file has an output's bytes already.
    async fn is_there(&self, file: &Path, output: &Output) -> anyhow::Result<bool> {
        // Not followed: a link is not a file that was fetched.
        let about = match std::fs::symlink_metadata(file) {
            Ok(about) => about,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).with_context(|| format!("{} can't be looked at", file.display())),
        };
        let same_size = u64::try_from(output.size).is_ok_and(|size| size == about.len());
        if about.is_file() && same_size && crate::client::sha256_of(file).await? == output.sha256 {
            return Ok(true);
        }
        if self.force && !about.is_dir() {
            return Ok(false);
        }
        Err(Failure::refused(format!(
            "{} is there already with other bytes: say another folder with -o, or overwrite it with --force",
            file.display()
        )))
    }
}
