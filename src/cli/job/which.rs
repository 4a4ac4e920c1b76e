//! Which jobs: by key, or by what is known about them.

use std::str::FromStr;

use clap::Args;
use serde_json::{Value, json};

use super::condition;
use crate::cli::exit::Failure;
use crate::cli::screen::text::plain;
use crate::client::Client;
use crate::domain::ids::JobId;
use crate::domain::lifecycle::Phase;
use crate::domain::time::{Clock, SystemClock};
use crate::wire::list::{exact, is_null};

/// The most jobs that one range of keys names.
const RANGE_MAX: i64 = 100_000;
/// Rows asked for at a time.
const PAGE_ROWS: u32 = 1_000;

/// What the jobs have in common.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Which jobs")]
pub(super) struct Filter {
    /// Those in this phase: created, started, finished, errored, cancelled; several with commas
    #[arg(long, value_name = "PHASE", value_delimiter = ',', value_parser = phase)]
    phase: Vec<Phase>,

    /// Those of this template
    #[arg(long, value_name = "NAME[@VERSION]|PK")]
    template: Option<String>,

    /// Those that this node holds
    #[arg(long, value_name = "PK|ADDRESS[#INDEX]")]
    node: Option<String>,

    /// Those with this label, whatever its value or with this one
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,

    /// Those that pass a condition, such as `creation_time > 2h ago`, `description ~ "plate 7"`, `node is null`
    ///
    /// Signs: = != < <= > >=, ~ (contains), !~ (does not contain), `is null`, `is not null`.
    ///
    /// Fields: pk, phase, description, template, template.name, template.version, node, node.ip, node.index, parent,
    /// creator, creator.username, creation_time, start_time, end_time, deletion_time, progress_amount, error_reason,
    /// is_cancelled, attempt, max_attempts, retry_delay, timeout, priority, hold, lease_expires, labels, labels.NAME,
    /// outputs, outputs.name, outputs.type, input_values, parameter_values. `labrun job show PK --json` shows what they
    /// hold.
    ///
    /// Example: --where 'creator.username = ada'
    #[arg(long = "where", value_name = "FIELD SIGN VALUE")]
    conditions: Vec<String>,

    /// Those that pass tests in the server's filter language
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
}

fn phase(text: &str) -> Result<Phase, String> {
    Phase::parse(text).ok_or_else(|| "it is one of created, started, finished, errored, cancelled".to_owned())
}

impl Filter {
    /// Says whether nothing was asked for, so that every job passes.
    pub(super) fn is_empty(&self) -> bool {
        let Self { phase, template, node, label, conditions, filter } = self;
        phase.is_empty()
            && template.is_none()
            && node.is_none()
            && label.is_empty()
            && conditions.is_empty()
            && filter.is_none()
    }

    /// Gives the tests that a job must all pass, once what they name turned out to be there: a script that misspells a
    /// template should not go on as if that had no jobs.
    pub(super) async fn expressions(&self, client: &Client) -> anyhow::Result<Vec<Value>> {
        let tests = self.tests()?;
        let is_there = async |of: &str, tests: Vec<Value>| {
            let spec = json!({"expressions": tests, "include_inactive": true, "limit": 1});
            anyhow::Ok(client.page(of, &spec).await?.rows.as_array().is_some_and(|rows| !rows.is_empty()))
        };
        if let Some(template) = &self.template
            && !is_there("job-templates", TemplateName::from(template.as_str()).tests("")).await?
        {
            return Err(TemplateName::not_found(template));
        }
        if let Some(node) = &self.node
            && !is_there("nodes", node_tests(node, "")).await?
        {
            return Err(Failure::not_found(format!(
                "there is no node {}; `labrun node list` shows those there are",
                plain(node)
            )));
        }
        Ok(tests)
    }

    /// Gives the tests that a job must all pass.
    fn tests(&self) -> anyhow::Result<Vec<Value>> {
        let mut tests = Vec::new();
        if !self.phase.is_empty() {
            let any: Vec<Value> = self.phase.iter().map(|phase| exact("phase", phase.as_str())).collect();
            tests.push(json!({"type": "or", "sub_expressions": any}));
        }
        if let Some(template) = &self.template {
            tests.extend(TemplateName::from(template.as_str()).tests("template."));
        }
        if let Some(node) = &self.node {
            tests.extend(node_tests(node, "node."));
        }
        for label in &self.label {
            tests.push(match label.split_once('=') {
                Some((name, value)) => exact(&format!("labels.{name}"), value),
                None => json!({"type": "isnull", "field": format!("labels.{label}"), "invert": true}),
            });
        }
        let now = SystemClock.now();
        for text in &self.conditions {
            tests.push(condition::parse(text, now).map_err(Failure::usage)?);
        }
        if let Some(text) = &self.filter {
            let read = serde_json::from_str(text);
            let read: Value = read.map_err(|error| Failure::usage(format!("--filter is no JSON: {error}")))?;
            match read {
                Value::Array(more) => tests.extend(more),
                Value::Object(mut spec) if spec.contains_key("expressions") => match spec.remove("expressions") {
                    Some(Value::Array(more)) if spec.is_empty() => tests.extend(more),
                    _ => {
                        return Err(Failure::usage(
                            "--filter takes a test, an array of tests, or {\"expressions\": […]}",
                        ));
                    }
                },
                test => tests.push(test),
            }
        }
        Ok(tests)
    }

