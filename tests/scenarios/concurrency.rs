//! Many callers at the same moment: one of them wins, the others are told so, and nothing is half done.

use std::collections::BTreeSet;

use futures_util::future::{join, join_all};
use serde_json::json;

use crate::harness::{ADMIN, Held, Lab, Reply, USER, deadline, document};

const CALLERS: usize = 24;

/// Counts the replies of a status.
fn count(replies: &[Reply], status: u16) -> usize {
    replies.iter().filter(|reply| reply.status == status).count()
}

async fn nodes(lab: &Lab) -> Vec<i64> {
    join_all((0..CALLERS).map(|_| lab.node(USER))).await
}

#[tokio::test]
async fn of_many_acquires_one_wins() {
    let lab = Lab::shared().await;
    let nodes = nodes(&lab).await;
    for _ in 0..5 {
        let job = lab.job().await;
        let replies = join_all(nodes.iter().map(async |&node| lab.act(Held { job, node }, "acquire").await)).await;
        assert_eq!((count(&replies, 200), count(&replies, 406)), (1, CALLERS - 1));
        let winner = replies.iter().find(|reply| reply.status == 200).expect("just counted").json()["node"].clone();
        assert_eq!(lab.read(job).await["node"], winner);
        // Released and taken again, still by one alone.
        let holder = Held { job, node: winner.as_i64().expect("a key") };
        let rivals = join_all(nodes.iter().map(async |&node| lab.act(Held { job, node }, "acquire").await));
        let (_, replies) = join(async { lab.act(holder, "release").await.expect(200) }, rivals).await;
        let held = lab.read(job).await["node"].clone();
        let others = replies.iter().filter(|reply| reply.status == 200 && reply.json()["node"] != winner).count();
        assert!(others <= 1, "{others} nodes were told that they hold the job");
        assert!(held.is_null() || nodes.contains(&held.as_i64().expect("a key")));
    }
}

#[tokio::test]
async fn a_node_that_is_destroyed_while_it_takes_a_job_has_it_or_is_gone() {
    let lab = Lab::shared().await;
    for _ in 0..5 {
        let held = join_all(nodes(&lab).await.into_iter().map(async |node| Held { job: lab.job().await, node })).await;
        join_all(held.into_iter().map(async |held| {
            let path = format!("/v1/nodes/{}", held.node);
            let acquire = async { lab.act(held, "acquire").await };
            let (taken, destroyed) = join(acquire, async { lab.delete(&path).by(ADMIN).await }).await;
            match taken.status {
                200 => drop(destroyed.refuses(406, "holds_job")),
                _ => {
                    taken.refuses(400, "bad_node_id");
                    destroyed.expect(204);
                }
            }
        }))
        .await;
    }
}

#[tokio::test]
async fn a_node_starts_one_of_its_jobs_however_many_it_tries_at_once() {
    let lab = Lab::shared().await;
    let node = lab.node(USER).await;
    let jobs = join_all((0..CALLERS).map(async |_| {
        let held = Held { job: lab.job().await, node };
        lab.act(held, "acquire").await.expect(200);
        held
    }))
    .await;
    let replies = join_all(jobs.iter().map(async |&held| lab.act(held, "start").await)).await;
    assert_eq!((count(&replies, 200), count(&replies, 406)), (1, CALLERS - 1));
    let started = replies.iter().find(|reply| reply.status == 200).expect("just counted").pk();
    assert_eq!(lab.read_node(node).await["current_job"], started);
}

#[tokio::test]
async fn of_finish_abort_and_cancel_at_once_the_job_keeps_one_story() {
    let lab = Lab::shared().await;
    for _ in 0..10 {
        let held = lab.started().await;
        let finish = async { lab.act(held, "finish").await };
        let abort = async { lab.staff(held.job, "abort").await };
        let cancel = async { lab.staff(held.job, "cancel").await };
        let (finish, (abort, cancel)) = join(finish, join(abort, cancel)).await;
        let job = lab.read(held.job).await;
        let phase = job["phase"].as_str().expect("a phase");
        // An abort leaves it created, which the cancel, if it came later, ends; a finish first bars the abort.
        assert!(["finished", "cancelled", "created"].contains(&phase), "{job}");
        assert_eq!(phase == "finished", abort.status == 406 && cancel.json()["phase"] == "finished", "{job}");
        assert!([200, 406].contains(&abort.status) && cancel.status == 200, "{abort} {cancel}");
        assert!([200, 403].contains(&finish.status), "{finish}");
    }
}

