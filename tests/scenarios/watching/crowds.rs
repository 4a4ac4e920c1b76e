//! Many watchers, many transitions: each watcher hears each message once, in order.

use std::time::Instant;

use futures_util::future::join_all;

use super::{number, progress};
use crate::harness::{Events, Held, Lab, Said, Socket};

#[tokio::test]
async fn a_burst_in_few_commits_drops_nobody_who_reads() {
    const COUNT: usize = 1_000;
    let lab = Lab::start();
    let held = lab.started().await;
    let mut sockets = Vec::new();
    for _ in 0..10 {
        let mut socket = Socket::watch(&lab, held.job).await;
        socket.event().await;
        sockets.push(socket);
    }
    let mut of_all = Events::open(&lab, "/v1/events", None).await;
    // Sent all at once, so that hundreds of them share a commit; in whatever order, but one order for everybody.
    join_all((0..COUNT).map(|index| progress(&lab, held, index, COUNT))).await;
    let mut order = Vec::new();
    for _ in 0..COUNT {
        order.push(number(&of_all.event().await));
    }
    for socket in &mut sockets {
        for expected in &order {
            assert_eq!(number(&socket.event().await), *expected);
        }
    }
    order.sort_unstable();
    assert_eq!(order, (0..COUNT).collect::<Vec<_>>());
}

#[tokio::test]
async fn watchers_who_come_in_the_middle_miss_nothing_from_then_on() {
    const COUNT: usize = 600;
    const WATCHERS: usize = 100;
    let lab = Lab::start();
    let held = lab.started().await;
    progress(&lab, held, 0, COUNT).await;
    lab.token(crate::harness::USER).await;
    let telling = tokio::spawn({
        let lab = lab.clone();
        async move {
            for index in 1..COUNT {
                progress(&lab, held, index, COUNT).await;
            }
            lab.act(held, "finish").await.expect(200);
        }
    });
    let (mut listening, mut following) = (Vec::new(), Vec::new());
    for _ in 0..WATCHERS {
        let mut socket = Socket::watch(&lab, held.job).await;
        listening.push(tokio::spawn(async move {
            let state = socket.event().await;
            let (events, end) = socket.rest().await;
            assert_eq!(end, Said::Closed(Some(1000)));
            (state, events)
        }));
        let mut events = Events::open(&lab, &format!("/v1/jobs/{}/events", held.job), None).await;
        following.push(tokio::spawn(async move {
            let (mut last, state) = events.next().await.expect("a state");
            let mut heard = Vec::new();
            while heard.last().unwrap_or(&state)["transition"] != "finish" {
                let (id, event) = events.next().await.expect("an event");
                assert!(id > last);
                last = id;
                heard.push(event);
            }
            (state, heard)
        }));
    }
    telling.await.expect("no panic");
    let mut in_the_middle = 0;
    for watcher in join_all(listening.into_iter().chain(following)).await {
        let (state, mut events) = watcher.expect("no panic");
        // The state says how far the job was; what follows goes on from there.
        let before = (state["progress"].as_f64().expect("a number") * COUNT as f64).round() as usize;
        if state["transition"] == "finish" {
            assert_eq!(events.len(), 0);
            continue;
        }
        assert_eq!(events.pop().expect("an end")["transition"], "finish");
        assert_eq!(events.iter().map(number).collect::<Vec<_>>(), (before + 1..COUNT).collect::<Vec<_>>());
        in_the_middle += usize::from(!events.is_empty());
    }
    assert!(in_the_middle > WATCHERS / 4, "only {in_the_middle} came in the middle");
}

const JOBS: usize = 50;
const SOCKETS_EACH: usize = 5;
const STREAMS_EACH: usize = 5;
const TRANSITIONS_EACH: usize = 400;

/// 500 watchers, half by socket and half by stream, during 20,000 transitions with a restart in between. Prints what
/// it counted.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long; `.ci/run` asks for it by name"]
async fn soak_of_500_watchers_during_20_000_transitions() {
    let began = Instant::now();
    let lab = Lab::start();
    let mut jobs = Vec::new();
    for _ in 0..JOBS {
        jobs.push(lab.started().await);
    }
    let half = TRANSITIONS_EACH / 2;
    let mut last_ids = vec![0; JOBS * STREAMS_EACH];
    let mut heard = 0;
    for range in [0..half, half..TRANSITIONS_EACH] {
        let (mut sockets, mut streams) = (Vec::new(), Vec::new());
        for (index, held) in jobs.iter().enumerate() {
            for _ in 0..SOCKETS_EACH {
                let mut socket = Socket::watch(&lab, held.job).await;
                let state = socket.event().await;
                assert_eq!(state["progress"].as_f64(), Some(if range.start == 0 { 0.0 } else { before(&range) }));
                sockets.push(socket);
            }
            for stream in 0..STREAMS_EACH {
                let last = last_ids[index * STREAMS_EACH + stream];
                streams.push(Events::open(&lab, &format!("/v1/jobs/{}/events", held.job), Some(last)).await);
            }
        }
        let telling = join_all(jobs.iter().map(|held| tell(&lab, *held, range.clone())));
        let by_socket = join_all(sockets.into_iter().map(|socket| tokio::spawn(hear(socket, range.clone()))));
        let by_stream = join_all(streams.into_iter().map(|stream| tokio::spawn(follow(stream, range.clone()))));
        let (_, by_socket, by_stream) = tokio::join!(telling, by_socket, by_stream);
        heard += by_socket.into_iter().map(|count| count.expect("no panic")).sum::<usize>();
        for (index, result) in by_stream.into_iter().enumerate() {
            let (last, count) = result.expect("no panic");
            last_ids[index] = last;
            heard += count;
        }
        lab.server(|server| {
            assert!(server.stop().0.success());
            server.restart();
        });
    }
    let watchers = JOBS * (SOCKETS_EACH + STREAMS_EACH);
    assert_eq!(heard, watchers * TRANSITIONS_EACH);
    println!(
        "{watchers} watchers heard {heard} messages of {} transitions, each once and in order, over a restart, in {} s",
        JOBS * TRANSITIONS_EACH,
        began.elapsed().as_secs()
    );
}

/// The progress at which a range begins.
fn before(range: &std::ops::Range<usize>) -> f64 {
    (range.start - 1) as f64 / TRANSITIONS_EACH as f64
}

async fn tell(lab: &Lab, held: Held, range: std::ops::Range<usize>) {
    for index in range {
        progress(lab, held, index, TRANSITIONS_EACH).await;
    }
}

/// Hears a range by socket; gives how many there were.
async fn hear(mut socket: Socket, range: std::ops::Range<usize>) -> usize {
    for expected in range.clone() {
        assert_eq!(number(&socket.event().await), expected);
    }
    range.len()
}

/// Hears a range by stream; gives the id of the last event, and how many there were.
async fn follow(mut stream: Events, range: std::ops::Range<usize>) -> (i64, usize) {
    let (mut last, mut expected) = (0, range.start);
    while expected < range.end {
        let (id, event) = stream.next().await.expect("an event");
        assert!(id > last);
        last = id;
        // A new stream begins with what led to the start.
        if event["transition"] == "progress" {
            assert_eq!(number(&event), expected);
            expected += 1;
        } else {
            assert_eq!(expected, 0, "{event}");
        }
    }
    (last, range.len())
}
