//! `labrun check`, `verify`, `backup` and `restore`, and what a start makes of a damaged directory.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{Held, Lab, Server, Setup, binary, document, dump, sha256};

/// Runs the binary; gives whether it succeeded, and all that it printed.
fn labrun(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(binary()).args(arguments).output().expect("the binary runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the tests' paths are text")
}

/// Runs a command that must succeed.
#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let (success, said) = labrun(arguments);
    assert!(success, "labrun {arguments:?} failed:\n{said}");
    said
}

/// Runs a command that must fail, without a panic.
#[track_caller]
fn fails(arguments: &[&str]) -> String {
    let (success, said) = labrun(arguments);
    assert!(!success && !said.contains("panicked"), "labrun {arguments:?} did not just fail:\n{said}");
    said
}

/// Tries to start a server on a directory where it must not start, and gives what it says.
#[track_caller]
fn does_not_start(dir: &Path) -> String {
    fails(&["serve", "--data-dir", text(dir), "--listen", "127.0.0.1:0", "--admin-password", "a password of tests"])
}

/// Gives the file of an output's bytes.
fn file_of(dir: &Path, output: &serde_json::Value) -> PathBuf {
    let sha256 = output["sha256"].as_str().expect("a digest");
    dir.join("blobs").join(&sha256[..2]).join(&sha256[2..])
}

async fn with_outputs(lab: &Lab, names: &[&str]) -> (Held, Vec<serde_json::Value>) {
    let held = lab.started().await;
    let mut outputs = Vec::new();
    for name in names {
        outputs.push(lab.upload(held, name, "str", format!("the bytes of {name}")).await.expect(200).json());
    }
    (held, outputs)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_under_load_is_whole_and_restores_to_a_server_with_everything() {
    let lab = Lab::start();
    let (held, outputs) = with_outputs(&lab, &["kept"]).await;
    let before = lab.read(held.job).await;
    let temp = tempfile::tempdir().unwrap();
    let (copy, restored) = (temp.path().join("copy"), temp.path().join("restored"));
    let dir = lab.server(|server| server.dir().to_owned());
    // Outputs come and go for good while the backup is made.
    let busy = tokio::spawn({
        let lab = lab.clone();
        async move {
            let held = lab.started().await;
            for number in 0.. {
                let output = lab.upload(held, &format!("o{number}"), "str", vec![7; number * 100]).await.expect(200);
                if number % 2 == 0 {
                    lab.delete(&format!("/v1/job-outputs/{}/hard", output.pk())).by("admin").await.expect(200);
                }
            }
        }
    });
    let arguments = ["backup", "--data-dir", text(&dir), text(&copy)].map(str::to_owned);
    let backup = tokio::task::spawn_blocking(move || succeeds(&arguments.each_ref().map(String::as_str)));
    assert!(backup.await.unwrap().contains("No damage found."));
    busy.abort();
    assert!(fails(&["backup", "--data-dir", text(&dir), text(&copy)]).contains("is not empty"));
    let within = dir.join("copies/first");
    assert!(fails(&["backup", "--data-dir", text(&dir), text(&within)]).contains("lies within"));
    assert!(!within.exists(), "nothing is left of it");
    // The destination is looked at before the bytes of the backup are: here they are not even there.
    std::fs::rename(copy.join("blobs"), copy.join("elsewhere")).unwrap();
    assert!(fails(&["restore", text(&copy), "--data-dir", text(temp.path())]).contains("is not empty"));
    std::fs::rename(copy.join("elsewhere"), copy.join("blobs")).unwrap();
    succeeds(&["restore", text(&copy), "--data-dir", text(&restored)]);
    succeeds(&["verify", "--data-dir", text(&restored)]);
    succeeds(&["check", "--data-dir", text(&restored)]);
    let second = Lab::on(Server::start_on(Setup::default(), &restored));
    second.delete(&format!("/v1/jobs/{}/abort", held.job)).by("admin").await.expect(200);
    let after = second.get(&format!("/v1/jobs/{}", held.job)).by("admin").await.expect(200).json();
    assert_eq!((&after["pk"], &after["description"]), (&before["pk"], &before["description"]));
    let path = format!("/v1/job-outputs/{}/download", outputs[0]["pk"]);
    assert_eq!(second.get(&path).by("admin").await.expect(200).text(), "the bytes of kept");
}

#[tokio::test]
async fn damage_is_found_set_aside_marked_and_mended_by_an_upload() {
    let lab = Lab::start();
    let (held, outputs) = with_outputs(&lab, &["sound", "flipped", "cut", "gone"]).await;
    let dir = lab.server(|server| server.dir().to_owned());
    succeeds(&["verify", "--data-dir", text(&dir)]);
    std::fs::write(file_of(&dir, &outputs[1]), "The bytes of flipped").unwrap();
    std::fs::write(file_of(&dir, &outputs[2]), "the").unwrap();
    std::fs::remove_file(file_of(&dir, &outputs[3])).unwrap();
    let said = fails(&["verify", "--data-dir", text(&dir)]);
    for output in &outputs[1..] {
        assert!(said.contains(&format!("output {} of job {}", output["pk"], held.job)), "{said}");
    }
    assert!(said.contains("damage found: 3"), "{said}");
    let in_use = fails(&["verify", "--repair", "--data-dir", text(&dir)]);
    assert!(in_use.contains("is in use by process"), "{in_use}");
    lab.server(Server::kill);
    fails(&["verify", "--repair", "--data-dir", text(&dir)]);
    assert_eq!(dump::files(&dir.join("damaged")).len(), 2, "damaged bytes are moved, never deleted");
    let said = succeeds(&["verify", "--data-dir", text(&dir)]);
    assert!(said.contains("3 blobs were set aside"), "{said}");
    lab.server(Server::restart);
    let download = |output: &serde_json::Value| format!("/v1/job-outputs/{}/download", output["pk"]);
    lab.get(&download(&outputs[0])).await.expect(200);
    for (output, name) in outputs.iter().zip(["sound", "flipped", "cut", "gone"]).skip(1) {
        lab.get(&download(output)).await.refuses(404, "bytes_lost");
        lab.upload(held, name, "str", format!("the bytes of {name}")).await.expect(200);
        assert_eq!(lab.get(&download(output)).await.expect(200).text(), format!("the bytes of {name}"));
    }
}

#[test]
fn a_first_start_that_fails_makes_no_user_whose_password_nobody_saw() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = ["serve", "--data-dir", text(&dir), "--listen"];
    let said = fails(&[&serve[..], &[&address]].concat());
    assert!(said.contains(&address) && !said.contains("password"), "{said}");
    fails(&[&serve[..], &["127.0.0.1:0", "--tls-cert", "/no/cert.pem", "--tls-key", "/no/key.pem"]].concat());
    let mut server = Command::new(binary()).args(serve).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(server.stdout.take().unwrap()).lines();
    let told = said.map_while(Result::ok).any(|line| line.contains("The first user is admin with the password"));
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(told, "the password is printed by the server that makes the user");
}

