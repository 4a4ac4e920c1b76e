//! The fields of a template's form, made of the types of its inputs and parameters and their JSON schemas.

use serde_json::{Value, json};

use crate::domain::ids::OutputId;
use crate::domain::template::{Input, Named, Parameter};
use crate::domain::types::{Kind, Rows, Type, fits, joined, json_schema};
use crate::server::App;
use crate::server::error::ApiError;
use crate::server::pages::form::{Complaints, Form};
use crate::server::pages::show;
use crate::store::catalogue::CATALOGUES;
use crate::store::outputs::FinishedOutput;

/// The newest outputs that are looked at for those that fit.
const LOOKED_AT: u32 = 2_000;
/// Those of them that are offered.
const OFFERED: usize = 200;
/// Characters of a job's title beside its output.
const TITLE_CHARS_MAX: usize = 60;

/// How a value is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Widget {
    /// Bytes: a file is chosen or dropped.
    File,
    /// An output of a job that has finished.
    Output,
    /// A row that the server keeps.
    Row,
    /// A whole number.
    Whole,
    /// Any number.
    Number,
    /// One of a few values.
    Choice,
    /// A text.
    Text,
    /// Anything else, written as JSON.
    Json,
}

/// One way to give a value: the types that are given in this way.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) widget: Widget,
    pub(super) types: Vec<Type>,
}

/// A field as it is shown.
pub(super) struct Field {
    pub(super) name: String,
    /// For `id`s; unlike the name it is of letters and digits.
    pub(super) id: String,
    pub(super) help: String,
    pub(super) types: String,
    pub(super) ways: Vec<ShownWay>,
    pub(super) problem: String,
    /// The value that can't be changed.
    pub(super) constant: Option<String>,
    /// Whether it has to be given.
    pub(super) is_required: bool,
}

/// A way as it is shown.
pub(super) struct ShownWay {
    pub(super) widget: Widget,
    /// The name of the form's field.
    pub(super) field: String,
    pub(super) id: String,
    /// What it asks for, where there are several ways.
    pub(super) label: &'static str,
    pub(super) value: String,
    pub(super) choices: Vec<Choice>,
    /// Whether there are more than are offered.
    pub(super) is_cut: bool,
    pub(super) is_long: bool,
}

/// Something to choose.
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) label: String,
}

/// Gives how a value of a type is given; `None` for types whose values nobody can write.
fn widget(of: &Type) -> Option<Widget> {
    match of {
        Type::Opaque(name, _) if name == "job_output" => return Some(Widget::Output),
        Type::Opaque(..) => return Some(Widget::Text),
        _ => {}
    }
    let kind = of.kind();
    match kind {
        Some(Kind::Blob) => return Some(Widget::File),
        Some(Kind::JobOutput) => return Some(Widget::Output),
        Some(Kind::Pk) if of.argument(0).kind().is_some_and(Kind::is_kept) => return Some(Widget::Row),
        _ => {}
    }
    let schema = json_schema(of);
    if schema.get("const").is_some() {
        return Some(Widget::Choice);
    }
    if schema.get("not").is_some() {
        return None;
    }
    Some(match schema.get("type").and_then(Value::as_str) {
        Some("integer") => Widget::Whole,
        Some("number") => Widget::Number,
        Some("boolean" | "null") => Widget::Choice,
        Some("string") => Widget::Text,
        None if kind == Some(Kind::ValueType) => Widget::Text,
        Some(_) | None if schema.get("type").is_some_and(|types| types.is_array()) && kind == Some(Kind::ValueType) => {
            Widget::Text
        }
        Some(_) | None => Widget::Json,
    })
}

/// Groups types by how their values are given, in the order in which they stand.
pub(super) fn ways(types: &[Type], is_input: bool) -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    for of in types {
        let Some(mut widget) = widget(of).filter(|widget| is_input || *widget != Widget::File) else { continue };
        // One box for numbers of both kinds.
        if matches!(widget, Widget::Whole | Widget::Number)
            && let Some(way) = ways.iter_mut().find(|way| matches!(way.widget, Widget::Whole | Widget::Number))
        {
            if way.widget != widget {
                way.widget = Widget::Number;
            }
            widget = way.widget;
        }
        match ways.iter_mut().find(|way| way.widget == widget) {
            Some(way) => way.types.push(of.clone()),
            None => ways.push(Way { widget, types: vec![of.clone()] }),
        }
    }
    ways
}

/// Gives the name of a form's field.
pub(super) fn field(sort: char, name: &str, way: usize) -> String {
    format!("{sort}.{way}.{name}")
}

/// The newest outputs of jobs that have finished.
pub(super) struct Newest {
    outputs: Vec<FinishedOutput>,
    is_cut: bool,
}

