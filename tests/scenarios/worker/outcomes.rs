//! How a run can end, and what is there then.

use serde_json::{Value, json};

use super::{GATE, eventually, gone, kept_log, output, sha256, submit, wait_for, wait_until};
use crate::harness::{ADMIN, Hands, Lab, USER, Worker, shell_template, until};

#[tokio::test]
async fn a_job_that_goes_well_brings_its_outputs_its_log_and_its_progress() {
    let lab = Lab::start();
    let worker = Worker::start(&lab, Hands::default()).await;
    let body = "echo out; echo err >&2\n\
                echo 'labrun-progress: 0.25 {\"step\": \"read\"}'\n\
                until [ -e \"$LABRUN_PARAM_GATE\" ]; do sleep 0.02; done\n\
                echo \"$LABRUN_JOB $LABRUN_ATTEMPT\" > \"$LABRUN_OUTPUTS/table.csv\"\n\
                echo \"${LABRUN_PASSWORD-none} ${LABRUN_USER-none} ${HOME:+home}\" > \"$LABRUN_OUTPUTS/environment\"\n\
                echo more > \"$LABRUN_OUTPUTS/extra.txt\"; pwd; ls \"$LABRUN_INPUTS\"";
    let outputs = [("table", "BLOB<'csv'>"), ("environment", "str")];
    let template = lab.import(shell_template("good", &[("gate", "str")], &outputs, body)).await.expect(200).pk();
    let gate = worker.dir().join("gate");
    let job = submit(&lab, template, json!({"gate": gate}), json!({})).await;
    wait_until(&lab, job, "its progress", |job| job["progress_amount"] == 0.25).await;
    let path = format!("/v1/jobs/{job}/log");
    let read = async || Some(lab.get(&path).await.expect(200).text()).filter(|text| !text.is_empty());
    let live = eventually("the live log", read).await;
    assert!(live.starts_with("out\nerr\nlabrun-progress: 0.25"), "{live}");
    std::fs::write(&gate, "").expect("the gate opens");
    let done = wait_for(&lab, job, "finished").await;
    let names: Vec<_> = done["outputs"]
        .as_array()
        .expect("outputs")
        .iter()
        .map(|o| (o["name"].as_str().expect("a name"), o["type"].as_str().expect("a type")))
        .collect();
    let wanted =
        [("environment", "str"), ("table", "BLOB<'csv'>"), ("extra.txt", "BLOB<'txt'>"), ("log", "BLOB<'txt'>")];
    assert_eq!(names, wanted);
    assert_eq!(output(&lab, job, "table", "BLOB<'csv'>").await, format!("{job} 1\n"));
    assert_eq!(output(&lab, job, "environment", "str").await, "none none home\n", "no secret of the worker's");
    let log = kept_log(&lab, job).await;
    assert!(log.starts_with("out\nerr\n") && log.contains("/jobs/") && log.ends_with("/work\n"), "{log}");
    assert_eq!(lab.get(&path).await.expect(200).text(), log, "the live log is the same");
    until("the folder of the run to go", || worker.folders("jobs").is_empty().then_some(()));
    until("the spool to be empty", || worker.folders("spool").is_empty().then_some(()));
    assert!(worker.folders("kept").is_empty());
}

