//! Job templates (contract §4, §7).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::job::TypedValue;
use crate::domain::ids::{TemplateId, UserId};
use crate::domain::time::Timestamp;

/// A job template: what both kinds have, then what only its kind has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Template {
    /// Its key.
    pub pk: TemplateId,
    /// Its name.
    pub name: String,
    /// Its version; one live template has a name and version.
    pub version: i64,
    /// What people should read about it.
    pub description: String,
    /// Who it is meant for, in words of the lab.
    pub scope: String,
    /// Name of its domain, two characters.
    pub domain: Option<String>,
    /// Key of its licence.
    pub licence: i64,
    /// The user who imported it.
    pub creator: UserId,
    /// When it was imported.
    pub creation_time: Timestamp,
    /// When it was soft-deleted.
    pub deletion_time: Option<Timestamp>,
    /// The fields of its kind, beside the others in the JSON.
    #[serde(flatten)]
    pub kind: Kind,
}

/// The fields that only one kind of template has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Kind {
    /// Makes jobs that a node works on.
    Workable(Workable),
    /// Makes jobs that consist of others.
    Meta(Meta),
}

/// What a workable template adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workable {
    /// Its contract, such as `Train<…>`, or empty.
    #[serde(rename = "type")]
    pub contract: String,
    /// The class that a worker runs.
    pub executor_class: String,
    /// What the executor needs installed.
    pub required_packages: String,
    /// The parameters by name.
    pub parameters: BTreeMap<String, Parameter>,
    /// The inputs by name.
    pub inputs: BTreeMap<String, Input>,
    /// The outputs by name.
    pub outputs: BTreeMap<String, OutputKind>,
    /// The command or script of the earlier dialect, else empty.
    pub body: String,
}

/// A parameter of a workable template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parameter {
    /// The types that its value may have.
    pub types: Vec<String>,
    /// What people should read about it.
    pub help: String,
    /// The value taken when none is given; there may be one that is null.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub default: Option<Value>,
    /// The type of the default; there exactly when a default is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_type: Option<String>,
    /// Whether no other value than the default is taken; there exactly when a default is.
    #[serde(default, rename = "const", skip_serializing_if = "Option::is_none")]
    pub is_const: Option<bool>,
}

/// An input of a workable template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    /// The types that its value may have.
    pub types: Vec<String>,
    /// What people should read about it.
    pub help: String,
    /// What the executor is told about fetching it.
    pub options: String,
}

/// An output that a workable template says it makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutputKind {
    /// Its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// What people should read about it.
    pub help: String,
}

/// What a meta-template adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Meta {
    /// The children by name.
    pub nodes: BTreeMap<String, Child>,
    /// Which child's output is which other child's input.
    pub dependencies: Vec<Dependency>,
}

/// A child of a meta-template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Child {
    /// Name of its template.
    pub name: String,
    /// Version of its template; the newest when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Defaults that stand in for those of its template, by parameter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameter_default_overrides: BTreeMap<String, DefaultOverride>,
}

/// A default that stands in for that of a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefaultOverride {
    /// The value.
    pub default: Value,
    /// Its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_type: Option<String>,
    /// Whether no other value is taken.
    #[serde(default, rename = "const", skip_serializing_if = "Option::is_none")]
    pub is_const: Option<bool>,
}

/// One output that one input waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Dependency {
    /// The child that makes it.
    pub from_node: String,
    /// The output's name, alone or with its type.
    pub from_output: FromOutput,
    /// The child that waits for it.
    pub to_node: String,
    /// The input's name.
    pub to_input: String,
}

/// How a dependency names an output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FromOutput {
    /// By name.
    Name(String),
    /// By name and type.
    Typed(TypedValue),
}

/// Tells a field that is null from one that is not there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workable() -> Value {
        serde_json::json!({
            "pk": 3, "name": "scan", "version": 2, "description": "", "scope": "public", "domain": null, "licence": 1,
            "creator": 1, "creation_time": "2026-01-02T03:04:05.000006Z", "deletion_time": null,
            "type": "", "executor_class": "lab.Scan", "required_packages": "", "body": "",
            "parameters": {
                "none": {"types": ["int"], "help": "no default"},
                "null": {"types": ["Nothing"], "help": "", "default": null, "default_type": "Nothing", "const": false}
            },
            "inputs": {"trace": {"types": ["str"], "help": "", "options": ""}},
            "outputs": {"peaks": {"type": "JSON", "help": ""}}
        })
    }

    #[test]
    fn a_default_of_null_is_not_the_absence_of_one() {
        let template: Template = serde_json::from_value(workable()).unwrap();
        let Kind::Workable(kind) = &template.kind else { panic!("read as a meta-template") };
        assert_eq!(kind.parameters["none"].default, None);
        assert_eq!(kind.parameters["null"].default, Some(Value::Null));
        assert_eq!(serde_json::to_value(&template).unwrap(), workable());
    }

    #[test]
    fn the_fields_of_a_kind_tell_which_it_is() {
        let mut document = workable();
        let object = document.as_object_mut().unwrap();
        for field in ["type", "executor_class", "required_packages", "body", "parameters", "inputs", "outputs"] {
            object.remove(field);
        }
        object
            .insert("nodes".to_owned(), serde_json::json!({"a": {"name": "scan"}, "b": {"name": "fit", "version": 1}}));
        let typed = serde_json::json!({"value": "scan", "type": "JSON"});
        let dependency =
            |from| serde_json::json!({"from_node": "a", "from_output": from, "to_node": "b", "to_input": "x"});
        object.insert("dependencies".to_owned(), Value::Array(vec![dependency("scan".into()), dependency(typed)]));
        let template: Template = serde_json::from_value(document.clone()).unwrap();
        assert!(matches!(&template.kind, Kind::Meta(meta) if meta.dependencies.len() == 2));
        assert_eq!(serde_json::to_value(&template).unwrap(), document);
    }
}
