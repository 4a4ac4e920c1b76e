//! The command line: the real binary against a real server.

mod bulk;
mod fetch;
mod help;
mod jobs;
mod logins;
mod people;
mod screen;
mod submit;
mod templates;
mod watch;

use serde_json::{Value, json};

/// A document of a template that takes a table as a file, and a number.
pub(super) fn document(name: &str, version: Option<i64>) -> Value {
    let mut document = json!({
        "name": name, "description": "Finds peaks", "scope": "public", "licence": "Apache 2.0",
        "specific": {
            "job_type": "", "executor_class": "lab.Peaks", "required_packages": "", "framework": "peaks|1.0",
            "inputs": [{"name": "table", "types": ["BLOB<'csv'>"], "options": "", "help": "Readings"}],
            "parameters": [{"name": "window", "type": "int", "default": "15", "help": "Width"}],
            "outputs": [{"name": "peaks", "type": "BLOB<'csv'>", "help": "A row a peak"}],
            "body": "",
        },
    });
    if let Some(version) = version {
        document["version"] = version.into();
    }
    document
}
