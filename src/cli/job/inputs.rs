//! The values of `--param`, and those of `--input`: texts, files, other jobs' outputs, each with a type that the template
//! takes.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::cli::exit::Failure;
use crate::cli::screen::bars::Bars;
use crate::cli::screen::text::plain;
use crate::client::Client;
use crate::domain::ids::JobId;
use crate::domain::types::{Kind, Type, fits_shape, joined, read_text, takes};
use crate::wire::job::{ParameterValue, TypedValue};
use crate::wire::list::{ListSpec, exact};
use crate::wire::template::Kind as TemplateKind;
use crate::wire::{Output, Template};
use crate::worker::names::type_of_file;

/// A value as it is given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    name: String,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// `NAME=TEXT`
    Text(String),
    /// `NAME:=JSON`
    Json(Value),
    /// `NAME=@FILE`
    File(String),
    /// `NAME=job:12/OUTPUT`
    Output(JobId, String),
}

impl std::str::FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "write NAME=TEXT, NAME=@FILE, NAME=job:PK/OUTPUT or NAME:=JSON";
        let (name, value) = text.split_once('=').ok_or(wanted)?;
        let (name, form) = match name.strip_suffix(':') {
            Some(name) => {
                let value = serde_json::from_str(value).map_err(|error| format!("what follows := is no JSON: {error}"));
                (name, Form::Json(value?))
            }
            None => (name, form(value)),
        };
        if name.is_empty() {
            return Err(wanted.to_owned());
        }
        Ok(Self { name: name.to_owned(), form })
    }
}

fn form(value: &str) -> Form {
    if let Some(file) = value.strip_prefix('@') {
        return Form::File(file.to_owned());
    }
    let output = value.strip_prefix("job:").and_then(|rest| {
        let (job, name) = rest.split_once('/')?;
        Some(Form::Output(JobId(job.parse().ok()?), name.to_owned()))
    });
    output.unwrap_or_else(|| Form::Text(value.to_owned()))
}

/// What a template says it takes.
#[derive(Default)]
pub(super) struct Interface {
    inputs: Vec<Declared>,
    parameters: Vec<Declared>,
}

impl Interface {
    /// Gives the value of a parameter with its type, where the text says which that is: the launchers of the reference
    /// can't read a job whose parameters are bare texts. What fits nothing is left to the server to refuse.
    pub(super) fn parameter(&self, name: &str, text: String) -> ParameterValue {
        let declared = self.parameters.iter().find(|parameter| parameter.name == name);
        match declared.and_then(|parameter| read_text(&text, &parameter.types)) {
            Some((value, of)) => ParameterValue::Typed(TypedValue::new(value, of.to_string())),
            None => ParameterValue::Text(text),
        }
    }
}

/// An input or a parameter.
struct Declared {
    name: String,
    types: Vec<Type>,
    help: String,
}

/// Makes the values that the server takes, and puts the files among them where it finds them.
pub(super) async fn values(
    given: &[Given],
    template: &Template,
    interface: &Interface,
    client: &Client,
) -> anyhow::Result<std::collections::BTreeMap<String, TypedValue>> {
    let declared = &interface.inputs;
    let mut values = std::collections::BTreeMap::new();
    // All are judged before the first byte goes up.
    for Given { name, form } in given {
        let input = find(declared, name)?;
        if let Form::File(file) = form {
            let about = std::fs::metadata(file);
            let about =
                about.with_context(|| format!("the file of the input {}, {file}, can't be read", plain(name)))?;
            if !about.is_file() {
                return Err(Failure::usage(format!("{file} is no file, and the input {} needs one", plain(name))));
            }
            type_for_file(input, file)?;
        }
    }
    let bars = Bars::new();
    for Given { name, form } in given {
        let input = find(declared, name)?;
        let value = match form {
            Form::Text(text) => of_text(input, text)?,
            Form::Json(value) => of_json(input, value)?,
            Form::Output(job, output) => of_output(input, *job, output, client).await?,
            Form::File(file) => {
                let type_name = type_for_file(input, file)?;
                let bar = bars.bytes(name);
                let blob = client.put_blob_file(Path::new(file), |done, total| bar.done(done, total)).await?;
                bar.end("");
                TypedValue::new(format!("sha256:{}", blob.sha256), type_name)
            }
        };
        if values.insert(name.clone(), value).is_some() {
            return Err(Failure::usage(format!("the input {} is given twice", plain(name))));
        }
    }
    let missing: Vec<&Declared> = declared.iter().filter(|input| !values.contains_key(&input.name)).collect();
    if !missing.is_empty() && template_is_workable(template) {
        return Err(Failure::usage(format!(
            "the template needs {}: give each with --input NAME=VALUE or NAME=@FILE",
            listed(missing.into_iter())
        )));
    }
    Ok(values)
}

