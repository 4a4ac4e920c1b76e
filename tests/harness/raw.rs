//! HTTP by hand, for what no client would send.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::process::DEADLINE;
use super::request::Reply;

/// A connection on which bytes are sent as they are.
#[derive(Debug)]
pub(crate) struct Raw {
    socket: TcpStream,
    // What came beyond the last reply.
    rest: Vec<u8>,
}

impl Raw {
    /// Connects to a port of this machine.
    pub(crate) fn connect(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        socket.set_read_timeout(Some(DEADLINE)).expect("a time-out can be set");
        socket.set_write_timeout(Some(DEADLINE)).expect("a time-out can be set");
        Self { socket, rest: Vec::new() }
    }

    /// Sends bytes; a server that has answered and closed meanwhile is no failure.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        drop(self.socket.write_all(bytes.as_ref()));
        self
    }

    /// Says that nothing more comes.
    pub(crate) fn end(&mut self) -> &mut Self {
        drop(self.socket.shutdown(Shutdown::Write));
        self
    }

    /// Reads one reply; `None` when the server closes without one.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        let end = loop {
            if let Some(at) = find(&self.rest, b"\r\n\r\n") {
                break at;
            }
            if !self.more() {
                assert!(self.rest.is_empty(), "half a reply: {:?}", String::from_utf8_lossy(&self.rest));
                return None;
            }
        };
        let head: Vec<u8> = self.rest.drain(..end + 4).collect();
        let head = String::from_utf8(head).expect("a head is ASCII");
        let (first, lines) = head.split_once("\r\n").expect("a status line");
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let mut headers = HeaderMap::new();
        for (name, value) in lines.lines().filter_map(|line| line.split_once(": ")) {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
            headers.append(name, HeaderValue::from_str(value).expect("a header's value"));
        }
        let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let body = match length {
            Some(length) => {
                while self.rest.len() < length && self.more() {}
                assert!(self.rest.len() >= length, "the reply's body broke off");
                self.rest.drain(..length).collect()
            }
            None if status == 100 || status == 204 || status == 304 => Vec::new(),
            None => {
                while self.more() {}
                std::mem::take(&mut self.rest)
            }
        };
        Some(Reply { what: "a raw request".to_owned(), status, headers, body })
    }

    /// Says whether the server has closed the connection; waits until it does or sends something.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.rest.is_empty() && !self.more()
    }

    /// Throws away what came and was not looked at.
    pub(crate) fn skip(&mut self) {
        self.rest.clear();
    }

    /// Reads a piece; false at the end.
    fn more(&mut self) -> bool {
        let mut piece = [0; 4096];
        match self.socket.read(&mut piece) {
            Ok(read) => {
                self.rest.extend_from_slice(&piece[..read]);
                read > 0
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("the server sends nothing and does not close: {error}"),
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