#[tokio::test]
async fn a_start_on_a_damaged_directory_is_refused_with_a_sentence() {
    let lab = Lab::start();
    with_outputs(&lab, &["o"]).await;
    let dir = lab.server(|server| server.dir().to_owned());
    let in_use = does_not_start(&dir);
    assert!(in_use.contains("is in use by process"), "{in_use}");
    let (status, _) = lab.server(Server::stop);
    assert!(status.success());

    std::fs::rename(dir.join("blobs"), dir.join("elsewhere")).unwrap();
    let said = does_not_start(&dir);
    assert!(said.contains("no folder `blobs`"), "{said}");
    fails(&["check", "--data-dir", text(&dir)]);
    std::fs::rename(dir.join("elsewhere"), dir.join("blobs")).unwrap();

    let database = dir.join("labrun.db");
    let whole = std::fs::read(&database).unwrap();
    let garbage = b"this is no database at all, ".repeat(4_000);
    std::fs::write(&database, &garbage).unwrap();
    let said = does_not_start(&dir);
    assert!(said.contains("the file is no database") && said.contains("restore a backup"), "{said}");
    assert_eq!(std::fs::read(&database).unwrap(), garbage, "nothing was changed");
    fails(&["check", "--data-dir", text(&dir)]);
    fails(&["verify", "--data-dir", text(&dir)]);

    // A database of which a page was overwritten.
    let mut torn = whole.clone();
    let middle = torn.len() / 2 / 4096 * 4096;
    torn[middle..middle + 4096].fill(0xa5);
    std::fs::write(&database, &torn).unwrap();
    fails(&["verify", "--data-dir", text(&dir)]);
    std::fs::write(&database, &whole).unwrap();
    succeeds(&["verify", "--data-dir", text(&dir)]);
}

#[tokio::test]
async fn verify_counts_all_bytes_that_it_reads() {
    let lab = Lab::start();
    with_outputs(&lab, &["kept"]).await;
    // Bytes that the input of a job names, and bytes that nothing names yet.
    let [named, waiting] = ["the readings of a plate", "not yet the input of any job"];
    for bytes in [named, waiting] {
        let digest = sha256(bytes);
        lab.request("PUT", &format!("/v1/blobs/{digest}")).bytes(bytes).await.expect(201);
    }
    let mut document = document("assay");
    document["specific"]["parameters"] = json!([]);
    document["specific"]["framework"] = json!("");
    document["specific"]["body"] = json!("");
    document["specific"]["inputs"] = json!([{"name": "plate", "types": ["BLOB<'csv'>"], "options": "", "help": ""}]);
    let template = lab.import(document).await.expect(200).pk();
    let plate = json!({"value": format!("sha256:{}", sha256(named)), "type": "BLOB<'csv'>"});
    let path = format!("/v1/job-templates/{template}/create-job");
    lab.post(&path).json(json!({"input_values": {"plate": plate}})).await.expect(200);
    let dir = lab.server(|server| server.dir().to_owned());
    let said = succeeds(&["verify", "--data-dir", text(&dir)]);
    let total = "the bytes of kept".len() + named.len() + waiting.len();
    assert!(said.contains(&format!("reading the bytes: {total} to do")), "{said}");
    assert!(said.contains(&format!("3 blobs, {total} bytes read; 1 blob waits for a name")), "{said}");
}

#[tokio::test]
async fn a_backup_that_is_refused_leaves_no_folder_behind() {
    let lab = Lab::start();
    let dir = lab.server(|server| server.dir().to_owned());
    let temp = tempfile::tempdir().unwrap();
    let link = temp.path().join("link");
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    let around = temp.path().join("new/../link/copies/first");
    for within in [dir.join("copies/first"), link.join("copies/first"), around] {
        let said = fails(&["backup", "--data-dir", text(&dir), text(&within)]);
        assert!(said.contains("lies within") && said.contains("name another"), "{said}");
        assert!(!dir.join("copies").exists() && !temp.path().join("new").exists(), "left of {within:?}");
    }
    // A folder that was there already is left as it is.
    std::fs::create_dir(dir.join("empty")).unwrap();
    fails(&["backup", "--data-dir", text(&dir), text(&dir.join("empty"))]);
    assert!(dir.join("empty").is_dir());
}
