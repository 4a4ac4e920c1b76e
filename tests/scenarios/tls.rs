//! TLS, as `curl` and `openssl` see it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::harness::{Server, Setup, until};

/// Makes a key and a certificate for it.
pub(super) fn certify(dir: &Path, name: &str) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", &format!("/CN={name}"), "-addext", "subjectAltName=IP:127.0.0.1", "-out"])
        .arg(dir.join("cert.pem"))
        .arg("-keyout")
        .arg(dir.join("key.pem"))
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Asks `openssl s_client` about the server; what it says is in one text.
fn s_client(dir: &Path, port: u16) -> String {
    let Output { stdout, stderr, .. } = Command::new("openssl")
        .args(["s_client", "-brief", "-connect", &format!("127.0.0.1:{port}"), "-CAfile"])
        .arg(dir.join("cert.pem"))
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
}

#[test]
fn curl_and_openssl_are_answered_and_the_certificate_can_be_renewed() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let dir = temp.path();
    certify(dir, "first");
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let setup = Setup::default().with(&["--tls-cert", &file("cert.pem"), "--tls-key", &file("key.pem")]);
    let server = Server::start(setup);
    let port = server.port();
    let answer = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--cacert", &file("cert.pem"), &format!("https://127.0.0.1:{port}/healthz")])
        .output()
        .expect("curl runs");
    assert_eq!(String::from_utf8_lossy(&answer.stdout), r#"{"status":"ok"}"#, "{answer:?}");
    let said = s_client(dir, port);
    assert!(said.contains("Verification: OK") && said.contains("TLSv1.3"), "{said}");

    // A pair that can't be used changes nothing, and the log says so.
    std::fs::write(dir.join("key.pem"), "no key").expect("a file can be written");
    server.signal("HUP");
    until("the word that the old pair stays", || server.said().contains("stay in use").then_some(()));
    let said = s_client(dir, port);
    assert!(said.contains("Verification: OK") && said.contains("first"), "{said}");

    certify(dir, "second");
    server.signal("HUP");
    until("the word that the new pair is in use", || server.said().contains("were read again").then_some(()));
    let said = s_client(dir, port);
    assert!(said.contains("Verification: OK") && said.contains("second"), "{said}");
}
