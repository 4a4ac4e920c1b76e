//! Job templates: what they hold, and the documents that they come from and go to (contract §4, §7).

mod describe;
mod earlier;
mod export;
mod import;
mod interface;
mod meta;
mod meta_document;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::contract::{Contract, JobType};
use super::types::{Type, fits_shape};

pub use describe::{Query, all_parameters, output_types, type_parameters};
pub use export::export;
pub use import::{VERSION_MAX, import};
pub use interface::{Interface, Lookup, interface};
pub use meta::check_meta;

/// Things by name, in the order of the document.
pub type Named<T> = Vec<(String, T)>;

/// Finds a thing by name.
pub fn find<'a, T>(things: &'a [(String, T)], name: &str) -> Option<&'a T> {
    things.iter().find(|(own, _)| own == name).map(|(_, thing)| thing)
}

/// A template, without what the store adds to it: key, creator and times.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Name; with the version it is unique among the active ones.
    pub name: String,
    /// Version, from 1. `None` in a document without one: the store takes one above the highest.
    pub version: Option<i64>,
    /// What it is for, for people.
    pub description: String,
    /// Who it is for; kept as given.
    pub scope: String,
    /// Name of its domain, two characters.
    pub domain: Option<String>,
    /// Name of its licence.
    pub licence: String,
    /// What only one of the two kinds has.
    pub specific: Specific,
}

/// What only one of the two kinds of template has. The store keeps it as one JSON text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Specific {
    /// A template whose jobs a worker node runs.
    Workable(Workable),
    /// A template whose jobs are made up of others.
    Meta(Meta),
}

/// What a workable template has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workable {
    /// The contract's string in canonical form; empty without one.
    #[serde(rename = "type")]
    pub type_: String,
    /// The class that a worker runs.
    pub executor_class: String,
    /// What a worker has to install.
    pub required_packages: String,
    /// Its parameters.
    pub parameters: Named<Parameter>,
    /// Its own inputs; those of its contract come before them.
    pub inputs: Named<Input>,
    /// Its own outputs; those of its contract come before them.
    pub outputs: Named<Output>,
    /// Text that the worker fills in with the parameters.
    pub body: String,
    /// `NAME|VERSION` of a document in the earlier dialect; `None` for one in today's.
    pub framework: Option<String>,
}

/// A parameter of a workable template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// The types that it takes; at least one.
    pub types: Vec<Type>,
    /// What it is, for people.
    pub help: String,
    /// What it is when a job does not say. Without one, a job has to say.
    pub default: Option<ParameterDefault>,
}

/// What a parameter is when a job does not say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParameterDefault {
    /// The value.
    pub value: Value,
    /// Its type.
    #[serde(rename = "type")]
    pub type_: Type,
    /// Says whether a job may not set another.
    #[serde(rename = "const")]
    pub const_: bool,
}

/// An input of a workable template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The types that it takes; at least one.
    pub types: Vec<Type>,
    /// What it is, for people.
    pub help: String,
    /// Hints for the worker on how to fetch it.
    pub options: String,
}

/// An output of a workable template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Its type.
    #[serde(rename = "type")]
    pub type_: Type,
    /// What it is, for people.
    pub help: String,
}

/// What a meta-template has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// The children by name; at least one.
    pub nodes: Named<Node>,
    /// Which child's output is which child's input.
    pub dependencies: Vec<Dependency>,
}

/// A child of a meta-template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Name of its template.
    pub name: String,
    /// Version of its template; `None` for the highest active one.
    pub version: Option<i64>,
    /// Other defaults for parameters of its template.
    pub overrides: Named<Override>,
}

/// Another default for a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Override {
    /// The value.
    pub default: Value,
    /// Its type; without one, the first of the parameter's types that the value fits.
    pub default_type: Option<Type>,
    /// Says whether a job may not set another; without it, it may.
    #[serde(rename = "const")]
    pub const_: Option<bool>,
}

/// An edge of a meta-template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dependency {
    /// The child whose output it is.
    pub from_node: String,
    /// Which of its outputs.
    pub from_output: FromOutput,
    /// The child whose input it is.
    pub to_node: String,
    /// Which of its inputs.
    pub to_input: String,
}

/// How a dependency names an output; kept in the form in which it was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FromOutput {
    /// By its name.
    Name(String),
    /// By its name and type.
    Typed {
        /// The name.
        value: String,
        /// The type, canonical.
        #[serde(rename = "type")]
        type_: Type,
    },
}

impl FromOutput {
    /// Gives the output's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) | Self::Typed { value: name, .. } => name,
        }
    }

    /// Gives the output's type, if it was said.
    pub fn type_(&self) -> Option<&Type> {
        match self {
            Self::Name(_) => None,
            Self::Typed { type_, .. } => Some(type_),
        }
    }
}

