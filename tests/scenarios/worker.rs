//! `labrun work` as people run it: server and worker as processes of their own.

mod away;
mod disk;
mod limits;
mod older_server;
mod outcomes;
mod readme;
mod taking;

use serde_json::{Value, json};

use crate::harness::{Lab, deadline, sha256, until};

/// Makes a job of a template; `more` is what else its body holds.
async fn submit(lab: &Lab, template: i64, parameters: Value, more: Value) -> i64 {
    let mut body = json!({"input_values": {}, "parameter_values": parameters});
    body.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    lab.post(&format!("/v1/job-templates/{template}/create-job")).json(body).await.expect(200).pk()
}

/// Waits until a job is in a phase, and gives it.
async fn wait_for(lab: &Lab, job: i64, phase: &str) -> Value {
    wait_until(lab, job, &format!("phase {phase}"), |job| job["phase"] == phase).await
}

/// Waits until a job is as it should be, and gives it.
async fn wait_until(lab: &Lab, job: i64, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || Some(lab.read(job).await).filter(|job| is_so(job))).await
}

/// Asks the server again and again until there is an answer, as `until` does for what needs no server.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = deadline();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(std::time::Instant::now() < end, "waited too long for {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Reads an output's bytes as text.
async fn output(lab: &Lab, job: i64, name: &str, type_name: &str) -> String {
    let type_name = type_name.replace('<', "%3C").replace('>', "%3E").replace('\'', "%27");
    lab.get(&format!("/v1/jobs/{job}/outputs/{name}/{type_name}")).await.expect(200).text()
}

/// Reads the log that was kept of a run.
async fn kept_log(lab: &Lab, job: i64) -> String {
    output(lab, job, "log", "BLOB<'txt'>").await
}

/// The line of a script that waits until a file is there.
const GATE: &str = "until [ -e \"$LABRUN_PARAM_GATE\" ]; do sleep 0.02; done\n";

/// Waits until a process is gone, or a zombie.
fn gone(pid: &str) {
    until(&format!("the end of process {pid}"), || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        matches!(state, None | Some('Z' | 'X')).then_some(())
    });
}
