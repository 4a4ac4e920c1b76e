//! Reads template documents of both dialects (contract §7).

use serde_json::{Map, Value};

use super::{Input, Named, Output, Parameter, ParameterDefault, Specific, Template, Workable, fits_default};
use super::{earlier, find, meta_document};
use crate::domain::contract::JobType;
use crate::domain::fields::{Fields, Problems, array, boolean, integer, kind_of, nullable, object, text};
use crate::domain::types::{Type, joined, parse, takes};

/// The highest version, also of those that the server counts up.
pub const VERSION_MAX: i64 = i32::MAX as i64;

/// Most characters in a name of a template, licence, input, output, parameter or child.
const NAME_CHARS_MAX: usize = 200;
/// Most characters in a text for people or for workers.
const TEXT_CHARS_MAX: usize = 1 << 20;
/// Most types of one input or parameter.
const TYPES_MAX: usize = 100;
/// Most things in one object or list of named things.
const NAMED_MAX: usize = 1_000;

/// Reads a document. Of a meta-template only the form is checked here; [`super::check_meta`] checks what it refers to.
///
/// # Errors
/// What is wrong, by field, unknown keys included.
pub fn import(document: &Map<String, Value>) -> Result<Template, Problems> {
    let mut fields = Fields::new(document);
    let name = fields.required("name", name);
    let version = fields.optional("version", nullable(version)).flatten();
    let description = fields.optional("description", long_text);
    let scope = fields.required("scope", name_like);
    let domain = fields.optional("domain", nullable(text(2..=2))).flatten();
    let licence = fields.required("licence", name_like);
    let specific = match fields.required("specific", object).map(specific) {
        Some(Ok(specific)) => Some(specific),
        Some(Err(problems)) => {
            fields.problems_within("specific", problems);
            None
        }
        None => None,
    };
    fields.finish()?;
    let (Some(name), Some(scope), Some(licence), Some(specific)) = (name, scope, licence, specific) else {
        return Err(Problems::one("specific", "This document is not complete."));
    };
    Ok(Template { name, version, description: description.unwrap_or_default(), scope, domain, licence, specific })
}

/// Takes the name of a template, input, output, parameter or child.
pub(super) fn name(value: &Value) -> Result<String, String> {
    text(1..=NAME_CHARS_MAX)(value)
}

/// Takes a scope or licence.
fn name_like(value: &Value) -> Result<String, String> {
    name(value)
}

/// Takes a version.
pub(super) fn version(value: &Value) -> Result<i64, String> {
    integer(1..=VERSION_MAX)(value)
}

/// Takes a text for people or workers, which may be empty.
pub(super) fn long_text(value: &Value) -> Result<String, String> {
    text(0..=TEXT_CHARS_MAX)(value)
}

/// Takes a type string.
pub(super) fn type_string(value: &Value) -> Result<Type, String> {
    let string = value.as_str().ok_or_else(|| format!("Must be a type string, not {}.", kind_of(value)))?;
    parse(string).map_err(|error| error.to_string())
}

/// Takes a list of type strings, at least one.
fn type_strings(value: &Value) -> Result<Vec<Type>, String> {
    let strings = array(value)?;
    if strings.is_empty() || strings.len() > TYPES_MAX {
        return Err(format!("Must name from 1 to {TYPES_MAX} types."));
    }
    strings.iter().map(type_string).collect()
}

/// Reads `specific`, of either kind.
fn specific(document: &Map<String, Value>) -> Result<Specific, Problems> {
    if document.contains_key("nodes") || document.contains_key("dependencies") {
        meta_document::meta(document).map(Specific::Meta)
    } else {
        workable(document).map(Specific::Workable)
    }
}

/// Reads what a workable template has.
fn workable(document: &Map<String, Value>) -> Result<Workable, Problems> {
    let mut fields = Fields::new(document);
    let type_ = fields.required("job_type", |value| {
        JobType::parse(&long_text(value)?).map(|job_type| job_type.to_string()).map_err(|error| error.to_string())
    });
    let executor_class = fields.required("executor_class", long_text).unwrap_or_default();
    let required_packages = fields.required("required_packages", long_text).unwrap_or_default();
    let body = fields.optional("body", long_text).unwrap_or_default();
    let mut framework = fields.optional("framework", nullable(long_text)).flatten();
    let parameters = match fields.raw("parameters") {
        Some(Value::Object(members)) => within(&mut fields, "parameters", by_name(members, parameter)),
        Some(Value::Array(entries)) => {
            // Lists of parameters are the earlier dialect's, which the template goes back to when it is exported.
            framework.get_or_insert_default();
            within(&mut fields, "parameters", by_list(entries, earlier::parameter))
        }
        Some(other) => {
            fields.problem("parameters", format!("Must be an object or an array, not {}.", kind_of(other)));
            Vec::new()
        }
        None => Vec::new(),
    };
    let inputs = list(&mut fields, "inputs", input);
    let outputs = list(&mut fields, "outputs", output);
    fields.finish()?;
    let type_ = type_.unwrap_or_default();
    let read = Workable { type_, executor_class, required_packages, parameters, inputs, outputs, body, framework };
    clashes(&read).into_result(read)
}

/// Finds own inputs and outputs that contradict those of the contract.
fn clashes(workable: &Workable) -> Problems {
    let mut problems = Problems::default();
    let Some(contract) = workable.contract() else { return problems };
    for promised in contract.inputs() {
        if find(&workable.inputs, promised.name).is_some_and(|own| own.types != promised.types) {
            let sentence = format!("{contract} has an input of this name, of other types.");
            problems.add(format!("inputs.{}", promised.name), sentence);
        }
    }
    for promised in contract.outputs() {
        if find(&workable.outputs, promised.name).is_some_and(|own| own.type_ != promised.type_) {
            let sentence = format!("{contract} has an output of this name, of another type.");
            problems.add(format!("outputs.{}", promised.name), sentence);
        }
    }
    problems
}

