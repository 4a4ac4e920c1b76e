//! The postman against a mail server on loopback, with a clock that is turned by hand.

#[expect(dead_code, unreachable_pub, reason = "it is shared with the scenarios, which need more of it")]
#[path = "../../../tests/harness/smtp.rs"]
mod smtp;

use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::domain::ids::{JobId, TemplateId, UserId};
use crate::domain::job::Policy;
use crate::domain::notification::{Actions, parse_requested};
use crate::server::mail::{MailSettings, SmtpTls};
use crate::store::create::NewJob;
use crate::store::jobs::{By, Verb};
use crate::store::notify::Telling;
use smtp::{ClosedPort, Fault, Smtp};

const ADMIN: UserId = UserId(1);

/// A clock that stands still until it is turned.
#[derive(Debug, Default)]
struct Turned(AtomicI64);

impl Clock for Turned {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

struct Bench {
    store: Arc<Store>,
    clock: Arc<Turned>,
    template: TemplateId,
    postman: Postman,
    _stop: watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

/// Settings for a server on loopback.
fn settings(port: u16) -> MailSettings {
    MailSettings {
        host: "127.0.0.1".to_owned(),
        port: Some(port),
        tls: SmtpTls::None,
        credentials: None,
        from: "Lab 3 <labrun@lab.example>".to_owned(),
        timeout: Duration::from_secs(20),
    }
}

impl Bench {
    async fn new(settings: MailSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(Turned::default());
        let telling = Telling::new(Actions::default(), true);
        let store = Arc::new(Store::open_telling(&dir.path().join("labrun.db"), clock.clone(), telling).unwrap());
        store.create_first_user("no hash".to_owned()).await.unwrap();
        let document = json!({
            "name": "assay", "version": 1, "description": "", "scope": "public", "licence": "x",
            "specific": {"job_type": "", "executor_class": "lab.Assay", "required_packages": "", "parameters": {}},
        });
        let template = crate::domain::template::import(document.as_object().unwrap()).unwrap();
        let template = store.import_template(template, ADMIN).await.unwrap().pk;
        let (stop, stopping) = watch::channel(false);
        let postman = Postman::new(store.clone(), Mailer::new(settings).unwrap(), stopping);
        Self { store, clock, template, postman, _stop: stop, _dir: dir }
    }

    /// Makes a job that mails when it is cancelled.
    async fn job(&self, email: Value) -> JobId {
        let asked = json!({"actions": {"on_cancel": [email]}});
        let new = NewJob {
            template: self.template,
            input_values: "{}".to_owned(),
            parameter_values: "{}".to_owned(),
            description: "scan of Müller".to_owned(),
            notifications: parse_requested(Some(&asked), None, None).unwrap().to_json(),
            creator: ADMIN,
            blobs: Vec::new(),
            policy: Policy::default(),
            idempotency: None,
        };
        self.store.create_job(new).await.unwrap().pk
    }

    async fn cancel(&self, job: JobId) {
        self.store.act(job, By { node: None, attempt: None }, Verb::Cancel).await.unwrap();
    }

    /// Makes a job and cancels it, so that it mails to these.
    async fn mail_to(&self, to: &[&str]) -> JobId {
        let job = self.job(json!({"subject": "{pk}", "body": "{transition}", "to": to})).await;
        self.cancel(job).await;
        job
    }

    async fn round(&mut self) -> (usize, usize, usize) {
        let Round { sent, failed, given_up } = self.postman.run_once(self.clock.now()).await.unwrap();
        (sent, failed, given_up)
    }

