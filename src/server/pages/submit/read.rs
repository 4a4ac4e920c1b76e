//! What was filled in, as the body of the API's create-job: the rules that check it are the same.

use serde_json::{Map, Value, json};

use super::fields::{Way, Widget, default_text, default_way, field, ways};
use crate::blobs::Held;
use crate::domain::fields::Problems;
use crate::domain::template::{Interface, Parameter};
use crate::domain::types::{Kind, Type, read_text};
use crate::server::error::ApiError;
use crate::server::handlers::outputs::write_error;
use crate::server::pages::form::{self, FORM_BYTES_MAX, Form};
use crate::server::request::Call;

/// Reads a form, with the files in it: their bytes are kept, and their digests stand in the fields.
///
/// # Errors
/// 400 when it can't be read, 413 and 507 when there is no room for it.
pub(super) async fn filled(call: &mut Call) -> Result<(Form, Vec<Held>), ApiError> {
    if !form::has_files(call) {
        return Ok((form::read(call).await?.clone(), Vec::new()));
    }
    let (mut filled, mut held, mut room) = (Form::default(), Vec::new(), FORM_BYTES_MAX);
    while let Some(mut part) = form::parts(call)?.next().await? {
        let name = part.name().unwrap_or_default().to_owned();
        // As much as it takes in a form without files: names without end would fill the memory as texts would.
        room = room.checked_sub(name.len() + "=&".len()).ok_or_else(|| ApiError::too_large(FORM_BYTES_MAX as u64))?;
        let Some(file_name) = part.file_name().map(str::to_owned) else {
            let text = part.text(room).await?;
            room = room.saturating_sub(text.len());
            filled.push(name, text);
            continue;
        };
        // A browser sends an empty file without a name where none was chosen.
        if file_name.is_empty() {
            continue;
        }
        let mut writer = call.app.blobs.writer(call.app.output_bytes_max);
        while let Some(piece) = part.piece().await? {
            writer.write(piece).await.map_err(write_error)?;
        }
        let bytes = writer.finish().await.map_err(write_error)?;
        let sha256 = bytes.digest().to_string();
        call.app.store.await_name(sha256.clone()).await?;
        filled.push(name, format!("sha256:{sha256}"));
        held.push(bytes);
    }
    Ok((filled, held))
}

/// Makes the body of create-job of a form.
///
/// # Errors
/// By field, what can't be made a body; the rest is found out by whoever takes the body.
pub(super) fn body(form: &Form, interface: &Interface) -> Result<Map<String, Value>, Problems> {
    let mut problems = Problems::default();
    let mut inputs = Map::new();
    for (name, input) in &interface.inputs {
        match given(form, 'i', name, &ways(&input.types, true)) {
            Ok(Some((way, text))) => {
                inputs.insert(name.clone(), typed(&text, &asked(&way.types)));
            }
            Ok(None) => {}
            Err(sentence) => problems.add(format!("input_values.{name}"), sentence),
        }
    }
    let mut parameters = Map::new();
    for (name, parameter) in &interface.parameters {
        match given_parameter(form, name, parameter) {
            Ok(Some(value)) => {
                parameters.insert(name.clone(), value);
            }
            Ok(None) => {}
            Err(sentence) => problems.add(format!("parameter_values.{name}"), sentence),
        }
    }
    let mut body = Map::new();
    body.insert("input_values".to_owned(), inputs.into());
    body.insert("parameter_values".to_owned(), parameters.into());
    if let Some(description) = form.filled("description") {
        body.insert("description".to_owned(), description.replace("\r\n", "\n").into());
    }
    if form.get("hold").is_some() {
        body.insert("hold".to_owned(), true.into());
    }
    for name in ["priority", "max_attempts", "retry_delay", "timeout"] {
        let Some(text) = form.get(name).map(str::trim).filter(|text| !text.is_empty()) else { continue };
        // What is no number goes on as a text, to be refused together with whatever else is wrong.
        let number = serde_json::from_str(text).ok().filter(Value::is_number);
        body.insert(name.to_owned(), number.unwrap_or_else(|| text.into()));
    }
    match labels(form.get("labels").unwrap_or_default()) {
        Ok(labels) if labels.is_empty() => {}
        Ok(labels) => {
            body.insert("labels".to_owned(), labels.into());
        }
        Err(sentence) => problems.add("labels", sentence),
    }
    problems.into_result(body)
}

/// Gives the way in which a value was given, and its text.
///
/// # Errors
/// A sentence, when it was given in more than one.
fn given<'a>(form: &Form, sort: char, name: &str, ways: &'a [Way]) -> Result<Option<(&'a Way, String)>, String> {
    let mut found = None;
    for (number, way) in ways.iter().enumerate() {
        let Some(text) = form.filled(&field(sort, name, number)).filter(|text| !text.trim().is_empty()) else {
            continue;
        };
        if found.is_some() {
            return Err("Give it in one of the ways, not in more.".to_owned());
        }
        // What browsers make of the ends of lines is not what was typed.
        found = Some((way, text.replace("\r\n", "\n")));
    }
    Ok(found)
}

