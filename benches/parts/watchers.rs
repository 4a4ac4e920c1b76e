//! How long after a transition is asked for its message reaches the watchers, while other jobs are worked on.

use std::time::{Duration, Instant};

use super::transitions::working;
use crate::Scale;
use crate::drive::{Log, round};
use crate::lab::Lab;
use crate::report::{Figure, Report};
use crate::socket::Socket;
use crate::stats::Times;

/// Connections that make the load.
const LOAD: usize = 16;
/// Between two transitions that are watched.
const PAUSE: Duration = Duration::from_millis(40);

/// Measures it.
pub(crate) async fn run(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let mut lab = Lab::start().await?;
    let mut node = lab.node().await?;
    let job = node.begin(lab.template).await?;
    if Socket::watch(lab.caller().await?, job).await.is_err() {
        report.note("this server lets nobody watch: watchers are left out");
        return Ok(());
    }
    for count in [1, 100, 1_000] {
        let transitions = scale.pick(10, 100);
        let mut watchers = Vec::new();
        for _ in 0..count {
            let mut socket = Socket::watch(lab.caller().await?, job).await?;
            // The state as it is comes first.
            socket.message().await?;
            watchers.push(socket);
        }
        let mut load = working(&mut lab, LOAD).await?;
        let time = PAUSE * transitions + Duration::from_millis(300);
        let loading = tokio::task::spawn_local(async move { round(&mut load, time, &mut Log::default()).await });
        let (told, began) = tokio::sync::watch::channel(Instant::now());
        let mut watching = Vec::new();
        for mut socket in watchers {
            let began = began.clone();
            watching.push(tokio::task::spawn_local(async move {
                let mut times = Times::default();
                for _ in 0..transitions {
                    socket.message().await?;
                    times.add(began.borrow().elapsed());
                }
                anyhow::Ok(times)
            }));
        }
        let mut answers = Times::default();
        for _ in 0..transitions {
            tokio::time::sleep(PAUSE).await;
            told.send_replace(Instant::now());
            node.call("POST", format_args!("/v1/jobs/{job}/progress/0.5"), b"").await?;
            answers.add(told.borrow().elapsed());
        }
        let mut times = Times::default();
        for task in watching {
            times.append(&mut task.await??);
        }
        let rate = loading.await??;
        for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
            let figure = Figure::new(format!("message to {count} watchers, {name}"), times.percentile(part), "us");
            report.add(figure.against("the answer to the node", answers.percentile(part)));
        }
        report.note(format!("message to {count} watchers: beside {rate:.0} other transitions per second"));
    }
    Ok(())
}
