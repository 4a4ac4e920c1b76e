//! The command that a template's `body` stands for. Pure: nothing runs here.
//!
//! The body of a [`Style::Command`] is split into words as a shell splits them, and only then are placeholders replaced,
//! inside the words. So a value is never more than a part of one argument, whatever it holds. The body of a
//! [`Style::Shell`] is a script for `sh`; nothing is replaced in it, and the values are environment variables.

use std::collections::BTreeMap;

use serde_json::Value;

/// How the body of a template is meant, as its `executor_class` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// One command, run without a shell.
    Command,
    /// A script for `sh`.
    Shell,
}

impl Style {
    /// Every style.
    pub(crate) const ALL: [Self; 2] = [Self::Command, Self::Shell];

    /// Gives the `executor_class` that says it.
    pub(crate) fn executor_class(self) -> &'static str {
        match self {
            Self::Command => "labrun.Command",
            Self::Shell => "labrun.Shell",
        }
    }

    /// Reads an `executor_class`; `None` for those that other workers run.
    pub(crate) fn of(executor_class: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|style| style.executor_class() == executor_class)
    }
}

/// What placeholders and variables may stand for, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Values {
    /// What every job has: `job`, `inputs`, `outputs`.
    pub(crate) own: BTreeMap<String, String>,
    /// The parameters by name, defaults included.
    pub(crate) parameters: BTreeMap<String, String>,
    /// The inputs by name; of a file, its path.
    pub(crate) inputs: BTreeMap<String, String>,
}

/// A command that is ready to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// A program with its arguments.
    Program {
        /// Its name on the `PATH`, or its absolute path.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
    },
    /// A script for `sh`, with the variables that it finds.
    Script {
        /// The script, as it stands in the template.
        text: String,
        /// The variables.
        variables: Vec<(String, String)>,
    },
}

/// Why a body does not make a command. These are mistakes of the template, or values that it can't take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("the template has no body, so that there is no command to run")]
    Empty,
    #[error("the body of the template can't be split into words: a quote is not closed, or a backslash ends it")]
    Quotes,
    #[error("the body of the template has `${{` without a `}}` behind it; write `$${{` for the two characters as such")]
    Unclosed,
    #[error(
        "the body of the template names `${{{0}}}`, which is no input or parameter of it; write `$${{` for the two characters as such"
    )]
    Unknown(String),
    #[error(
        "`${{{0}}}` in the body of the template can mean more than one thing: write `${{input.{0}}}` or `${{param.{0}}}`"
    )]
    Ambiguous(String),
    #[error(
        "the first word of the template's body must name a program, by an absolute path or by its name alone, not {0:?}"
    )]
    Program(String),
    #[error("the value of {0} holds the character NUL, which can't be passed to a program")]
    Nul(String),
    #[error("{0:?} and {1:?} would both be the variable {2}: rename one in the template")]
    SameVariable(String, String, String),
}

/// Gives a value as a program gets it: texts as they are, null as nothing, all else as JSON.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Gives the programs that a template needs, from its `required_packages`: names between blanks or commas.
pub(crate) fn required_programs(required_packages: &str) -> impl Iterator<Item = &str> {
    required_packages.split(|c: char| c.is_whitespace() || c == ',').filter(|name| !name.is_empty())
}

/// Makes the command of a body.
///
/// # Errors
/// A sentence that names what is wrong; it becomes the job's error.
pub(crate) fn prepare(style: Style, body: &str, values: &Values) -> Result<Command, CommandError> {
    if body.trim().is_empty() {
        return Err(CommandError::Empty);
    }
    match style {
        Style::Command => program(body, values),
        Style::Shell => Ok(Command::Script { text: body.to_owned(), variables: variables(values)? }),
    }
}

fn program(body: &str, values: &Values) -> Result<Command, CommandError> {
    let mut words = shlex::split(body).ok_or(CommandError::Quotes)?.into_iter();
    let program = words.next().ok_or(CommandError::Empty)?;
    // A value must not choose what is run.
    if program.is_empty() || program.contains("${") || (program.contains('/') && !program.starts_with('/')) {
        return Err(CommandError::Program(program));
    }
    let arguments = words.map(|word| expand(&word, values)).collect::<Result<_, _>>()?;
    Ok(Command::Program { program, arguments })
}

