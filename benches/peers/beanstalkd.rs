//! beanstalkd with a log that is synced for each write (`-f 0`): a work queue with a durable yes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::drive::{Log, Worker};
use crate::process::{Process, free_port, is_installed};

/// A running beanstalkd.
#[derive(Debug)]
pub(crate) struct Beanstalkd {
    port: u16,
    _process: Process,
}

impl Beanstalkd {
    /// Starts it with its log in a directory; `None` when it is not installed.
    pub(crate) async fn start(dir: &Path) -> anyhow::Result<Option<Self>> {
        if !is_installed("beanstalkd") {
            return Ok(None);
        }
        let port = free_port()?;
        let log = dir.join("beanstalkd");
        std::fs::create_dir_all(&log)?;
        let mut command = Command::new("beanstalkd");
        command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-f", "0", "-b"]).arg(&log).stdout(Stdio::null());
        let process = Process::spawn(command.stderr(Stdio::null()))?;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Some(Self { port, _process: process }))
    }

    /// Opens connections that put, reserve and delete.
    pub(crate) async fn workers(&self, count: usize) -> anyhow::Result<Vec<Producer>> {
        let mut workers = Vec::new();
        for _ in 0..count {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.set_nodelay(true)?;
            workers.push(Producer { stream, buffer: Vec::new() });
        }
        Ok(workers)
    }
}

/// A connection that goes through put, reserve and delete.
#[derive(Debug)]
pub(crate) struct Producer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Producer {
    /// Sends a command and gives its answer: one line, or two when a job comes with it.
    async fn call(&mut self, command: &[u8], lines: usize) -> anyhow::Result<&str> {
        self.stream.write_all(command).await?;
        self.buffer.clear();
        while self.buffer.iter().filter(|byte| **byte == b'\n').count() < lines {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "beanstalkd closed the connection");
        }
        Ok(std::str::from_utf8(&self.buffer)?)
    }
}

impl Worker for Producer {
    async fn cycle(&mut self, _log: &mut Log) -> anyhow::Result<()> {
        let put = self.call(b"put 0 0 60 16\r\n0123456789abcdef\r\n", 1).await?;
        ensure!(put.starts_with("INSERTED"), "put was answered {put}");
        let reserved = self.call(b"reserve\r\n", 2).await?;
        let pk = reserved.strip_prefix("RESERVED ").and_then(|rest| rest.split(' ').next());
        let delete = format!("delete {}\r\n", pk.context("a job is reserved")?);
        let deleted = self.call(delete.as_bytes(), 1).await?;
        ensure!(deleted.starts_with("DELETED"), "delete was answered {deleted}");
        Ok(())
    }
}
