//! Planned failures of the writer: commands that fail, that panic, that wait; a full queue, a full disk, a lost
//! transaction. After each, the next command must find everything in order.

use std::sync::mpsc;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::*;
use crate::domain::time::SystemClock;

struct Lab {
    writer: Writer,
    path: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

/// Starts a writer on a database with a table of rows, and one of rows that refer to them.
fn start(more: &str) -> Lab {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.db");
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    connection
        .execute_batch(&format!(
            "CREATE TABLE events (seq INTEGER PRIMARY KEY);
             CREATE TABLE events_gone (seq INTEGER);
             INSERT INTO events_gone VALUES (6);
             CREATE TABLE rows (x INTEGER PRIMARY KEY, bytes BLOB);
             CREATE TABLE later (x INTEGER REFERENCES rows DEFERRABLE INITIALLY DEFERRED);
             {more}"
        ))
        .unwrap();
    Lab {
        writer: Writer::start(connection, Arc::new(SystemClock), Telling::default(), Arc::default()).unwrap(),
        path,
        _dir: dir,
    }
}

fn insert(tx: &WriteTx<'_>, x: i64) -> Result<(), Error> {
    tx.connection().execute("INSERT INTO rows (x) VALUES (?1)", [x])?;
    Ok(())
}

impl Lab {
    /// What is committed, as another connection sees it.
    fn rows(&self) -> Vec<i64> {
        let connection = Connection::open(&self.path).unwrap();
        let mut statement = connection.prepare("SELECT x FROM rows ORDER BY x").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// Keeps the writer busy until the sender is dropped, so that what is called meanwhile shares a transaction.
    fn block(&self) -> (impl Future<Output = Result<(), Error>>, mpsc::Sender<()>) {
        let (release, released) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel::<()>();
        let mut call = Box::pin(self.writer.call(move |_| {
            begun.send(()).unwrap();
            // Ends when the sender is dropped.
            released.recv().unwrap_err();
            Ok(())
        }));
        assert!(call.as_mut().now_or_never().is_none(), "it waits for its answer");
        begins.recv().unwrap();
        (call, release)
    }
}

#[tokio::test]
async fn an_answer_comes_after_the_commit() {
    let lab = start("");
    for x in 0..5 {
        lab.writer.call(move |tx| insert(tx, x)).await.unwrap();
        assert_eq!(lab.rows(), (0..=x).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn commands_that_fail_or_panic_take_back_their_own_changes_and_nobody_elses() {
    let lab = start("");
    let (blocked, release) = lab.block();
    let calls: Vec<_> = (0..6)
        .map(|x| {
            let mut call = Box::pin(lab.writer.call(move |tx| {
                insert(tx, x)?;
                match x % 3 {
                    1 => Err(Error::NotFound),
                    2 => panic!("planned"),
                    _ => Ok(x),
                }
            }));
            assert!(call.as_mut().now_or_never().is_none());
            call
        })
        .collect();
    drop(release);
    blocked.await.unwrap();
    let results = join_all(calls).await;
    for (x, result) in results.iter().enumerate() {
        match x % 3 {
            0 => assert_eq!(*result.as_ref().unwrap(), x as i64),
            1 => assert!(matches!(result, Err(Error::NotFound)), "{result:?}"),
            _ => assert!(matches!(result, Err(Error::Broken(_))), "{result:?}"),
        }
    }
    assert_eq!(lab.rows(), [0, 3]);
    lab.writer.call(|tx| insert(tx, 9)).await.unwrap();
    assert_eq!(lab.rows(), [0, 3, 9]);
}

#[tokio::test]
async fn watchers_hear_of_events_that_were_kept_and_of_no_others() {
    let lab = start("");
    let events = lab.writer.events();
    let next = |keep: bool| {
        lab.writer.call(move |tx| {
            let seq = tx.next_event();
            if keep { Ok(seq) } else { Err(Error::NotFound) }
        })
    };
    assert_eq!(*events.borrow(), 6);
    assert_eq!(next(true).await.unwrap(), 7);
    assert_eq!(*events.borrow(), 7);
    next(false).await.unwrap_err();
    assert_eq!(*events.borrow(), 7);
    assert_eq!(next(true).await.unwrap(), 9);
    assert_eq!(*events.borrow(), 9);
}

#[tokio::test]
async fn what_the_first_of_a_transaction_wrote_is_taken_back_alone() {
    let lab = start("");
    let (begun, begins) = mpsc::channel::<()>();
    let (release, released) = mpsc::channel::<()>();
    let mut first = Box::pin(lab.writer.call(move |tx| {
        insert(tx, 1)?;
        begun.send(()).unwrap();
        released.recv().unwrap_err();
        Err::<(), _>(Error::NotFound)
    }));
    assert!(first.as_mut().now_or_never().is_none());
    begins.recv().unwrap();
    let mut others: Vec<futures_util::future::LocalBoxFuture<'_, Result<(), Error>>> = vec![
        Box::pin(lab.writer.call(|tx| insert(tx, 2).and(Err(Error::NotFound)))),
        Box::pin(lab.writer.call(|tx| insert(tx, 3))),
        Box::pin(lab.writer.call(|tx| insert(tx, 4).and(Err(Error::NotFound)))),
        Box::pin(lab.writer.call(|tx| insert(tx, 5))),
    ];
    assert!(others.iter_mut().all(|call| call.as_mut().now_or_never().is_none()));
    drop(release);
    assert!(matches!(first.await, Err(Error::NotFound)));
    let went_well: Vec<bool> = join_all(others).await.iter().map(Result::is_ok).collect();
    assert_eq!(went_well, [false, true, false, true]);
    assert_eq!(lab.rows(), [3, 5]);
}

#[tokio::test]
async fn a_full_queue_is_told_at_once_and_empties_again() {
    let lab = start("");
    let (blocked, release) = lab.block();
    let mut waiting = Vec::new();
    for x in 0..QUEUE_MAX as i64 {
        let mut call = Box::pin(lab.writer.call(move |tx| insert(tx, x)));
        assert!(call.as_mut().now_or_never().is_none(), "the queue has room for {QUEUE_MAX}");
        waiting.push(call);
    }
    let refused = lab.writer.call(|tx| insert(tx, -1)).now_or_never();
    assert!(matches!(refused, Some(Err(Error::Busy))), "{refused:?}");
    drop(release);
    blocked.await.unwrap();
    assert!(join_all(waiting).await.iter().all(Result::is_ok));
    assert_eq!(lab.rows().len(), QUEUE_MAX);
    lab.writer.call(|tx| insert(tx, -1)).await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_was_lost_under_a_command_is_a_no_for_all_that_shared_it() {
    let lab = start("");
    lab.writer.call(|tx| insert(tx, 0)).await.unwrap();
    let (blocked, release) = lab.block();
    let mut calls: [futures_util::future::LocalBoxFuture<'_, Result<(), Error>>; 2] = [
        Box::pin(lab.writer.call(|tx| insert(tx, 1))),
        Box::pin(lab.writer.call(|tx| {
            insert(tx, 2)?;
            // As SQLite does by itself when the disk is full.
            tx.connection().execute_batch("ROLLBACK")?;
            Ok(())
        })),
    ];
    assert!(calls.iter_mut().all(|call| call.as_mut().now_or_never().is_none()));
    drop(release);
    assert!(matches!(blocked.await, Err(Error::DiskFull)));
    for result in join_all(calls).await {
        assert!(matches!(result, Err(Error::DiskFull)), "{result:?}");
    }
    assert_eq!(lab.rows(), [0]);
    lab.writer.call(|tx| insert(tx, 3)).await.unwrap();
    assert_eq!(lab.rows(), [0, 3]);
}

#[tokio::test]
async fn a_commit_that_fails_is_a_no() {
    let lab = start("");
    let refused = lab
        .writer
        .call(|tx| {
            insert(tx, 1)?;
            tx.connection().execute("INSERT INTO later (x) VALUES (99)", [])?;
            tx.next_event();
            Ok(())
        })
        .await;
    assert!(matches!(refused, Err(Error::Broken(_))), "{refused:?}");
    assert_eq!((lab.rows(), *lab.writer.events().borrow()), (vec![], 6));
    lab.writer.call(|tx| insert(tx, 2)).await.unwrap();
    assert_eq!(lab.rows(), [2]);
}

#[tokio::test]
async fn a_full_disk_is_told_and_what_fits_is_still_written() {
    let lab = start("PRAGMA max_page_count = 20;");
    let large = lab
        .writer
        .call(|tx| {
            tx.connection().execute("INSERT INTO rows (x, bytes) VALUES (1, zeroblob(1000000))", [])?;
            Ok(())
        })
        .await;
    assert!(matches!(large, Err(Error::DiskFull)), "{large:?}");
    lab.writer.call(|tx| insert(tx, 2)).await.unwrap();
    assert_eq!(lab.rows(), [2]);
}

#[tokio::test]
async fn a_writer_that_can_not_begin_says_to_come_back() {
    let lab = start("");
    let other = Connection::open(&lab.path).unwrap();
    lab.writer
        .call(|tx| {
            tx.connection().busy_timeout(std::time::Duration::ZERO)?;
            Ok(())
        })
        .await
        .unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = lab.writer.call(|tx| insert(tx, 1)).await;
    assert!(matches!(refused, Err(Error::Busy)), "{refused:?}");
    other.execute_batch("ROLLBACK").unwrap();
    lab.writer.call(|tx| insert(tx, 2)).await.unwrap();
    assert_eq!(lab.rows(), [2]);
}

#[test]
fn a_caller_that_stalls_does_not_hold_up_its_runtime() {
    use std::io::{Read, Write};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const BYTES: usize = 100;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let lab = Arc::new(start(""));
    // As after many brisk commits.
    (0..100).for_each(|_| lab.writer.stats().pace.note(Duration::ZERO));
    // Gives a socket, and a task at its other end that sends a byte back, many times, and then does something at the next.
    // By then one of the two threads waits for sockets, and the other one for that.
    let on_byte = |work: Box<dyn Future<Output = ()> + Send + Unpin>| {
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let _inside = runtime.enter();
        let mut theirs = tokio::net::UnixStream::from_std(theirs).unwrap();
        let task = runtime.spawn(async move {
            for _ in 0..BYTES {
                let byte = theirs.read_u8().await.unwrap();
                theirs.write_u8(byte).await.unwrap();
            }
            theirs.read_u8().await.unwrap();
            work.await;
        });
        for _ in 0..BYTES {
            ours.write_all(b"x").unwrap();
            ours.read_exact(&mut [0]).unwrap();
        }
        (ours, task)
    };
    let (begun, begins) = mpsc::channel::<()>();
    let (release, released) = mpsc::channel::<()>();
    let (is_told, told) = mpsc::channel::<()>();
    let its = lab.clone();
    let stalling = Box::pin(async move {
        let command = move |_: &WriteTx<'_>| {
            begun.send(()).unwrap();
            released.recv_timeout(Duration::from_secs(60)).map_err(|_| Error::Broken("it waited in vain".to_owned()))
        };
        its.writer.call(command).await.unwrap();
    });
    let (mut first, call) = on_byte(Box::new(stalling));
    let (mut second, _) = on_byte(Box::new(Box::pin(async move { is_told.send(()).unwrap() })));
    first.write_all(b"x").unwrap();
    begins.recv().unwrap();
    second.write_all(b"x").unwrap();
    told.recv().unwrap();
    release.send(()).unwrap();
    runtime.block_on(call).unwrap();
}

#[tokio::test]
async fn a_stop_finishes_what_is_queued_and_refuses_what_comes_later() {
    let lab = start("");
    let (blocked, release) = lab.block();
    let mut queued = Box::pin(lab.writer.call(|tx| insert(tx, 1)));
    assert!(queued.as_mut().now_or_never().is_none());
    drop(release);
    lab.writer.stop();
    blocked.await.unwrap();
    queued.await.unwrap();
    let late = lab.writer.call(|tx| insert(tx, 2)).await;
    assert!(matches!(late, Err(Error::Closing)), "{late:?}");
    assert_eq!(lab.rows(), [1]);
    lab.writer.stop();
}

/// Says whether a command ran in the writer's thread.
async fn ran_in_thread(writer: &Writer) -> bool {
    let name = |_: &WriteTx<'_>| Ok(std::thread::current().name() == Some("labrun-writer"));
    writer.call(name).await.unwrap()
}

#[tokio::test]
async fn a_caller_that_must_not_block_leaves_the_writing_to_the_thread() {
    assert!(ran_in_thread(&start("").writer).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_finds_nobody_writing_writes_by_itself() {
    let lab = start("");
    let writer = Arc::new(lab.writer);
    let its = writer.clone();
    assert!(!tokio::spawn(async move { ran_in_thread(&its).await }).await.unwrap());
    writer.stop();
    let late = writer.call(|_| Ok(())).await;
    assert!(matches!(late, Err(Error::Closing)), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_turn_goes_round_among_callers_and_the_thread_and_nobody_is_left_out() {
    let lab = start("");
    let writer = Arc::new(lab.writer);
    let calls = (0..40).map(|task| {
        let writer = writer.clone();
        tokio::spawn(async move {
            for turn in 0..25 {
                let x = 100 * task + turn;
                let result = writer
                    .call(move |tx| match x % 10 {
                        7 => panic!("planned"),
                        _ => insert(tx, x),
                    })
                    .await;
                assert_eq!(result.is_ok(), x % 10 != 7, "{result:?}");
                // Its own row is there for everybody as soon as it is answered; a rest lets the queue run dry at times.
                tokio::task::yield_now().await;
            }
        })
    });
    for call in join_all(calls).await {
        call.unwrap();
    }
    let lab = Lab { writer: Arc::into_inner(writer).unwrap(), path: lab.path, _dir: lab._dir };
    assert_eq!(lab.rows().len(), 40 * 25 - (0..40 * 100).filter(|x| x % 100 < 25 && x % 10 == 7).count());
    assert_eq!((lab.writer.stats().queue_length(), lab.writer.stats().lost()), (0, 0));
    lab.writer.stop();
}
