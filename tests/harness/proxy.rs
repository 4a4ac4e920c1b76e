//! A connection that breaks: a proxy before a server, which passes on so many bytes and then hangs up.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The proxy; it listens until the tests end.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Where connections go.
    target: AtomicU16,
    /// After how many bytes of the client each of the next connections is cut.
    cuts: Mutex<VecDeque<usize>>,
    cut: AtomicUsize,
    /// After how many bytes of answers, of all connections together, the one that carries them is cut.
    answers_left: Mutex<Option<usize>>,
    /// The connections that are open, or were.
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Starts one before a port of this machine.
    pub(crate) fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Shared {
            target: AtomicU16::new(target),
            cuts: Mutex::default(),
            cut: AtomicUsize::new(0),
            answers_left: Mutex::default(),
            open: Mutex::default(),
        };
        let proxy = Self { port, shared: Arc::new(shared) };
        let shared = proxy.shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                std::thread::spawn(move || pass_on(&shared, client));
            }
        });
        proxy
    }

    /// Its address.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Sends the connections to come elsewhere.
    pub(crate) fn redirect(&self, target: u16) {
        self.shared.target.store(target, Ordering::SeqCst);
    }

    /// Cuts the next connections that send as much, each after so many bytes of its client.
    pub(crate) fn cut(&self, after_bytes: &[usize]) {
        self.shared.cuts.lock().expect("no test panics while it holds this").extend(after_bytes);
    }

    /// Cuts the connection that brings the last of so many bytes of answers.
    pub(crate) fn cut_answers(&self, after_bytes: usize) {
        *self.shared.answers_left.lock().expect("no test panics while it holds this") = Some(after_bytes);
    }

    /// Cuts all connections that are open, and sends those to come elsewhere.
    pub(crate) fn hang_up_and_redirect(&self, target: u16) {
        self.redirect(target);
        for stream in self.shared.open.lock().expect("no test panics while it holds this").drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// How many connections were cut.
    pub(crate) fn cuts_made(&self) -> usize {
        self.shared.cut.load(Ordering::SeqCst)
    }
}

/// Passes bytes on in both directions until one side ends or the cut comes.
fn pass_on(shared: &Arc<Shared>, client: TcpStream) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.target.load(Ordering::SeqCst))) else { return };
    let (Ok(back), Ok(answers)) = (client.try_clone(), server.try_clone()) else { return };
    let clones = [&client, &server].into_iter().flat_map(TcpStream::try_clone);
    shared.open.lock().expect("no test panics while it holds this").extend(clones);
    let shared_too = shared.clone();
    std::thread::spawn(move || {
        copy(answers, back, |count| {
            let mut left = shared_too.answers_left.lock().expect("no test panics while it holds this");
            let may_pass = left.map_or(count, |left| left.min(count));
            *left = left.and_then(|left| left.checked_sub(count)).filter(|left| *left > 0);
            if may_pass < count {
                shared_too.cut.fetch_add(1, Ordering::SeqCst);
            }
            may_pass
        });
    });
    let mut passed = 0;
    copy(client, server, |count| {
        passed += count;
        let mut cuts = shared.cuts.lock().expect("no test panics while it holds this");
        if cuts.front().is_none_or(|after| passed < *after) {
            return count;
        }
        cuts.pop_front();
        shared.cut.fetch_add(1, Ordering::SeqCst);
        // All of this piece has arrived when the connection breaks.
        count + 1
    });
}

/// Copies until an end, or until `allow` lets through another number of bytes than there are: a cut, after as many of
/// them as it says.
fn copy(mut from: TcpStream, mut to: TcpStream, mut allow: impl FnMut(usize) -> usize) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        let allowed = allow(count);
        if to.write_all(&piece[..count.min(allowed)]).is_err() || allowed != count {
            break;
        }
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}
