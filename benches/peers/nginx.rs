//! nginx with sendfile: what a download can be at the best.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::http::Connection;
use crate::process::{Process, free_port, is_installed};

/// A running nginx that serves a directory.
#[derive(Debug)]
pub(crate) struct Nginx {
    port: u16,
    _process: Process,
}

impl Nginx {
    /// Starts it on a directory; `None` when it is not installed.
    pub(crate) async fn start(root: &Path) -> anyhow::Result<Option<Self>> {
        if !is_installed("nginx") {
            return Ok(None);
        }
        let port = free_port()?;
        let dir = root.join("nginx");
        std::fs::create_dir_all(&dir)?;
        // Only root changes users, and would change to one that may not read the files.
        let user = if is_root(&dir)? { "user root;" } else { "" };
        let (root, at) = (root.display(), dir.display());
        let config = format!(
            "daemon off; master_process off; {user} pid {at}/pid; error_log {at}/log;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; client_body_temp_path {at}/b; proxy_temp_path {at}/p;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
        );
        let file = dir.join("nginx.conf");
        std::fs::write(&file, config)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&dir).arg("-e").arg(dir.join("log")).arg("-c").arg(&file).stderr(Stdio::null());
        let process = Process::spawn(&mut command)?;
        while Connection::open(port).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Some(Self { port, _process: process }))
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.port).await
    }
}

/// Says whether files made here are root's.
fn is_root(dir: &Path) -> anyhow::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata(dir)?.uid() == 0)
}