#[tokio::test]
async fn files_go_in_under_readable_names_and_texts_of_any_kind_arrive_as_they_are() {
    let lab = Lab::start();
    let _worker = Worker::start(&lab, Hands::default()).await;
    // A first job, whose output is an input of the second.
    let body = "printf '1,2\\n' > \"$LABRUN_OUTPUTS/a table.csv\"";
    let first = lab.import(shell_template("maker", &[], &[("a table", "BLOB<'csv'>")], body)).await.expect(200).pk();
    let first = submit(&lab, first, json!({}), json!({})).await;
    let made = wait_for(&lab, first, "finished").await["outputs"][0]["pk"].clone();
    let blob = "3,4\n";
    let hex = sha256(blob);
    lab.request("PUT", &format!("/v1/blobs/{hex}")).bytes(blob).await.expect(201);
    let nasty = "a b  'c' \"d\" $(touch /tmp/labrun-was-here) `id` ; & | > < * ? \\ \n--e ${f} é";
    let document = json!({
        "name": "taker", "description": "", "scope": "public", "licence": "x",
        "specific": {
            "job_type": "", "executor_class": "labrun.Command", "required_packages": "printf sh",
            "parameters": {
                "text": {"types": ["str"], "help": ""},
                "dash": {"types": ["str"], "help": "", "default": "-n"},
                "number": {"types": ["float"], "help": "", "default": 0.5},
            },
            "inputs": [
                {"name": "trace $(one)", "types": ["BLOB<'csv'>"], "options": "", "help": ""},
                {"name": "made", "types": ["JobOutput<BLOB<'csv'>>"], "options": "", "help": ""},
            ],
            "outputs": [{"name": "words", "type": "BLOB<'txt'>", "help": ""}],
            // sh is but the program that writes its arguments down, each with its length.
            "body": r#"sh -c 'out=$1; shift; cat "$1" "$2" > "$out"; for word; do printf "%s|" "$word" >> "$out"; done' sh
                ${outputs}/words "${trace $(one)}" ${made} ${text} ${dash} x${number}x $${text}"#,
        },
    });
    let template = lab.import(document).await.expect(200).pk();
    let inputs = json!({
        "trace $(one)": {"value": format!("sha256:{hex}"), "type": "BLOB<'csv'>"},
        "made": {"value": made, "type": "JobOutput<BLOB<'csv'>>"},
    });
    let job = submit(&lab, template, json!({"text": nasty}), json!({"input_values": inputs})).await;
    wait_for(&lab, job, "finished").await;
    let words = output(&lab, job, "words", "BLOB<'txt'>").await;
    let (read, words) = words.split_at(8);
    assert_eq!(read, "3,4\n1,2\n");
    let words: Vec<_> = words.split('|').collect();
    assert!(words[0].ends_with("/inputs/trace __one_.csv") && words[1].ends_with("/inputs/made.csv"), "{words:?}");
    // The text holds the separator itself, in its one place.
    assert_eq!(words[2..].join("|"), format!("{nasty}|-n|x0.5x|${{text}}|"));
    assert!(!std::path::Path::new("/tmp/labrun-was-here").exists());
}

#[tokio::test]
async fn runs_that_fail_say_why_and_leave_their_folder() {
    let lab = Lab::start();
    let worker = Worker::start(&lab, Hands::default()).await;
    for (name, body, parts) in [
        ("exit", "echo the lamp is dark; exit 3", &["exit code 3", "the lamp is dark"][..]),
        ("signal", "kill -s SEGV $$", &["signal 11"]),
        ("nothing", "true", &["\"peaks\" is missing", "peaks.csv"]),
        ("misspelt", "echo \"$LABRUN_PARAM_NO_SUCH\"; touch \"$LABRUN_OUTPUTS/peaks\"", &["exit code"]),
        ("folder", "mkdir \"$LABRUN_OUTPUTS/peaks\"", &["must be a plain file"]),
    ] {
        let template = lab.import(shell_template(name, &[], &[("peaks", "BLOB<'csv'>")], body)).await.expect(200).pk();
        let job = submit(&lab, template, json!({}), json!({})).await;
        let ended = wait_for(&lab, job, "errored").await;
        let reason = ended["error_reason"].as_str().expect("a reason");
        assert!(parts.iter().all(|part| reason.contains(part)), "{name}: {reason}");
        let outputs: Vec<_> = ended["outputs"].as_array().expect("outputs").iter().map(|o| o["name"].clone()).collect();
        assert_eq!(outputs, ["log"], "{name}: only the log is kept of a run that failed");
        assert!(kept_log(&lab, job).await.contains("labrun: "), "{name}");
    }
    until("five kept folders", || (worker.folders("kept").len() == 5).then_some(()));
    let mut command = shell_template("unknown", &[], &[], "no-such-program-here ${x}");
    command["specific"]["executor_class"] = json!("labrun.Command");
    for (body, part) in
        [("no-such-program-here", "no-such-program-here"), ("echo ${x}", "${x}"), ("echo 'x", "quote"), ("", "no body")]
    {
        command["specific"]["body"] = json!(body);
        let template = lab.import(command.clone()).await.expect(200).pk();
        let job = submit(&lab, template, json!({}), json!({})).await;
        let reason = wait_for(&lab, job, "errored").await["error_reason"].clone();
        assert!(reason.as_str().is_some_and(|reason| reason.contains(part)), "{body}: {reason}");
    }
}