/// Replaces the placeholders in a word.
fn expand(word: &str, values: &Values) -> Result<String, CommandError> {
    let mut expanded = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(kept) = before.strip_suffix('$') {
            expanded.push_str(kept);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        let (name, behind) = after.split_once('}').ok_or(CommandError::Unclosed)?;
        let value = find(name, values)?;
        if value.contains('\0') {
            return Err(CommandError::Nul(format!("`${{{name}}}`")));
        }
        expanded.push_str(before);
        expanded.push_str(value);
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Finds the one thing that a placeholder means.
fn find<'a>(name: &str, values: &'a Values) -> Result<&'a str, CommandError> {
    let Values { own, parameters, inputs } = values;
    let of_input = name.strip_prefix("input.").and_then(|name| inputs.get(name));
    let of_parameter = name.strip_prefix("param.").and_then(|name| parameters.get(name));
    let meanings = [own.get(name), parameters.get(name), inputs.get(name), of_input, of_parameter];
    let mut meanings = meanings.into_iter().flatten();
    match (meanings.next(), meanings.next()) {
        (Some(meaning), None) => Ok(meaning),
        (Some(_), Some(_)) => Err(CommandError::Ambiguous(name.to_owned())),
        (None, _) => Err(CommandError::Unknown(name.to_owned())),
    }
}

/// Gives the variables of a script: `LABRUN_PARAM_NAME` and `LABRUN_INPUT_NAME`.
fn variables(values: &Values) -> Result<Vec<(String, String)>, CommandError> {
    let mut variables: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    for (prefix, named) in [("LABRUN_PARAM_", &values.parameters), ("LABRUN_INPUT_", &values.inputs)] {
        for (name, value) in named {
            let variable = format!("{prefix}{}", variable_part(name));
            if value.contains('\0') {
                return Err(CommandError::Nul(variable));
            }
            if let Some((other, _)) = variables.insert(variable.clone(), (name, value)) {
                return Err(CommandError::SameVariable(other.to_owned(), name.clone(), variable));
            }
        }
    }
    Ok(variables.into_iter().map(|(variable, (_, value))| (variable, value.to_owned())).collect())
}