impl Newest {
    /// Reads them, if any input asks for one.
    pub(super) async fn read(app: &App, inputs: &Named<Input>) -> Result<Self, ApiError> {
        let asks = |input: &Input| input.types.iter().any(|of| widget(of) == Some(Widget::Output));
        if !inputs.iter().any(|(_, input)| asks(input)) {
            return Ok(Self { outputs: Vec::new(), is_cut: false });
        }
        let outputs = app.store.newest_finished_outputs(LOOKED_AT).await?;
        Ok(Self { is_cut: outputs.len() == LOOKED_AT as usize, outputs })
    }

    /// Gives those that an input takes.
    fn of(&self, types: &[Type]) -> (Vec<Choice>, bool) {
        let takes = |output: &&FinishedOutput| types.iter().any(|of| fits(&json!(output.pk), of, *output).is_ok());
        let mut found: Vec<Choice> = self.outputs.iter().filter(takes).take(OFFERED + 1).map(choice).collect();
        let is_cut = found.len() > OFFERED || self.is_cut;
        found.truncate(OFFERED);
        (found, is_cut)
    }
}

fn choice(output: &FinishedOutput) -> Choice {
    let title = show::first_line(&output.title, TITLE_CHARS_MAX);
    let size = show::bytes(output.size);
    Choice {
        value: output.pk.to_string(),
        label: format!("{} ({}, {size}) of #{} {title}", output.name, output.type_name, output.job),
    }
}

/// A world of one output, for the rules that say whether it fits.
impl Rows for FinishedOutput {
    fn exists(&self, pk: i64, _of: &Type) -> bool {
        OutputId(pk) == self.pk
    }
    fn named(&self, _name: &str, _of: &Type) -> bool {
        false
    }
    fn output_type(&self, pk: i64) -> Option<String> {
        (OutputId(pk) == self.pk).then(|| self.type_name.clone())
    }
    fn blob(&self, _sha256_hex: &str) -> bool {
        false
    }
}

/// Makes the field of an input.
pub(super) async fn of_input(
    app: &App,
    place: usize,
    name: &str,
    input: &Input,
    newest: &Newest,
    form: &Form,
    complaints: &Complaints,
) -> Result<Field, ApiError> {
    let id = format!("i{place}");
    let mut shown = Vec::new();
    for (number, way) in ways(&input.types, true).into_iter().enumerate() {
        let (choices, is_cut) = match way.widget {
            Widget::Output => newest.of(&super::read::asked(&way.types)),
            _ => (choices(app, &way).await?, false),
        };
        shown.push(way_shown('i', name, &id, number, &way, choices, is_cut, form, ""));
    }
    let problem = complaints.at(&format!("input_values.{name}"));
    let (help, types) = (input.help.clone(), joined(&input.types));
    Ok(Field { name: name.to_owned(), id, help, types, ways: shown, problem, constant: None, is_required: true })
}

/// Makes the field of a parameter.
pub(super) async fn of_parameter(
    app: &App,
    place: usize,
    name: &str,
    parameter: &Parameter,
    form: &Form,
    complaints: &Complaints,
) -> Result<Field, ApiError> {
    let id = format!("p{place}");
    let default = default_text(parameter);
    let constant = parameter.default.as_ref().filter(|default| default.const_).and(default.clone());
    let mut shown = Vec::new();
    if constant.is_none() {
        let ways = ways(&parameter.types, false);
        let of_default = default_way(parameter, &ways);
        for (number, way) in ways.iter().enumerate() {
            let default = default.as_deref().filter(|_| of_default == Some(number)).unwrap_or_default();
            let choices = choices(app, way).await?;
            shown.push(way_shown('p', name, &id, number, way, choices, false, form, default));
        }
    }
    Ok(Field {
        name: name.to_owned(),
        id,
        help: parameter.help.clone(),
        types: joined(&parameter.types),
        ways: shown,
        problem: complaints.at(&format!("parameter_values.{name}")),
        constant,
        is_required: parameter.default.is_none(),
    })
}

