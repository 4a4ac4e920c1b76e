//! `labrun job list`, `show`, `logs`, and nodes.

use serde_json::json;

use crate::harness::{Held, Lab, Person, Server, USER};

#[tokio::test]
async fn jobs_are_listed_newest_first_and_by_what_is_known_of_them() {
    let lab = Lab::start();
    let owner = Person::owner(&lab);
    assert_eq!(owner.run(&["job", "list"]).expect(0).err.trim(), "no jobs");
    assert_eq!(owner.run(&["job", "list", "--json"]).expect(0).json(), json!([]));
    let template = lab.template().await;
    let path = format!("/v1/job-templates/{template}/create-job");
    for plate in 1..=4 {
        let body = json!({"input_values": {}, "description": format!("plate {plate}"), "labels": {"plate": plate.to_string()}});
        lab.post(&path).json(body).await.expect(200);
    }
    let held = lab.errored().await;
    let pks = |arguments: &[&str]| -> Vec<i64> {
        let ran = owner.run(&[&["job", "list", "--json"], arguments].concat()).expect(0);
        ran.json().as_array().expect("an array").iter().map(|job| job["pk"].as_i64().expect("a key")).collect()
    };
    assert_eq!(pks(&[]), [5, 4, 3, 2, 1]);
    assert_eq!(pks(&["--order", "pk", "--limit", "2"]), [1, 2]);
    assert_eq!(pks(&["--order", "-phase", "--order", "-pk", "--all"]), [5, 4, 3, 2, 1]);
    assert_eq!(pks(&["--phase", "errored,started"]), [5]);
    assert_eq!(pks(&["--label", "plate=3"]), [3]);
    assert_eq!(pks(&["--label", "plate", "--order", "pk"]), [1, 2, 3, 4]);
    assert_eq!(pks(&["--node", &held.node.to_string()]), [5]);
    assert_eq!(pks(&["--template", &template.to_string(), "--limit", "1"]), [5]);
    // By the address as `node list` shows it, and by the machine alone.
    let nodes = owner.run(&["node", "list"]).expect(0);
    let address = nodes.rows()[1][1].to_owned();
    let (machine, index) = address.split_once('#').expect("an index");
    assert_eq!((index, pks(&["--node", &address]), pks(&["--node", machine])), ("0", vec![5], vec![5]));
    assert_eq!(pks(&["--where", "description ~ 'PLATE 2'"]), [2]);
    assert_eq!(pks(&["--where", "creation_time > 1h ago", "--where", "node is not null"]), [5]);
    assert_eq!(pks(&["--where", "creation_time < 1h ago"]), [0; 0]);
    assert_eq!(pks(&["--filter", r#"{"type": "exact", "field": "pk", "value": 2}"#]), [2]);
    assert_eq!(pks(&["--filter", r#"{"expressions": [{"type": "exact", "field": "pk", "value": 2}]}"#]), [2]);

    let table = owner.run(&["job", "list", "--limit", "2"]).expect(0);
    assert_eq!(table.rows()[0], ["PK", "PHASE", "DONE", "TEMPLATE", "NODE", "AGE", "TOOK", "DESCRIPTION"]);
    assert_eq!((table.rows().len(), table.rows()[1][..3].to_vec()), (3, vec!["5", "errored", "0%"]));
    assert_eq!(table.err.trim(), "2 of 5 jobs; --all shows the rest");
    assert!(table.out.lines().all(|line| !line.ends_with(' ')), "{table:?}");

    for (wrong, saying) in [
        (["--phase", "done"], "one of created"),
        (["--where", "phase"], "is no condition"),
        (["--filter", "{"], "is no JSON"),
        (["--limit", "0"], "0 is not in"),
        (["--order", "-"], "takes a field"),
    ] {
        owner.run(&[&["job", "list"], &wrong[..]].concat()).fails(2, saying);
    }
    // What the server alone can know to be wrong is wrong all the same.
    for wrong in [["--where", "nosuch = 1"], ["--order", "nosuch"]] {
        owner.run(&[&["job", "list"], &wrong[..]].concat()).fails(2, "nosuch");
    }
}

#[tokio::test]
async fn a_template_or_node_that_is_not_there_is_no_empty_list() {
    let lab = Lab::start();
    let owner = Person::owner(&lab);
    let held = lab.started().await;
    let job = lab.read(held.job).await;
    let name = job["template"]["name"].as_str().expect("a name").to_owned();
    let address = owner.run(&["node", "list"]).expect(0).rows()[1][1].to_owned();
    let machine = address.split_once('#').expect("an index").0.to_owned();
    for command in
        [&["job", "list"][..], &["job", "list", "--json"], &["job", "cancel", "--yes"], &["job", "delete", "-y"]]
    {
        for template in ["nosuch", "99", &format!("{name}@99")] {
            let saying = format!("there is no template {template}; `labrun template list` shows those there are");
            owner.run(&[command, &["--template", template]].concat()).fails(3, &saying);
        }
        for node in ["nosuch", "99", "nosuch#0", &format!("{machine}#7")] {
            let saying = format!("there is no node {node}; `labrun node list` shows those there are");
            owner.run(&[command, &["--node", node]].concat()).fails(3, &saying);
        }
    }
    // A template that was deleted still has its jobs.
    owner.run(&["template", "delete", &name]).expect(0);
    for template in [&name, &format!("{name}@1"), "1"] {
        let listed = owner.run(&["job", "list", "--json", "--template", template]).expect(0);
        assert_eq!(listed.json()[0]["pk"], held.job, "{template}");
    }
}

#[tokio::test]
async fn all_that_is_known_of_a_job_is_shown() {
    let lab = Lab::start();
    let held = lab.started().await;
    lab.upload(held, "peaks", "BLOB<'csv'>", "a,b\n").await.expect(200);
    lab.fail(held).await.expect(200);
    let owner = Person::owner(&lab);
    let pk = held.job.to_string();
    let shown = owner.run(&["job", "show", &pk]).expect(0).out;
    for part in [
        "phase        errored",
        "error  ",
        "started  ",
        "OUTPUT  TYPE",
        "peaks   BLOB<'csv'>   4 B",
        "ATTEMPT",
        "errored",
    ] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    assert_eq!(owner.run(&["job", "show", &pk, "--json"]).expect(0).json(), lab.read(held.job).await);
    owner.run(&["job", "show", "77"]).fails(3, "job 77");
    owner.run(&["job", "show", "x"]).fails(2, "a key, such as 7");
    owner.run(&["template", "restore", "peaks@2"]).fails(2, "a key, such as 7");
}

#[tokio::test]
async fn a_log_is_shown_and_followed_to_its_end() {
    let lab = Lab::start();
    let owner = Person::owner(&lab);
    let held = lab.started().await;
    let pk = held.job.to_string();
    let append = |text: &'static str| lab.post(&format!("/v1/jobs/{}/log", held.job)).node(held.node).text(text);
    append("first \u{1b}[31mline\n").await.expect(200);
    // As it is, where no terminal shows it.
    assert_eq!(owner.run(&["job", "logs", &pk]).expect(0).out, "first \u{1b}[31mline\n");
    let mut follow = owner.command(&["job", "logs", &pk, "--follow"]);
    let follower = follow.stdout(std::process::Stdio::piped()).spawn().expect("it runs");
    append("second\n").await.expect(200);
    lab.act(held, "finish").await.expect(200);
    let followed = follower.wait_with_output().expect("it ends");
    assert!(followed.status.success());
    assert_eq!(String::from_utf8_lossy(&followed.stdout), "first \u{1b}[31mline\nsecond\n");
    owner.run(&["job", "logs", "77"]).fails(3, "job 77: ");
    owner.run(&["job", "logs", "77", "--attempt", "1"]).fails(3, "job 77: ");
    for follow in [&[][..], &["--follow"]] {
        owner
            .run(&[&["job", "logs", &pk, "--attempt", "99"], follow].concat())
            .fails(3, "job 1 has no attempt 99; it has 1");
    }
    owner.run(&["job", "logs", &pk, "--json"]).fails(2, "a log is no JSON");
    assert_eq!(owner.run(&["job", "logs", &pk, "--attempt", "1"]).expect(0).out.lines().count(), 2);
    // An attempt that may come is waited for.
    let held = Held { job: lab.job().await, node: lab.node(USER).await };
    let pk = held.job.to_string();
    owner.run(&["job", "logs", &pk, "--attempt", "1"]).fails(3, "it has 0");
    let mut follow = owner.command(&["job", "logs", &pk, "--attempt", "1", "--follow"]);
    let follower = follow.stdout(std::process::Stdio::piped()).spawn().expect("it runs");
    lab.act(held, "acquire").await.expect(200);
    lab.act(held, "start").await.expect(200);
    lab.post(&format!("/v1/jobs/{}/log", held.job)).node(held.node).text("late\n").await.expect(200);
    lab.act(held, "finish").await.expect(200);
    let followed = follower.wait_with_output().expect("it ends");
    assert_eq!((followed.status.code(), followed.stdout.as_slice()), (Some(0), &b"late\n"[..]));
}

#[tokio::test]
async fn nodes_are_listed_shown_and_deleted() {
    let lab = Lab::start();
    let held = lab.started().await;
    let idle = lab.node(USER).await;
    let owner = Person::owner(&lab);
    let table = owner.run(&["node", "list"]).expect(0);
    assert_eq!(table.rows()[0], ["PK", "ADDRESS", "JOB", "SEEN", "MEMORY", "GPU", "OWNER"]);
    assert_eq!(table.rows().len(), 3);
    assert_eq!(owner.run(&["node", "list", "--busy", "--json"]).expect(0).json()[0]["pk"], json!(held.node));
    let (busy, idle) = (held.node.to_string(), idle.to_string());
    assert!(owner.run(&["node", "show", &busy]).expect(0).out.contains(&format!("works on    job {}", held.job)));
    owner.run(&["node", "delete", &busy]).fails(4, "406");
    owner.run(&["node", "delete", &idle]).expect(0);
    owner.run(&["node", "show", &idle]).fails(3, "404");
    assert_eq!(owner.run(&["node", "list", "--json"]).expect(0).json().as_array().map(Vec::len), Some(1));
}

#[test]
fn a_server_that_is_away_has_an_exit_code_of_its_own() {
    let lab = Lab::start();
    let person =
        Person::new().with("LABRUN_SERVER", format!("http://127.0.0.1:{}", lab.port())).with("LABRUN_TOKEN", "x");
    person.run(&["job", "list"]).fails(4, "401");
    lab.server(Server::stop);
    for command in [&["job", "list"][..], &["job", "show", "1"], &["job", "cancel", "1-3"], &["user", "list"]] {
        person.run(command).fails(5, "is a server running at");
    }
    person.run(&["job", "list", "--server", "nonsense"]).fails(2, "nonsense");
}