#[tokio::test]
async fn of_simultaneous_uploads_under_one_name_one_wins_and_the_same_bytes_are_one_output() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let different = join_all(
        (0..CALLERS).map(async |n| lab.upload(held, "different", "t", format!("bytes {n}").repeat(10_000)).await),
    )
    .await;
    assert_eq!((count(&different, 200), count(&different, 400)), (1, CALLERS - 1));
    let kept = lab.get(&format!("/v1/jobs/{}/outputs/different/t", held.job)).await.expect(200);
    let winner = different.iter().find(|reply| reply.status == 200).expect("just counted").json();
    assert_eq!(kept.header("etag"), Some(format!("\"{}\"", winner["sha256"].as_str().expect("a digest")).as_str()));
    let same = join_all((0..CALLERS).map(async |_| lab.upload(held, "same", "t", "the bytes").await)).await;
    let keys: BTreeSet<i64> = same.iter().map(Reply::pk).collect();
    assert_eq!((count(&same, 200), keys.len()), (CALLERS, 1));
    let names: Vec<String> = (0..CALLERS).map(|n| format!("other-{n}")).collect();
    let others = join_all(names.iter().map(async |name| lab.upload(held, name, "t", "the bytes").await)).await;
    assert_eq!(count(&others, 200), CALLERS);
    assert_eq!(lab.read(held.job).await["outputs"].as_array().expect("a list").len(), CALLERS + 2);
}

#[tokio::test]
async fn uploads_during_an_abort_leave_no_live_output() {
    let lab = Lab::shared().await;
    for _ in 0..5 {
        let held = lab.started().await;
        let uploads = join_all((0..8).map(|n| {
            let lab = &lab;
            async move { lab.upload(held, &format!("o{n}"), "t", "x".repeat(50_000)).await }
        }));
        let (uploads, abort) = join(uploads, async { lab.staff(held.job, "abort").await.expect(200) }).await;
        for upload in &uploads {
            assert!([200, 403, 406].contains(&upload.status), "{upload}");
        }
        assert_eq!((&abort.json()["phase"], &lab.read(held.job).await["outputs"]), (&json!("created"), &json!([])));
    }
}

#[tokio::test]
async fn simultaneous_imports_without_a_version_get_a_version_each() {
    let lab = Lab::shared().await;
    let mut text = document(&lab.unique("racing"));
    text.as_object_mut().expect("an object").remove("version");
    text["domain"] = json!(lab.two_letters());
    let replies = join_all((0..CALLERS).map(async |_| lab.import(text.clone()).await.expect(200).json())).await;
    let versions: BTreeSet<i64> = replies.iter().filter_map(|reply| reply["version"].as_i64()).collect();
    assert_eq!(versions, (1..=CALLERS as i64).collect());
    let domains = json!({"expressions": [{"type": "exact", "field": "name", "value": text["domain"]}]});
    assert_eq!(lab.post("/v1/domains/list").json(domains).await.expect(200).pks().len(), 1);
}

#[tokio::test]
async fn of_simultaneous_imports_of_one_version_one_is_left_alive() {
    let lab = Lab::shared().await;
    let name = lab.unique("racing");
    let replies = join_all((0..CALLERS).map(async |_| lab.import(document(&name)).await.expect(200).pk())).await;
    let by_name = json!({"expressions": [{"type": "exact", "field": "name", "value": name}]});
    let live = lab.post("/v1/job-templates/list").json(by_name).await.expect(200).pks();
    assert_eq!(live, [*replies.iter().max().expect("some")]);
}

#[tokio::test]
async fn of_simultaneous_users_or_nodes_of_one_name_one_is_made() {
    let lab = Lab::shared().await;
    let user = json!({"username": lab.unique("twin"), "password": "long-enough-1"});
    let node = json!({"ip": lab.unique("twin"), "index": 0, "cpu_mem": 1});
    for (path, body) in [("/v1/users/create", user), ("/v1/nodes/create", node)] {
        let replies = join_all((0..CALLERS).map(async |_| lab.post(path).by(ADMIN).json(body.clone()).await)).await;
        assert_eq!((count(&replies, 201), count(&replies, 400)), (1, CALLERS - 1), "{path}");
    }
}

