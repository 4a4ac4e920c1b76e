//! Which jobs a worker takes, and as whom.

use serde_json::{Value, json};

use super::{GATE, output, submit, wait_for, wait_until};
use crate::harness::{Hands, Lab, OTHER, Worker, document, shell_template};

#[tokio::test]
async fn a_worker_takes_what_it_can_run_and_nothing_else() {
    let lab = Lab::start();
    // A job of a Python executor, the oldest, must not be grabbed; nor one whose programs are not here.
    let foreign = lab.import(document("python")).await.expect(200).pk();
    let foreign = submit(&lab, foreign, json!({}), json!({})).await;
    let mut lacking = shell_template("lacking", &[], &[], "true");
    lacking["specific"]["required_packages"] = json!("sh no-such-program-here");
    let lacking = lab.import(lacking).await.expect(200).pk();
    let lacking = submit(&lab, lacking, json!({}), json!({})).await;
    let mut met = shell_template("met", &[], &[], "true");
    met["specific"]["required_packages"] = json!("sh, awk");
    let met = lab.import(met).await.expect(200).pk();
    let met = submit(&lab, met, json!({}), json!({})).await;
    let plain = lab.import(shell_template("plain", &[], &[], "true")).await.expect(200).pk();
    let other_plate = submit(&lab, plain, json!({}), json!({"labels": {"plate": "8"}})).await;
    let mut worker = Worker::start(&lab, Hands::default().with(&["--once", "--filter", "labels.plate=7"])).await;
    assert!(worker.wait().success());
    assert_eq!(lab.read(met).await["attempt"], 0, "it has no plate");
    let mut worker = Worker::start(&lab, Hands::default().with(&["--once"])).await;
    assert!(worker.wait().success(), "{}", worker.said());
    for (job, phase, attempt) in
        [(met, "finished", 1), (other_plate, "finished", 1), (foreign, "created", 0), (lacking, "created", 0)]
    {
        let now = lab.read(job).await;
        assert_eq!((&now["phase"], &now["attempt"]), (&json!(phase), &json!(attempt)), "{now}");
    }
}

#[tokio::test]
async fn two_slots_are_two_nodes_that_work_at_the_same_time() {
    let lab = Lab::start();
    let bin = tempfile::tempdir().expect("a folder");
    let gpu = bin.path().join("nvidia-smi");
    std::fs::write(&gpu, "#!/bin/sh\necho '11264, 550.54.14'\n").expect("a program");
    std::fs::set_permissions(&gpu, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it may run");
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap_or_default());
    let hands = Hands::default().with(&["--slots", "2", "--name", "bench-3"]).variable("PATH", &path);
    let worker = Worker::start(&lab, hands.clone()).await;
    // Each waits for the other.
    let body = "touch \"$LABRUN_PARAM_GATE.$LABRUN_JOB\"\n\
                until [ \"$(ls \"$LABRUN_PARAM_GATE\".* | wc -l)\" = 2 ]; do sleep 0.02; done\n\
                echo \"gpu $CUDA_VISIBLE_DEVICES\" > \"$LABRUN_OUTPUTS/gpu\"";
    let template =
        lab.import(shell_template("both", &[("gate", "str")], &[("gpu", "str")], body)).await.expect(200).pk();
    let gate = json!({"gate": bin.path().join("gate")});
    let jobs = [submit(&lab, template, gate.clone(), json!({})).await, submit(&lab, template, gate, json!({})).await];
    let (mut gpus, mut nodes) = (Vec::new(), Vec::new());
    for job in jobs {
        nodes.push(wait_for(&lab, job, "finished").await["node"].clone());
        gpus.push(output(&lab, job, "gpu", "str").await);
    }
    gpus.sort();
    assert_eq!(gpus, ["gpu \n", "gpu 0\n"], "the one GPU belongs to the first slot");
    assert_ne!(nodes[0], nodes[1]);
    let listed = lab.post("/v1/nodes/list").await.expect(200).json();
    let seen: Vec<_> = listed
        .as_array()
        .expect("nodes")
        .iter()
        .map(|n| (n["ip"].clone(), n["index"].clone(), n["gpu_mem"].clone(), n["driver_version"].clone()))
        .collect();
    let name = json!("bench-3");
    assert_eq!(
        seen,
        [
            (name.clone(), json!(0), json!(11_264_i64 << 20), json!("550.54.14")),
            (name, json!(1), Value::Null, Value::Null),
        ]
    );
    assert!(listed[0]["cpu_mem"].as_i64().is_some_and(|bytes| bytes > 1 << 20));

    // Another folder on the same machine is another worker: it takes the next index, or none that is asked for.
    let mut second = Worker::start(&lab, Hands::default().with(&["--name", "bench-3", "--once"])).await;
    assert!(second.wait().success() && second.said().contains("(bench-3#2)"), "{}", second.said());
    let mut third = Worker::start(&lab, Hands::default().with(&["--name", "bench-3", "--index", "0"])).await;
    assert!(!third.wait().success() && third.said().contains("another worker"), "{}", third.said());
    // The folder is one worker's at a time, and remembers which nodes it was.
    let mut same = Worker::start(&lab, hands.clone().on(worker.dir())).await;
    assert!(!same.wait().success() && same.said().contains("another worker uses"), "{}", same.said());
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..2 {
        let hands = Hands::default().with(&["--name", "bench-4", "--once"]).on(folder.path());
        let mut again = Worker::start(&lab, hands).await;
        assert!(again.wait().success() && again.said().contains("(bench-4#0)"), "{}", again.said());
    }
}

