//! A wire between a command and the server that a test can cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A port that passes bytes on to another, as long as it is told to.
#[derive(Debug)]
pub(crate) struct Relay {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    target: u16,
    open: Vec<TcpStream>,
    /// Bytes of answers that still come through before the connection is cut.
    budget: Option<usize>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    /// Makes one that leads to a port. It ends with the test's process.
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Mutex::new(State { target, open: Vec::new(), budget: None }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Where nobody answers, the client's connection ends at once.
                let target = lock(&shared).target;
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                lock(&shared).open.extend([&client, &server].map(|stream| stream.try_clone().expect("a clone")));
                let (from, to) = (client.try_clone().expect("a clone"), server.try_clone().expect("a clone"));
                std::thread::spawn(move || pass(from, to, None));
                let shared = shared.clone();
                std::thread::spawn(move || pass(server, client, Some(&shared)));
            }
        });
        Self { port, state }
    }

    /// The port to call.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection, and leads the next ones to another port.
    pub(crate) fn cut_and_lead_to(&self, target: u16) {
        let mut state = lock(&self.state);
        state.target = target;
        for stream in state.open.drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// Cuts the connection that brings the last of so many bytes of answers; those after it are left alone.
    pub(crate) fn cut_after(&self, bytes: usize) {
        lock(&self.state).budget = Some(bytes);
    }

    /// Says whether a cut that was asked for has happened.
    pub(crate) fn has_cut(&self) -> bool {
        lock(&self.state).budget.is_none()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, state: Option<&Mutex<State>>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let may_pass = state.map_or(count, |state| {
            let mut state = lock(state);
            let may_pass = state.budget.map_or(count, |budget| budget.min(count));
            state.budget = state.budget.and_then(|budget| budget.checked_sub(count)).filter(|left| *left > 0);
            may_pass
        });
        if to.write_all(&buffer[..may_pass]).is_err() || may_pass < count {
            break;
        }
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}