#[tokio::test]
async fn of_two_staff_users_that_deactivate_each_other_one_stays() {
    let lab = Lab::start();
    for _ in 0..4 {
        let name = lab.unique("deputy");
        let body = json!({"username": name, "password": "long-enough-1", "is_staff": true});
        let deputy = lab.post("/v1/users/create").by(ADMIN).json(body).await.expect(201).pk();
        let token = lab.obtain(&name, "long-enough-1").await.expect(200).json();
        let bearer = format!("Bearer {}", token["access"].as_str().expect("a token"));
        let theirs = async { lab.delete("/v1/users/1").header("authorization", &bearer).await };
        let ours = async { lab.delete(&format!("/v1/users/{deputy}")).by(ADMIN).await };
        let (theirs, ours) = join(theirs, ours).await;
        let both = [theirs.status, ours.status];
        assert_eq!(both.iter().filter(|status| **status == 204).count(), 1, "{theirs} {ours}");
        if theirs.status == 204 {
            // Let the admin back in, so that the next round begins like this one. A token dies with its deactivation.
            let back = json!({"is_active": true});
            lab.patch("/v1/users/1").header("authorization", &bearer).json(back).await.expect(200);
            lab.forget_tokens().await;
            lab.delete(&format!("/v1/users/{deputy}")).by(ADMIN).await.expect(204);
        }
    }
}

#[tokio::test]
async fn what_is_committed_together_is_seen_by_the_very_next_read() {
    let lab = Lab::shared().await;
    let jobs = join_all((0..CALLERS).map(|_| lab.held())).await;
    let all = jobs.iter().map(async |&held| {
        lab.act(held, "start").await.expect(200);
        assert_eq!(lab.read(held.job).await["phase"], "started");
        lab.act(held, "progress/0.25").await.expect(200);
        assert_eq!(lab.read(held.job).await["progress_amount"], 0.25);
        lab.act(held, "finish").await.expect(200);
        assert_eq!(lab.read(held.job).await["phase"], "finished");
        assert!(lab.read_node(held.node).await["current_job"].is_null());
    });
    join_all(all).await;
}

/// Clients that ask for an archive and do not read it hold no more threads than are set aside for them.
#[tokio::test]
async fn archives_that_nobody_reads_keep_nobody_else_waiting() {
    let lab = Lab::start();
    let held = lab.started().await;
    // More than the buffers on the way take.
    lab.upload(held, "large", "str", vec![7; 24 << 20]).await.expect(200);
    let path = format!("/v1/jobs/{}/archive?format=tar", held.job);
    let head = format!("{}\r\n", lab.head("GET", &path, USER).await);
    let mut readers = Vec::new();
    for _ in 0..64 {
        let mut reader = lab.raw();
        reader.send(&head);
        // The beginning is here, so that it has its turn.
        assert!(!reader.is_closed());
        readers.push(reader);
    }
    let reply = lab.get(&path).await.refuses(503, "unavailable");
    assert!(reply.header("retry-after").is_some());
    // Everything else goes on, also what needs such threads; and their end makes room.
    lab.upload(held, "small", "str", "small").await.expect(200);
    drop(readers);
    let end = deadline();
    while lab.get(&path).await.status != 200 {
        assert!(std::time::Instant::now() < end, "their turns never came back");
    }
}

#[tokio::test]
async fn a_write_that_stalls_holds_up_no_read() {
    let lab = Lab::start();
    let held = lab.started().await;
    let progress = format!("/v1/jobs/{}/progress/0.5", held.job);
    // By now the server takes it that a commit is brisk, and lets callers write by themselves.
    for _ in 0..100 {
        lab.act(held, "progress/0.5").await.expect(200);
    }
    let head = lab.head("POST", &progress, USER).await;
    let mut writing = lab.raw();
    let database = rusqlite::Connection::open(lab.server(|server| server.dir().join("labrun.db"))).expect("a database");
    for _ in 0..3 {
        database.execute_batch("BEGIN IMMEDIATE").expect("it can be held");
        writing.send(format!("{head}Node-Id: {}\r\nContent-Length: 0\r\n\r\n", held.node));
        // Before the database is let go, which the write alone waits for: it gives up after seconds.
        lab.get("/healthz").anonymous().await.expect(200);
        assert_eq!(lab.read(held.job).await["phase"], "started");
        database.execute_batch("ROLLBACK").expect("it can be let go");
        assert_eq!(writing.reply().expect("an answer").status, 200);
    }
}
