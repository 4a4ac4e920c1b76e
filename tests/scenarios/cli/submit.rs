//! `labrun job submit`: templates by every name, inputs in every form.

use serde_json::{Value, json};

use super::document;
use crate::harness::{Lab, Person, USER};

/// Somebody with a table, and a template that takes one.
async fn with_template(lab: &Lab) -> Person {
    let owner = Person::owner(lab);
    std::fs::write(owner.folder().join("a table.csv"), "x,y\n1,2\n").expect("a file can be written");
    lab.import(document("peaks", Some(1))).await.expect(200);
    lab.import(document("peaks", Some(2))).await.expect(200);
    owner
}

const DIGEST: &str = "sha256:4b2fa7ab9c4b6b62a0ba6c2d19ba1bb0d5ea2b3f4c8a7b7b0bb1a8c0c4d5e6f7";

#[tokio::test]
async fn a_file_goes_up_once_and_the_job_is_as_it_was_asked_for() {
    let lab = Lab::start();
    let owner = with_template(&lab).await;
    let said = owner.run(&["job", "submit", "peaks", "--input", "table=@a table.csv"]).expect(0);
    assert_eq!(said.out, "job 1 made from peaks@2\n");
    assert!(said.err.contains("labrun job watch 1"));
    let made = owner.run(&[
        "job",
        "submit",
        "peaks@1",
        "-i",
        "table=@a table.csv",
        "-p",
        "window=21",
        "-d",
        "plate 'seven' $(x)",
        "-l",
        "plate=7",
        "--priority",
        "-5",
        "--max-attempts",
        "3",
        "--retry-delay",
        "0.5",
        "--timeout",
        "60",
        "--hold",
        "--json",
    ]);
    let job = made.expect(0).json();
    assert_eq!(job["template"]["version"], 1);
    let digest = job["input_values"]["table"]["value"].as_str().expect("a digest").to_owned();
    assert_eq!(job["input_values"]["table"]["type"], "BLOB<'csv'>");
    assert_eq!(job["parameter_values"], json!({"window": {"value": 21, "type": "int"}}));
    let rest = ["description", "labels", "priority", "max_attempts", "retry_delay", "timeout", "hold"].map(|f| &job[f]);
    assert_eq!(json!(rest), json!(["plate 'seven' $(x)", {"plate": "7"}, -5, 3, 0.5, 60.0, true]));
    assert_eq!(job, lab.read(2).await);
    let bytes = lab.get(&format!("/v1/blobs/{}", digest.trim_start_matches("sha256:"))).await.expect(200);
    assert_eq!(bytes.text(), "x,y\n1,2\n");
    // By key, with the digest itself, and twice with one key.
    let template = job["template"]["pk"].to_string();
    let input = format!("table={digest}");
    let once = ["job", "submit", &template, "-i", &input, "--idempotency-key", "k1", "--json"];
    let first = owner.run(&once).expect(0).json();
    assert_eq!(owner.run(&once).expect(0).json()["pk"], first["pk"]);
    owner.run(&[&once[..], &["-d", "other"]].concat()).fails(4, "409");
}

#[tokio::test]
async fn mistakes_are_told_with_what_would_be_right_and_nothing_goes_up() {
    let lab = Lab::start();
    let owner = with_template(&lab).await;
    lab.import({
        let mut plain = document("plain", None);
        plain["specific"]["inputs"][0]["types"] = json!(["str"]);
        plain
    })
    .await
    .expect(200);
    let submit = |arguments: &[&str]| owner.run(&[&["job", "submit"], arguments].concat());
    submit(&["nosuch"]).fails(3, "labrun template list");
    submit(&["peaks@7"]).fails(3, "no template peaks@7");
    submit(&["77"]).fails(3, "404");
    submit(&["nosuch.json"]).fails(1, "nosuch.json can't be read");
    submit(&["peaks"]).fails(2, "the template needs table (BLOB<'csv'>: Readings)");
    submit(&["peaks", "-i", "tabel=@a table.csv"]).fails(2, "no input tabel; it takes table (BLOB<'csv'>");
    submit(&["peaks", "-i", "table=@nosuch"]).fails(1, "nosuch, can't be read");
    submit(&["peaks", "-i", "table=@."]).fails(2, "is no file");
    submit(&["peaks", "-i", "table=a table.csv"]).fails(2, "write table=@FILE");
    submit(&["peaks", "-i", "table"]).fails(2, "NAME=@FILE");
    submit(&["peaks", "-i", "table=@a table.csv", "-i", "table=@a table.csv"]).fails(2, "given twice");
    submit(&["peaks", "-i", "table=job:1/x"]).fails(3, "job 1");
    submit(&["plain", "-i", "table=@a table.csv"]).fails(2, "takes str, which is no file's bytes");
    for flag in ["--timeout", "--retry-delay"] {
        submit(&["peaks", flag, "-5"]).fails(2, "write a number of seconds");
    }
    submit(&["peaks", "--max-attempts", "-5"]).fails(2, "-5 is not in");
    submit(&["peaks", "-i", "table=@a table.csv", "--timeout", "0"]).fails(2, "timeout");
    submit(&["peaks", "-i", "table=@a table.csv", "-p", "widow=3"]).fails(2, "no parameter \"widow\"");
    submit(&["peaks", "-i", "table=@a table.csv", "-p", "window=x"]).fails(2, "window");
    submit(&["peaks", "-i", &format!("table={DIGEST}")]).fails(2, "table");
    assert_eq!(owner.run(&["job", "list", "--json"]).expect(0).json(), json!([]));
    // Texts that look like files or outputs can be given as JSON.
    let literal = submit(&["plain", "-i", "table:=\"@home\"", "--json"]).expect(0).json();
    assert_eq!(literal["input_values"]["table"], json!({"value": "@home", "type": "str"}));
}

