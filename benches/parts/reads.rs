//! GET of a job, against a route that does nothing.

use anyhow::ensure;

use crate::Scale;
use crate::drive::{Log, Worker, round};
use crate::http::Connection;
use crate::lab::Lab;
use crate::process::start_empty_route;
use crate::report::{Budget, Figure, Report};
use crate::stats::median;

/// A connection that sends the same request again and again.
struct Again {
    connection: Connection,
    request: Vec<u8>,
}

impl Worker for Again {
    async fn cycle(&mut self, _log: &mut Log) -> anyhow::Result<()> {
        self.connection.send(&self.request).await?;
        let reply = self.connection.receive().await?;
        ensure!(reply.status == 200, "a read was answered {}", reply.status);
        Ok(())
    }
}

/// Measures it.
pub(crate) async fn run(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let mut lab = Lab::start().await?;
    let mut node = lab.node().await?;
    let job = node.begin(lab.template).await?;
    let (_empty, empty_port) = start_empty_route()?;
    for connections in [1, 32, 256] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..connections {
            let caller = lab.caller().await?;
            let request = caller.head("GET", format_args!("/v1/jobs/{job}"), "", 0).into_bytes();
            // The same headers, so that both have the same to read.
            let empty = caller.head("GET", format_args!("/empty"), "", 0).into_bytes();
            ours.push(Again { connection: caller.connection, request });
            theirs.push(Again { connection: Connection::open(empty_port).await?, request: empty });
        }
        let (mut read, mut nothing) = (Vec::new(), Vec::new());
        let mut log = Log::default();
        for _ in 0..Scale::ROUNDS {
            read.push(round(&mut ours, scale.round(), &mut log).await?);
            nothing.push(round(&mut theirs, scale.round(), &mut log).await?);
        }
        let figure = Figure::new(format!("GET job, {connections} connections"), median(&read), "/s");
        report.add(figure.against("an empty warp route", median(&nothing)).budget(Budget::RatioAtLeast(0.6)));
    }
    Ok(())
}
