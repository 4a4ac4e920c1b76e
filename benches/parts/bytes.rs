//! Uploads against writing and syncing the same bytes, downloads against nginx with sendfile, and the server's memory.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::Scale;
use crate::lab::{Caller, Lab};
use crate::peers::{files, nginx::Nginx};
use crate::report::{Budget, Figure, Report};
use crate::stats::median;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const BLOCK_BYTES: usize = 1 << 20;
/// What the client sends at a time of what is longer.
const PIECE_BYTES: u64 = 64 * MIB;

/// One size to measure.
struct Size {
    name: &'static str,
    bytes: u64,
    /// Files in a round: small ones are over too soon to be measured alone.
    files: u64,
    rounds: usize,
    budget: bool,
}

/// Measures it.
pub(crate) async fn run(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let size = |name, bytes, files, rounds, budget| Size { name, bytes, files, rounds, budget };
    let mut sizes = vec![
        size("64 KiB", 64 * KIB, scale.pick(50, 200), 5, false),
        size("1 MiB", MIB, scale.pick(10, 50), 5, false),
        size("64 MiB", 64 * MIB, 1, 5, false),
        size("1 GiB", GIB, 1, scale.pick(1, 5), true),
    ];
    if !scale.quick {
        sizes.push(size("4 GiB", 4 * GIB, 1, 1, false));
    }
    let mut lab = Lab::start().await?;
    let nginx = Nginx::start(lab.data_dir().parent().context("it lies in a directory")?).await?;
    if nginx.is_none() {
        report.note("nginx is not installed: downloads are measured alone");
    }
    let mut node = lab.node().await?;
    let mut bytes = Bytes { block: files::block(BLOCK_BYTES), job: node.begin(lab.template).await?, number: 0 };
    for size in &sizes {
        measure(&lab, &mut node, &mut bytes, size, nginx.as_ref(), report).await?;
    }
    Ok(())
}

/// Outputs to send: other bytes and another name for each.
struct Bytes {
    block: Vec<u8>,
    job: i64,
    number: u64,
}

impl Bytes {
    /// Sends an output of a size; gives its key.
    async fn upload(&mut self, node: &mut Caller, bytes: u64) -> anyhow::Result<i64> {
        self.number += 1;
        self.block[..8].copy_from_slice(&self.number.to_le_bytes());
        let path = format_args!("/v1/jobs/{}/outputs/o{}/bytes", self.job, self.number);
        let head = node.head("POST", path, "", bytes);
        self.send(node, &head, bytes).await?;
        let reply = node.connection.receive().await?;
        ensure!(reply.status == 200, "an upload was answered {}", String::from_utf8_lossy(reply.body));
        reply.pk()
    }

    /// The same in pieces of 64 MiB, each of which is on disk before the next begins.
    async fn upload_in_pieces(&mut self, node: &mut Caller, bytes: u64) -> anyhow::Result<i64> {
        self.number += 1;
        self.block[..8].copy_from_slice(&self.number.to_le_bytes());
        let path = format_args!("/v1/jobs/{}/outputs/o{}/bytes", self.job, self.number);
        let begin = format!("tus-resumable: 1.0.0\r\nupload-length: {bytes}\r\n");
        let head = node.head("POST", path, &begin, 0);
        node.connection.send(head.as_bytes()).await?;
        let upload = node.connection.receive().await?.pk()?;
        for offset in (0..bytes).step_by(usize::try_from(PIECE_BYTES)?) {
            let piece = format!(
                "tus-resumable: 1.0.0\r\nupload-offset: {offset}\r\ncontent-type: application/offset+octet-stream\r\n"
            );
            let length = PIECE_BYTES.min(bytes - offset);
            let head = node.head("PATCH", format_args!("/v1/uploads/{upload}"), &piece, length);
            self.send(node, &head, length).await?;
            let reply = node.connection.receive().await?;
            ensure!(reply.status == 204, "a piece was answered {}", String::from_utf8_lossy(reply.body));
        }
        let reply = node.call("GET", format_args!("/v1/uploads/{upload}"), b"").await?;
        let shown: serde_json::Value = serde_json::from_slice(reply.body)?;
        shown["output"].as_i64().context("an upload that is done has an output")
    }

    /// Sends a head, and so many bytes behind it.
    async fn send(&self, node: &mut Caller, head: &str, bytes: u64) -> anyhow::Result<()> {
        node.connection.send(head.as_bytes()).await?;
        let mut rest = bytes;
        while rest > 0 {
            let now = rest.min(self.block.len() as u64);
            node.connection.send(&self.block[..usize::try_from(now)?]).await?;
            rest -= now;
        }
        Ok(())
    }
}