/// Gives a parameter's default as it is written.
pub(super) fn default_text(parameter: &Parameter) -> Option<String> {
    parameter.default.as_ref().map(|default| match &default.value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// Gives the way in which a parameter's default would be given.
pub(super) fn default_way(parameter: &Parameter, ways: &[Way]) -> Option<usize> {
    let of = &parameter.default.as_ref()?.type_;
    let exactly = ways.iter().position(|way| way.types.contains(of));
    exactly.or_else(|| ways.iter().position(|way| Some(way.widget) == widget(of))).or(Some(0))
}

#[expect(clippy::too_many_arguments, reason = "each is one property of the field, and there are two callers")]
fn way_shown(
    sort: char,
    name: &str,
    id: &str,
    number: usize,
    way: &Way,
    mut choices: Vec<Choice>,
    is_cut: bool,
    form: &Form,
    default: &str,
) -> ShownWay {
    let field = field(sort, name, number);
    let value = match form.get(&field) {
        // Of a field that was sent twice, as those of files are, what was filled in counts.
        Some(given) => form.filled(&field).unwrap_or(given).to_owned(),
        None => default.to_owned(),
    };
    if matches!(way.widget, Widget::Output | Widget::Row) && !value.is_empty() {
        let is_offered = choices.iter().any(|choice| choice.value == value);
        if !is_offered {
            choices.insert(0, Choice { value: value.clone(), label: format!("the one with the key {value}") });
        }
    }
    let label = match way.widget {
        Widget::File => "A file",
        Widget::Output => "The output of a job",
        Widget::Row => "One of these",
        Widget::Whole | Widget::Number => "A number",
        Widget::Choice => "One of these values",
        Widget::Text => "A text",
        Widget::Json => "A value as JSON",
    };
    let is_long = way.widget == Widget::Json || value.contains('\n') || value.len() > 80;
    ShownWay { widget: way.widget, field, id: format!("{id}w{number}"), label, value, choices, is_cut, is_long }
}

/// Gives what there is to choose, of rows and constants.
async fn choices(app: &App, way: &Way) -> Result<Vec<Choice>, ApiError> {
    let mut choices = Vec::new();
    for of in &way.types {
        match way.widget {
            Widget::Row => choices.extend(rows(app, of).await?),
            Widget::Choice => choices.extend(constants(of)),
            _ => {}
        }
    }
    Ok(choices)
}

/// Gives the values of a type that has a few.
fn constants(of: &Type) -> Vec<Choice> {
    let schema = json_schema(of);
    let one = |value: String| Choice { label: value.clone(), value };
    match (schema.get("const"), schema.get("type").and_then(Value::as_str)) {
        (Some(Value::String(text)), _) => vec![one(text.clone())],
        (Some(other), _) => vec![one(other.to_string())],
        (None, Some("boolean")) => vec![one("true".to_owned()), one("false".to_owned())],
        (None, _) => vec![one("null".to_owned())],
    }
}

/// Gives the rows that a reference may name, by the names that people know them by.
async fn rows(app: &App, of: &Type) -> Result<Vec<Choice>, ApiError> {
    let kept = of.argument(0);
    let spelling = match kept.kind() {
        Some(Kind::Hardware) => "hardware",
        Some(Kind::CudaVersion) => "cuda",
        Some(Kind::Domain) => "domains",
        Some(Kind::Framework) => "frameworks",
        Some(Kind::DockerImage) => "docker",
        _ => return Ok(Vec::new()),
    };
    let Some(catalogue) = CATALOGUES.iter().find(|catalogue| catalogue.spellings.contains(&spelling)) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for pk in app.store.keys_of(kept).await?.into_iter().take(OFFERED) {
        let Some(row) = app.store.catalogue_row(catalogue, pk, false)? else { continue };
        let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        let parts: Vec<String> =
            ["generation", "name", "version", "description"].iter().filter_map(|name| text(name)).collect();
        found.push(Choice { value: pk.to_string(), label: parts.join(" ") });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widgets(types: &[&str], is_input: bool) -> Vec<(Widget, usize)> {
        let types: Vec<Type> = types.iter().map(|text| text.parse().unwrap()).collect();
        ways(&types, is_input).into_iter().map(|way| (way.widget, way.types.len())).collect()
    }

    #[test]
    fn types_are_given_in_the_way_that_fits_their_schema() {
        use Widget::*;
        for (types, found) in [
            (&["int"][..], vec![(Whole, 1)]),
            (&["int", "float"], vec![(Number, 2)]),
            (&["str", "Name<Hardware>"], vec![(Text, 2)]),
            (&["bool"], vec![(Choice, 1)]),
            (&["'red'", "'green'"], vec![(Choice, 2)]),
            (&["BLOB<'csv'>", "JobOutput<JSON>", "str"], vec![(File, 1), (Output, 1), (Text, 1)]),
            (&["PK<Hardware>"], vec![(Row, 1)]),
            (&["PK<Dataset<Domain<'X'>>>"], vec![(Whole, 1)]),
            (&["Array<int>", "Map<str>", "JSON"], vec![(Json, 3)]),
            (&["ValueType"], vec![(Text, 1)]),
            (&["dataset", "job_output<curve>"], vec![(Text, 1), (Output, 1)]),
            (&["Compressed<JSON, 1>"], vec![]),
        ] {
            assert_eq!(widgets(types, true), found, "{types:?}");
        }
        assert_eq!(widgets(&["BLOB<'csv'>", "str"], false), [(Text, 1)]);
    }

    #[test]
    fn truths_and_constants_are_chosen() {
        let values = |of: &str| constants(&of.parse().unwrap()).into_iter().map(|one| one.value).collect::<Vec<_>>();
        assert_eq!(values("bool"), ["true", "false"]);
        assert_eq!(values("'red'"), ["red"]);
        assert_eq!(values("2.5"), ["2.5"]);
        assert_eq!(values("Nothing"), ["null"]);
    }
}