/// Gives what was read inside a field, or puts its problems with the others.
pub(super) fn within<T: Default>(fields: &mut Fields<'_>, name: &str, read: Result<T, Problems>) -> T {
    read.unwrap_or_else(|problems| {
        fields.problems_within(name, problems);
        T::default()
    })
}

/// Reads an optional list of named things.
fn list<'a, T>(fields: &mut Fields<'a>, name: &'a str, read: impl Fn(&mut Fields<'_>) -> Option<T>) -> Named<T> {
    match fields.optional(name, array) {
        Some(entries) => within(fields, name, by_list(entries, read)),
        None => Vec::new(),
    }
}

/// Says that an object or list holds too many things.
fn too_many() -> Problems {
    Problems::one("length", format!("There may be at most {NAMED_MAX}."))
}

/// Reads an object of named things.
pub(super) fn by_name<T>(
    members: &Map<String, Value>,
    read: impl Fn(&mut Fields<'_>) -> Option<T>,
) -> Result<Named<T>, Problems> {
    let mut problems = Problems::default();
    let mut things = Vec::new();
    if members.len() > NAMED_MAX {
        return Err(too_many());
    }
    for (member, value) in members {
        if let Err(sentence) = name(&Value::from(member.as_str())) {
            problems.add(member, format!("The name does not do: {sentence}"));
        }
        match object(value) {
            Ok(inner) => {
                let mut fields = Fields::new(inner);
                let thing = read(&mut fields);
                match fields.finish() {
                    Ok(()) => things.extend(thing.map(|thing| (member.clone(), thing))),
                    Err(inner) => problems.add_all(member, inner),
                }
            }
            Err(sentence) => problems.add(member, sentence),
        }
    }
    problems.into_result(things)
}

/// Reads a list of things that say their own names.
fn by_list<T>(entries: &[Value], read: impl Fn(&mut Fields<'_>) -> Option<T>) -> Result<Named<T>, Problems> {
    let mut problems = Problems::default();
    let mut things: Named<T> = Vec::new();
    if entries.len() > NAMED_MAX {
        return Err(too_many());
    }
    for (index, value) in entries.iter().enumerate() {
        let inner = match object(value) {
            Ok(inner) => inner,
            Err(sentence) => {
                problems.add(index.to_string(), sentence);
                continue;
            }
        };
        let mut fields = Fields::new(inner);
        let own = fields.required("name", name);
        let thing = read(&mut fields);
        let said = own.clone().unwrap_or_else(|| index.to_string());
        if find(&things, &said).is_some() {
            fields.problem("name", format!("There are two of the name {said:?}."));
        }
        match fields.finish() {
            Ok(()) => things.extend(own.zip(thing)),
            Err(inner) => problems.add_all(&said, inner),
        }
    }
    problems.into_result(things)
}

/// Reads a parameter of today's dialect.
fn parameter(fields: &mut Fields<'_>) -> Option<Parameter> {
    let types = fields.required("types", type_strings);
    let help = fields.optional("help", long_text).unwrap_or_default();
    let default = fields.raw("default");
    let default_type = fields.optional("default_type", nullable(type_string)).flatten();
    let const_ = fields.optional("const", boolean).unwrap_or(false);
    let mut parameter = Parameter { types: types?, help, default: None };
    match default {
        Some(value) => match default_of(&parameter, value, default_type.as_ref(), const_) {
            Ok(default) => parameter.default = Some(default),
            Err((field, sentence)) => fields.problem(field, sentence),
        },
        None if const_ => fields.problem("const", "Only a parameter with a default can be const."),
        None if default_type.is_some() => fields.problem("default_type", "There is no default that it is the type of."),
        None => {}
    }
    Some(parameter)
}

/// Makes a default for a parameter, or says which field is wrong and why.
pub(super) fn default_of(
    parameter: &Parameter,
    value: &Value,
    default_type: Option<&Type>,
    const_: bool,
) -> Result<ParameterDefault, (&'static str, String)> {
    let type_ = match default_type {
        Some(given) => {
            if !parameter.types.iter().any(|wanted| takes(wanted, given)) {
                return Err(("default_type", format!("{given} is none of the types {}.", joined(&parameter.types))));
            }
            fits_default(value, given).map_err(|why| ("default", format!("Does not fit {given}: {why}")))?;
            given.clone()
        }
        None => match (parameter.type_of_default(value), parameter.types.as_slice()) {
            (Some(found), _) => found.clone(),
            (None, [only]) => {
                let why = fits_default(value, only).err().unwrap_or_default();
                return Err(("default", format!("Does not fit {only}: {why}")));
            }
            (None, several) => return Err(("default", format!("Fits none of the types {}.", joined(several)))),
        },
    };
    Ok(ParameterDefault { value: value.clone(), type_, const_ })
}

/// Reads an input.
fn input(fields: &mut Fields<'_>) -> Option<Input> {
    let types = fields.required("types", type_strings);
    let options = fields.optional("options", long_text).unwrap_or_default();
    let help = fields.optional("help", long_text).unwrap_or_default();
    Some(Input { types: types?, help, options })
}

/// Reads an output.
fn output(fields: &mut Fields<'_>) -> Option<Output> {
    let type_ = fields.required("type", type_string);
    let help = fields.optional("help", long_text).unwrap_or_default();
    Some(Output { type_: type_?, help })
}