/// Gives a parameter's value; `None` when it is the default, or nothing.
fn given_parameter(form: &Form, name: &str, parameter: &Parameter) -> Result<Option<Value>, String> {
    if parameter.default.as_ref().is_some_and(|default| default.const_) {
        return Ok(None);
    }
    let ways = ways(&parameter.types, false);
    let default = default_text(parameter);
    let Some((way, text)) = given(form, 'p', name, &ways)? else {
        // A text that was emptied is an empty text, where the default is another.
        let place = default_way(parameter, &ways);
        let emptied = place.and_then(|place| ways.get(place).zip(form.get(&field('p', name, place))));
        let is_emptied = emptied.is_some_and(|(way, _)| way.widget == Widget::Text);
        let is_other = default.is_some_and(|default| !default.is_empty());
        return Ok(emptied.filter(|_| is_emptied && is_other).map(|(way, _)| typed("", &way.types)));
    };
    let is_default = default.as_deref() == Some(text.as_str())
        && default_way(parameter, &ways).and_then(|place| ways.get(place)).is_some_and(|own| std::ptr::eq(own, way));
    if is_default {
        return Ok(None);
    }
    // With its type: the launchers of the reference can't read a job whose parameters are bare texts. Where there is no
    // other way to mean it, a text that fits nothing goes bare, to be told as what it can't be read.
    let is_plain = ways.len() == 1;
    let unfit = || if is_plain { Value::from(text.as_str()) } else { typed(&text, &way.types) };
    Ok(Some(fitting(&text, &way.types).unwrap_or_else(unfit)))
}

/// Gives a value of a text, with the first of the types that it fits; of none, with the first, to be told why not.
fn typed(text: &str, types: &[Type]) -> Value {
    fitting(text, types).unwrap_or_else(|| json!({"value": text, "type": types.first()}))
}

/// Gives a value of a text, with the first of the types that it fits.
fn fitting(text: &str, types: &[Type]) -> Option<Value> {
    let (value, of) = read_text(text, types).or_else(|| read_text(text.trim(), types))?;
    Some(json!({"value": value, "type": of}))
}

/// Gives the types in today's form: an earlier document's `job_output<…>` takes outputs that are given as `JobOutput<…>`.
pub(super) fn asked(types: &[Type]) -> Vec<Type> {
    let today = |of: &Type| match of {
        Type::Opaque(name, arguments) if name == "job_output" => Type::Known(Kind::JobOutput, arguments.clone()),
        other => other.clone(),
    };
    types.iter().map(today).collect()
}

/// Reads labels, one `NAME=VALUE` a line.
fn labels(text: &str) -> Result<Map<String, Value>, String> {
    let mut labels = Map::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once('=') else {
            return Err(format!("{line:?} has no `=` between a name and a value."));
        };
        labels.insert(name.trim().to_owned(), value.trim().into());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::template::{import, interface};

    fn asks() -> Interface {
        let document = json!({"name": "n", "scope": "public", "licence": "MIT", "specific": {
        "job_type": "", "executor_class": "", "required_packages": "",
        "inputs": [{"name": "trace", "types": ["BLOB<'csv'>", "str"]}, {"name": "old", "types": ["job_output<curve>"]}],
        "parameters": {
            "width": {"types": ["int"], "help": "", "default": 7, "default_type": "int", "const": false},
            "mode": {"types": ["str"], "help": "", "default": "fast", "default_type": "str", "const": false},
            "either": {"types": ["str", "int"], "help": ""},
            "fixed": {"types": ["int"], "help": "", "default": 1, "default_type": "int", "const": true},
        }}});
        let template = import(document.as_object().unwrap()).unwrap();
        interface(&template, &mut |_, _| None).unwrap()
    }

    fn read(fields: &[(&str, &str)]) -> Result<Value, Problems> {
        let mut form = Form::default();
        fields.iter().for_each(|(name, value)| form.push(*name, *value));
        body(&form, &asks()).map(Value::Object)
    }

    #[test]
    fn defaults_are_left_out_and_what_differs_is_sent() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let found = read(&[
            ("i.0.trace", ""),
            ("i.0.trace", &digest),
            ("i.0.old", "7"),
            ("p.0.width", "7"),
            ("p.0.mode", ""),
            ("p.0.fixed", "9"),
            ("p.1.either", "5"),
            ("priority", " 3 "),
            ("labels", "batch = 7\r\n\r\nwho=a=b"),
            ("hold", "on"),
            ("description", "one\r\ntwo"),
        ]);
        assert_eq!(
            found.unwrap(),
            json!({
                "input_values": {
                    "trace": {"value": digest, "type": "BLOB<'csv'>"},
                    "old": {"value": 7, "type": "JobOutput<curve>"},
                },
                "parameter_values": {"mode": {"value": "", "type": "str"}, "either": {"value": 5, "type": "int"}},
                "description": "one\ntwo", "hold": true, "priority": 3, "labels": {"batch": "7", "who": "a=b"},
            })
        );
        // A text that looks like a number stays a text, where both are taken.
        let found = read(&[("p.0.either", "5"), ("p.0.width", "8")]).unwrap();
        assert_eq!(
            found["parameter_values"],
            json!({
                "width": {"value": 8, "type": "int"}, "either": {"value": "5", "type": "str"},
            })
        );
    }

    #[test]
    fn what_makes_no_body_is_told_at_its_field() {
        let found = read(&[("i.0.trace", "sha256:x"), ("i.1.trace", "y"), ("labels", "nothing")]);
        let problems = found.unwrap_err();
        assert!(problems.names().eq(["input_values.trace", "labels"]), "{problems:?}");
    }
}