#[tokio::test]
async fn a_run_that_failed_is_tried_again_when_that_was_asked_for() {
    let lab = Lab::start();
    let worker = Worker::start(&lab, Hands::default().with(&["--keep", "never"])).await;
    let body = "[ \"$LABRUN_ATTEMPT\" = 2 ]";
    let template = lab.import(shell_template("second", &[], &[], body)).await.expect(200).pk();
    let job = submit(&lab, template, json!({}), json!({"max_attempts": 3})).await;
    let done = wait_for(&lab, job, "finished").await;
    assert_eq!(done["attempt"], 2);
    let attempts = lab.get(&format!("/v1/jobs/{job}/attempts")).await.expect(200).json();
    let outcomes: Vec<_> = attempts.as_array().expect("a list").iter().map(|a| a["outcome"].clone()).collect();
    assert_eq!(outcomes, ["errored", "finished"]);
    assert!(worker.folders("kept").is_empty());
}

#[tokio::test]
async fn a_cancelled_run_ends_with_all_its_children_and_leaves_its_log() {
    let lab = Lab::start();
    let worker = Worker::start(&lab, Hands::default()).await;
    // Children that do not listen, in the group, in a group of their own, and in a session of their own.
    let body = "trap '' TERM\n\
                sleep 1000 & echo $! >> \"$LABRUN_OUTPUTS/pids\"\n\
                (trap '' TERM; sh -c 'sleep 1000 & echo $! >> \"$LABRUN_OUTPUTS/pids\"; wait') &\n\
                setsid sh -c 'trap \"\" TERM; echo $$ >> \"$LABRUN_OUTPUTS/pids\"; sleep 1000; sleep 1000' &\n\
                until [ \"$(wc -l < \"$LABRUN_OUTPUTS/pids\")\" = 3 ]; do sleep 0.02; done\n\
                echo $$ >> \"$LABRUN_OUTPUTS/pids\"; echo 'labrun-progress: 50 %'; wait; sleep 1000";
    let template = lab.import(shell_template("forks", &[], &[], body)).await.expect(200).pk();
    let job = submit(&lab, template, json!({}), json!({})).await;
    wait_until(&lab, job, "its progress", |job| job["progress_amount"] == 0.5).await;
    let run = worker.folders("jobs").pop().expect("the folder of the run");
    let pids = std::fs::read_to_string(run.join("outputs/pids")).expect("the pids");
    assert_eq!(pids.lines().count(), 4);
    lab.staff(job, "cancel").await.expect(200);
    pids.lines().for_each(gone);
    worker.says("was cancelled");
    assert!(kept_log(&lab, job).await.contains("labrun-progress"));
    let node = lab.read(job).await["node"].as_i64().expect("its node");
    assert_eq!(lab.read_node(node).await["current_job"], Value::Null, "the node is free");
    until("the folder to go", || worker.folders("jobs").is_empty().then_some(()));
}

#[tokio::test]
async fn what_a_command_leaves_running_is_ended_with_it() {
    let lab = Lab::start();
    let _worker = Worker::start(&lab, Hands::default()).await;
    let body = "sleep 1000 & echo $! > \"$LABRUN_OUTPUTS/pid\"";
    let template = lab.import(shell_template("leaves", &[], &[("pid", "int")], body)).await.expect(200).pk();
    let job = submit(&lab, template, json!({}), json!({})).await;
    wait_for(&lab, job, "finished").await;
    gone(output(&lab, job, "pid", "int").await.trim());
}

#[tokio::test]
async fn a_job_that_is_aborted_ends_and_is_done_by_the_next() {
    let lab = Lab::start();
    let worker = Worker::start(&lab, Hands::default()).await;
    let body = format!(
        "echo $$ > \"$LABRUN_OUTPUTS/pid\"; [ \"$LABRUN_ATTEMPT\" = 1 ] || exit 0; echo 'labrun-progress: 1'\n{GATE}"
    );
    let template = lab.import(shell_template("aborted", &[("gate", "str")], &[], &body)).await.expect(200).pk();
    let job = submit(&lab, template, json!({"gate": "/no/such/gate"}), json!({})).await;
    wait_until(&lab, job, "its progress", |job| job["progress_amount"] == 1.0).await;
    lab.staff(job, "abort").by(ADMIN).await.expect(200);
    let done = wait_for(&lab, job, "finished").await;
    assert_eq!(done["attempt"], 2);
    worker.says("is not this worker's any more");
    let nodes = lab.post("/v1/nodes/list").by(USER).await.expect(200).json();
    assert_eq!(nodes.as_array().map(Vec::len), Some(1));
}
