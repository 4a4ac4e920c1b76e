//! The parts of the harness, one file each.

mod bytes;
mod cycles;
mod growth;
mod lifecycles;
mod lists;
mod reads;
mod transitions;
mod watchers;

use anyhow::bail;

use crate::Scale;
use crate::report::Report;

/// The parts, in the order in which they are measured.
pub(crate) const NAMES: [&str; 8] =
    ["transitions", "lifecycles", "reads", "bytes", "lists", "growth", "cycles", "watchers"];

/// Measures one part.
pub(crate) async fn run(name: &str, scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    match name {
        "transitions" => transitions::run(scale, report).await,
        "lifecycles" => lifecycles::run(scale, report).await,
        "reads" => reads::run(scale, report).await,
        "bytes" => bytes::run(scale, report).await,
        "lists" => lists::run(scale, report).await,
        "growth" => growth::run(scale, report).await,
        "cycles" => cycles::run(scale, report).await,
        "watchers" => watchers::run(scale, report).await,
        other => bail!("there is no part {other}"),
    }
}
