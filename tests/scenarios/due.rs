//! What happens by itself as time goes by, on the store alone, with a clock that is turned by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use labrun::domain::ids::{JobId, NodeId, TemplateId, UserId};
use labrun::domain::job::Policy;
use labrun::domain::lifecycle::Phase;
use labrun::domain::template::import;
use labrun::domain::time::{Clock, Timestamp};
use labrun::store::jobs::{By, NewJob, Verb};
use labrun::store::{Error, Store};
use labrun::wire::Job;
use labrun::wire::node::NewNode;

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
    store: Store,
    clock: Arc<Turned>,
    template: TemplateId,
    node: NodeId,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(Turned::default());
        let store = Store::open(&dir.path().join("labrun.db"), clock.clone()).expect("a store");
        store.create_first_user("no hash".to_owned()).await.expect("a user");
        let document = crate::harness::document("assay");
        let template = import(document.as_object().expect("an object")).expect("a template");
        let template = store.import_template(template, ADMIN).await.expect("a template").pk;
        let node = NewNode { ip: "bench".to_owned(), cpu_mem: 1, ..NewNode::default() };
        let node = store.create_node(node, ADMIN).await.expect("a node").pk;
        Self { store, clock, template, node, _dir: dir }
    }

    async fn job(&self, policy: Policy) -> JobId {
        let new = NewJob {
            template: self.template,
            input_values: "{}".to_owned(),
            parameter_values: "{}".to_owned(),
            description: String::new(),
            notifications: "{}".to_owned(),
            creator: ADMIN,
            blobs: Vec::new(),
            policy,
            idempotency: None,
        };
        self.store.create_job(new).await.expect("a job").pk
    }

    async fn act(&self, job: JobId, verb: Verb) -> Result<Job, Error> {
        let by = By { node: Some(self.node), attempt: None };
        self.store.act(job, by, verb).await
    }

    async fn started(&self, policy: Policy, lease_s: Option<f64>) -> JobId {
        let job = self.job(policy).await;
        self.act(job, Verb::Acquire { lease_s }).await.expect("acquired");
        self.act(job, Verb::Start).await.expect("started");
        job
    }

    async fn fail(&self, job: JobId) -> Job {
        self.act(job, Verb::Finish { error: Some("boom".to_owned()) }).await.expect("errored")
    }

    /// Turns the clock on and carries out what is due then; the node last gave a sign of life at `sign_s`.
    async fn later(&self, seconds: f64, sign_s: Option<i64>) {
        #[expect(clippy::cast_possible_truncation, reason = "tests turn the clock by small numbers")]
        self.clock.0.fetch_add((seconds * 1e6) as i64, Ordering::SeqCst);
        let sign = sign_s.map(|seconds| Timestamp(seconds * 1_000_000));
        self.store.run_due(Box::new(move |_, _| sign)).await.expect("what is due");
    }

    fn read(&self, job: JobId) -> Job {
        self.store.job(job).expect("a read").expect("the job")
    }

    fn stands(&self, job: JobId) -> (Phase, Option<NodeId>) {
        let job = self.read(job);
        (job.phase, job.node)
    }

    fn told(&self, job: JobId) -> Vec<(&'static str, String)> {
        let events = self.store.events_after(Some(job), 0, 100).expect("events");
        let told = events.events.into_iter().map(|event| event.message);
        told.map(|message| (message.transition.as_str(), message.transition_data.get().to_owned())).collect()
    }

    async fn outcomes(&self, job: JobId) -> Vec<Option<String>> {
        self.store.attempts(job).await.expect("attempts").into_iter().map(|attempt| attempt.outcome).collect()
    }
}

