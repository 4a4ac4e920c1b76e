//! Reads what is particular to documents of meta-templates (contract §7).

use serde_json::{Map, Value};

use super::import::{by_name, name, type_string, version, within};
use super::{Dependency, FromOutput, Meta, Node, Override};
use crate::domain::fields::{Fields, Problems, array, boolean, kind_of, nullable, object, text};

/// Most dependencies of one meta-template.
const DEPENDENCIES_MAX: usize = 1_000;

/// Most characters in the name of an input or output, which is `child:child:…:NAME` where meta-templates nest.
const REFERENCE_CHARS_MAX: usize = 4_000;

/// Takes the name of a child's input or output.
fn reference(value: &Value) -> Result<String, String> {
    text(1..=REFERENCE_CHARS_MAX)(value)
}

/// Reads `specific` of a meta-template.
pub(super) fn meta(document: &Map<String, Value>) -> Result<Meta, Problems> {
    let mut fields = Fields::new(document);
    let nodes = match fields.required("nodes", object) {
        Some(members) => {
            if members.is_empty() {
                fields.problem("nodes", "Must name at least one node.");
            }
            for own in members.keys().filter(|own| own.contains(':')) {
                // The parts of `child:input` could not be told apart.
                fields.problem(format!("nodes.{own}"), "The name of a node must not hold a colon.");
            }
            within(&mut fields, "nodes", by_name(members, node))
        }
        None => Vec::new(),
    };
    let dependencies = match fields.optional("dependencies", array) {
        Some(entries) if entries.len() > DEPENDENCIES_MAX => {
            fields.problem("dependencies", format!("Must hold at most {DEPENDENCIES_MAX} dependencies."));
            Vec::new()
        }
        Some(entries) => within(&mut fields, "dependencies", dependencies(entries)),
        None => Vec::new(),
    };
    fields.finish()?;
    Ok(Meta { nodes, dependencies })
}

/// Reads a node.
fn node(fields: &mut Fields<'_>) -> Option<Node> {
    let template = fields.required("name", name);
    let version = fields.optional("version", nullable(version)).flatten();
    let overrides = match fields.optional("parameter_default_overrides", nullable(object)).flatten() {
        Some(members) => within(fields, "parameter_default_overrides", by_name(members, override_)),
        None => Vec::new(),
    };
    Some(Node { name: template?, version, overrides })
}

/// Reads an override.
fn override_(fields: &mut Fields<'_>) -> Option<Override> {
    let default = fields.required("default", |value| Ok(value.clone()));
    let default_type = fields.optional("default_type", nullable(type_string)).flatten();
    let const_ = fields.optional("const", boolean);
    Some(Override { default: default?, default_type, const_ })
}

/// Reads the list of dependencies.
fn dependencies(entries: &[Value]) -> Result<Vec<Dependency>, Problems> {
    let mut problems = Problems::default();
    let mut read = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        match object(entry).map(dependency) {
            Ok(Ok(dependency)) => read.extend(dependency),
            Ok(Err(inner)) => problems.add_all(&index.to_string(), inner),
            Err(sentence) => problems.add(index.to_string(), sentence),
        }
    }
    problems.into_result(read)
}

/// Reads a dependency; `None` never comes without problems.
fn dependency(entry: &Map<String, Value>) -> Result<Option<Dependency>, Problems> {
    let mut fields = Fields::new(entry);
    let from_node = fields.required("from_node", name);
    let from_output = match fields.raw("from_output") {
        Some(Value::Object(pair)) => {
            let mut inner = Fields::new(pair);
            let value = inner.required("value", reference);
            let type_ = inner.required("type", type_string);
            match inner.finish() {
                Ok(()) => value.zip(type_).map(|(value, type_)| FromOutput::Typed { value, type_ }),
                Err(inner) => {
                    fields.problems_within("from_output", inner);
                    None
                }
            }
        }
        Some(Value::String(_)) => fields.optional("from_output", reference).map(FromOutput::Name),
        Some(other) => {
            fields.problem("from_output", format!("Must be a name or {{value, type}}, not {}.", kind_of(other)));
            None
        }
        None => fields.required("from_output", reference).map(FromOutput::Name),
    };
    let to_node = fields.required("to_node", name);
    let to_input = fields.required("to_input", reference);
    fields.finish()?;
    let (Some(from_node), Some(from_output), Some(to_node), Some(to_input)) =
        (from_node, from_output, to_node, to_input)
    else {
        return Ok(None);
    };
    Ok(Some(Dependency { from_node, from_output, to_node, to_input }))
}
