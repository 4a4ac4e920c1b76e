//! Watchers that do not read, say nonsense, or have gone.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use super::{memory_bytes, number, progress};
use crate::harness::{ADMIN, Events, Held, Lab, OTHER, Piece, Said, Setup, Socket, USER};

/// Data that fills buffers soon.
const PADDING_BYTES: usize = 100_000;
/// Memory that a server may take on while somebody does not read.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

/// Tells progress with a lot of data, until `for_at_least` has passed and at least `count` times.
async fn flood(lab: &Lab, held: Held, count: usize, for_at_least: Duration) -> usize {
    let (began, padding) = (Instant::now(), "x".repeat(PADDING_BYTES));
    let mut told = 0;
    while told < count || began.elapsed() < for_at_least {
        let path = format!("/v1/jobs/{}/progress/0.5", held.job);
        lab.post(&path).node(held.node).json(json!({"number": told, "padding": padding})).await.expect(200);
        told += 1;
    }
    told
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_dropped_with_1013_and_disturbs_nobody() {
    let lab = Lab::start();
    let held = lab.started().await;
    let token = format!("Bearer {}", lab.token(USER).await);
    let path = format!("/v1/jobs/{}", held.job);
    let headers = [("authorization", token.as_str())];
    let mut deaf = Socket::open_with(lab.port(), &path, &headers, Some(4096)).await.expect("an upgrade");
    deaf.event().await;
    let mut keen = Socket::watch(&lab, held.job).await;
    keen.event().await;
    let before = memory_bytes(lab.server(|server| server.pid()));
    let listening = tokio::spawn(async move {
        let mut heard = 0;
        while let Said::Event(event) = keen.next().await {
            if event["transition"] == "progress" {
                assert_eq!(number(&event), heard);
                heard += 1;
            }
        }
        heard
    });
    let told = flood(&lab, held, 150, Duration::from_secs(3)).await;
    let growth = memory_bytes(lab.server(|server| server.pid())).saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "the server grew by {growth} bytes");
    lab.act(held, "finish").await.expect(200);
    assert_eq!(listening.await.expect("no panic"), told, "the one that reads");
    let (events, end) = deaf.rest().await;
    assert_eq!(end, Said::Closed(Some(1013)));
    let numbers: Vec<_> = events.iter().map(number).collect();
    assert!(numbers.len() < told, "it was not dropped");
    assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>(), "what came before the end is unbroken");
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_cut_and_can_be_taken_up_again() {
    let lab = Lab::start();
    let held = lab.started().await;
    let path = format!("/v1/jobs/{}/events", held.job);
    let mut deaf = lab.raw();
    deaf.send(lab.head("GET", &path, USER).await + "\r\n");
    let before = memory_bytes(lab.server(|server| server.pid()));
    // The kernel's own buffers take some mebibytes before a server can notice.
    let told = flood(&lab, held, 300, Duration::from_secs(2)).await;
    let growth = memory_bytes(lab.server(|server| server.pid())).saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "the server grew by {growth} bytes");
    // What was on its way is read to the end, which comes before the last event.
    let reply = tokio::task::spawn_blocking(move || deaf.reply().expect("a head")).await.expect("no panic");
    assert_eq!(reply.status, 200);
    let text = String::from_utf8_lossy(&reply.body);
    let ids: Vec<i64> = text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
    assert!(ids.len() < told, "it was not cut: {} of {told}", ids.len());
    let last = *ids.last().expect("some events");
    // The last of them may be in pieces.
    let whole = ids[ids.len() - 2];
    assert!(whole < last);
    let mut again = Events::open(&lab, &path, Some(whole)).await;
    let first = again.next().await.expect("an event");
    assert_eq!(first.0, last);
    for expected in number(&first.1) + 1..told {
        assert_eq!(number(&again.event().await), expected);
    }
}

