//! `labrun verify`.

use clap::Args;

use super::place::Place;
use super::progress::Shown;
use crate::care::{Report, repair, verify};
use crate::cli::screen::say;

/// Check every row against its bytes, every byte against its SHA-256, and the database against its own rules.
///
/// Changes nothing, and a server may run meanwhile, unless --repair is given. The exit code is 1 on damage.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  labrun verify --data-dir ./lab")]
pub(super) struct Verify {
    #[command(flatten)]
    place: Place,

    /// Move damaged bytes to the folder `damaged` and mark what names them; deletes nothing. Stop the server first
    #[arg(long)]
    repair: bool,
}

impl Verify {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let dir = self.place.dir()?;
        let report = if self.repair {
            let (report, count) = repair(&dir, &Shown::new())?;
            if count > 0 {
                drop(say(format_args!("Bytes set aside or marked as missing: {count}.")));
            }
            report
        } else {
            verify(&dir, &Shown::new())?
        };
        tell(&report)
    }
}

/// Writes a count with what is counted.
fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Prints a report.
///
/// # Errors
/// When it tells of damage.
pub(super) fn tell(report: &Report) -> anyhow::Result<()> {
    for problem in &report.problems {
        drop(say(format_args!("DAMAGED: {problem}")));
    }
    drop(say(format_args!(
        "{}, {} read; {} for a name.",
        counted(report.blobs, "blob", "blobs"),
        counted(report.bytes, "byte", "bytes"),
        counted(report.unreferenced, "blob waits", "blobs wait")
    )));
    if report.uploads > 0 {
        drop(say(format_args!("{} on the way.", counted(report.uploads, "upload is", "uploads are"))));
    }
    if report.set_aside > 0 {
        drop(say(format_args!(
            "{} outputs say so.",
            counted(
                report.set_aside,
                "blob was set aside by an earlier repair; its",
                "blobs were set aside by an earlier repair; their"
            )
        )));
    }
    match report.problems.len() {
        0 => {
            drop(say(format_args!("No damage found.")));
            Ok(())
        }
        count => anyhow::bail!("damage found: {count}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        let uploads = |count| counted(count, "upload is", "uploads are");
        assert_eq!([0, 1, 2].map(uploads), ["0 uploads are", "1 upload is", "2 uploads are"]);
    }
}
