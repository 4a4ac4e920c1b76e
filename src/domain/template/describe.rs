//! What a template says of itself, and the search for those that fit (contract §7).

use serde_json::{Map, Value, json};

use super::{Interface, Parameter, Template, find};
use crate::domain::contract::{Contract, JobType, KNOWN_CONTRACTS};
use crate::domain::fields::Problems;
use crate::domain::types::{Type, json_schema, parse, takes};

/// Gives the answer of `get-all-parameters`:
/// `{name: {types: {TYPE: schema}, help, default?: {value, type, schema, const}}}`.
pub fn all_parameters(interface: &Interface) -> Value {
    let described = interface.parameters.iter().map(|(name, parameter)| (name.clone(), described(parameter)));
    Value::Object(described.collect())
}

fn described(parameter: &Parameter) -> Value {
    let types: Map<String, Value> = parameter.types.iter().map(|of| (of.to_string(), json_schema(of))).collect();
    let mut members = Map::new();
    members.insert("types".to_owned(), Value::Object(types));
    members.insert("help".to_owned(), json!(parameter.help));
    if let Some(default) = &parameter.default {
        let schema = json_schema(&default.type_);
        let default = json!({"value": default.value, "type": default.type_, "schema": schema, "const": default.const_});
        members.insert("default".to_owned(), default);
    }
    Value::Object(members)
}

/// Gives the answer of `get-types`: the contract's type parameters with their arguments; `{}` without a contract.
pub fn type_parameters(template: &Template) -> Value {
    let contract = template.workable().and_then(|workable| workable.contract());
    let parameters = contract.map(|contract| contract.type_parameters()).unwrap_or_default();
    Value::Object(parameters.into_iter().map(|(name, of)| (name.to_owned(), json!(of))).collect())
}

/// Gives the answer of `get-outputs`: the type of each output by name.
pub fn output_types(interface: &Interface) -> Value {
    Value::Object(interface.outputs.iter().map(|(name, output)| (name.clone(), json!(output.type_))).collect())
}

/// A search for templates: a contract, and types that its inputs have to take.
#[derive(Debug)]
pub struct Query {
    contract: Contract,
    inputs: Vec<(String, Type)>,
}

impl Query {
    /// Reads a search: the contract, by name or with arguments, and pairs of an input's name and a type string.
    ///
    /// # Errors
    /// By field, when the contract is unknown, it has no such input, or a type does not parse.
    pub fn parse(contract: &str, inputs: &[(String, String)]) -> Result<Self, Problems> {
        let contract = match JobType::parse(contract) {
            Ok(JobType::Known(known)) => known,
            Ok(JobType::Empty | JobType::Unknown(_)) => {
                let names: Vec<_> = KNOWN_CONTRACTS.iter().map(|known| known.name).collect();
                let sentence = format!("There is no contract {contract:?}, only {}.", names.join(", "));
                return Err(Problems::one("contract", sentence));
            }
            Err(error) => return Err(Problems::one("contract", error.to_string())),
        };
        let mut problems = Problems::default();
        let mut read = Vec::new();
        let declared = contract.inputs();
        for (name, text) in inputs {
            if !declared.iter().any(|input| input.name == name) {
                problems.add(name, format!("The contract {} has no input {name:?}.", contract.name()));
                continue;
            }
            match parse(text) {
                Ok(of) => read.push((name.clone(), of)),
                Err(error) => problems.add(name, error.to_string()),
            }
        }
        problems.into_result(Self { contract, inputs: read })
    }

    /// Says whether a template's contract is the one asked for, and its inputs take the types.
    pub fn matches(&self, template: &Template) -> bool {
        let Some(workable) = template.workable() else { return false };
        if !workable.contract().is_some_and(|own| own.is_part_of(&self.contract)) {
            return false;
        }
        let inputs = workable.all_inputs();
        self.inputs.iter().all(|(name, given)| {
            find(&inputs, name).is_some_and(|input| input.types.iter().any(|wanted| takes(wanted, given)))
        })
    }
}