    /// Gives the keys of all jobs that pass.
    pub(super) async fn keys(&self, client: &Client, deleted_too: bool) -> anyhow::Result<Vec<JobId>> {
        let expressions = self.expressions(client).await?;
        let mut spec = json!({"expressions": expressions, "limit": PAGE_ROWS, "include_inactive": deleted_too});
        let mut keys = Vec::new();
        loop {
            let page = client.page("jobs", &spec).await?;
            let rows = page.rows.as_array().map(Vec::as_slice).unwrap_or_default();
            keys.extend(rows.iter().filter_map(|row| row["pk"].as_i64()).map(JobId));
            match page.next {
                Some(next) => spec["after"] = next.into(),
                None => return Ok(keys),
            }
        }
    }
}

/// Gives the tests for a node as it is named on the command line, over the fields of a node behind `path`: its key, the
/// address of its machine, or that with its index, as `labrun node list` shows it.
fn node_tests(named: &str, path: &str) -> Vec<Value> {
    if let Ok(pk) = named.parse::<i64>() {
        return vec![exact(&format!("{path}pk"), pk)];
    }
    let is_ip = |ip: &str| exact(&format!("{path}ip"), ip);
    match named.rsplit_once('#').map(|(ip, index)| (ip, index.parse::<i64>())) {
        Some((ip, Ok(index))) => vec![is_ip(ip), exact(&format!("{path}index"), index)],
        _ => vec![is_ip(named)],
    }
}

/// A template as it is named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TemplateName {
    /// By key.
    Pk(i64),
    /// By name: every version, or the newest one, as the command has it.
    Name(String),
    /// By name and version.
    Version(String, i64),
}

impl From<&str> for TemplateName {
    fn from(text: &str) -> Self {
        if let Ok(pk) = text.parse() {
            return Self::Pk(pk);
        }
        match text.rsplit_once('@').map(|(name, version)| (name, version.parse())) {
            Some((name, Ok(version))) => Self::Version(name.to_owned(), version),
            _ => Self::Name(text.to_owned()),
        }
    }
}

impl TemplateName {
    /// Makes the error that there is none of this name.
    pub(crate) fn not_found(named: &str) -> anyhow::Error {
        Failure::not_found(format!(
            "there is no template {}; `labrun template list` shows those there are",
            plain(named)
        ))
    }

    /// Gives the tests for it, over the fields of a template behind `path`.
    pub(crate) fn tests(&self, path: &str) -> Vec<Value> {
        match self {
            Self::Pk(pk) => vec![exact(&format!("{path}pk"), *pk)],
            Self::Name(name) => vec![exact(&format!("{path}name"), name.as_str())],
            Self::Version(name, version) => {
                vec![exact(&format!("{path}name"), name.as_str()), exact(&format!("{path}version"), *version)]
            }
        }
    }
}

/// Keys as they are named on the command line: `7`, `5-9`, `1,2,5-9`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys(Vec<JobId>);

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let key = |text: &str| text.parse::<i64>().ok().filter(|key| *key > 0).ok_or("write keys as 7, 5-9 or 1,2,5-9");
        let mut keys = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                None => keys.push(JobId(key(part)?)),
                Some((first, last)) => {
                    let (first, last) = (key(first)?, key(last)?);
                    if last < first || last - first >= RANGE_MAX {
                        return Err(format!("a range goes from the lower key to the higher, over {RANGE_MAX} at most"));
                    }
                    keys.extend((first..=last).map(JobId));
                }
            }
        }
        Ok(Self(keys))
    }
}

impl Keys {
    /// Gives all the keys, each once, in the order in which they were named.
    pub(super) fn joined(keys: &[Self]) -> Vec<JobId> {
        let mut joined: Vec<JobId> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for key in keys.iter().flat_map(|keys| &keys.0) {
            if seen.insert(*key) {
                joined.push(*key);
            }
        }
        joined
    }
}

/// Tests that a job is not a child, so that a list shows a workflow once.
pub(super) fn is_top() -> Value {
    is_null("parent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_single_ones_and_ranges() {
        let keys = |texts: &[&str]| {
            let parsed: Result<Vec<Keys>, String> = texts.iter().map(|text| text.parse()).collect();
            parsed.map(|keys| Keys::joined(&keys).into_iter().map(|key| key.0).collect::<Vec<_>>())
        };
        assert_eq!(keys(&["1", "2,5-7", "6", "7-7"]), Ok(vec![1, 2, 5, 6, 7]));
        for bad in ["", "0", "-3", "a", "7-5", "1-", "1-1000000", "1,,2", "99999999999999999999"] {
            assert!(keys(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn templates_are_named_by_key_name_or_version() {
        for (text, name) in [
            ("7", TemplateName::Pk(7)),
            ("scan", TemplateName::Name("scan".to_owned())),
            ("scan@2", TemplateName::Version("scan".to_owned(), 2)),
            ("a@b", TemplateName::Name("a@b".to_owned())),
        ] {
            assert_eq!(TemplateName::from(text), name);
        }
    }
}