/// Measures uploads and downloads of one size.
async fn measure(
    lab: &Lab,
    node: &mut Caller,
    bytes: &mut Bytes,
    size: &Size,
    nginx: Option<&Nginx>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let total = (size.bytes * size.files) as f64 / MIB as f64;
    let root = lab.data_dir().parent().context("it lies in a directory")?.to_owned();
    let before = lab.server.process.memory("VmRSS:")?;
    lab.server.process.reset_peak()?;
    let (mut up, mut plain, mut down, mut sent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut pieces, mut first) = (Vec::new(), Vec::new());
    for round in 0..size.rounds {
        let began = Instant::now();
        let mut output = 0;
        for _ in 0..size.files {
            output = bytes.upload(node, size.bytes).await?;
        }
        up.push(total / began.elapsed().as_secs_f64());
        if size.bytes > PIECE_BYTES {
            let began = Instant::now();
            let output = bytes.upload_in_pieces(node, size.bytes).await?;
            pieces.push(total / began.elapsed().as_secs_f64());
            remove(node, output).await?;
        }
        // The better of two: a virtual machine must first be given the memory that the page cache takes.
        let mut seconds = f64::INFINITY;
        for _ in 0..2 {
            let mut once = 0.0;
            for _ in 0..size.files {
                once += files::write_and_sync(&root, &bytes.block, size.bytes)?;
            }
            seconds = seconds.min(once);
        }
        plain.push(total / seconds);
        // Once from where the upload left it, then, as for the peer, from the page cache.
        let began = Instant::now();
        download(node, output, size.bytes).await?;
        first.push(size.bytes as f64 / MIB as f64 / began.elapsed().as_secs_f64());
        let began = Instant::now();
        for _ in 0..size.files {
            download(node, output, size.bytes).await?;
        }
        down.push(total / began.elapsed().as_secs_f64());
        if let Some(nginx) = nginx {
            let name = link(&root, node, output, size, round).await?;
            sent.push(total / from_nginx(nginx, &name, size).await?);
        }
        // The disk is not to fill up, and no round is to find the cache as another left it.
        remove(node, output).await?;
    }
    let peak = lab.server.process.memory("VmHWM:")?;
    let name = size.name;
    let figure = Figure::new(format!("upload {name}"), median(&up), "MiB/s");
    let figure = figure.against("write + fsync", median(&plain));
    report.add(if size.budget { figure.budget(Budget::RatioAtLeast(0.9)) } else { figure });
    if !pieces.is_empty() {
        let figure = Figure::new(format!("upload {name} in pieces"), median(&pieces), "MiB/s");
        report.add(figure.against("in one call", median(&up)));
    }
    report.add(Figure::new(format!("download {name}, first after the upload"), median(&first), "MiB/s"));
    let figure = Figure::new(format!("download {name}"), median(&down), "MiB/s");
    report.add(match sent.is_empty() {
        true => figure,
        false => {
            let figure = figure.against("nginx, sendfile", median(&sent));
            if size.budget { figure.budget(Budget::RatioAtLeast(0.8)) } else { figure }
        }
    });
    let figure = Figure::new(format!("memory grown by {name} up and down"), (peak - before) / MIB as f64, "MiB");
    report.add(if size.bytes >= GIB { figure.budget(Budget::AtMost(32.0)) } else { figure });
    Ok(())
}

async fn download(caller: &mut Caller, output: i64, bytes: u64) -> anyhow::Result<()> {
    let head = caller.head("GET", format_args!("/v1/job-outputs/{output}/download"), "", 0);
    caller.connection.send(head.as_bytes()).await?;
    let (status, came) = caller.connection.receive_and_drop().await?;
    ensure!((status, came) == (200, bytes), "a download was answered {status} with {came} bytes");
    Ok(())
}

/// Gives the bytes of an output a name below nginx's directory.
async fn link(
    root: &std::path::Path,
    node: &mut Caller,
    output: i64,
    size: &Size,
    round: usize,
) -> anyhow::Result<String> {
    let reply = node.call("GET", format_args!("/v1/job-outputs/{output}"), b"").await?;
    let shown: serde_json::Value = serde_json::from_slice(reply.body)?;
    let digest = shown["sha256"].as_str().context("an output has a digest")?;
    let (shard, rest) = digest.split_at_checked(2).context("a digest has 64 characters")?;
    let stored: PathBuf = ["data", "blobs", shard, rest].iter().collect();
    let name = format!("served-{}-{round}", size.bytes);
    std::fs::hard_link(root.join(stored), root.join(&name))?;
    Ok(name)
}

/// Downloads a file as often as a round has files; gives the seconds.
async fn from_nginx(nginx: &Nginx, name: &str, size: &Size) -> anyhow::Result<f64> {
    let mut connection = nginx.connect().await?;
    let request = format!("GET /{name} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let began = Instant::now();
    for _ in 0..size.files {
        connection.send(request.as_bytes()).await?;
        let (status, came) = connection.receive_and_drop().await?;
        ensure!((status, came) == (200, size.bytes), "nginx answered {status} with {came} bytes");
    }
    Ok(began.elapsed().as_secs_f64())
}

async fn remove(node: &mut Caller, output: i64) -> anyhow::Result<()> {
    node.call("DELETE", format_args!("/v1/job-outputs/{output}/hard"), b"").await.map(drop)
}
