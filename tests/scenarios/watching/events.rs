//! Server-sent events: what they tell, and how they are taken up again.

use serde_json::json;

use super::{number, progress, transitions};
use crate::harness::{Events, Lab, OTHER, Piece, Setup};

#[tokio::test]
async fn a_stream_is_told_as_it_should_be() {
    let lab = Lab::shared().await;
    let held = lab.held().await;
    let mut events = Events::open(&lab, &format!("/v1/jobs/{}/events", held.job), None).await;
    assert_eq!(events.header("content-type"), "text/event-stream");
    assert_eq!(events.header("cache-control"), "no-store");
    assert_eq!(events.header("x-accel-buffering"), "no");
    let (state_id, state) = events.next().await.expect("a state");
    assert_eq!(state["transition"], "acquire");
    lab.act(held, "start").await.expect(200);
    let (id, event) = events.next().await.expect("an event");
    assert!(id > state_id, "{id} after {state_id}");
    let expected = json!({"transition": "start", "description": "", "pk": held.job, "progress": 0.0, "cancelled": false,
                          "node": held.node, "transition_data": {}});
    assert_eq!(event, expected);
    let token = lab.token(OTHER).await;
    let path = format!("/v1/jobs/{}/events", held.job);
    let head = lab.request("HEAD", &format!("{path}?access_token={token}")).anonymous().await.expect(200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    lab.get(&path).anonymous().await.expect(401);
    lab.get(&format!("{path}?access_token=x")).anonymous().await.expect(401);
    lab.get("/v1/events").anonymous().await.expect(401);
    lab.get("/v1/jobs/987654321/events").await.expect(404);
    lab.post(&path).await.expect(405);
}

#[tokio::test]
async fn a_place_in_the_log_is_a_number_and_the_header_wins() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let path = format!("/v1/jobs/{}/events", held.job);
    for bad in ["abc", "-1", "1.5", "99999999999999999999", "%00", ""] {
        lab.get(&format!("{path}?after={bad}")).await.expect(400);
        lab.get(&format!("/v1/events?after={bad}")).await.expect(400);
    }
    for bad in [&b"abc"[..], b"-1", b"\xff"] {
        lab.get(&format!("{path}?after=0")).header("last-event-id", bad).await.expect(400);
    }
    let mut whole = Events::open(&lab, &format!("{path}?after=0"), None).await;
    let (create, _) = whole.next().await.expect("an event");
    let (acquire, _) = whole.next().await.expect("an event");
    let mut by_header = Events::open(&lab, &format!("{path}?after=0"), Some(acquire)).await;
    assert_eq!(by_header.event().await["transition"], "start");
    let mut by_query = Events::open(&lab, &format!("{path}?after={create}"), None).await;
    assert_eq!(by_query.event().await["transition"], "acquire");
    // An id that is not there yet, as after a restore: from now on.
    let mut ahead = Events::open(&lab, &path, Some(i64::MAX)).await;
    progress(&lab, held, 1, 2).await;
    assert_eq!(number(&ahead.event().await), 1);
}

