//! Parameters of the earlier dialect, whose defaults are texts (contract §7).

use serde_json::{Map, Value, json};

use super::import::{default_of, long_text, type_string};
use super::{Named, Parameter, ParameterDefault};
use crate::domain::fields::Fields;
use crate::domain::types::{Type, parse_text};

/// Reads a parameter. A default is read as the parameter's type; of an opaque type it stays the text that it is, the
/// empty one included, since jobs could always be made without it. Where the empty text is no value of the type there
/// is no default.
pub(super) fn parameter(fields: &mut Fields<'_>) -> Option<Parameter> {
    let type_ = fields.required("type", type_string);
    let help = fields.optional("help", long_text).unwrap_or_default();
    let given = fields.raw("default");
    let type_ = type_?;
    let mut parameter = Parameter { types: vec![type_.clone()], help, default: None };
    let Some(given) = given else { return Some(parameter) };
    let value = match given.as_str() {
        Some(text) => parse_text(text, &type_).unwrap_or_else(|| given.clone()),
        None => given.clone(),
    };
    match default_of(&parameter, &value, None, false) {
        Ok(default) => parameter.default = Some(default),
        Err(_) if given.as_str() == Some("") => {}
        Err((field, sentence)) => fields.problem(field, sentence),
    }
    Some(parameter)
}

/// Writes the parameters as a list in the earlier dialect; `None` if one of them has what that dialect can't say.
pub(super) fn parameters_json(parameters: &Named<Parameter>) -> Option<Value> {
    let entries = parameters.iter().map(|(name, parameter)| {
        let [type_] = parameter.types.as_slice() else { return None };
        let mut entry = Map::new();
        entry.insert("name".to_owned(), json!(name));
        entry.insert("type".to_owned(), json!(type_));
        entry.insert("help".to_owned(), json!(parameter.help));
        if let Some(default) = &parameter.default {
            entry.insert("default".to_owned(), default_json(default, type_)?);
        }
        Some(Value::Object(entry))
    });
    entries.collect::<Option<Vec<_>>>().map(Value::Array)
}

/// Writes a default: as a text that is read back as the value, or as it is.
fn default_json(default: &ParameterDefault, type_: &Type) -> Option<Value> {
    if default.const_ || default.type_ != *type_ {
        return None;
    }
    let as_is = default.value.as_str().map(str::to_owned);
    let mut texts = as_is.into_iter().chain([default.value.to_string()]);
    match texts.find(|text| parse_text(text, type_).as_ref() == Some(&default.value)) {
        Some(text) => Some(Value::String(text)),
        None => (!default.value.is_string()).then(|| default.value.clone()),
    }
}