fn template_is_workable(template: &Template) -> bool {
    matches!(template.kind, TemplateKind::Workable(_))
}

/// Finds out what a template takes; that of a meta-template is what its children do, as `child:input`.
pub(super) async fn interface(template: &Template, client: &Client) -> anyhow::Result<Interface> {
    let mut declared = Interface::default();
    // Children that may be meta-templates themselves; a cycle is refused at import.
    let mut to_do = vec![(String::new(), template.clone())];
    while let Some((prefix, template)) = to_do.pop() {
        match template.kind {
            TemplateKind::Workable(workable) => {
                let one = |name: String, types: Vec<String>, help: String| {
                    // A type that this version can't read can't be chosen for a value either.
                    let types = types.iter().filter_map(|text| text.parse().ok()).collect();
                    Declared { name: format!("{prefix}{name}"), types, help }
                };
                let inputs = workable.inputs.into_iter().map(|(name, input)| one(name, input.types, input.help));
                declared.inputs.extend(inputs);
                let parameters = workable.parameters.into_iter();
                declared.parameters.extend(parameters.map(|(name, own)| one(name, own.types, own.help)));
            }
            TemplateKind::Meta(meta) => {
                for (child, node) in meta.nodes {
                    let mut spec = ListSpec::default().with(exact("name", node.name.as_str()));
                    if let Some(version) = node.version {
                        spec = spec.with(exact("version", version));
                    }
                    let newest = client.templates(&spec.order_by("version", false).limit(1)).await?;
                    to_do.extend(newest.into_iter().next().map(|template| (format!("{prefix}{child}:"), template)));
                }
            }
        }
    }
    declared.inputs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(declared)
}

fn find<'a>(declared: &'a [Declared], name: &str) -> anyhow::Result<&'a Declared> {
    declared.iter().find(|input| input.name == name).ok_or_else(|| {
        let takes = match declared {
            [] => "it takes none".to_owned(),
            some => format!("it takes {}", listed(some.iter())),
        };
        Failure::usage(format!("the template has no input {}; {takes}", plain(name)))
    })
}

/// Names inputs with their types and what they are for.
fn listed<'a>(inputs: impl Iterator<Item = &'a Declared>) -> String {
    let one = |input: &Declared| {
        let help = if input.help.is_empty() { String::new() } else { format!(": {}", plain(&input.help)) };
        format!("{} ({}{help})", plain(&input.name), plain(&joined(&input.types)))
    };
    inputs.map(one).collect::<Vec<_>>().join(", ")
}

/// Chooses the type for a file's bytes: the declared one that names the file's format, or else the first that takes
/// bytes.
fn type_for_file(input: &Declared, file: &str) -> anyhow::Result<String> {
    let of_file = type_of_file(file);
    let by_format = of_file.parse::<Type>().ok().filter(|own| input.types.iter().any(|wanted| takes(wanted, own)));
    if let Some(own) = by_format {
        return Ok(own.to_string());
    }
    let blobs = |wanted: &&Type| wanted.kind() == Some(Kind::Blob);
    if let Some(wanted) = input.types.iter().find(blobs) {
        return Ok(wanted.to_string());
    }
    Err(Failure::usage(format!(
        "the input {} takes {}, which is no file's bytes: give the value itself ({}=…), or let the template take \
         {of_file}",
        plain(&input.name),
        plain(&joined(&input.types)),
        plain(&input.name)
    )))
}

fn of_text(input: &Declared, text: &str) -> anyhow::Result<TypedValue> {
    let (value, of) = read_text(text, &input.types).ok_or_else(|| no_fit(input, text))?;
    Ok(TypedValue::new(value, of.to_string()))
}

fn of_json(input: &Declared, value: &Value) -> anyhow::Result<TypedValue> {
    let fitting = input.types.iter().find(|wanted| fits_shape(value, wanted).is_ok());
    let fitting = fitting.ok_or_else(|| no_fit(input, &value.to_string()))?;
    Ok(TypedValue::new(value.clone(), fitting.to_string()))
}

fn no_fit(input: &Declared, text: &str) -> anyhow::Error {
    let wants_bytes = input.types.iter().any(|wanted| wanted.kind() == Some(Kind::Blob));
    let hint =
        if wants_bytes { format!("; for a file's bytes write {}=@FILE", plain(&input.name)) } else { String::new() };
    Failure::usage(format!(
        "the input {} takes {}, which {} is not{hint}",
        plain(&input.name),
        plain(&joined(&input.types)),
        plain(text)
    ))
}