    fn turn(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    fn waiting(&self) -> i64 {
        self.store.mails_waiting().unwrap()
    }
}

#[tokio::test]
async fn an_email_reaches_each_of_its_recipients_once() {
    let smtp = Smtp::start();
    let mut bench = Bench::new(settings(smtp.port())).await;
    let job = bench
        .job(json!({
            "subject": "job {pk}: {transition}", "body": "{description}\n.\n{{{cancelled}}}",
            "to": ["ada@lab.example", "bob@lab.example"], "cc": ["ada@lab.example", "cc@lab.example"],
            "bcc": ["secret@lab.example"],
        }))
        .await;
    bench.cancel(job).await;
    assert_eq!((bench.waiting(), bench.round().await, bench.waiting()), (4, (4, 0, 0), 0));
    let delivered = smtp.delivered();
    let recipients: Vec<String> = delivered.iter().flat_map(|mail| mail.to.clone()).collect();
    assert_eq!(recipients, ["ada@lab.example", "bob@lab.example", "cc@lab.example", "secret@lab.example"]);
    for mail in &delivered {
        assert_eq!(mail.from, "labrun@lab.example");
        assert_eq!(mail.header("From"), Some("\"Lab 3\" <labrun@lab.example>"));
        assert_eq!(mail.header("To"), Some("ada@lab.example, bob@lab.example"));
        assert_eq!(mail.header("Cc"), Some("ada@lab.example, cc@lab.example"));
        assert_eq!(mail.header("Subject"), Some(format!("job {job}: cancel").as_str()));
        assert_eq!(mail.header("Message-ID"), delivered[0].header("Message-ID"));
        assert!(!mail.text.contains("secret"), "{}", mail.text);
        assert!(mail.body().contains("{true}"), "{}", mail.text);
    }
    assert_eq!(bench.round().await, (0, 0, 0));
}

#[tokio::test]
async fn a_refusal_is_tried_again_and_holds_up_nobody_else() {
    let smtp = Smtp::start();
    let mut bench = Bench::new(settings(smtp.port())).await;
    smtp.fault("RCPT TO:<bad@lab.example>", Fault::Reply("550 no such user"), 1);
    smtp.fault("RCPT TO:<bad@lab.example>", Fault::Reply("451 come back"), 1);
    bench.mail_to(&["bad@lab.example", "good@lab.example"]).await;
    assert_eq!(bench.round().await, (1, 1, 0));
    assert_eq!(smtp.delivered()[0].to, ["good@lab.example"]);
    bench.turn(59);
    assert_eq!(bench.round().await, (0, 0, 0));
    bench.turn(1);
    assert_eq!(bench.round().await, (0, 1, 0));
    bench.turn(119);
    assert_eq!(bench.round().await, (0, 0, 0));
    bench.turn(1);
    assert_eq!((bench.round().await, bench.waiting()), ((1, 0, 0), 0));
    assert_eq!(smtp.delivered()[1].to, ["bad@lab.example"]);
}

#[tokio::test]
async fn a_refused_text_is_tried_again_too() {
    let smtp = Smtp::start();
    let mut bench = Bench::new(settings(smtp.port())).await;
    smtp.fault("TEXT", Fault::Reply("554 spam"), 1);
    bench.mail_to(&["a@lab.example"]).await;
    assert_eq!((bench.round().await, bench.waiting()), ((0, 1, 0), 1));
    bench.turn(60);
    assert_eq!((bench.round().await, bench.waiting()), ((1, 0, 0), 0));
}

#[tokio::test]
async fn a_server_that_is_down_is_asked_ever_less_often_for_a_day() {
    let closed = ClosedPort::take();
    let mut bench = Bench::new(settings(closed.port())).await;
    bench.mail_to(&["a@lab.example", "b@lab.example"]).await;
    let mut asked = Vec::new();
    let mut given_up = Vec::new();
    for minute in 0..30 * 60 {
        match bench.round().await {
            (0, 0, 0) => {}
            (0, 1, lost) => {
                asked.push(minute);
                given_up.push(lost);
            }
            other => panic!("{other:?}"),
        }
        bench.turn(60);
    }
    let hours = (0..22).map(|hour| 123 + 60 * hour);
    let expected: Vec<i32> = [0, 1, 3, 7, 15, 31, 63].into_iter().chain(hours).chain([1443]).collect();
    assert_eq!(asked, expected);
    // One try stood for both, and both are lost with the last one.
    assert_eq!((given_up.pop(), given_up.iter().sum::<usize>(), bench.waiting()), (Some(2), 0, 0));
}

#[tokio::test]
async fn days_without_a_labrun_do_not_make_an_email_hopeless() {
    let closed = ClosedPort::take();
    let mut bench = Bench::new(settings(closed.port())).await;
    bench.mail_to(&["a@lab.example"]).await;
    bench.turn(3 * 24 * 60 * 60);
    for _ in 0..9 {
        assert_eq!(bench.round().await, (0, 1, 0));
        bench.turn(60 * 60);
    }
    assert_eq!((bench.round().await, bench.waiting()), ((0, 1, 1), 0));
}

#[tokio::test]
async fn a_new_start_does_not_wait() {
    let closed = ClosedPort::take();
    let mut bench = Bench::new(settings(closed.port())).await;
    bench.mail_to(&["a@lab.example"]).await;
    assert_eq!(bench.round().await, (0, 1, 0));
    let smtp = closed.open();
    assert_eq!(bench.round().await, (0, 0, 0));
    bench.store.retry_mails().await.unwrap();
    assert_eq!((bench.round().await, smtp.delivered().len()), ((1, 0, 0), 1));
}

#[tokio::test]
async fn a_slow_or_broken_server_is_left_and_keeps_nothing_from_the_rest() {
    for (at, fault) in [
        ("CONNECT", Fault::Silence),
        ("EHLO", Fault::Silence),
        ("RCPT", Fault::Silence),
        ("TEXT", Fault::Silence),
        ("DATA", Fault::HangUp),
        ("CONNECT", Fault::Reply("554 go away")),
        ("MAIL", Fault::Reply("garbage")),
    ] {
        let smtp = Smtp::start();
        let mut bench = Bench::new(MailSettings { timeout: Duration::from_millis(300), ..settings(smtp.port()) }).await;
        smtp.fault(at, fault, 1);
        bench.mail_to(&["first@lab.example"]).await;
        bench.mail_to(&["second@lab.example"]).await;
        assert_eq!((bench.round().await, bench.waiting()), ((0, 1, 0), 2), "{at} {fault:?}");
        bench.turn(60);
        assert_eq!((bench.round().await, bench.waiting()), ((2, 0, 0), 0), "{at} {fault:?}");
        assert_eq!(smtp.delivered().len(), 2, "{at} {fault:?}");
    }
}

#[tokio::test]
async fn a_slow_goodbye_doubles_nothing() {
    let smtp = Smtp::start();
    let mut bench = Bench::new(MailSettings { timeout: Duration::from_millis(300), ..settings(smtp.port()) }).await;
    smtp.fault("QUIT", Fault::Silence, 1);
    bench.mail_to(&["a@lab.example"]).await;
    assert_eq!((bench.round().await, bench.waiting()), ((1, 0, 0), 0));
    bench.turn(3_600);
    assert_eq!((bench.round().await, smtp.delivered().len()), ((0, 0, 0), 1));
}

#[tokio::test]
async fn nothing_goes_out_in_the_clear_when_starttls_is_asked_for() {
    let smtp = Smtp::start();
    smtp.demand("AGxhYnJ1bgBvcGVu");
    let credentials = Some(("labrun".to_owned(), "open".to_owned()));
    let mut bench = Bench::new(MailSettings { tls: SmtpTls::Starttls, credentials, ..settings(smtp.port()) }).await;
    bench.mail_to(&["a@lab.example"]).await;
    assert_eq!((bench.round().await, bench.waiting()), ((0, 1, 0), 1));
    let said = smtp.commands();
    assert!(said.iter().all(|line| line.starts_with("EHLO") || line == "QUIT"), "{said:?}");
}

#[tokio::test]
async fn a_wrong_password_loses_nothing() {
    let smtp = Smtp::start();
    smtp.demand("AGxhYnJ1bgBvcGVu");
    let with = |password: &str| {
        let credentials = Some(("labrun".to_owned(), password.to_owned()));
        MailSettings { credentials, ..settings(smtp.port()) }
    };
    let mut bench = Bench::new(with("shut")).await;
    bench.mail_to(&["a@lab.example"]).await;
    assert_eq!((bench.round().await, bench.waiting()), ((0, 1, 0), 1));
    bench.postman.mailer = Mailer::new(with("open")).unwrap();
    bench.turn(60);
    assert_eq!((bench.round().await, smtp.delivered().len()), ((1, 0, 0), 1));
}

#[tokio::test]
async fn an_address_that_no_server_can_take_is_given_up_at_once() {
    let smtp = Smtp::start();
    let mut bench = Bench::new(settings(smtp.port())).await;
    bench.mail_to(&["a@lab..example", "b@lab.example"]).await;
    assert_eq!((bench.round().await, bench.waiting()), ((1, 0, 1), 0));
    assert_eq!(smtp.delivered()[0].header("To"), Some("b@lab.example"));
}

#[tokio::test]
async fn only_what_happened_is_mailed() {
    let smtp = Smtp::start();
    let mut bench = Bench::new(settings(smtp.port())).await;
    let job = bench.job(json!({"subject": "s", "body": "b", "to": ["a@lab.example"]})).await;
    bench.store.act(job, By { node: None, attempt: None }, Verb::Reset).await.unwrap_err();
    assert_eq!(bench.waiting(), 0);
    bench.cancel(job).await;
    // A cancelled job is cancelled already.
    bench.cancel(job).await;
    assert_eq!(bench.waiting(), 1);
    bench.store.purge_job(job).await.unwrap();
    assert_eq!((bench.waiting(), bench.round().await), (0, (0, 0, 0)));
}

#[tokio::test]
async fn a_description_can_not_forge_a_header() {
    let smtp = Smtp::start();
    let mut bench = Bench::new(settings(smtp.port())).await;
    let job = bench.job(json!({"subject": "{description}", "body": "b", "to": ["a@lab.example"]})).await;
    let described = Some("x\r\nBcc: thief@lab.example\r\n\r\nforged".to_owned());
    bench.store.describe_job(job, described).await.unwrap();
    bench.cancel(job).await;
    assert_eq!(bench.round().await, (1, 0, 0));
    let mail = &smtp.delivered()[0];
    assert_eq!((mail.header("Bcc"), mail.body()), (None, "b"), "{}", mail.text);
}

#[test]
fn bad_settings_are_told_at_once() {
    let error = Mailer::new(MailSettings { from: "nobody".to_owned(), ..settings(25) }).err().unwrap();
    assert!(error.contains("nobody"), "{error}");
}
