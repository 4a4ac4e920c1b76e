//! Notifications of a whole server: lines in its log, and e-mails that neither a restart nor a mail server's bad day
//! loses.

use serde_json::{Value, json};

use crate::harness::dump::open;
use crate::harness::smtp::{ClosedPort, Fault, Smtp};
use crate::harness::{ADMIN, Held, Lab, Setup, USER, until};

/// A server that sends its e-mails to a port on loopback.
fn mailing(port: u16) -> Setup {
    let port = port.to_string();
    let server = ["--smtp-host", "127.0.0.1", "--smtp-port", &port, "--smtp-tls", "none"];
    Setup::default().with(&server).with(&["--mail-from", "labrun@lab.example", "--smtp-timeout-s", "1"])
}

/// Makes a job with notifications.
async fn job(lab: &Lab, asked: Value) -> i64 {
    let path = format!("/v1/job-templates/{}/create-job", lab.template().await);
    let body = json!({"input_values": {}, "description": "scan 7", "notification_override": asked});
    lab.post(&path).json(body).await.expect(200).pk()
}

/// Takes a job to its end.
async fn run(lab: &Lab, job: i64) {
    let held = Held { job, node: lab.node(USER).await };
    for verb in ["acquire", "start", "finish"] {
        lab.act(held, verb).await.expect(200);
    }
}

/// Counts the e-mails that the server has still to send.
fn queued(lab: &Lab) -> i64 {
    let dir = lab.server(|server| server.dir().to_owned());
    open(&dir).query_row("SELECT count(*) FROM mail_queue", [], |row| row.get(0)).expect("the queue can be read")
}

/// Waits until the server's log says something.
fn wait_for_log(lab: &Lab, text: &str) {
    until(text, || lab.server(|server| server.said().contains(text)).then_some(()));
}

fn on_finish(to: &[&str]) -> Value {
    json!({"actions": {"on_finish": [{"subject": "{description}: {transition}", "body": "{progress}", "to": to}]}})
}

#[tokio::test]
async fn the_jobs_creator_is_told_when_nobody_is_named() {
    let smtp = Smtp::start();
    let lab = Lab::start_with(mailing(smtp.port()));
    let user = lab.user_pk(USER).await;
    let email = json!({"subject": "job {pk} of {node}", "body": "done: {description}, {progress}"});
    let silent = job(&lab, json!({"actions": {"on_finish": [email]}})).await;
    run(&lab, silent).await;
    wait_for_log(&lab, "the job's creator has no address");
    assert_eq!(queued(&lab), 0);

    lab.patch(&format!("/v1/users/{user}")).by(ADMIN).json(json!({"email": "ada@lab.example"})).await.expect(200);
    let told = job(&lab, json!({"actions": {"on_finish": [email]}})).await;
    run(&lab, told).await;
    let delivered = smtp.wait_for(1);
    assert_eq!(
        (delivered[0].from.as_str(), delivered[0].to.as_slice()),
        ("labrun@lab.example", &["ada@lab.example".to_owned()][..])
    );
    assert_eq!(delivered[0].body(), "done: scan 7, 1");
    // Without it, readers need not look at the type and the encoding of the text.
    assert_eq!(delivered[0].header("MIME-Version"), Some("1.0"));
    assert!(delivered[0].header("Subject").expect("a subject").starts_with(&format!("job {told} of ")));
    until("the queue to be empty", || (queued(&lab) == 0).then_some(()));
}

#[tokio::test]
async fn the_queue_outlives_the_server_and_the_mail_servers_absence() {
    let closed = ClosedPort::take();
    let lab = Lab::start_with(mailing(closed.port()));
    let first = job(&lab, on_finish(&["a@lab.example", "b@lab.example"])).await;
    run(&lab, first).await;
    // In the database before the answer, not only in memory.
    assert_eq!(queued(&lab), 2);
    lab.server(|server| server.restart());
    wait_for_log(&lab, "an e-mail waits to be tried again");
    assert_eq!(queued(&lab), 2);

    let smtp = closed.open();
    lab.server(|server| server.restart());
    let delivered = smtp.wait_for(2);
    let recipients: Vec<&str> = delivered.iter().map(|mail| mail.to[0].as_str()).collect();
    assert_eq!(recipients, ["a@lab.example", "b@lab.example"]);
    assert_eq!(delivered[0].header("Subject"), Some("scan 7: finish"));
    until("the queue to be empty", || (queued(&lab) == 0).then_some(()));
    let (status, _) = lab.server(|server| server.stop());
    assert!(status.success());
    assert_eq!(smtp.delivered().len(), 2);
}