/// Writes a name as a part of a variable's: ASCII letters in upper case and digits, `_` for all else.
fn variable_part(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(parameters: &[(&str, &str)], inputs: &[(&str, &str)]) -> Values {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Values {
            own: map(&[("job", "7"), ("outputs", "/job/outputs")]),
            parameters: map(parameters),
            inputs: map(inputs),
        }
    }

    fn run(body: &str, values: &Values) -> Result<Vec<String>, CommandError> {
        match prepare(Style::Command, body, values)? {
            Command::Program { program, arguments } => Ok([vec![program], arguments].concat()),
            Command::Script { .. } => panic!("a command became a script"),
        }
    }

    #[test]
    fn words_are_split_as_a_shell_splits_them_and_then_filled() {
        let values = values(&[("n", "3"), ("x", "a 'b' $(c) \"d\"\n-e")], &[("trace", "/in/trace.csv")]);
        for (body, words) in [
            ("find -n ${n} ${trace}", &["find", "-n", "3", "/in/trace.csv"][..]),
            ("find\n  --n=${n}   # a comment\n  '${n}'", &["find", "--n=3", "3"]),
            (r#"awk '{ print $1, "two words" }' ${trace}"#, &["awk", "{ print $1, \"two words\" }", "/in/trace.csv"]),
            ("echo ${x}", &["echo", "a 'b' $(c) \"d\"\n-e"]),
            ("echo \"[${x}]\" ${n}${n}", &["echo", "[a 'b' $(c) \"d\"\n-e]", "33"]),
            (
                "echo ${input.trace} ${param.n} ${job} ${outputs}/o",
                &["echo", "/in/trace.csv", "3", "7", "/job/outputs/o"],
            ),
            ("echo $${n} $n $ $$ a$b '`id`' ; ls", &["echo", "${n}", "$n", "$", "$$", "a$b", "`id`", ";", "ls"]),
            ("echo ''", &["echo", ""]),
        ] {
            assert_eq!(
                run(body, &values).as_deref(),
                Ok(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()[..]),
                "{body}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let values = values(&[("n", "3"), ("same", "1"), ("job", "9"), ("nul", "\0")], &[("same", "2")]);
        for (body, error) in [
            (" \n", CommandError::Empty),
            ("# nothing", CommandError::Empty),
            ("echo 'x", CommandError::Quotes),
            ("echo ${n", CommandError::Unclosed),
            ("echo ${m}", CommandError::Unknown("m".to_owned())),
            ("echo ${}", CommandError::Unknown(String::new())),
            ("echo ${input.n}", CommandError::Unknown("input.n".to_owned())),
            ("echo ${same}", CommandError::Ambiguous("same".to_owned())),
            ("echo ${job}", CommandError::Ambiguous("job".to_owned())),
            ("${n} x", CommandError::Program("${n}".to_owned())),
            ("bin/tool x", CommandError::Program("bin/tool".to_owned())),
            ("'' x", CommandError::Program(String::new())),
            ("echo ${nul}", CommandError::Nul("`${nul}`".to_owned())),
        ] {
            assert_eq!(run(body, &values), Err(error), "{body}");
        }
        assert_eq!(run("echo ${param.same} ${input.same} ${param.job}", &values).unwrap()[1..], ["1", "2", "9"]);
    }

    #[test]
    fn a_script_stays_as_it_is_and_finds_its_values_in_variables() {
        let values = values(&[("window-points", "3; rm")], &[("the trace", "/in/x")]);
        let body = "cat \"$LABRUN_INPUT_THE_TRACE\" ${n}";
        let Ok(Command::Script { text, variables }) = prepare(Style::Shell, body, &values) else { panic!("no script") };
        assert_eq!(text, body);
        let pairs: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("LABRUN_INPUT_THE_TRACE", "/in/x"), ("LABRUN_PARAM_WINDOW_POINTS", "3; rm")]);
        let clash = Values {
            parameters: [("a-b".to_owned(), String::new()), ("a_b".to_owned(), String::new())].into(),
            ..values
        };
        assert!(matches!(prepare(Style::Shell, body, &clash), Err(CommandError::SameVariable(..))));
    }

    #[test]
    fn values_become_text_without_quotes_of_their_own() {
        for (value, text) in [
            (serde_json::json!("a b"), "a b"),
            (serde_json::json!(0.5), "0.5"),
            (serde_json::json!(true), "true"),
            (serde_json::json!(null), ""),
            (serde_json::json!([1, "x"]), r#"[1,"x"]"#),
        ] {
            assert_eq!(text_of(&value), text);
        }
    }

    #[test]
    fn required_packages_are_names_between_blanks_or_commas() {
        assert_eq!(required_programs(" awk, python3\nsox ").collect::<Vec<_>>(), ["awk", "python3", "sox"]);
        assert_eq!(required_programs("").count(), 0);
    }

    proptest! {
        /// Whatever a value holds, it arrives whole, in its place, and changes nothing beside it.
        #[test]
        fn a_value_is_never_more_than_its_part_of_one_argument(one in "[^\0]*", two in "[^\0]*") {
            let values = values(&[("one", &one)], &[("two", &two)]);
            let words = run("tool ${one} -- 'a ${two} b' \"${one}${two}\" end", &values).unwrap();
            let wanted = ["tool".to_owned(), one.clone(), "--".to_owned(), format!("a {two} b"), format!("{one}{two}"), "end".to_owned()];
            prop_assert_eq!(words, wanted);
        }

        /// Whatever a template holds, the answer is a command or a sentence.
        #[test]
        fn no_body_makes_it_panic(body in ".*", value in ".*") {
            let values = values(&[("x", &value)], &[]);
            for style in Style::ALL {
                if let Err(error) = prepare(style, &body, &values) {
                    prop_assert!(!error.to_string().is_empty());
                }
            }
        }
    }
}