impl Template {
    /// Gives what a workable one has.
    pub fn workable(&self) -> Option<&Workable> {
        match &self.specific {
            Specific::Workable(workable) => Some(workable),
            Specific::Meta(_) => None,
        }
    }

    /// Gives what a meta one has.
    pub fn meta(&self) -> Option<&Meta> {
        match &self.specific {
            Specific::Workable(_) => None,
            Specific::Meta(meta) => Some(meta),
        }
    }
}

impl Workable {
    /// Gives its contract, if the server knows it.
    pub fn contract(&self) -> Option<Contract> {
        // The string was checked at import, so that one which does not parse can't be here.
        JobType::parse(&self.type_).ok().and_then(JobType::into_contract)
    }

    /// Gives all inputs: those of the contract, then its own. An own one of the same name stands in for the contract's.
    pub fn all_inputs(&self) -> Named<Input> {
        let promised = self.contract().map(|contract| contract.inputs()).unwrap_or_default().into_iter();
        let promised = promised.filter(|input| find(&self.inputs, input.name).is_none()).map(|input| {
            let (types, help) = (input.types, input.help.to_owned());
            (input.name.to_owned(), Input { types, help, options: String::new() })
        });
        promised.chain(self.inputs.iter().cloned()).collect()
    }

    /// Gives all outputs: those of the contract, then its own, as `all_inputs` does.
    pub fn all_outputs(&self) -> Named<Output> {
        let promised = self.contract().map(|contract| contract.outputs()).unwrap_or_default().into_iter();
        let promised = promised
            .filter(|output| find(&self.outputs, output.name).is_none())
            .map(|output| (output.name.to_owned(), Output { type_: output.type_, help: output.help.to_owned() }));
        promised.chain(self.outputs.iter().cloned()).collect()
    }

    /// Gives the wire's `parameters` (contract §4).
    pub fn parameters_json(&self) -> Value {
        object(&self.parameters, Parameter::to_json)
    }

    /// Gives the wire's `inputs`, those of the contract included.
    pub fn inputs_json(&self) -> Value {
        object(&self.all_inputs(), |i| json!({"types": i.types, "help": i.help, "options": i.options}))
    }

    /// Gives the wire's `outputs`, those of the contract included.
    pub fn outputs_json(&self) -> Value {
        object(&self.all_outputs(), |output| json!({"type": output.type_, "help": output.help}))
    }
}

/// Makes an object of named things.
fn object<T>(things: &[(String, T)], to_json: impl Fn(&T) -> Value) -> Value {
    Value::Object(things.iter().map(|(name, thing)| (name.clone(), to_json(thing))).collect())
}

impl Parameter {
    /// Gives it as in today's documents and on the wire: `default_type` and `const` accompany every `default`.
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("types".to_owned(), json!(self.types));
        members.insert("help".to_owned(), json!(self.help));
        if let Some(default) = &self.default {
            members.insert("default".to_owned(), default.value.clone());
            members.insert("default_type".to_owned(), json!(default.type_));
            members.insert("const".to_owned(), json!(default.const_));
        }
        Value::Object(members)
    }

    /// Gives the first of its types that a default fits.
    pub(super) fn type_of_default(&self, value: &Value) -> Option<&Type> {
        self.types.iter().find(|of| fits_default(value, of).is_ok())
    }
}

/// Says whether a value can be a default of a type. Bytes can't be one, since only inputs keep them alive.
pub(super) fn fits_default(value: &Value, of: &Type) -> Result<(), String> {
    if of.kind() == Some(super::types::Kind::Blob) {
        return Err("Only inputs are blobs.".to_owned());
    }
    fits_shape(value, of)
}

impl Meta {
    /// Gives the wire's `nodes`: what was given, by name.
    pub fn nodes_json(&self) -> Value {
        object(&self.nodes, |node| {
            let mut members = Map::new();
            members.insert("name".to_owned(), json!(node.name));
            if let Some(version) = node.version {
                members.insert("version".to_owned(), json!(version));
            }
            if !node.overrides.is_empty() {
                members.insert("parameter_default_overrides".to_owned(), object(&node.overrides, Override::to_json));
            }
            Value::Object(members)
        })
    }

    /// Gives the wire's `dependencies`, as they were given.
    pub fn dependencies_json(&self) -> Value {
        json!(self.dependencies)
    }
}

impl Override {
    /// Gives it as it was given.
    fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("default".to_owned(), self.default.clone());
        if let Some(default_type) = &self.default_type {
            members.insert("default_type".to_owned(), json!(default_type));
        }
        if let Some(const_) = self.const_ {
            members.insert("const".to_owned(), json!(const_));
        }
        Value::Object(members)
    }
}
