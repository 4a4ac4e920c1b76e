//! `POST` and `GET /v1/jobs/{PK}/log`.

use crate::harness::{ADMIN, Lab};

#[tokio::test]
async fn what_is_appended_is_read_from_any_place() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let path = format!("/v1/jobs/{}/log", held.job);
    for (text, written) in [("first\n", 6), ("", 6), ("zwölf\n", 13)] {
        let reply = lab.post(&path).node(held.node).bytes(text).await.expect(200).json();
        assert_eq!(reply["bytes"], written);
    }
    for (after, rest) in [("", "first\nzwölf\n"), ("?after=6", "zwölf\n"), ("?after=13", ""), ("?after=99", "")] {
        assert_eq!(lab.get(&format!("{path}{after}")).await.expect(200).text(), rest, "{after}");
    }
    for bad in ["?after=-1", "?after=x", "?attempt=x"] {
        lab.get(&format!("{path}{bad}")).await.expect(400);
    }
    lab.get(&format!("{path}?follow=perhaps")).await.blames("follow");
    lab.post(&path).by(ADMIN).bytes("x").await.expect(403);
    lab.post(&path).node(held.node).header("attempt", "7").bytes("x").await.refuses(409, "stale_attempt");
    lab.post(&path).node(held.node).bytes(vec![b'x'; (1 << 20) + 1]).await.expect(413);
}

#[tokio::test]
async fn whoever_follows_gets_every_line_and_the_end() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let path = format!("/v1/jobs/{}/log", held.job);
    let follow = async { lab.get(&format!("{path}?follow=true")).await.expect(200).text() };
    let write = async {
        for line in 0..50 {
            lab.post(&path).node(held.node).bytes(format!("line {line}\n")).await.expect(200);
        }
        lab.act(held, "finish").await.expect(200);
    };
    let (text, ()) = tokio::join!(follow, write);
    let expected: String = (0..50).map(|line| format!("line {line}\n")).collect();
    assert_eq!(text, expected);
    // A log that is over ends at once.
    assert_eq!(lab.get(&format!("{path}?follow=true")).await.expect(200).text(), expected);
}

#[tokio::test]
async fn of_a_log_that_grows_too_long_the_middle_is_cut_and_that_is_said() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let path = format!("/v1/jobs/{}/log", held.job);
    for piece in 0..20_u8 {
        lab.post(&path).node(held.node).bytes(vec![b'a' + piece; 1 << 20]).await.expect(200);
    }
    let text = lab.get(&path).await.expect(200).text();
    let note = format!("\n[{} bytes are cut out here]\n", 4 << 20);
    let (head, tail) = text.split_once(&note).unwrap_or_else(|| panic!("no note of {} bytes", text.len()));
    assert_eq!((head.len(), tail.len()), (8 << 20, 8 << 20));
    assert!(head.starts_with('a') && head.ends_with('h') && tail.starts_with('m') && tail.ends_with('t'));
    // Another attempt has a log of its own, and the older one can still be read.
    lab.staff(held.job, "abort").await.expect(200);
    lab.act(held, "finish").await.expect(200);
    lab.act(held, "acquire").await.expect(200);
    assert_eq!(lab.get(&path).await.expect(200).text(), "");
    assert_eq!(lab.get(&format!("{path}?attempt=1")).await.expect(200).text().len(), text.len());
}
