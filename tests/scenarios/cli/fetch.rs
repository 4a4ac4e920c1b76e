//! `labrun job fetch`: the right bytes under safe names, whatever happens on the way.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde_json::json;

use crate::harness::{Held, Lab, Person, Proxy, USER};

async fn with_outputs(outputs: &[(&str, &str, &[u8])]) -> (Lab, Held) {
    let lab = Lab::start();
    let held = lab.started().await;
    for (name, type_name, bytes) in outputs {
        let path = format!("/v1/jobs/{}/outputs/{}/{}", held.job, escaped(name), escaped(type_name));
        lab.post(&path).node(held.node).bytes(*bytes).await.expect(200);
    }
    lab.act(held, "finish").await.expect(200);
    (lab, held)
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn outputs_become_files_with_readable_and_harmless_names() {
    let outputs: [(&str, &str, &[u8]); 5] = [
        ("peaks", "BLOB<'csv'>", b"a,b\n"),
        ("peaks", "JSON", b"{}"),
        ("../../evil", "BLOB<'sh'>", b"rm"),
        ("...", "Model", b"m"),
        ("empty 試料", "str", b""),
    ];
    let (lab, _) = with_outputs(&outputs).await;
    let owner = Person::owner(&lab);
    let fetched = owner.run(&["job", "fetch", "1", "-o", "out/deep"]).expect(0);
    assert_eq!(fetched.rows().len(), 5);
    let dir = owner.folder().join("out/deep");
    let mut names: Vec<String> = std::fs::read_dir(&dir)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, ["_", "_.._.._evil.sh", "empty 試料.txt", "peaks.csv", "peaks.json"]);
    assert_eq!(std::fs::read(dir.join("peaks.csv")).expect("it is there"), b"a,b\n");
    assert_eq!(std::fs::read(dir.join("empty 試料.txt")).expect("it is there"), b"");
    // One of them, by its name.
    let one = owner.run(&["job", "fetch", "1", "...", "--json"]).expect(0).json();
    assert_eq!((&one[0]["output"]["name"], &one[0]["file"]), (&json!("..."), &json!("./_")));
    owner.run(&["job", "fetch", "1", "nosuch"]).fails(3, "it is finished and has peaks, peaks");
    owner.run(&["job", "fetch", "77"]).fails(3, "job 77");
    let nothing = owner.run(&["job", "fetch", &lab.job().await.to_string()]).expect(0);
    assert!(nothing.err.contains("has no outputs"));
}

#[tokio::test]
async fn a_folder_may_have_a_name_that_is_not_utf_8() {
    let (lab, _) = with_outputs(&[("peaks", "BLOB<'csv'>", b"a,b\n")]).await;
    let owner = Person::owner(&lab);
    let folder = OsStr::from_bytes(b"c\xff");
    for (json, saying) in [(None, "c\u{fffd}/peaks.csv  4 B"), (Some("--json"), "\"file\":\"c\u{fffd}/peaks.csv\"")] {
        let arguments = ["job", "fetch", "1", "-o"].map(OsStr::new).into_iter().chain([folder]);
        let fetched = owner.run(&arguments.chain(json.map(OsStr::new)).collect::<Vec<_>>()).expect(0);
        assert!(fetched.out.contains(saying), "{fetched:?}");
    }
    assert_eq!(std::fs::read(owner.folder().join(folder).join("peaks.csv")).expect("it is there"), b"a,b\n");
}

#[tokio::test]
async fn other_bytes_are_not_overwritten_unless_that_is_said() {
    let (lab, _) = with_outputs(&[("peaks", "BLOB<'csv'>", b"a,b\n")]).await;
    let owner = Person::owner(&lab);
    let file = owner.folder().join("peaks.csv");
    owner.run(&["job", "fetch", "1"]).expect(0);
    assert!(owner.run(&["job", "fetch", "1"]).expect(0).out.ends_with("there already\n"));
    std::fs::write(&file, "mine").expect("it can be written");
    owner.run(&["job", "fetch", "1"]).fails(4, "--force");
    assert_eq!(std::fs::read(&file).expect("it is there"), b"mine");
    owner.run(&["job", "fetch", "1", "--force"]).expect(0);
    assert_eq!(std::fs::read(&file).expect("it is there"), b"a,b\n");
    // A link is not followed: what it leads to stays as it is.
    let other = owner.folder().join("other");
    std::fs::write(&other, "other").expect("it can be written");
    std::fs::remove_file(&file).expect("it can be removed");
    std::os::unix::fs::symlink(&other, &file).expect("a link can be made");
    owner.run(&["job", "fetch", "1"]).fails(4, "--force");
    owner.run(&["job", "fetch", "1", "--force"]).expect(0);
    assert_eq!(std::fs::read(&other).expect("it is there"), b"other");
    assert_eq!(std::fs::read_dir(owner.folder()).expect("a folder").count(), 2, "a part was left");
    std::fs::remove_file(&file).expect("it can be removed");
    std::fs::create_dir(&file).expect("a folder can be made");
    owner.run(&["job", "fetch", "1", "--force"]).fails(4, "there already");
}

#[tokio::test]
async fn a_fetch_that_broke_off_goes_on_where_it_was() {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (lab, held) = with_outputs(&[("big", "BLOB<'bin'>", &bytes)]).await;
    let proxy = Proxy::before(lab.port());
    let token = lab.token(USER).await;
    let person = Person::new().with("LABRUN_TOKEN", token);
    let address = proxy.address();
    let job = held.job.to_string();
    let fetch = ["job", "fetch", &job, "--server", &address];
    // The connection breaks in the middle; the command goes on by itself, with the rest alone.
    proxy.cut_answers(1_000_000);
    person.run(&fetch).expect(0);
    assert_eq!(proxy.cuts_made(), 1);
    let file = person.folder().join("big.bin");
    assert_eq!(std::fs::read(&file).expect("it is there"), bytes);

    // What an earlier try has left is gone on from: nothing but the end of it is asked for.
    let sha256 = lab.get("/v1/job-outputs/1").await.expect(200).json()["sha256"].as_str().expect("hex").to_owned();
    let part = person.folder().join(format!("big.bin.{}.part", &sha256[..12]));
    std::fs::rename(&file, &part).expect("it can be renamed");
    std::fs::File::options().write(true).open(&part).and_then(|part| part.set_len(2_900_000)).expect("it can be cut");
    proxy.cut_answers(200_000);
    person.run(&fetch).expect(0);
    assert_eq!(proxy.cuts_made(), 1, "all of it was fetched again");
    assert_eq!(std::fs::read(&file).expect("it is there"), bytes);

    // A link in place of the part is not followed.
    let other = person.folder().join("other");
    std::fs::write(&other, "other").expect("it can be written");
    std::fs::remove_file(&file).expect("it can be removed");
    std::os::unix::fs::symlink(&other, &part).expect("a link can be made");
    person.run(&fetch).fails(1, ".part");
    assert_eq!(std::fs::read(&other).expect("it is there"), b"other");
    std::fs::remove_file(&part).expect("it can be removed");
    std::fs::write(&file, &bytes).expect("it can be written");

    // A part with wrong bytes is found out and thrown away.
    std::fs::remove_file(&file).expect("it can be removed");
    std::fs::write(&part, vec![7; 2_900_000]).expect("it can be written");
    person.run(&fetch).fails(1, "damaged");
    assert!(!part.exists() && !file.exists());
    person.run(&fetch).expect(0);
    assert_eq!(std::fs::read(&file).expect("it is there"), bytes);
}
