//! Whole documents through the server: what is exported imports back as an equal template (contract §7). The project's
//! own documents always; those of the field where they lie beside the checkout.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{ADMIN, Lab};

/// How many documents of the field there are.
const REAL: usize = 53;

/// Finds the documents below a folder, by name.
fn documents(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(documents(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Leaves what is the row's and not the template's.
fn content(mut template: Value) -> Value {
    let fields = template.as_object_mut().expect("a template is an object");
    for of_row in ["pk", "creator", "creation_time", "deletion_time"] {
        assert!(fields.remove(of_row).is_some(), "a template shows {of_row}");
    }
    template
}

/// Imports a document, exports it, imports that, and compares.
async fn round(lab: &Lab, path: &Path) {
    let text = std::fs::read_to_string(path).expect("a document is text");
    let what = path.display();
    let first = lab.post("/v1/job-templates/import").by(ADMIN).text(text).await;
    assert_eq!(first.status, 200, "{what}: {first}");
    let export = async |pk: i64| lab.get(&format!("/v1/job-templates/{pk}/export")).by(ADMIN).await.expect(200).json();
    let exported = export(first.pk()).await;
    let second = lab.import(exported.clone()).await;
    assert_eq!(second.status, 200, "{what}, exported as {exported}: {second}");
    assert_eq!(content(second.json()), content(first.json()), "{what}");
    assert_eq!(export(second.pk()).await, exported, "{what}");
    // The import took the place of the first, and what can be asked of a template can be asked.
    let gone = lab.get(&format!("/v1/job-templates/{}", first.pk())).await.expect(200).json();
    assert!(gone["deletion_time"].is_string(), "{what}");
    for question in ["get-all-parameters", "get-types", "get-outputs"] {
        lab.get(&format!("/v1/job-templates/{}/{question}", second.pk())).await.expect(200);
    }
}

#[tokio::test]
async fn the_projects_documents_import_and_export_alike() {
    let lab = Lab::start();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/templates");
    // A workflow's parts are imported before it.
    let (whole, parts): (Vec<_>, Vec<_>) =
        documents(&folder).into_iter().partition(|path| path.to_string_lossy().contains("pipeline"));
    assert!(!parts.is_empty() && !whole.is_empty());
    for path in parts.iter().chain(&whole) {
        round(&lab, path).await;
    }
}

#[tokio::test]
async fn the_documents_of_the_field_import_and_export_alike() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/templates/ufdl");
    if !folder.exists() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    let lab = Lab::start();
    let documents = documents(&folder);
    assert_eq!(documents.len(), REAL);
    for path in documents {
        round(&lab, &path).await;
    }
}