/// Passes on another job's output: as such, or as bytes where those are what the input takes.
async fn of_output(input: &Declared, job: JobId, name: &str, client: &Client) -> anyhow::Result<TypedValue> {
    let spec = ListSpec::default().with(exact("job.pk", job.0));
    let outputs = client.outputs(&spec).await?;
    if outputs.is_empty() {
        // A job without outputs is another mistake than no job.
        client.job(job).await.with_context(|| format!("job {job}"))?;
    }
    let named: Vec<&Output> = outputs.iter().filter(|output| output.name == name).collect();
    if named.is_empty() {
        let there: Vec<String> = outputs.iter().map(|output| plain(&output.name)).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        return Err(Failure::not_found(format!("job {job} has no output {}; it has {there}", plain(name))));
    }
    let fitting = named.iter().find_map(|output| {
        let own = output.type_name.parse::<Type>().ok()?;
        let passed_on = own.as_job_output();
        if input.types.iter().any(|wanted| takes(wanted, &passed_on)) {
            return Some(TypedValue::new(output.pk.0, passed_on.to_string()));
        }
        let takes_bytes = input.types.iter().any(|wanted| takes(wanted, &own)) && own.kind() == Some(Kind::Blob);
        takes_bytes.then(|| TypedValue::new(format!("sha256:{}", output.sha256), own.to_string()))
    });
    fitting.ok_or_else(|| {
        let types: Vec<&str> = named.iter().map(|output| output.type_name.as_str()).collect();
        Failure::usage(format!(
            "the input {} takes {}, and the output {} of job {job} is {}",
            plain(&input.name),
            plain(&joined(&input.types)),
            plain(name),
            plain(&types.join(", "))
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn input(types: &[&str]) -> Declared {
        let types = types.iter().map(|text| text.parse().unwrap()).collect();
        Declared { name: "x".to_owned(), types, help: String::new() }
    }

    #[test]
    fn values_are_told_apart_by_how_they_begin() {
        let given = |name: &str, form| Ok(Given { name: name.to_owned(), form });
        assert_eq!("a=b=c".parse(), given("a", Form::Text("b=c".to_owned())));
        assert_eq!("a=".parse(), given("a", Form::Text(String::new())));
        assert_eq!("fit:a=@x y.csv".parse(), given("fit:a", Form::File("x y.csv".to_owned())));
        assert_eq!("a=job:12/peaks/1".parse(), given("a", Form::Output(JobId(12), "peaks/1".to_owned())));
        assert_eq!("a=job:one/two".parse(), given("a", Form::Text("job:one/two".to_owned())));
        assert_eq!("fit:a:=[1, 2]".parse(), given("fit:a", Form::Json(json!([1, 2]))));
        for bad in ["a", "=b", ":=1", "a:=x"] {
            assert!(bad.parse::<Given>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_files_type_is_one_that_the_input_takes() {
        let chosen = |types: &[&str], file: &str| type_for_file(&input(types), file).ok();
        assert_eq!(chosen(&["str", "BLOB<'csv'>"], "a.csv").as_deref(), Some("BLOB<'csv'>"));
        assert_eq!(chosen(&["BLOB<'csv'>", "BLOB<'tsv'>"], "a.tsv").as_deref(), Some("BLOB<'tsv'>"));
        assert_eq!(chosen(&["BLOB<'csv'>"], "a.txt").as_deref(), Some("BLOB<'csv'>"));
        assert_eq!(chosen(&["BLOB"], "a.png").as_deref(), Some("BLOB<'png'>"));
        assert_eq!(chosen(&["str", "JobOutput<BLOB>"], "a.png"), None);
    }

    #[test]
    fn a_text_becomes_the_first_type_that_it_fits() {
        let made = |types: &[&str], text: &str| of_text(&input(types), text).ok();
        assert_eq!(made(&["int", "str"], "5"), Some(TypedValue::new(5, "int")));
        assert_eq!(made(&["int", "str"], "five"), Some(TypedValue::new("five", "str")));
        assert_eq!(made(&["Array<int>"], "[1,2]"), Some(TypedValue::new(json!([1, 2]), "Array<int>")));
        assert_eq!(made(&["int"], "five"), None);
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(made(&["BLOB<'csv'>"], &digest), Some(TypedValue::new(digest.as_str(), "BLOB<'csv'>")));
        assert_eq!(made(&["BLOB<'csv'>"], "a.csv"), None);
        assert_eq!(of_json(&input(&["str", "JSON"]), &json!({"a": 1})).unwrap().type_name, "JSON");
    }
}