#[tokio::test]
async fn a_lease_runs_out_exactly_when_it_says_and_frees_the_job() {
    let bench = Bench::new().await;
    let job = bench.started(Policy::default(), Some(10.0)).await;
    bench.later(9.9, None).await;
    assert_eq!(bench.stands(job), (Phase::Started, Some(bench.node)));
    bench.later(0.1, None).await;
    assert_eq!(bench.stands(job), (Phase::Created, None));
    assert_eq!(bench.read(job).lease_expires, None);
    let last = bench.told(job).pop().expect("an event");
    assert_eq!(last, ("abort", r#"{"reason":"lease_expired"}"#.to_owned()));
    assert_eq!(bench.outcomes(job).await, [Some("lease_expired".to_owned())]);
    // The late worker is told that it holds nothing, and its finish frees its node and nothing else.
    let late = bench.act(job, Verb::Progress { amount: 0.5, data: "{}".to_owned() }).await;
    assert!(matches!(late, Err(Error::Refused(_))), "{late:?}");
    assert_eq!(bench.act(job, Verb::Finish { error: None }).await.expect("freed").phase, Phase::Created);
}

#[tokio::test]
async fn a_lease_goes_on_over_an_error_and_a_reset() {
    let bench = Bench::new().await;
    let job = bench.started(Policy::default(), Some(10.0)).await;
    bench.later(4.0, None).await;
    assert_eq!(bench.fail(job).await.lease_expires, Some(Timestamp(10_000_000)));
    bench.later(4.0, None).await;
    assert_eq!(bench.stands(job), (Phase::Errored, Some(bench.node)));
    let reset = bench.act(job, Verb::Reset).await.expect("reset");
    assert_eq!((reset.phase, reset.lease_expires), (Phase::Created, Some(Timestamp(10_000_000))));
    bench.later(2.0, None).await;
    assert_eq!(bench.stands(job), (Phase::Created, None));
    assert_eq!(bench.told(job).pop(), Some(("abort", r#"{"reason":"lease_expired"}"#.to_owned())));
}

#[tokio::test]
async fn a_holder_that_is_silent_after_an_error_loses_the_job_which_stays_errored() {
    let bench = Bench::new().await;
    let job = bench.started(Policy::default(), Some(10.0)).await;
    bench.fail(job).await;
    bench.later(12.0, Some(3)).await;
    assert_eq!(bench.stands(job), (Phase::Errored, Some(bench.node)), "its node gave a sign of life");
    bench.later(1.0, Some(3)).await;
    let free = bench.read(job);
    assert_eq!((free.phase, free.node, free.lease_expires), (Phase::Errored, None, None));
    assert_eq!(free.error_reason.as_deref(), Some("boom"));
    assert_eq!(bench.told(job).pop(), Some(("release", r#"{"reason":"lease_expired"}"#.to_owned())));
    assert_eq!(bench.outcomes(job).await, [Some("errored".to_owned())]);
}

#[tokio::test]
async fn the_lease_of_an_errored_job_is_renewed_ever_more_seldom_until_it_is_reset() {
    let bench = Bench::new().await;
    let job = bench.started(Policy::default(), Some(10.0)).await;
    bench.fail(job).await;
    bench.later(10.0, Some(9)).await;
    assert_eq!(bench.read(job).lease_expires, Some(Timestamp(19_000_000)));
    bench.later(10.0, Some(19)).await;
    assert_eq!(bench.read(job).lease_expires, Some(Timestamp(38_000_000)));
    let reset = bench.act(job, Verb::Reset).await.expect("reset");
    assert_eq!(reset.lease_expires, Some(Timestamp(30_000_000)));
}

#[tokio::test]
async fn a_node_that_takes_an_errored_job_under_a_lease_loses_it_by_silence() {
    let bench = Bench::new().await;
    let job = bench.started(Policy::default(), None).await;
    bench.fail(job).await;
    bench.act(job, Verb::Release).await.expect("released");
    let taken = bench.act(job, Verb::Acquire { lease_s: Some(10.0) }).await.expect("acquired");
    assert_eq!((taken.phase, taken.lease_expires), (Phase::Errored, Some(Timestamp(10_000_000))));
    bench.later(10.0, None).await;
    assert_eq!(bench.stands(job), (Phase::Errored, None));
    assert_eq!(bench.outcomes(job).await, [Some("errored".to_owned()), Some("lease_expired".to_owned())]);
}

#[tokio::test]
async fn a_sign_of_life_renews_a_lease_from_when_it_was_given() {
    let bench = Bench::new().await;
    let job = bench.started(Policy::default(), Some(10.0)).await;
    bench.later(11.0, Some(8)).await;
    assert_eq!(bench.stands(job).0, Phase::Started);
    assert_eq!(bench.read(job).lease_expires, Some(Timestamp(18_000_000)));
    bench.later(7.0, Some(8)).await;
    assert_eq!(bench.stands(job).0, Phase::Created);
}

#[tokio::test]
async fn after_a_restart_every_lease_has_a_full_period() {
    let bench = Bench::new().await;
    let job = bench.started(Policy::default(), Some(10.0)).await;
    bench.clock.0.store(60_000_000, Ordering::SeqCst);
    bench.store.renew_all_leases().await.expect("renewed");
    bench.later(9.0, None).await;
    assert_eq!(bench.stands(job).0, Phase::Started);
    bench.later(1.0, None).await;
    assert_eq!(bench.stands(job).0, Phase::Created);
}

#[tokio::test]
async fn an_errored_job_is_tried_again_at_once_or_after_its_doubled_delay() {
    let bench = Bench::new().await;
    let at_once = bench.started(Policy { max_attempts: 2, ..Policy::default() }, None).await;
    assert_eq!(bench.fail(at_once).await.phase, Phase::Created);
    let told: Vec<_> = bench.told(at_once).into_iter().map(|(transition, _)| transition).collect();
    assert_eq!(told, ["create", "acquire", "start", "error", "reset"]);

    let policy = Policy { max_attempts: 3, retry_delay_s: 5.0, ..Policy::default() };
    let delayed = bench.started(policy, None).await;
    for (attempt, delay_s) in [(1, 5.0), (2, 10.0)] {
        assert_eq!(bench.fail(delayed).await.phase, Phase::Errored, "attempt {attempt}");
        bench.later(delay_s - 0.1, None).await;
        assert_eq!(bench.stands(delayed).0, Phase::Errored, "attempt {attempt}");
        bench.later(0.2, None).await;
        assert_eq!(bench.stands(delayed), (Phase::Created, None), "attempt {attempt}");
        bench.act(delayed, Verb::Acquire { lease_s: None }).await.expect("acquired");
        bench.act(delayed, Verb::Start).await.expect("started");
    }
    assert_eq!(bench.fail(delayed).await.phase, Phase::Errored);
    bench.later(1e6, None).await;
    assert_eq!(bench.stands(delayed).0, Phase::Errored, "no attempt is left");
    let errored = || Some("errored".to_owned());
    assert_eq!(bench.outcomes(delayed).await, [errored(), errored(), errored()]);
}

#[tokio::test]
async fn a_worker_that_releases_an_errored_job_does_not_stop_its_retry() {
    let bench = Bench::new().await;
    let policy = Policy { max_attempts: 2, retry_delay_s: 5.0, ..Policy::default() };
    let job = bench.started(policy, None).await;
    bench.fail(job).await;
    bench.act(job, Verb::Release).await.expect("released");
    bench.later(5.0, None).await;
    assert_eq!(bench.stands(job), (Phase::Created, None));
}

#[tokio::test]
async fn a_node_that_takes_an_errored_job_meanwhile_puts_its_retry_off_and_not_away() {
    let bench = Bench::new().await;
    let policy = Policy { max_attempts: 3, retry_delay_s: 5.0, ..Policy::default() };
    let job = bench.started(policy, None).await;
    bench.fail(job).await;
    bench.act(job, Verb::Release).await.expect("released");
    let other = NewNode { ip: "other".to_owned(), cpu_mem: 1, ..NewNode::default() };
    let other = bench.store.create_node(other, ADMIN).await.expect("a node").pk;
    // The node that failed may be the one that comes back for it.
    for node in [bench.node, other] {
        let by = By { node: Some(node), attempt: None };
        bench.store.act(job, by, Verb::Acquire { lease_s: None }).await.expect("acquired");
        bench.later(5.0, None).await;
        assert_eq!(bench.stands(job), (Phase::Errored, Some(node)));
        let now = Timestamp(bench.clock.0.load(Ordering::SeqCst));
        assert!(!bench.store.anything_due(now).expect("a read"), "it is looked at in vain");
        bench.store.act(job, by, Verb::Release).await.expect("released");
    }
    bench.later(0.0, None).await;
    assert_eq!(bench.stands(job), (Phase::Created, None));
    assert_eq!(bench.told(job).pop(), Some(("reset", r#"{"reason":"retry"}"#.to_owned())));
}

#[tokio::test]
async fn an_attempt_has_no_error_but_its_own() {
    let bench = Bench::new().await;
    let job = bench.started(Policy::default(), None).await;
    bench.fail(job).await;
    bench.act(job, Verb::Release).await.expect("released");
    bench.act(job, Verb::Acquire { lease_s: None }).await.expect("acquired");
    bench.act(job, Verb::Release).await.expect("released");
    bench.act(job, Verb::Acquire { lease_s: None }).await.expect("acquired");
    bench.store.act(job, By::default(), Verb::Cancel).await.expect("cancelled");
    let attempts = bench.store.attempts(job).await.expect("attempts").into_iter();
    let told: Vec<_> = attempts.map(|attempt| (attempt.outcome.unwrap_or_default(), attempt.error)).collect();
    let error = |outcome: &str, error: Option<&str>| (outcome.to_owned(), error.map(str::to_owned));
    let expected = [error("errored", Some("boom")), error("released", None), error("cancelled", Some("Cancelled"))];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_errored_and_frees_its_node() {
    let bench = Bench::new().await;
    let job = bench.started(Policy { timeout_s: Some(30.0), ..Policy::default() }, None).await;
    bench.later(29.0, Some(29)).await;
    assert_eq!(bench.stands(job).0, Phase::Started);
    bench.later(1.0, Some(30)).await;
    let errored = bench.read(job);
    assert_eq!((errored.phase, errored.error_reason.as_deref()), (Phase::Errored, Some("Timed out after 30 s")));
    assert_eq!(bench.outcomes(job).await, [Some("timed_out".to_owned())]);
    // The node can begin something else.
    bench.started(Policy::default(), None).await;
}

#[tokio::test]
async fn a_deleted_job_waits_for_its_reinstatement() {
    let bench = Bench::new().await;
    let job = bench.started(Policy::default(), Some(10.0)).await;
    bench.store.set_job_deleted(job, true).await.expect("deleted");
    bench.later(20.0, None).await;
    assert_eq!(bench.stands(job).0, Phase::Started);
    bench.store.set_job_deleted(job, false).await.expect("reinstated");
    bench.later(0.0, None).await;
    assert_eq!(bench.stands(job).0, Phase::Created);
}

#[tokio::test]
async fn deleted_jobs_that_are_due_keep_nothing_else_waiting() {
    // More than one step moves.
    const DELETED: usize = 210;
    let bench = Bench::new().await;
    let limited = Policy { timeout_s: Some(10.0), ..Policy::default() };
    let retried = Policy { max_attempts: 2, retry_delay_s: 10.0, ..Policy::default() };
    let mut deleted = Vec::new();
    for _ in 0..DELETED {
        let leased = bench.job(Policy::default()).await;
        bench.act(leased, Verb::Acquire { lease_s: Some(10.0) }).await.expect("acquired");
        let timed = bench.started(limited.clone(), None).await;
        bench.store.set_job_deleted(timed, true).await.expect("deleted");
        bench.act(timed, Verb::Finish { error: None }).await.expect("freed");
        let errored = bench.started(retried.clone(), None).await;
        bench.fail(errored).await;
        for job in [leased, errored] {
            bench.store.set_job_deleted(job, true).await.expect("deleted");
        }
        deleted.push([leased, timed, errored]);
    }
    bench.later(1.0, None).await;
    let errored = bench.started(retried, None).await;
    bench.fail(errored).await;
    let leased = bench.job(Policy::default()).await;
    bench.act(leased, Verb::Acquire { lease_s: Some(10.0) }).await.expect("acquired");
    let timed = bench.started(limited, None).await;
    bench.later(10.0, None).await;
    assert_eq!(bench.stands(leased), (Phase::Created, None));
    assert_eq!(bench.stands(timed).0, Phase::Errored);
    assert_eq!(bench.stands(errored), (Phase::Created, None));
    let due = || bench.store.anything_due(Timestamp(bench.clock.0.load(Ordering::SeqCst))).expect("a read");
    assert!(!due(), "nothing is left that could be moved");
    // What was due happens when the jobs are back.
    let [leased, timed, errored] = deleted[0];
    for job in deleted[0] {
        bench.store.set_job_deleted(job, false).await.expect("reinstated");
    }
    assert!(due());
    bench.later(0.0, None).await;
    assert_eq!(bench.stands(leased), (Phase::Created, None));
    assert_eq!(bench.stands(timed).0, Phase::Errored);
    assert_eq!(bench.stands(errored), (Phase::Created, None));
}

#[tokio::test]
async fn a_job_on_hold_is_given_to_nobody_until_it_is_let_go() {
    let bench = Bench::new().await;
    let job = bench.job(Policy { hold: true, ..Policy::default() }).await;
    let refused = bench.act(job, Verb::Acquire { lease_s: None }).await;
    assert!(matches!(refused, Err(Error::NotNow { code: "on_hold", .. })), "{refused:?}");
    assert!(!bench.store.unhold_job(job).await.expect("let go").hold);
    bench.act(job, Verb::Acquire { lease_s: None }).await.expect("acquired");
}

#[tokio::test]
async fn calls_of_an_older_attempt_are_refused() {
    let bench = Bench::new().await;
    let job = bench.started(Policy::default(), None).await;
    bench.store.act(job, By::default(), Verb::Abort).await.expect("aborted");
    bench.act(job, Verb::Finish { error: None }).await.expect("freed");
    bench.act(job, Verb::Acquire { lease_s: None }).await.expect("acquired");
    let with = |attempt| By { node: Some(bench.node), attempt: Some(attempt) };
    let stale = bench.store.act(job, with(1), Verb::Start).await;
    assert!(matches!(stale, Err(Error::StaleAttempt { current: 2 })), "{stale:?}");
    bench.store.act(job, with(2), Verb::Start).await.expect("started");
}
