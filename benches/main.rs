//! The load harness: starts the release server as a process of its own and measures it, every figure beside its limit
//! or its peer in the same run, in turns (A B A B), as medians.
//!
//! `cargo bench` measures everything; `-- --quick` takes under 90 seconds; `-- --only NAME` measures one part.

mod drive;
mod fill;
mod http;
mod lab;
mod parts;
mod peers;
mod process;
mod report;
mod socket;
mod stats;

use std::time::Duration;

use anyhow::{Context, bail};

use report::Report;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Scale {
    /// Whether sizes and times are cut down.
    quick: bool,
}

impl Scale {
    /// Rounds of each figure, of which the median counts.
    const ROUNDS: usize = 5;

    /// How long one round of load lasts.
    fn round(self) -> Duration {
        Duration::from_millis(if self.quick { 200 } else { 1_500 })
    }

    /// Picks by scale.
    fn pick<T>(self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}

fn main() -> anyhow::Result<()> {
    let mut scale = Scale { quick: false };
    let mut only = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--quick" => scale.quick = true,
            "--only" => only.push(arguments.next().context("--only needs the name of a part")?),
            // The harness calls itself so, to have the empty route in a process of its own.
            "--serve-empty-route" => return peers::empty_route::serve(),
            other => bail!("{other} is not known: there are --quick and --only NAME"),
        }
    }
    if let Some(unknown) = only.iter().find(|name| !parts::NAMES.contains(&name.as_str())) {
        bail!("there is no part {unknown}: there are {}", parts::NAMES.join(", "));
    }
    // One thread: the server shares these cores, and the load must not crowd it out.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = Report::default();
    for name in parts::NAMES.iter().filter(|name| only.is_empty() || only.iter().any(|wanted| wanted == *name)) {
        println!("\n== {name}");
        let measured = tokio::task::LocalSet::new().block_on(&runtime, parts::run(name, scale, &mut report));
        measured.with_context(|| format!("measuring {name}"))?;
    }
    report.finish()
}