#[tokio::test]
async fn another_job_s_output_is_passed_on() {
    let lab = Lab::start();
    let owner = with_template(&lab).await;
    let held = lab.started().await;
    lab.upload(held, "peaks", "BLOB<'csv'>", "x,y\n").await.expect(200);
    lab.upload(held, "note", "str", "text").await.expect(200);
    let mut passing = document("passing", None);
    passing["specific"]["inputs"][0]["types"] = json!(["JobOutput<BLOB<'csv'>>"]);
    lab.import(passing).await.expect(200);
    let input = format!("table=job:{}/peaks", held.job);
    let as_output = owner.run(&["job", "submit", "passing", "-i", &input, "--json"]).expect(0).json();
    assert_eq!(as_output["input_values"]["table"], json!({"value": 1, "type": "JobOutput<BLOB<'csv'>>"}));
    // Where bytes are wanted, the bytes of the output.
    let as_bytes = owner.run(&["job", "submit", "peaks", "-i", &input, "--json"]).expect(0).json();
    assert_eq!(as_bytes["input_values"]["table"]["type"], "BLOB<'csv'>");
    let submit =
        |output: &str| owner.run(&["job", "submit", "peaks", "-i", &format!("table=job:{}/{output}", held.job)]);
    submit("nosuch").fails(3, "it has peaks, note");
    submit("note").fails(2, "the output note of job 1 is str");
}

#[tokio::test]
async fn a_document_is_imported_unless_its_equal_is_there() {
    let lab = Lab::start();
    let owner = Person::owner(&lab);
    let write = |name: &str, document: &Value| {
        std::fs::write(owner.folder().join(name), document.to_string()).expect("a file can be written");
    };
    write("peaks.json", &document("peaks", None));
    write("t.csv", &json!("x"));
    let submit = |person: &Person| {
        person.command(&["job", "submit", "peaks.json", "-i", "table=@t.csv"]).current_dir(owner.folder()).output()
    };
    let submit = |person: &Person| crate::harness::Ran::from(submit(person).expect("it runs"));
    assert_eq!(submit(&owner).expect(0).out, "template 1 imported as peaks@1\njob 1 made from peaks@1\n");
    assert_eq!(submit(&owner).expect(0).out, "job 2 made from peaks@1\n");
    let user = Person::with_token(&lab, USER).await;
    submit(&user).fails(4, "only staff import templates");
    let mut changed = document("peaks", None);
    changed["description"] = "Finds more peaks".into();
    write("peaks.json", &changed);
    assert_eq!(submit(&owner).expect(0).out, "template 2 imported as peaks@2\njob 3 made from peaks@2\n");
    write("peaks.json", &json!({"name": "broken"}));
    submit(&owner).fails(2, "400");
    // Others name the template.
    std::fs::write(user.folder().join("t.csv"), "x").expect("a file can be written");
    user.run(&["job", "submit", "peaks", "-i", "table=@t.csv"]).expect(0);
}

#[tokio::test]
async fn inputs_of_a_workflow_go_to_its_children() {
    let lab = Lab::start();
    let owner = with_template(&lab).await;
    let flow = json!({
        "name": "flow", "description": "", "scope": "public", "licence": "Apache 2.0",
        "specific": {"nodes": {"first": {"name": "peaks"}, "second": {"name": "peaks", "version": 1}},
                     "dependencies": []},
    });
    lab.import(flow).await.expect(200);
    let submit = |inputs: &[&str]| owner.run(&[&["job", "submit", "flow", "--json"], inputs].concat());
    let job = submit(&["-i", "first:table=@a table.csv", "-i", "second:table=@a table.csv"]).expect(0).json();
    assert_eq!(job["input_values"]["second:table"]["type"], "BLOB<'csv'>");
    submit(&["-i", "table=@a table.csv"]).fails(2, "first:table (BLOB<'csv'>: Readings), second:table");
    assert_eq!(owner.run(&["job", "list", "--top", "--json"]).expect(0).json().as_array().map(Vec::len), Some(1));
}