#[tokio::test]
async fn a_signal_lets_the_job_end_and_a_second_one_gives_it_back() {
    let lab = Lab::start();
    let body = format!("echo 'labrun-progress: 0.5'\n{GATE}");
    let template = lab.import(shell_template("gated", &[("gate", "str")], &[], &body)).await.expect(200).pk();
    let mut worker = Worker::start(&lab, Hands::default()).await;
    let gate = worker.dir().with_file_name("gate");
    let job = submit(&lab, template, json!({"gate": gate}), json!({})).await;
    let begun = |job: &Value| job["progress_amount"] == 0.5;
    wait_until(&lab, job, "its progress", begun).await;
    worker.signal("TERM");
    worker.says("stopping");
    let next = submit(&lab, template, json!({"gate": gate}), json!({})).await;
    std::fs::write(&gate, "").expect("the gate opens");
    assert!(worker.wait().success());
    assert_eq!(lab.read(job).await["phase"], "finished");
    assert_eq!(lab.read(next).await["attempt"], 0, "no new job was taken");

    let job = submit(&lab, template, json!({"gate": "/no/such/gate"}), json!({"priority": 1})).await;
    let mut worker = Worker::start(&lab, Hands::default()).await;
    wait_until(&lab, job, "its progress", begun).await;
    worker.signal("INT");
    worker.says("stopping");
    worker.signal("INT");
    assert!(worker.wait().success());
    let back = lab.read(job).await;
    assert_eq!((&back["phase"], &back["node"]), (&json!("created"), &Value::Null), "{back}");
    assert!(worker.folders("jobs").is_empty() && worker.folders("spool").is_empty());
}

#[tokio::test]
async fn a_node_of_another_user_is_not_taken_over() {
    let lab = Lab::start();
    let body = json!({"ip": "bench-5", "index": 0, "cpu_mem": 1});
    lab.post("/v1/nodes/create").by(OTHER).json(body).await.expect(201);
    let mut worker = Worker::start(&lab, Hands::default().with(&["--name", "bench-5", "--once"])).await;
    assert!(worker.wait().success() && worker.said().contains("(bench-5#1)"), "{}", worker.said());
    let mut worker = Worker::start(&lab, Hands::default().with(&["--name", "bench-5", "--index", "0"])).await;
    assert!(!worker.wait().success() && worker.said().contains("--index"), "{}", worker.said());
}
