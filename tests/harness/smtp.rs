//! A mail server on loopback: a real TCP server that speaks SMTP, keeps what it takes, and can be told to refuse, to
//! fall silent or to hang up.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpSocket;

/// How long a test waits for an e-mail.
const PATIENCE: Duration = Duration::from_secs(30);

/// An e-mail that the server took.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// The sender of the envelope.
    pub from: String,
    /// The recipients of the envelope.
    pub to: Vec<String>,
    /// Headers and text, lines ended by `\n`.
    pub text: String,
}

impl Delivered {
    /// Gives a header's value, if it is there; folded lines are not put together.
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\n\n").next()?;
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Gives what comes after the headers.
    pub fn body(&self) -> &str {
        self.text.split_once("\n\n").map_or("", |(_, body)| body).trim_end()
    }
}

/// What the server does instead of what it should.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Answers this.
    Reply(&'static str),
    /// Says nothing any more, and waits for the client to go.
    Silence,
    /// Closes the connection.
    HangUp,
}

#[derive(Debug, Default)]
struct State {
    delivered: Vec<Delivered>,
    /// Every line that came, but for the texts.
    commands: Vec<String>,
    /// At which command, what, and how many times still.
    faults: Vec<(String, Fault, usize)>,
    /// Base64 of the PLAIN credentials that are asked for.
    credentials: Option<String>,
    stopped: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A port on which nothing listens, and which nobody else is given: a socket that has the port and takes no connection.
#[derive(Debug)]
pub struct ClosedPort(TcpSocket);

impl ClosedPort {
    /// Takes a free one.
    pub fn take() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        Self(socket)
    }

    /// Its number.
    pub fn port(&self) -> u16 {
        self.0.local_addr().expect("its address").port()
    }

    /// Starts a mail server on it. Within a runtime.
    pub fn open(self) -> Smtp {
        let listener = self.0.listen(64).and_then(tokio::net::TcpListener::into_std).expect("it can be listened on");
        listener.set_nonblocking(false).expect("it can block");
        Smtp::on(listener)
    }
}

/// The server; it ends when dropped.
#[derive(Debug)]
pub struct Smtp {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Smtp {
    /// Starts one on a free port.
    pub fn start() -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for the mail server"))
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared::default());
        let accepting = std::thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Makes it misbehave a number of times, at lines that begin with `at`: a command, such as `RCPT TO:<a@b>`, or
    /// `CONNECT`, or `TEXT` for the end of an e-mail's text.
    pub fn fault(&self, at: &str, fault: Fault, times: usize) {
        self.shared.state().faults.push((at.to_owned(), fault, times));
    }

    /// Asks for these credentials, base64 of `\0user\0password`, from now on.
    pub fn demand(&self, credentials: &str) {
        self.shared.state().credentials = Some(credentials.to_owned());
    }

    /// Gives what it has taken.
    pub fn delivered(&self) -> Vec<Delivered> {
        self.shared.state().delivered.clone()
    }

    /// Gives every command that came.
    pub fn commands(&self) -> Vec<String> {
        self.shared.state().commands.clone()
    }

    /// Waits until it has taken so many e-mails, and gives them.
    pub fn wait_for(&self, count: usize) -> Vec<Delivered> {
        let too_few = |state: &mut State| state.delivered.len() < count;
        let waited = self.shared.news.wait_timeout_while(self.shared.state(), PATIENCE, too_few);
        let (state, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!outcome.timed_out(), "{count} e-mails did not come; these lines did: {:#?}", state.commands);
        state.delivered.clone()
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.shared.state().stopped = true;
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.state().stopped {
            return;
        }
        let shared = shared.clone();
        if let Ok(stream) = stream {
            // An error is a client that has gone.
            std::thread::spawn(move || drop(Talk::new(stream, shared).and_then(|mut talk| talk.run())));
        }
    }
}

/// One connection.
struct Talk {
    lines: BufReader<TcpStream>,
    out: TcpStream,
    shared: Arc<Shared>,
}

impl Talk {
    fn new(stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<Self> {
        Ok(Self { lines: BufReader::new(stream.try_clone()?), out: stream, shared })
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn say(&mut self, reply: &str) -> std::io::Result<()> {
        self.out.write_all(format!("{reply}\r\n").as_bytes())
    }

    /// Answers a line: as it should be, or as a fault has it. Says whether it was as it should be.
    fn answer(&mut self, line: &str, usual: &str) -> std::io::Result<bool> {
        let fault = {
            let mut state = self.shared.state();
            let hit = state.faults.iter_mut().find(|(at, _, times)| *times > 0 && line.starts_with(at.as_str()));
            hit.map(|(_, fault, times)| {
                *times -= 1;
                *fault
            })
        };
        match fault {
            None => self.say(usual).map(|()| true),
            Some(Fault::Reply(reply)) => self.say(reply).map(|()| false),
            Some(Fault::HangUp) => Err(std::io::ErrorKind::ConnectionAborted.into()),
            Some(Fault::Silence) => loop {
                self.line()?;
            },
        }
    }

    fn run(&mut self) -> std::io::Result<()> {
        if !self.answer("CONNECT", "220 lab ready")? {
            return Ok(());
        }
        let (mut from, mut to) = (String::new(), Vec::new());
        loop {
            let line = self.line()?;
            self.shared.state().commands.push(line.clone());
            let credentials = self.shared.state().credentials.clone();
            if line.starts_with("EHLO") {
                let greeting = if credentials.is_some() { "250-lab\r\n250-AUTH PLAIN" } else { "250-lab" };
                self.answer(&line, &format!("{greeting}\r\n250 8BITMIME"))?;
            } else if let Some(given) = line.strip_prefix("AUTH PLAIN ") {
                let right = credentials.as_deref() == Some(given);
                self.answer(&line, if right { "235 come in" } else { "535 who are you" })?;
            } else if line.starts_with("MAIL FROM:") {
                (from, to) = (address(&line), Vec::new());
                self.answer(&line, "250 ok")?;
            } else if line.starts_with("RCPT TO:") {
                if self.answer(&line, "250 ok")? {
                    to.push(address(&line));
                }
            } else if line == "DATA" {
                if self.answer(&line, "354 go ahead")? {
                    self.take(from.clone(), to.clone())?;
                }
            } else if line == "QUIT" {
                self.answer(&line, "221 bye")?;
                return Ok(());
            } else {
                self.answer(&line, "502 what")?;
            }
        }
    }

    /// Reads a text to its end and keeps it.
    fn take(&mut self, from: String, to: Vec<String>) -> std::io::Result<()> {
        let mut text = String::new();
        loop {
            let line = self.line()?;
            if line == "." {
                break;
            }
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
            text.push('\n');
        }
        if self.answer("TEXT", "250 taken")? {
            self.shared.state().delivered.push(Delivered { from, to, text });
            self.shared.news.notify_all();
        }
        Ok(())
    }
}

/// Gives what stands between the angle brackets.
fn address(line: &str) -> String {
    let inner = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map(|(address, _)| address.to_owned()).unwrap_or_default()
}