#[tokio::test]
async fn nonsense_drops_the_connection_and_nothing_else() {
    let lab = Lab::start();
    let held = lab.started().await;
    let mut keen = Socket::watch(&lab, held.job).await;
    keen.event().await;
    let frames: [(&str, u16, Vec<u8>); 8] = [
        ("bytes that are no frame", 1002, vec![0xff; 4096]),
        ("a frame without a mask", 1002, vec![0x81, 0x02, b'h', b'i']),
        ("reserved bits", 1002, vec![0xf1, 0x80, 1, 2, 3, 4]),
        ("an unknown opcode", 1002, vec![0x83, 0x80, 1, 2, 3, 4]),
        ("a continuation of nothing", 1002, vec![0x80, 0x80, 1, 2, 3, 4]),
        ("a ping of 126 bytes", 1002, [&[0x89, 0xfe, 0, 126, 0, 0, 0, 0][..], &[0; 126]].concat()),
        ("a length of 2^63", 1009, vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
        ("text that is no UTF-8", 1007, vec![0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28]),
    ];
    for (what, code, bytes) in frames {
        let mut socket = Socket::watch(&lab, held.job).await;
        socket.event().await;
        socket.connection().write_all(&bytes).await.expect("an open connection");
        assert_eq!(socket.next().await, Said::Closed(Some(code)), "{what}");
    }
    progress(&lab, held, 1, 2).await;
    assert_eq!(number(&keen.event().await), 1);
}

#[tokio::test]
async fn messages_over_the_limit_drop_the_connection_and_take_no_memory() {
    let lab = Lab::start();
    let job = lab.job().await;
    let before = memory_bytes(lab.server(|server| server.pid()));
    let mut one_frame = Socket::watch(&lab, job).await;
    one_frame.event().await;
    one_frame.say(Message::binary(vec![7; 64 << 20])).await;
    assert!(matches!(one_frame.next().await, Said::Dropped | Said::Closed(Some(1009))));
    // The same in small frames that never end.
    let mut many_frames = Socket::watch(&lab, job).await;
    many_frames.event().await;
    let mut sent = 0;
    for index in 0..(64 << 20) / 4096 {
        let opcode = if index == 0 { 0x02 } else { 0x00 };
        let frame = [&[opcode, 0xfe, 0x10, 0x00, 0, 0, 0, 0][..], &[7; 4096]].concat();
        if many_frames.connection().write_all(&frame).await.is_err() {
            break;
        }
        sent += frame.len();
    }
    assert!(sent < 64 << 20, "all of it was taken");
    assert!(matches!(many_frames.next().await, Said::Dropped | Said::Closed(Some(1009))));
    let growth = memory_bytes(lab.server(|server| server.pid())).saturating_sub(before);
    assert!(growth < 16 << 20, "the server grew by {growth} bytes");
}

#[tokio::test]
async fn one_that_answers_no_ping_is_gone_and_one_that_does_stays() {
    let lab = Lab::start_with(Setup::default().with(&["--watch-keep-alive-s", "1"]));
    let held = lab.started().await;
    let mut there = Socket::watch(&lab, held.job).await;
    there.event().await;
    let mut gone = lab.raw();
    let head = lab.head("GET", &format!("/v1/jobs/{}", held.job), USER).await;
    gone.send(
        head + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    // Its library answers pings while it is read.
    let staying = tokio::spawn(async move { there.event().await });
    let end = tokio::task::spawn_blocking(move || {
        while !gone.is_closed() {
            gone.skip();
        }
    });
    end.await.expect("it is closed");
    progress(&lab, held, 1, 2).await;
    assert_eq!(number(&staying.await.expect("no panic")), 1);
    let mut events = Events::open(&lab, "/v1/events", None).await;
    assert_eq!(events.piece().await, Piece::Comment("labrun".to_owned()));
    assert_eq!(events.piece().await, Piece::Comment("still here".to_owned()));
}

#[tokio::test]
async fn whoever_loses_the_right_to_watch_is_told_no_more() {
    let lab = Lab::start_with(Setup::default().with(&["--watch-keep-alive-s", "1"]));
    let held = lab.started().await;
    let path = format!("/v1/jobs/{}", held.job);
    let made = lab.post("/v1/auth/tokens").by(OTHER).json(json!({"name": "screen"})).await.expect(201).json();
    let by_token = format!("Bearer {}", made["token"].as_str().expect("a token"));
    let mut screen = Socket::open(lab.port(), &path, &[("authorization", &by_token)]).await.expect("an upgrade");
    let mut socket = Socket::watch(&lab, held.job).await;
    let mut events = Events::open(&lab, "/v1/events", Some(0)).await;
    events.event().await;
    // An empty log, which ends without having said anything.
    let mut log = Events::open(&lab, &format!("{path}/log?follow=true"), None).await;
    lab.delete(&format!("/v1/auth/tokens/{}", made["pk"])).by(OTHER).await.expect(200);
    assert_eq!(screen.rest().await.1, Said::Closed(Some(1008)));
    lab.delete(&format!("/v1/users/{}", lab.user_pk(USER).await)).by(ADMIN).await.expect(204);
    assert_eq!(socket.rest().await.1, Said::Closed(Some(1008)));
    while events.next().await.is_some() {}
    assert_eq!(log.piece().await, Piece::End);
}
