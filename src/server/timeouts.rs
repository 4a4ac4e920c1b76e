//! A connection that is cut when its client is too slow: to begin a request, to send the rest of its head, or to read
//! the answer.
//!
//! hyper has one time-out for the wait between requests and for the head of the next one together. A client that
//! sends a head byte by byte must be cut early, though, while one that rests between two requests may keep its
//! connection. So the stream itself measures, and the service tells it through [`Gate`] whether a request is under way.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use warp::hyper::body::{Body, Frame, SizeHint};

use super::Limits;

/// No request is under way: the next bytes begin one.
const WAITING: u8 = 0;
/// A request is under way; its own rules say how long it may take.
const BUSY: u8 = 1;
/// The connection is no longer HTTP.
const UPGRADED: u8 = 2;

/// What a connection is doing, as the service tells it.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<AtomicU8>);

impl Gate {
    /// A head is complete.
    pub(super) fn request_began(&self) {
        self.0.store(BUSY, Ordering::Relaxed);
    }

    /// The connection goes on as something else.
    pub(super) fn upgraded(&self) {
        self.0.store(UPGRADED, Ordering::Relaxed);
    }

    fn answered(&self) {
        let _ = self.0.compare_exchange(BUSY, WAITING, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn state(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The body of an answer, which tells the gate when it has been sent.
#[derive(Debug)]
pub(super) struct Answer<B> {
    body: B,
    gate: Gate,
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, gate: Gate) -> Self {
        Self { body, gate }
    }
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        self.gate.answered();
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where a connection stands between two requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// A request is under way.
    Not,
    /// Nothing of the next request has come.
    ForFirstByte,
    /// Some of its head has come; the time runs from then.
    ForRestOfHead,
}

/// A stream with time-outs.
#[derive(Debug)]
pub(super) struct Timed<S> {
    stream: S,
    gate: Gate,
    limits: Limits,
    wait: Wait,
    read_by: Deadline,
    write_by: Deadline,
}

/// A timer that is made once and set again and again.
#[derive(Debug, Default)]
struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
    is_set: bool,
}

impl Deadline {
    fn set(&mut self, time: Duration) {
        let at = Instant::now() + time;
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(at),
            None => self.timer = Some(Box::pin(tokio::time::sleep_until(at))),
        }
        self.is_set = true;
    }

    /// Says that it has passed; else wakes the task when it does.
    fn check(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) if self.is_set => timer.as_mut().poll(cx),
            _ => Poll::Pending,
        }
    }
}

impl<S> Timed<S> {
    /// Wraps a new connection. The first head may take no longer than any other, counted from now.
    pub(super) fn new(stream: S, gate: Gate, limits: Limits) -> Self {
        let mut read_by = Deadline::default();
        read_by.set(limits.head_time_max);
        Self { stream, gate, limits, wait: Wait::ForRestOfHead, read_by, write_by: Deadline::default() }
    }

    /// Notes what the service says, and that bytes came.
    fn note(&mut self, came: bool) {
        if self.gate.state() != WAITING {
            self.wait = Wait::Not;
            self.read_by.is_set = false;
            return;
        }
        match self.wait {
            Wait::ForFirstByte if came => {
                self.wait = Wait::ForRestOfHead;
                self.read_by.is_set = false;
            }
            Wait::Not => {
                self.wait = if came { Wait::ForRestOfHead } else { Wait::ForFirstByte };
                self.read_by.is_set = false;
            }
            Wait::ForFirstByte | Wait::ForRestOfHead => {}
        }
    }

    /// Sets the timer of the present wait unless it runs: only when there is nothing to read, since most heads come whole.
    fn read_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.read_by.is_set {
            match self.wait {
                Wait::Not => return Poll::Pending,
                Wait::ForFirstByte => self.read_by.set(self.limits.idle_time_max),
                Wait::ForRestOfHead => self.read_by.set(self.limits.head_time_max),
            }
        }
        self.read_by.check(cx)
    }

    /// Passes on what became of a write, unless the client has read nothing for too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() || self.gate.state() == UPGRADED {
            self.write_by.is_set = false;
            return written;
        }
        if !self.write_by.is_set {
            self.write_by.set(self.limits.silence_max);
        }
        ready!(self.write_by.check(cx));
        Poll::Ready(Err(too_slow()))
    }
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client was too slow")
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.note(buffer.filled().len() > before);
        if read.is_pending() && self.read_deadline(cx).is_ready() {
            return Poll::Ready(Err(too_slow()));
        }
        // Bytes that keep coming one by one never make a read wait, so the timer is looked at here as well.
        if self.wait == Wait::ForRestOfHead && self.read_by.is_set && self.read_by.check(cx).is_ready() {
            return Poll::Ready(Err(too_slow()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