#[tokio::test]
async fn a_mail_server_that_hangs_or_refuses_loses_nothing_and_slows_nobody() {
    let smtp = Smtp::start();
    let lab = Lab::start_with(mailing(smtp.port()));
    smtp.fault("TEXT", Fault::Silence, 1);
    let slow = job(&lab, on_finish(&["slow@lab.example"])).await;
    run(&lab, slow).await;
    until("the mail server to be asked", || smtp.commands().iter().any(|line| line == "DATA").then_some(()));
    // While it hangs, the server works.
    let quick = job(&lab, json!({"actions": {}})).await;
    run(&lab, quick).await;
    wait_for_log(&lab, "the mail server can't be used");
    assert_eq!((queued(&lab), smtp.delivered().len()), (1, 0));

    smtp.fault("RCPT TO:<slow@lab.example>", Fault::Reply("550 not today"), 1);
    lab.server(|server| server.restart());
    wait_for_log(&lab, "not today");
    assert_eq!((queued(&lab), smtp.delivered().len()), (1, 0));

    lab.server(|server| server.restart());
    assert_eq!(smtp.wait_for(1)[0].to, ["slow@lab.example"]);
    until("the queue to be empty", || (queued(&lab) == 0).then_some(()));
}

#[tokio::test]
async fn without_a_mail_server_emails_are_logged_and_not_kept() {
    let lab = Lab::start();
    let mailed = job(&lab, on_finish(&["a@lab.example"])).await;
    run(&lab, mailed).await;
    wait_for_log(&lab, "no SMTP server is set");
    assert!(lab.server(|server| server.said().contains("scan 7: finish")));
    assert_eq!(queued(&lab), 0);
}

#[tokio::test]
async fn the_settings_say_what_is_told_of_jobs_that_ask_for_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("defaults.json");
    std::fs::write(&file, r#"{"on_finish": [{"message": "default says {pk}."}]}"#).expect("a file");
    let lab = Lab::start_with(Setup::default().with(&["--default-notifications", &file.to_string_lossy()]));
    let own = json!({"on_finish": [{"message": "own says {pk}."}]});
    let plain = lab.job().await;
    let added = job(&lab, json!({"actions": own, "keep_default": true})).await;
    let replaced = job(&lab, json!({"actions": own})).await;
    for job in [plain, added, replaced] {
        run(&lab, job).await;
    }
    wait_for_log(&lab, &format!("own says {replaced}."));
    let said = lab.server(|server| server.said());
    let has = |text: String| said.contains(&text);
    let told = |job: i64| (has(format!("default says {job}.")), has(format!("own says {job}.")));
    assert_eq!((told(plain), told(added), told(replaced)), ((true, false), (true, true), (false, true)));
}

#[tokio::test]
async fn what_people_wrote_can_not_forge_a_line_of_the_log() {
    let lab = Lab::start();
    let mark = "2020-01-01 forged line";
    let printed = job(&lab, json!({"actions": {"on_cancel": [{"message": format!("told {{pk}}\n{mark}")}]}})).await;
    lab.staff(printed, "cancel").await.expect(200);
    wait_for_log(&lab, &format!("told {printed}\\n{mark}"));
    assert!(!lab.server(|server| server.said()).lines().any(|line| line.starts_with(mark)));
}

#[tokio::test]
async fn a_child_of_a_workflow_leaves_to_its_parent_what_it_is_not_told_to_say() {
    let lab = Lab::start();
    let stage = lab.unique("stage");
    lab.import(crate::harness::document(&stage)).await.expect(200);
    let flow = json!({
        "name": lab.unique("flow"), "version": 1, "description": "", "scope": "public", "licence": "Apache 2.0",
        "specific": {"nodes": {"scan": {"name": stage}}, "dependencies": []},
    });
    let flow = lab.import(flow).await.expect(200).pk();
    let body = json!({
        "input_values": {},
        "notification_override": {"actions": {"on_finish": [{"message": "parent finished {pk}."}]}},
        "child_notification_overrides": {"scan": {"actions": {"on_finish": [
            {"message": "suppressed {pk}."}, {"message": "loud {pk}.", "suppress_for_parent": false},
        ]}}},
    });
    let parent = lab.post(&format!("/v1/job-templates/{flow}/create-job")).json(body).await.expect(200).pk();
    let spec = json!({"expressions": [{"type": "exact", "field": "parent", "value": parent}]});
    let child = lab.post("/v1/jobs/list").json(spec).await.expect(200).pks()[0];
    run(&lab, child).await;
    wait_for_log(&lab, &format!("parent finished {parent}."));
    let said = lab.server(|server| server.said());
    assert!(said.contains(&format!("loud {child}.")) && !said.contains("suppressed"), "{said}");
}
