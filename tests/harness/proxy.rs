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
}

impl Proxy {
    /// Starts one before a port of this machine.
    pub(crate) fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Shared { target: AtomicU16::new(target), cuts: Mutex::default(), cut: AtomicUsize::new(0) };
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

    /// How many connections were cut.
    pub(crate) fn cuts_made(&self) -> usize {
        self.shared.cut.load(Ordering::SeqCst)
    }
}

/// Passes bytes on in both directions until one side ends or the cut comes.
fn pass_on(shared: &Shared, mut client: TcpStream) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", shared.target.load(Ordering::SeqCst))) else { return };
    let (Ok(mut back), Ok(mut answers)) = (client.try_clone(), server.try_clone()) else { return };
    std::thread::spawn(move || {
        drop(std::io::copy(&mut answers, &mut back));
        drop(back.shutdown(Shutdown::Both));
        drop(answers.shutdown(Shutdown::Both));
    });
    let mut piece = vec![0; 64 << 10];
    let mut passed = 0;
    while let Ok(read @ 1..) = client.read(&mut piece) {
        if server.write_all(&piece[..read]).is_err() {
            break;
        }
        passed += read;
        let mut cuts = shared.cuts.lock().expect("no test panics while it holds this");
        if cuts.front().is_some_and(|after| passed >= *after) {
            cuts.pop_front();
            shared.cut.fetch_add(1, Ordering::SeqCst);
            break;
        }
    }
    drop(client.shutdown(Shutdown::Both));
    drop(server.shutdown(Shutdown::Both));
}
