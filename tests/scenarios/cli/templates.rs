//! `labrun template`.

use serde_json::{Value, json};

use super::document;
use crate::harness::{Lab, Person, USER};

#[tokio::test]
async fn templates_are_imported_shown_exported_deleted_and_restored() {
    let lab = Lab::start();
    let owner = Person::owner(&lab);
    let file = owner.folder().join("peaks.json");
    std::fs::write(&file, document("peaks", None).to_string()).expect("it can be written");
    let said = owner.run(&["template", "import", "peaks.json"]).expect(0);
    assert_eq!(said.out, "template 1 imported as peaks@1\n");
    assert_eq!(owner.run(&["template", "import", "peaks.json"]).expect(0).out, "template 2 imported as peaks@2\n");
    let there = owner.run(&["template", "import", "peaks.json", "--unless-there"]).expect(0);
    assert_eq!(there.out, "template 2 is there already as peaks@2\n");
    owner.run(&["template", "import", "nosuch.json"]).fails(1, "nosuch.json");
    std::fs::write(&file, "{").expect("it can be written");
    owner.run(&["template", "import", "peaks.json"]).fails(2, "is no JSON");

    let table = owner.run(&["template", "list"]).expect(0);
    assert_eq!(table.rows()[0], ["PK", "NAME", "VERSION", "KIND", "TAKES", "AGE", "DESCRIPTION"]);
    assert_eq!(table.rows()[1][..5], ["1", "peaks", "1", "job", "table"]);
    assert_eq!(owner.run(&["template", "list", "PEAK", "--json"]).expect(0).json()[1]["version"], 2);
    assert_eq!(owner.run(&["template", "list", "nosuch"]).expect(0).err.trim(), "no templates");
    let shown = owner.run(&["template", "show", "peaks"]).expect(0).out;
    for part in ["peaks@2 (key 2)", "lab.Peaks", "table  BLOB<'csv'>  Readings", "window     int    15", "A row a peak"]
    {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    assert_eq!(owner.run(&["template", "show", "1", "--json"]).expect(0).json()["version"], 1);
    owner.run(&["template", "show", "peaks@9"]).fails(3, "no template peaks@9");

    // What is exported imports back.
    owner.run(&["template", "export", "peaks@1", "-o", "out.json"]).expect(0);
    owner.run(&["template", "export", "peaks@1", "-o", "out.json"]).fails(1, "out.json");
    let again = owner.run(&["template", "import", "out.json", "--unless-there", "--json"]).expect(0).json();
    assert_eq!(again[0]["pk"], 1);
    let text: Value = owner.run(&["template", "export", "2"]).expect(0).json();
    assert_eq!(text["name"], "peaks");

    assert_eq!(
        owner.run(&["template", "delete", "peaks", "1"]).expect(0).out,
        "template 2 deleted\ntemplate 1 deleted\n"
    );
    assert_eq!(owner.run(&["template", "list", "--json"]).expect(0).json(), json!([]));
    assert!(owner.run(&["template", "list", "--deleted"]).expect(0).out.contains("job, deleted"));
    assert_eq!(owner.run(&["template", "restore", "1"]).expect(0).out, "template 1 restored\n");
    assert_eq!(owner.run(&["template", "delete", "--hard", "2"]).expect(0).out, "template 2 deleted for good\n");
    owner.run(&["template", "restore", "2"]).fails(3, "404");

    let user = Person::with_token(&lab, USER).await;
    user.run(&["template", "show", "peaks"]).expect(0);
    user.run(&["template", "export", "peaks"]).fails(4, "Only staff");
    user.run(&["template", "delete", "peaks"]).fails(4, "Only staff");
}

#[tokio::test]
async fn a_workflow_shows_its_children() {
    let lab = Lab::start();
    lab.import(document("peaks", None)).await.expect(200);
    let flow = json!({
        "name": "flow", "description": "Two steps", "scope": "public", "licence": "Apache 2.0",
        "specific": {
            "nodes": {"first": {"name": "peaks"}, "second": {"name": "peaks", "version": 1}},
            "dependencies": [],
        },
    });
    lab.import(flow).await.expect(200);
    let owner = Person::owner(&lab);
    let shown = owner.run(&["template", "show", "flow"]).expect(0).out;
    assert!(shown.contains("CHILD") && shown.contains("second  peaks@1"), "{shown}");
    assert!(owner.run(&["template", "list"]).expect(0).out.contains("workflow  2 children"));
}

#[tokio::test]
async fn an_import_says_which_template_it_replaced() {
    let lab = Lab::start();
    let owner = Person::owner(&lab);
    std::fs::write(owner.folder().join("peaks.json"), document("peaks", Some(3)).to_string()).expect("it is written");
    let import = |more: &[&str]| owner.run(&[&["template", "import", "peaks.json"], more].concat()).expect(0);
    assert_eq!(import(&[]).out, "template 1 imported as peaks@3\n");
    assert_eq!(import(&[]).out, "template 2 imported as peaks@3; it replaces template 1\n");
    assert_eq!(import(&["--json"]).json()[0]["replaced"], 2);
    assert_eq!(import(&["--unless-there"]).out, "template 3 is there already as peaks@3\n");
    assert_eq!(import(&["--unless-there", "--json"]).json()[0]["replaced"], Value::Null);
    // Another version replaces nothing, nor does what comes after a deletion.
    std::fs::write(owner.folder().join("peaks.json"), document("peaks", None).to_string()).expect("it is written");
    let new = import(&["--json"]).json();
    assert_eq!((&new[0]["version"], &new[0]["replaced"]), (&json!(4), &Value::Null));
    owner.run(&["template", "delete", "peaks@3"]).expect(0);
    std::fs::write(owner.folder().join("peaks.json"), document("peaks", Some(3)).to_string()).expect("it is written");
    assert_eq!(import(&[]).out, "template 5 imported as peaks@3\n");
    // The document of an equal template is not needed to know; that of another is replaced with --unless-there as well.
    let mut other = document("peaks", Some(3));
    other["description"] = json!("Finds more peaks");
    std::fs::write(owner.folder().join("peaks.json"), other.to_string()).expect("it is written");
    assert_eq!(import(&["--unless-there"]).out, "template 6 imported as peaks@3; it replaces template 5\n");
}
