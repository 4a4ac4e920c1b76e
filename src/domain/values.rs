//! The values that a job is created with, held against its template (contract §7).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::fields::{Fields, Problems, object};
use super::template::{Input, Interface, Parameter, find};
use super::types::{Kind, Rows, Type, blob_digest, fits, joined, parse, parse_text, takes};

/// Values that have been found good.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checked {
    /// `{name: {value, type}}`, types canonical.
    pub inputs: Map<String, Value>,
    /// Parameters in the form in which they were given, a text or `{value, type}`, types canonical.
    pub parameters: Map<String, Value>,
    /// Digests (hex) of the blobs that are inputs, whose bytes the job keeps alive; each once.
    pub blobs: Vec<String>,
}

/// Checks the values of a job.
///
/// # Errors
/// By field, `input_values.NAME` or `parameter_values.NAME`: missing and unknown ones, types that do not parse or that
/// the template does not take, values that do not fit, rows that do not exist, and values for const parameters.
pub fn check(
    interface: &Interface,
    input_values: &Map<String, Value>,
    parameter_values: &Map<String, Value>,
    rows: &dyn Rows,
) -> Result<Checked, Problems> {
    let mut problems = Problems::default();
    let mut checked = Checked::default();
    let mut blobs = BTreeSet::new();
    for (name, given) in input_values {
        let Some(input) = find(&interface.inputs, name) else {
            problems.add(format!("input_values.{name}"), format!("There is no input {name:?}."));
            continue;
        };
        match check_input(input, given, rows) {
            Ok(pair) => {
                blobs.extend(pair.blob().map(str::to_owned));
                checked.inputs.insert(name.clone(), pair.into_json());
            }
            Err(inner) => add_at(&mut problems, &format!("input_values.{name}"), inner),
        }
    }
    for (name, given) in parameter_values {
        let Some(parameter) = find(&interface.parameters, name) else {
            problems.add(format!("parameter_values.{name}"), format!("There is no parameter {name:?}."));
            continue;
        };
        match check_parameter(parameter, given, rows) {
            Ok(echo) => {
                checked.parameters.insert(name.clone(), echo);
            }
            Err(inner) => add_at(&mut problems, &format!("parameter_values.{name}"), inner),
        }
    }
    for (name, _) in interface.inputs.iter().filter(|(name, _)| !input_values.contains_key(name)) {
        problems.add(format!("input_values.{name}"), "This input is required.");
    }
    let needed = interface.parameters.iter().filter(|(_, parameter)| parameter.default.is_none());
    for (name, _) in needed.filter(|(name, _)| !parameter_values.contains_key(name)) {
        problems.add(format!("parameter_values.{name}"), "This parameter is required, since it has no default.");
    }
    checked.blobs = blobs.into_iter().collect();
    problems.into_result(checked)
}

/// What is wrong with one value: with the whole, or with a part of it.
enum Wrong {
    Whole(String),
    Parts(Problems),
}

fn add_at(problems: &mut Problems, field: &str, wrong: Wrong) {
    match wrong {
        Wrong::Whole(sentence) => problems.add(field, sentence),
        Wrong::Parts(parts) => problems.add_all(field, parts),
    }
}

/// A value with its type.
struct Pair {
    value: Value,
    type_: Type,
}

impl Pair {
    /// Takes `{value, type}` apart.
    fn read(given: &Value) -> Result<Self, Wrong> {
        let members =
            object(given).map_err(|_| Wrong::Whole("Must be an object with the members value and type.".to_owned()))?;
        let mut fields = Fields::new(members);
        let value = fields.required("value", |value| Ok(value.clone()));
        let type_ = fields.required("type", |value| {
            let text = value.as_str().ok_or_else(|| "Must be a type string.".to_owned())?;
            parse(text).map_err(|error| error.to_string())
        });
        fields.finish().map_err(Wrong::Parts)?;
        match value.zip(type_) {
            Some((value, type_)) => Ok(Self { value, type_ }),
            None => Err(Wrong::Whole("Must be an object with the members value and type.".to_owned())),
        }
    }

    /// Says whether its type is taken and its value fits.
    fn check(&self, types: &[Type], rows: &dyn Rows) -> Result<(), Wrong> {
        if !types.iter().any(|wanted| takes(wanted, &self.type_)) {
            let sentence = format!("The type {} is not taken here, only {}.", self.type_, joined(types));
            return Err(Wrong::Parts(Problems::one("type", sentence)));
        }
        fits(&self.value, &self.type_, rows).map_err(|why| {
            let sentence = format!("The value does not fit the type {}. {why}", self.type_);
            Wrong::Parts(Problems::one("value", sentence))
        })
    }

    /// Gives the digest of the blob that it is.
    fn blob(&self) -> Option<&str> {
        if self.type_.kind() == Some(Kind::Blob) { blob_digest(&self.value) } else { None }
    }

    fn into_json(self) -> Value {
        json!({"value": self.value, "type": self.type_})
    }
}

fn check_input(input: &Input, given: &Value, rows: &dyn Rows) -> Result<Pair, Wrong> {
    let pair = Pair::read(given)?;
    pair.check(&input.types, rows)?;
    Ok(pair)
}

fn check_parameter(parameter: &Parameter, given: &Value, rows: &dyn Rows) -> Result<Value, Wrong> {
    if parameter.default.as_ref().is_some_and(|default| default.const_) {
        return Err(Wrong::Whole("This parameter is const and takes no value.".to_owned()));
    }
    if let Some(text) = given.as_str() {
        return check_text(parameter, text, rows).map(|()| given.clone()).map_err(Wrong::Whole);
    }
    let pair = Pair::read(given)?;
    if pair.type_.kind() == Some(Kind::Blob) {
        return Err(Wrong::Whole("Only inputs are blobs, not parameters.".to_owned()));
    }
    pair.check(&parameter.types, rows)?;
    Ok(pair.into_json())
}

/// Says whether a bare text can be read as a value of one of the parameter's types.
fn check_text(parameter: &Parameter, text: &str, rows: &dyn Rows) -> Result<(), String> {
    let mut why = String::new();
    for wanted in parameter.types.iter().filter(|wanted| wanted.kind() != Some(Kind::Blob)) {
        match parse_text(text, wanted).map(|value| fits(&value, wanted, rows)) {
            Some(Ok(())) => return Ok(()),
            Some(Err(sentence)) => why = sentence,
            None => {}
        }
    }
    Err(format!("The text can't be read as {}. {why}", joined(&parameter.types)).trim_end().to_owned())
}