#[tokio::test]
async fn the_events_of_all_jobs_begin_with_the_answer() {
    let lab = Lab::start();
    let template = lab.template().await;
    for _ in 0..20 {
        let mut events = Events::open(&lab, "/v1/events", None).await;
        let job = lab.job().await;
        let event = events.event().await;
        assert_eq!((&event["transition"], &event["pk"]), (&json!("create"), &json!(job)));
    }
    let exact = |field: &str, value| json!([{"type": "exact", "field": field, "value": value}]);
    let filter = |spec: &serde_json::Value| format!("/v1/events?filter={}", form_urlencode(&spec.to_string()));
    let only = exact("description", json!("näher & \"hin\""));
    let mut by_array = Events::open(&lab, &filter(&only), None).await;
    let mut by_spec = Events::open(&lab, &filter(&json!({"expressions": only})), None).await;
    let mut deleted_too = Events::open(&lab, &filter(&json!({"include_inactive": true})), None).await;
    lab.job().await;
    let body = json!({"input_values": {}, "description": "näher & \"hin\""});
    let job = lab.post(&format!("/v1/job-templates/{template}/create-job")).json(body).await.expect(200).pk();
    assert_eq!(by_array.event().await["pk"], json!(job));
    assert_eq!(by_spec.event().await["pk"], json!(job));
    assert_ne!(deleted_too.event().await["pk"], json!(job));
    assert_eq!(deleted_too.event().await["pk"], json!(job));
    for bad in [json!("x"), json!({"expression": []}), exact("nothing", json!(1)), json!([1])] {
        lab.get(&filter(&bad)).await.expect(400);
    }
    lab.get("/v1/events?filter=").await.expect(400);
    lab.get("/v1/events?filter=%7B").await.expect(400);
}

#[tokio::test]
async fn a_stream_outlives_the_last_transition_and_ends_with_its_job() {
    let lab = Lab::start_with(Setup::default().with(&["--watch-keep-alive-s", "1"]));
    let (held, other) = (lab.started().await, lab.started().await);
    let path = format!("/v1/jobs/{}/events", held.job);
    let mut events = Events::open(&lab, &path, None).await;
    let mut of_other = Events::open(&lab, &format!("/v1/jobs/{}/events", other.job), None).await;
    events.event().await;
    of_other.event().await;
    lab.act(held, "finish").await.expect(200);
    assert_eq!(events.event().await["transition"], "finish");
    assert_eq!(events.piece().await, Piece::Comment("still here".to_owned()));
    lab.staff(held.job, "hard").await.expect(200);
    let mut pieces = Vec::new();
    loop {
        match events.piece().await {
            Piece::End => break,
            piece => pieces.push(piece),
        }
    }
    assert!(pieces.iter().all(|piece| matches!(piece, Piece::Comment(_))), "{pieces:?}");
    lab.server(|server| server.signal("TERM"));
    assert_eq!(of_other.next().await, None);
    assert!(lab.server(|server| server.wait()).success());
}

#[tokio::test]
async fn nothing_is_missed_or_doubled_over_broken_connections_and_a_crash() {
    const COUNT: usize = 300;
    let lab = Lab::start();
    let held = lab.started().await;
    let path = format!("/v1/jobs/{}/events", held.job);
    let telling = tokio::spawn({
        let lab = lab.clone();
        async move {
            for index in 0..COUNT {
                progress(&lab, held, index, COUNT).await;
            }
        }
    });
    let (mut last, mut heard) = (0, Vec::new());
    let mut connections = 0;
    while heard.len() < COUNT {
        let mut events = Events::open(&lab, &path, Some(last)).await;
        connections += 1;
        // Each connection breaks off after a few more events than the one before.
        for _ in 0..connections {
            let (id, event) = events.next().await.expect("an event");
            assert!(id > last);
            last = id;
            if event["transition"] == "progress" {
                heard.push(number(&event));
            }
            if heard.len() == COUNT {
                break;
            }
        }
    }
    telling.await.expect("no panic");
    assert!(connections > 20, "{connections} connections");
    assert_eq!(heard, (0..COUNT).collect::<Vec<_>>());
    // What was acknowledged is in the log after a crash too.
    lab.server(|server| server.restart());
    let mut whole = Events::open(&lab, &format!("{path}?after=0"), None).await;
    let mut told = Vec::new();
    for _ in 0..COUNT + 3 {
        told.push(whole.event().await);
    }
    assert_eq!(transitions(&told[..3]), ["create", "acquire", "start"]);
    assert_eq!(told[3..].iter().map(number).collect::<Vec<_>>(), heard);
    lab.act(held, "finish").await.expect(200);
    assert_eq!(whole.event().await["transition"], "finish");
}

fn form_urlencode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
