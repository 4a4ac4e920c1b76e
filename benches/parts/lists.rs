//! Lists of jobs, whole and by page, against reading and serialising the same rows in this process.

use std::time::Instant;

use anyhow::ensure;

use crate::Scale;
use crate::fill::{self, Models};
use crate::lab::{Caller, Lab};
use crate::peers::raw::read_and_serialise;
use crate::report::{Budget, Figure, Report};
use crate::stats::median;

/// A question: its name, the request's body, the end of the peer's query, and whether a budget stands over it.
struct Question {
    name: &'static str,
    body: String,
    query: String,
    whole: bool,
}

fn questions(count: i64) -> Vec<Question> {
    let question =
        |name, body: &str, query: &str, whole| Question { name, body: body.into(), query: query.into(), whole };
    let near_the_end = count - 100;
    vec![
        question("whole", "{}", "WHERE t.deletion_time IS NULL ORDER BY t.pk", true),
        question("first 100", r#"{"limit": 100}"#, "WHERE t.deletion_time IS NULL ORDER BY t.pk LIMIT 100", false),
        question(
            "last 100",
            &format!(
                r#"{{"limit": 100, "expressions": [{{"type": "compare", "field": "pk", "operator": ">", "value": {near_the_end}}}]}}"#
            ),
            &format!("WHERE t.deletion_time IS NULL AND t.pk > {near_the_end} ORDER BY t.pk LIMIT 100"),
            false,
        ),
        question(
            "free ones (indexed), first 100",
            r#"{"limit": 100, "expressions": [{"type": "exact", "field": "phase", "value": "created"},
                {"type": "isnull", "field": "node"},
                {"type": "isnull", "field": "template.workabletemplate", "invert": true}]}"#,
            "WHERE t.phase = 'created' AND t.node IS NULL AND t.kind = 'workable' AND t.deletion_time IS NULL \
             ORDER BY t.pk LIMIT 100",
            false,
        ),
        question(
            "by description (not indexed), none",
            r#"{"limit": 100, "expressions": [{"type": "exact", "field": "description", "value": "no such job"}]}"#,
            "WHERE t.description = 'no such job' AND t.deletion_time IS NULL ORDER BY t.pk LIMIT 100",
            false,
        ),
    ]
}

/// Asks a question once; gives the seconds.
pub(crate) async fn ask(caller: &mut Caller, body: &str) -> anyhow::Result<f64> {
    let head = caller.head("POST", format_args!("/v1/jobs/list"), "", body.len() as u64);
    let began = Instant::now();
    caller.connection.send(&[head.as_bytes(), body.as_bytes()].concat()).await?;
    let (status, _) = caller.connection.receive_and_drop().await?;
    ensure!(status == 200, "a list was answered {status}");
    Ok(began.elapsed().as_secs_f64())
}

/// Measures it.
pub(crate) async fn run(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let mut lab = Lab::start().await?;
    let models = Models::make(&mut lab).await?;
    for count in [100, 10_000, scale.pick(20_000, 100_000)] {
        lab.restart(|data| fill::mixed(data, models, count)).await?;
        let data = lab.data_dir();
        let mut caller = lab.caller().await?;
        for question in questions(count) {
            // Short ones are asked again and again.
            let times = if question.whole && count > 1_000 { 1 } else { scale.pick(10, 40) };
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            lab.server.process.reset_peak()?;
            let before = lab.server.process.memory("VmRSS:")?;
            for _ in 0..Scale::ROUNDS {
                let mut seconds = [0.0; 2];
                for _ in 0..times {
                    seconds[0] += ask(&mut caller, &question.body).await?;
                    seconds[1] += read_and_serialise(&data, &question.query)?;
                }
                ours.push(seconds[0] / f64::from(times) * 1e3);
                theirs.push(seconds[1] / f64::from(times) * 1e3);
            }
            let name = format!("list of {count} jobs: {}", question.name);
            let figure = Figure::new(name, median(&ours), "ms").against("rows read and serialised", median(&theirs));
            let largest = question.whole && count >= 20_000;
            // Half the speed is twice the time.
            report.add(if largest { figure.budget(Budget::RatioAtMost(2.0)) } else { figure });
            if largest {
                let grown = lab.server.process.memory("VmHWM:")? - before;
                let name = format!("memory grown by the whole list of {count} jobs");
                report.add(Figure::new(name, grown / 1_048_576.0, "MiB").budget(Budget::AtMost(64.0)));
            }
        }
    }
    Ok(())
}
