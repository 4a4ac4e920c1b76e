//! Documents of templates, and a look at the database from outside.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};
use serde_json::{Value, json};

/// A workable template with inputs and outputs of JSON.
pub(super) fn stage(name: &str, inputs: &[&str], outputs: &[&str]) -> Value {
    let input = |name: &&str| json!({"name": name, "types": ["JobOutput<JSON>"], "options": "", "help": ""});
    let output = |name: &&str| json!({"name": name, "type": "JSON", "help": ""});
    json!({"name": name, "version": 1, "description": "", "scope": "public", "licence": "Apache 2.0", "specific": {
        "job_type": "", "executor_class": "lab.Stage", "required_packages": "", "parameters": {},
        "inputs": inputs.iter().map(input).collect::<Vec<_>>(),
        "outputs": outputs.iter().map(output).collect::<Vec<_>>(),
    }})
}

/// A meta-template; edges are `from.output>to.input`.
pub(super) fn flow(name: &str, nodes: &[(&str, &str)], edges: &[&str]) -> Value {
    let dependency = |edge: &&str| {
        let (from, to) = edge.split_once('>').expect("an edge has two ends");
        let (from, output) = from.split_once('.').expect("an output");
        let (to, input) = to.split_once('.').expect("an input");
        json!({"from_node": from, "from_output": output, "to_node": to, "to_input": input})
    };
    let nodes: serde_json::Map<_, _> =
        nodes.iter().map(|&(node, template)| (node.to_owned(), json!({"name": template}))).collect();
    let dependencies: Vec<Value> = edges.iter().map(dependency).collect();
    json!({"name": name, "version": 1, "description": "", "scope": "public", "licence": "Apache 2.0",
           "specific": {"nodes": nodes, "dependencies": dependencies}})
}

/// Opens a database that a server or a store writes.
pub(super) fn open(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the database")
}

/// Reads rows.
pub(super) fn rows<T>(database: &Connection, sql: &str, from_row: impl Fn(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let mut statement = database.prepare_cached(sql).expect("a statement");
    let rows = statement.query_map([], from_row).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}
