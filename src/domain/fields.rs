//! Takes JSON objects apart, collecting a sentence per bad field instead of stopping at the first.
//!
//! ```
//! use labrun::domain::fields::{Fields, integer, text};
//! let body = serde_json::json!({"ip": "", "index": -1});
//! let mut fields = Fields::new(body.as_object().unwrap());
//! let ip = fields.required("ip", text(1..=39));
//! let index = fields.required("index", integer(0..=32_767));
//! let problems = fields.finish().unwrap_err();
//! assert!(ip.is_none() && index.is_none() && problems.names().eq(["index", "ip"]));
//! ```

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// What is wrong, by field: the `errors` of an answer with status 400 (contract §1).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Problems(BTreeMap<String, Vec<String>>);

impl Problems {
    /// Makes one with a single field.
    pub fn one(field: impl Into<String>, sentence: impl Into<String>) -> Self {
        let mut problems = Self::default();
        problems.add(field, sentence);
        problems
    }

    /// Adds a sentence to a field.
    pub fn add(&mut self, field: impl Into<String>, sentence: impl Into<String>) {
        self.0.entry(field.into()).or_default().push(sentence.into());
    }

    /// Adds all of another's, each field's name behind `prefix` and a dot.
    pub fn add_all(&mut self, prefix: &str, others: Problems) {
        for (field, sentences) in others.0 {
            self.0.entry(format!("{prefix}.{field}")).or_default().extend(sentences);
        }
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives the names of the fields, in order of the alphabet.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Gives what is wrong with a field, or with a part of it, in sentences.
    pub fn about(&self, field: &str) -> impl Iterator<Item = &str> {
        let is_about =
            move |name: &str| name.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let about = self.0.iter().filter(move |(name, _)| is_about(name));
        about.flat_map(|(_, sentences)| sentences.iter().map(String::as_str))
    }

    /// Takes them apart: each field with its sentences.
    pub fn into_fields(self) -> impl Iterator<Item = (String, Vec<String>)> {
        self.0.into_iter()
    }

    /// Puts them into one sentence for people.
    pub fn sentence(&self) -> String {
        let parts: Vec<String> =
            self.0.iter().map(|(field, sentences)| format!("{field}: {}", sentences.join(" "))).collect();
        parts.join(" ")
    }

    /// Gives the value when there is no problem.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

/// One object on its way apart. Fields that nobody asked for are problems too, unless passed over.
#[derive(Debug)]
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    asked: Vec<&'a str>,
    problems: Problems,
}

impl<'a> Fields<'a> {
    /// Starts on an object.
    pub fn new(object: &'a Map<String, Value>) -> Self {
        Self { object, asked: Vec::new(), problems: Problems::default() }
    }

    /// Gives a field's value as it came, if it is there.
    pub fn raw(&mut self, name: &'a str) -> Option<&'a Value> {
        self.asked.push(name);
        self.object.get(name)
    }

    /// Reads a field that may be left out; `None` when it was, or when it is bad.
    pub fn optional<T>(&mut self, name: &'a str, kind: impl FnOnce(&'a Value) -> Result<T, String>) -> Option<T> {
        match kind(self.raw(name)?) {
            Ok(value) => Some(value),
            Err(sentence) => {
                self.problems.add(name, sentence);
                None
            }
        }
    }

    /// Reads a field that must be there; `None` when it is missing or bad, which `finish` will tell.
    pub fn required<T>(&mut self, name: &'a str, kind: impl FnOnce(&'a Value) -> Result<T, String>) -> Option<T> {
        if !self.object.contains_key(name) {
            self.problems.add(name, "This field is required.");
        }
        self.optional(name, kind)
    }

    /// Reads a field that must be there if `needed`, as in PUT against PATCH.
    pub fn needed_if<T>(
        &mut self,
        needed: bool,
        name: &'a str,
        kind: impl FnOnce(&'a Value) -> Result<T, String>,
    ) -> Option<T> {
        if needed { self.required(name, kind) } else { self.optional(name, kind) }
    }

    /// Accepts these fields without looking at them: those that are read-only.
    pub fn pass_over(&mut self, names: &[&'a str]) {
        self.asked.extend_from_slice(names);
    }

    /// Adds a problem of the caller's own finding.
    pub fn problem(&mut self, field: impl Into<String>, sentence: impl Into<String>) {
        self.problems.add(field, sentence);
    }

    /// Adds problems that name their fields themselves.
    pub fn problems_here(&mut self, others: Problems) {
        for (field, sentences) in others.0 {
            self.problems.0.entry(field).or_default().extend(sentences);
        }
    }

    /// Adds the problems found inside a field.
    pub fn problems_within(&mut self, name: &str, inner: Problems) {
        self.problems.add_all(name, inner);
    }

    /// Ends the reading: names every unknown field, and fails if anything was wrong.
    pub fn finish(mut self) -> Result<(), Problems> {
        for name in self.object.keys() {
            if !self.asked.contains(&name.as_str()) {
                self.problems.add(name.as_str(), format!("There is no field {name:?} here."));
            }
        }
        self.problems.into_result(())
    }
}

/// Says what kind of JSON value this is, for people.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Takes a text whose length in characters is in the range, without NUL.
pub fn text(chars: RangeInclusive<usize>) -> impl FnOnce(&Value) -> Result<String, String> {
    move |value| {
        let text = value.as_str().ok_or_else(|| format!("Must be a text, not {}.", kind_of(value)))?;
        if text.contains('\0') {
            return Err("Must not hold the character U+0000.".to_owned());
        }
        let count = text.chars().count();
        if count < *chars.start() {
            return Err(match (count, *chars.start()) {
                (0, _) => "Must not be empty.".to_owned(),
                (_, least) => format!("Must have at least {least} characters."),
            });
        }
        if count > *chars.end() {
            return Err(format!("Must have at most {} characters.", chars.end()));
        }
        Ok(text.to_owned())
    }
}

/// Takes a whole number in the range.
pub fn integer(range: RangeInclusive<i64>) -> impl FnOnce(&Value) -> Result<i64, String> {
    move |value| {
        if !value.is_number() {
            return Err(format!("Must be a whole number, not {}.", kind_of(value)));
        }
        match value.as_i64() {
            Some(number) if range.contains(&number) => Ok(number),
            None if value.is_f64() && value.as_f64().is_some_and(|x| x.fract() != 0.0) => {
                Err("Must be a whole number.".to_owned())
            }
            _ => Err(format!("Must be from {} to {}.", range.start(), range.end())),
        }
    }
}

/// Takes any finite number.
pub fn number(value: &Value) -> Result<f64, String> {
    value.as_f64().filter(|x| x.is_finite()).ok_or_else(|| format!("Must be a number, not {}.", kind_of(value)))
}

/// Takes true or false.
pub fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("Must be true or false, not {}.", kind_of(value)))
}

/// Takes an object.
pub fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("Must be an object, not {}.", kind_of(value)))
}

/// Takes an array.
pub fn array(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| format!("Must be an array, not {}.", kind_of(value)))
}

/// Takes null as well as what `kind` takes.
pub fn nullable<'a, T>(
    kind: impl FnOnce(&'a Value) -> Result<T, String>,
) -> impl FnOnce(&'a Value) -> Result<Option<T>, String> {
    |value| if value.is_null() { Ok(None) } else { kind(value).map(Some) }
}
