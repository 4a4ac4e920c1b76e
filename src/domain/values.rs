//! The values that a job is created with, held against its template (contract §7).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::fields::{Fields, Problems, object};
use super::template::{Input, Interface, Node, Parameter, find};
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

/// Gives the input and parameter values that a child gets from its meta-job: those named `child:NAME`, and the
/// overrides of its node (contract §6). What siblings feed, and the defaults of its template, are not among them.
/// `interface` is that of the meta-template.
pub fn for_child(
    interface: &Interface,
    child: &str,
    node: &Node,
    input_values: &Map<String, Value>,
    parameter_values: &Map<String, Value>,
) -> (Map<String, Value>, Map<String, Value>) {
    let below = |name: &str| name.strip_prefix(child)?.strip_prefix(':').map(str::to_owned);
    let own = |values: &Map<String, Value>| -> Map<String, Value> {
        values.iter().filter_map(|(name, value)| Some((below(name)?, value.clone()))).collect()
    };
    let mut parameters = own(parameter_values);
    for (name, _) in
        node.overrides.iter().filter(|(name, _)| !parameter_values.contains_key(&format!("{child}:{name}")))
    {
        let declared = find(&interface.parameters, &format!("{child}:{name}"));
        if let Some(default) = declared.and_then(|parameter| parameter.default.as_ref()) {
            parameters.insert(name.clone(), json!({"value": default.value, "type": default.type_}));
        }
    }
    (own(input_values), parameters)
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

#[cfg(test)]
mod tests {
    use super::super::template::{import, interface};
    use super::*;

    const DATASET: &str = "PK<Dataset<Domain<'Colony Images'>>>";

    /// A world without rows but for one output of curves and one blob of zeros.
    struct World;

    impl Rows for World {
        fn exists(&self, _pk: i64, _of: &Type) -> bool {
            false
        }
        fn named(&self, _name: &str, _of: &Type) -> bool {
            false
        }
        fn output_type(&self, pk: i64) -> Option<String> {
            (pk == 7).then(|| "curve".to_owned())
        }
        fn blob(&self, sha256_hex: &str) -> bool {
            sha256_hex == "0".repeat(64)
        }
    }

    fn interface_of(document: &Value) -> Interface {
        let template = import(document.as_object().unwrap()).unwrap();
        interface(&template, &mut |_, _| None).unwrap()
    }

    /// The template that counts colonies: it needs `dataset` and `epochs`.
    fn trainer() -> Interface {
        let text = include_str!("../../tests/data/templates/colony_train.json");
        interface_of(&serde_json::from_str(text).unwrap())
    }

    fn checked(interface: &Interface, inputs: &Value, parameters: &Value) -> Result<Checked, Problems> {
        check(interface, inputs.as_object().unwrap(), parameters.as_object().unwrap(), &World)
    }

    #[test]
    fn good_values_are_echoed_in_canonical_form() {
        let inputs = json!({"dataset": {"value": 1, "type": "PK< Dataset<Domain<'Colony Images'>>>"}});
        let parameters = json!({"epochs": "50", "rate": {"value": 1, "type": "float"}, "options": {"value": [], "type": "Array<str>"}});
        let checked = checked(&trainer(), &inputs, &parameters).unwrap();
        assert_eq!(Value::Object(checked.inputs), json!({"dataset": {"value": 1, "type": DATASET}}));
        assert_eq!(Value::Object(checked.parameters), parameters);
        assert!(checked.blobs.is_empty());
    }

    #[test]
    fn bad_values_are_refused_naming_the_culprit() {
        let input = |value: Value, of: &str| json!({"dataset": {"value": value, "type": of}});
        let good = input(json!(1), DATASET);
        let epochs = |value: Value| json!({"epochs": value});
        for (inputs, parameters, word) in [
            (json!({}), epochs(json!("1")), "input_values.dataset"),
            (good.clone(), json!({}), "parameter_values.epochs"),
            (json!({"dataset": good["dataset"], "plate": 1}), epochs(json!("1")), "input_values.plate"),
            (good.clone(), json!({"epochs": "1", "colour": "x"}), "parameter_values.colour"),
            (input(json!(1), "int"), epochs(json!("1")), "dataset.type"),
            (input(json!(1), "PK<Dataset<Domain<'Speech'>>>"), epochs(json!("1")), "dataset.type"),
            (input(json!(1), "PK<Dataset>"), epochs(json!("1")), "dataset.type"),
            (input(json!(1), "Dataset<Domain<'Colony Images'>>"), epochs(json!("1")), "dataset.type"),
            (input(json!("one"), DATASET), epochs(json!("1")), "dataset.value"),
            (input(json!(1), "PK<"), epochs(json!("1")), "PK<"),
            (input(json!(1), "Nope"), epochs(json!("1")), "Nope"),
            (json!({"dataset": 1}), epochs(json!("1")), "input_values.dataset"),
            (json!({"dataset": "1"}), epochs(json!("1")), "input_values.dataset"),
            (json!({"dataset": {"value": 1}}), epochs(json!("1")), "dataset.type"),
            (json!({"dataset": {"type": DATASET}}), epochs(json!("1")), "dataset.value"),
            (json!({"dataset": {"value": 1, "type": DATASET, "unit": 1}}), epochs(json!("1")), "dataset.unit"),
            (good.clone(), epochs(json!({"value": "three", "type": "int"})), "epochs.value"),
            (good.clone(), epochs(json!({"value": 1.5, "type": "float"})), "epochs.type"),
            (good.clone(), epochs(json!(5)), "parameter_values.epochs"),
            (good.clone(), json!({"epochs": "1", "mode": "x"}), "parameter_values.mode"),
            (good.clone(), json!({"epochs": "1", "mode": {"value": "x", "type": "str"}}), "parameter_values.mode"),
            (good.clone(), json!({"epochs": "1", "rate": "fast"}), "parameter_values.rate"),
            (
                good.clone(),
                json!({"epochs": "1", "options": {"value": ["a", 1], "type": "Array<str>"}}),
                "options.value",
            ),
        ] {
            let problems = checked(&trainer(), &inputs, &parameters).expect_err(word);
            assert_eq!(problems.names().count(), 1, "{}", problems.sentence());
            assert!(problems.sentence().contains(word), "{word}: {}", problems.sentence());
        }
    }

    /// A template with one input and one parameter of the same type.
    fn with(of: &str) -> Interface {
        interface_of(&json!({"name": "n", "scope": "public", "licence": "MIT", "specific": {
            "job_type": "", "executor_class": "", "required_packages": "",
            "inputs": [{"name": "i", "types": [of]}], "parameters": {"p": {"types": [of, "str"], "help": ""}}}}))
    }

    #[test]
    fn blobs_are_inputs_alone_and_their_digests_are_told() {
        let zeros = "0".repeat(64);
        let blob = json!({"value": format!("sha256:{zeros}"), "type": "BLOB<'zip'>"});
        let good = checked(&with("BLOB<'zip'>"), &json!({"i": blob}), &json!({"p": "x"})).unwrap();
        assert_eq!(good.blobs, [zeros]);
        let absent = json!({"value": format!("sha256:{}", "1".repeat(64)), "type": "BLOB<'zip'>"});
        assert!(checked(&with("BLOB<'zip'>"), &json!({"i": absent}), &json!({"p": "x"})).is_err());
        let problems = checked(&with("BLOB<'zip'>"), &json!({"i": blob}), &json!({"p": blob})).unwrap_err();
        assert!(problems.names().eq(["parameter_values.p"]));
    }

    #[test]
    fn a_child_gets_what_is_named_for_it_and_its_overrides() {
        let read = |text: &str| import(serde_json::from_str::<Value>(text).unwrap().as_object().unwrap()).unwrap();
        let pipeline = read(include_str!("../../tests/data/templates/decay_pipeline.json"));
        let parts = [
            read(include_str!("../../tests/data/templates/shaker_run.json")),
            read(include_str!("../../tests/data/templates/decay_fit.json")),
        ];
        let whole = interface(&pipeline, &mut |name, _| parts.iter().find(|part| part.name == name).cloned()).unwrap();
        let given = json!({"refine:seed": "9", "refinery:seed": "8", "run:speed_rpm": "50", "refine": "7"});
        let node = find(&pipeline.meta().unwrap().nodes, "refine").unwrap();
        let given_inputs = json!({"refine:x:y": 1, "fit:x": 2});
        let (inputs, parameters) =
            for_child(&whole, "refine", node, given_inputs.as_object().unwrap(), given.as_object().unwrap());
        assert_eq!(Value::Object(inputs), json!({"x:y": 1}));
        assert_eq!(Value::Object(parameters), json!({"seed": "9", "terms": {"value": 3, "type": "int"}}));
    }

    #[test]
    fn outputs_are_taken_where_earlier_documents_ask_for_them() {
        for (wanted, given, taken) in [
            ("job_output<curve>", "JobOutput<curve>", true),
            ("job_output<curve>", "job_output<curve>", true),
            ("joboutput", "JobOutput<curve>", true),
            ("JobOutput<curve>", "JobOutput<curve>", true),
            ("JobOutput<JSON>", "JobOutput<curve>", false),
            ("JobOutput<JSON>", "JobOutput<JSON>", false),
        ] {
            let inputs = json!({"i": {"value": 7, "type": given}});
            let result = checked(&with(wanted), &inputs, &json!({"p": "x"}));
            assert_eq!(result.is_ok(), taken, "{given} as {wanted}: {result:?}");
        }
    }
}
