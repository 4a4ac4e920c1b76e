//! As much of WebSocket as it takes to receive messages.

use anyhow::{bail, ensure};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::lab::Caller;

/// A connection that watches a job.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Socket {
    /// Watches a job; takes over a caller's connection.
    pub(crate) async fn watch(mut caller: Caller, job: i64) -> anyhow::Result<Self> {
        // The key is any 16 bytes; nothing here depends on the answer to it.
        let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let head = caller.head("GET", format_args!("/v1/jobs/{job}"), upgrade, 0);
        let head = head.replace("content-length: 0\r\n", "");
        caller.connection.send(head.as_bytes()).await?;
        let (stream, buffer) = caller.connection.upgraded().await?;
        Ok(Self { stream, buffer })
    }

    /// Waits for the next message, a text of less than 64 KiB.
    pub(crate) async fn message(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some((opcode, start, end)) = frame(&self.buffer) {
                let text = String::from_utf8_lossy(&self.buffer[start..end]).into_owned();
                self.buffer.drain(..end);
                match opcode {
                    0x1 => return Ok(text),
                    0x8 => bail!("the server closed the socket"),
                    _ => continue,
                }
            }
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection was closed");
        }
    }
}

/// Finds the first whole frame: its opcode, and where its text is.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (start, length) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        length => (2, usize::from(length)),
    };
    (bytes.len() >= start + length).then_some((first & 0x0f, start, start + length))
}
