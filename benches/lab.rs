//! A server with a user, a template and nodes, and the calls that the parts are made of.

use std::fmt::{Arguments, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::drive::Log;
use crate::http::{Connection, Reply};
use crate::process::{PASSWORD, Server};

/// A template without inputs or parameters.
const TEMPLATE: &str = r#"{"name":"load","version":1,"description":"made by the load harness","scope":"public",
    "licence":"Apache 2.0","specific":{"job_type":"Export","executor_class":"lab.Load","required_packages":"",
    "parameters":{}}}"#;

/// What a job is made of.
pub(crate) const NEW_JOB: &str = r#"{"input_values":{},"parameter_values":{},"description":"a job of the harness"}"#;

/// A server with what the parts need.
#[derive(Debug)]
pub(crate) struct Lab {
    /// The server.
    pub(crate) server: Server,
    /// The key of the template.
    pub(crate) template: i64,
    token: Arc<str>,
    nodes: i64,
    dir: TempDir,
}

impl Lab {
    /// Starts a server in a new directory.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix("labrun-bench-")?;
        let server = Server::start(&dir.path().join("data"))?;
        let mut lab = Self { server, template: 0, token: "".into(), nodes: 0, dir };
        lab.log_in().await?;
        let mut caller = lab.caller().await?;
        lab.template =
            caller.call("POST", format_args!("/v1/job-templates/import"), TEMPLATE.as_bytes()).await?.pk()?;
        Ok(lab)
    }

    /// Stops the server, lets `work` at the data directory, and starts it again.
    pub(crate) async fn restart(&mut self, work: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let data = self.data_dir();
        self.server.process.stop()?;
        work(&data)?;
        self.server = Server::start(&data)?;
        self.log_in().await
    }

    /// Stops the server and starts it again.
    pub(crate) async fn start_again(&mut self) -> anyhow::Result<()> {
        self.restart(|_| Ok(())).await
    }

    /// The server's data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    async fn log_in(&mut self) -> anyhow::Result<()> {
        let mut caller = self.caller().await?;
        let body = format!(r#"{{"username":"admin","password":"{PASSWORD}"}}"#);
        let reply = caller.call("POST", format_args!("/v1/auth/obtain"), body.as_bytes()).await?;
        let pair: serde_json::Value = serde_json::from_slice(reply.body)?;
        self.token = pair["access"].as_str().context("a token is given")?.into();
        Ok(())
    }

    /// Opens a connection that calls for no node.
    pub(crate) async fn caller(&self) -> anyhow::Result<Caller> {
        let connection = Connection::open(self.server.port).await?;
        Ok(Caller { connection, token: self.token.clone(), node: None, request: Vec::new() })
    }

    /// Opens a connection that calls for a new node.
    pub(crate) async fn node(&mut self) -> anyhow::Result<Caller> {
        let mut caller = self.caller().await?;
        self.nodes += 1;
        // Two halves, so that runs on one database do not meet.
        let ip = format!("{}-{}", std::process::id(), self.nodes);
        let body = format!(r#"{{"ip":"{ip}","index":0,"cpu_mem":1}}"#);
        let pk = caller.call("POST", format_args!("/v1/nodes/create"), body.as_bytes()).await?.pk()?;
        caller.node = Some(pk);
        Ok(caller)
    }

    /// Opens so many.
    pub(crate) async fn nodes(&mut self, count: usize) -> anyhow::Result<Vec<Caller>> {
        let mut nodes = Vec::with_capacity(count);
        for _ in 0..count {
            nodes.push(self.node().await?);
        }
        Ok(nodes)
    }
}

/// A connection with a token, and a node perhaps.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The connection.
    pub(crate) connection: Connection,
    token: Arc<str>,
    node: Option<i64>,
    request: Vec<u8>,
}

impl Caller {
    /// Writes a request's head for a body of a length.
    pub(crate) fn head(&self, method: &str, path: Arguments<'_>, extra: &str, length: u64) -> String {
        let mut head = String::with_capacity(512);
        let node = self.node.map_or(String::new(), |node| format!("node-id: {node}\r\n"));
        let written = write!(
            head,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n{node}{extra}\
             content-length: {length}\r\n\r\n",
            self.token
        );
        written.expect("a String takes text");
        head
    }

    /// Calls, and takes nothing but success.
    pub(crate) async fn call(&mut self, method: &str, path: Arguments<'_>, body: &[u8]) -> anyhow::Result<Reply<'_>> {
        self.request.clear();
        let head = self.head(method, path, "", body.len() as u64);
        self.request.extend_from_slice(head.as_bytes());
        self.request.extend_from_slice(body);
        self.connection.send(&self.request).await?;
        let reply = self.connection.receive().await?;
        let text = || String::from_utf8_lossy(reply.body);
        ensure!((200..300).contains(&reply.status), "{method} {path} was answered {}: {}", reply.status, text());
        Ok(reply)
    }

    /// Calls and notes how long it took.
    pub(crate) async fn timed(
        &mut self,
        log: &mut Log,
        step: &'static str,
        method: &str,
        path: Arguments<'_>,
        body: &[u8],
    ) -> anyhow::Result<Reply<'_>> {
        let began = Instant::now();
        let reply = self.call(method, path, body).await?;
        log.note(step, began.elapsed());
        Ok(reply)
    }

    /// Gives the status of a call, whatever it is.
    pub(crate) async fn status(&mut self, method: &str, path: Arguments<'_>, body: &[u8]) -> anyhow::Result<u16> {
        let head = self.head(method, path, "", body.len() as u64);
        self.connection.send(head.as_bytes()).await?;
        self.connection.send(body).await?;
        Ok(self.connection.receive().await?.status)
    }

    /// Makes a job.
    pub(crate) async fn create(&mut self, template: i64) -> anyhow::Result<i64> {
        self.call("POST", format_args!("/v1/job-templates/{template}/create-job"), NEW_JOB.as_bytes()).await?.pk()
    }

    /// Makes a job and begins to work on it.
    pub(crate) async fn begin(&mut self, template: i64) -> anyhow::Result<i64> {
        let job = self.create(template).await?;
        self.call("POST", format_args!("/v1/jobs/{job}/acquire"), b"").await?;
        self.call("POST", format_args!("/v1/jobs/{job}/start"), b"").await?;
        Ok(job)
    }
}
