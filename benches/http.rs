//! HTTP/1.1 by hand: request bytes that are written as they are, and no more parsing than it takes to find the end of
//! an answer. A full client would cost more than the server on the cores that both share.

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How much is read at a time of bodies that are thrown away.
const READ_BYTES: usize = 256 << 10;

/// One kept-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, in the connection's buffer.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    /// The status code.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: &'a [u8],
}

impl Reply<'_> {
    /// Gives the number after `"pk":`, which begins every object.
    pub(crate) fn pk(&self) -> anyhow::Result<i64> {
        let rest = self.body.strip_prefix(b"{\"pk\":").context("the answer does not begin with a pk")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
        Ok(digits.fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }
}

/// What the head of an answer says of its body.
#[derive(Debug, Clone, Copy)]
struct Head {
    status: u16,
    bytes: usize,
    length: BodyLength,
}

#[derive(Debug, Clone, Copy)]
enum BodyLength {
    Known(u64),
    Chunked,
}

impl Connection {
    /// Connects to a port of this machine.
    pub(crate) async fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.context("the server can't be reached")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(8 << 10) })
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Receives an answer of known length.
    pub(crate) async fn receive(&mut self) -> anyhow::Result<Reply<'_>> {
        let head = self.head().await?;
        let BodyLength::Known(length) = head.length else { bail!("the answer has no length") };
        let end = head.bytes + usize::try_from(length)?;
        while self.buffer.len() < end {
            self.read_more().await?;
        }
        Ok(Reply { status: head.status, body: &self.buffer[head.bytes..end] })
    }

    /// Receives an answer and throws its body away; gives its status and how many bytes of body came.
    pub(crate) async fn receive_and_drop(&mut self) -> anyhow::Result<(u16, u64)> {
        let head = self.head().await?;
        let mut came = (self.buffer.len() - head.bytes) as u64;
        let mut chunks = Chunks::default();
        let mut ended = chunks.feed(&self.buffer[head.bytes..]);
        self.buffer.resize(self.buffer.len().max(READ_BYTES), 0);
        loop {
            match head.length {
                BodyLength::Known(length) if came >= length => break,
                BodyLength::Chunked if ended => break,
                _ => {}
            }
            let count = self.stream.read(&mut self.buffer).await?;
            if count == 0 {
                bail!("the answer broke off after {came} bytes");
            }
            came += count as u64;
            if matches!(head.length, BodyLength::Chunked) {
                ended = chunks.feed(&self.buffer[..count]);
            }
        }
        Ok((head.status, came))
    }

    /// Gives the stream with the bytes that were read beyond the head, after an upgrade.
    pub(crate) async fn upgraded(mut self) -> anyhow::Result<(TcpStream, Vec<u8>)> {
        let head = self.head().await?;
        if head.status != 101 {
            bail!("the upgrade was answered {}", head.status);
        }
        Ok((self.stream, self.buffer.split_off(head.bytes)))
    }

    /// Goes on without the runtime: for one caller that has nothing else to do while it waits, as most nodes have. Waiting
    /// through the runtime takes two more calls of the system, which count where a single answer is timed.
    pub(crate) fn blocking(self) -> anyhow::Result<BlockingConnection> {
        let stream = self.stream.into_std()?;
        stream.set_nonblocking(false)?;
        Ok(BlockingConnection { stream, buffer: self.buffer })
    }

    async fn read_more(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the connection was closed");
        }
        Ok(())
    }

    async fn head(&mut self) -> anyhow::Result<Head> {
        self.buffer.clear();
        loop {
            self.read_more().await?;
            if let Some(head) = Head::find(&self.buffer)? {
                return Ok(head);
            }
        }
    }
}

/// One kept-alive connection that blocks its thread.
#[derive(Debug)]
pub(crate) struct BlockingConnection {
    stream: std::net::TcpStream,
    buffer: Vec<u8>,
}

impl BlockingConnection {
    /// Sends a request and receives its answer, of known length.
    pub(crate) fn call(&mut self, request: &[u8]) -> anyhow::Result<Reply<'_>> {
        use std::io::{Read, Write};
        self.stream.write_all(request)?;
        self.buffer.resize(8 << 10, 0);
        let (mut came, mut head) = (0, None);
        loop {
            let count = self.stream.read(&mut self.buffer[came..])?;
            ensure!(count > 0, "the connection was closed, or the answer has more than 8 KiB");
            came += count;
            if head.is_none() {
                head = Head::find(&self.buffer[..came])?;
            }
            let Some(Head { status, bytes, length }) = head else { continue };
            let BodyLength::Known(length) = length else { bail!("the answer has no length") };
            let end = bytes + usize::try_from(length)?;
            if came >= end {
                return Ok(Reply { status, body: &self.buffer[bytes..end] });
            }
        }
    }
}

impl Head {
    /// Finds a whole head at the beginning of what came.
    fn find(came: &[u8]) -> anyhow::Result<Option<Self>> {
        let end = came.windows(4).position(|four| four == b"\r\n\r\n");
        end.map(|end| Self::parse(&came[..end], end + 4)).transpose()
    }

    fn parse(text: &[u8], bytes: usize) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(text)?;
        let status = text.get(9..12).and_then(|digits| digits.parse().ok()).context("the answer has no status")?;
        let mut length = BodyLength::Known(0);
        for line in text.split("\r\n").skip(1) {
            let Some((name, value)) = line.split_once(':') else { continue };
            if name.eq_ignore_ascii_case("content-length") {
                length = BodyLength::Known(value.trim().parse()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                length = BodyLength::Chunked;
            }
        }
        Ok(Self { status, bytes, length })
    }
}

/// Finds the end of a chunked body.
#[derive(Debug, Default)]
struct Chunks {
    /// Bytes of the present chunk that are to come, its line end included.
    rest: usize,
    size: usize,
    ended: bool,
}

impl Chunks {
    /// Takes the next bytes; says whether the last chunk has begun to end.
    fn feed(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() && !self.ended {
            if self.rest > 0 {
                let now = self.rest.min(bytes.len());
                self.rest -= now;
                bytes = &bytes[now..];
                continue;
            }
            match bytes[0] {
                b'\n' if self.size == 0 => self.ended = true,
                b'\n' => self.rest = std::mem::take(&mut self.size) + 2,
                digit => {
                    if let Some(value) = char::from(digit).to_digit(16) {
                        self.size = self.size * 16 + value as usize;
                    }
                }
            }
            bytes = &bytes[1..];
        }
        self.ended
    }
}
