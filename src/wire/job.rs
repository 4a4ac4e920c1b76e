//! Jobs, as they are asked for and as they are shown (contract §4, §5).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::ids::{JobId, NodeId, OutputId, TemplateId, UserId};
pub use crate::domain::lifecycle::Phase;
use crate::domain::time::Timestamp;

/// A job.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Its key.
    pub pk: JobId,
    /// The template it was made from.
    pub template: TemplateRef,
    /// The meta-job it is a child of.
    pub parent: Option<JobId>,
    /// When the present run started.
    pub start_time: Option<Timestamp>,
    /// When it finished, errored or was cancelled.
    pub end_time: Option<Timestamp>,
    /// Why it errored; `Cancelled` for a cancelled one.
    pub error_reason: Option<String>,
    /// The inputs by name, each `{"value": …, "type": …}`, as JSON text.
    #[schemars(with = "BTreeMap<String, TypedValue>")]
    pub input_values: Box<RawValue>,
    /// The parameters by name, each a text or `{"value": …, "type": …}`, as JSON text.
    #[schemars(with = "BTreeMap<String, ParameterValue>")]
    pub parameter_values: Box<RawValue>,
    /// The node that holds it.
    pub node: Option<NodeId>,
    /// Its live outputs, in order of creation.
    pub outputs: Vec<OutputRef>,
    /// What its creator wrote about it.
    pub description: String,
    /// Whether it was cancelled.
    pub is_cancelled: bool,
    /// How far it is, from 0 to 1.
    pub progress_amount: f64,
    /// Where in its life it stands.
    pub phase: Phase,
    /// The user who made it.
    pub creator: UserId,
    /// When it was made.
    pub creation_time: Timestamp,
    /// When it was soft-deleted.
    pub deletion_time: Option<Timestamp>,
    /// How often it was acquired; the number of its present or last attempt.
    #[serde(default)]
    pub attempt: i64,
    /// Who goes first when nodes claim: the highest, then the oldest.
    #[serde(default)]
    pub priority: i64,
    /// How many attempts it may take by itself when it errors.
    #[serde(default = "one")]
    pub max_attempts: i64,
    /// Seconds before the first retry, doubled for each one after it.
    #[serde(default)]
    pub retry_delay: f64,
    /// Seconds that a run may take.
    #[serde(default)]
    pub timeout: Option<f64>,
    /// Whether it is kept from all nodes until it is let go.
    #[serde(default)]
    pub hold: bool,
    /// What its creator marked it with.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When its holder loses it without a further sign of life; null without a lease.
    #[serde(default)]
    pub lease_expires: Option<Timestamp>,
}

/// The number of attempts of servers that know of one only.
fn one() -> i64 {
    1
}

/// One time that a job was acquired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: i64,
    /// The node that acquired the job.
    pub node: Option<NodeId>,
    /// When it did.
    pub acquired: Timestamp,
    /// When it started.
    pub started: Option<Timestamp>,
    /// When the attempt ended.
    pub ended: Option<Timestamp>,
    /// How it ended: `released`, `finished`, `errored`, `aborted`, `cancelled`, `lease_expired` or `timed_out`.
    pub outcome: Option<String>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

impl Job {
    /// Takes the inputs apart.
    ///
    /// # Errors
    /// When the text is not an object of `{"value": …, "type": …}`, which no server should send.
    pub fn inputs(&self) -> serde_json::Result<BTreeMap<String, TypedValue>> {
        serde_json::from_str(self.input_values.get())
    }

    /// Takes the parameters apart: those that were given, without the defaults of the template.
    ///
    /// # Errors
    /// When the text is not an object of texts or `{"value": …, "type": …}`, which no server should send.
    pub fn parameters(&self) -> serde_json::Result<BTreeMap<String, ParameterValue>> {
        serde_json::from_str(self.parameter_values.get())
    }
}

/// The template of a job, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateRef {
    /// Its key.
    pub pk: TemplateId,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: i64,
}

/// An output of a job, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutputRef {
    /// Its key.
    pub pk: OutputId,
    /// Its name.
    pub name: String,
    /// Its type, as it was given at the upload.
    #[serde(rename = "type")]
    pub type_name: String,
}

/// A value with the type it is meant as.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TypedValue {
    /// The value.
    pub value: Value,
    /// The type, such as `int` or `PK<Dataset>` (contract §7).
    #[serde(rename = "type")]
    pub type_name: String,
}

impl TypedValue {
    /// Makes one.
    pub fn new(value: impl Into<Value>, type_name: impl Into<String>) -> Self {
        Self { value: value.into(), type_name: type_name.into() }
    }
}

/// The value of a parameter, in either of the forms in which it may be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ParameterValue {
    /// Text, to be parsed as the parameter's type.
    Text(String),
    /// A value with its type.
    Typed(TypedValue),
}

/// Asks for a job: the body of `POST /v1/job-templates/{PK}/create-job` (contract §7).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewJob {
    /// The inputs by name.
    pub input_values: BTreeMap<String, TypedValue>,
    /// The parameters by name; those left out take the template's default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Option<BTreeMap<String, ParameterValue>>")]
    pub parameter_values: BTreeMap<String, ParameterValue>,
    /// What people should read about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who goes first when nodes claim: the highest, then the oldest; 0 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// How many attempts it may take by itself when it errors; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<i64>,
    /// Seconds before the first retry, doubled for each one after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<f64>,
    /// Seconds that a run may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Whether it is kept from all nodes until it is let go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
    /// What it is marked with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Ends a run: the body of `POST /v1/jobs/{PK}/finish`. With an `error` the job is errored, else finished.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finish {
    /// Whether the worker calls it a success; for people and older clients, `error` alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// Why the run failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_written_in_the_contracts_order_with_its_values_as_they_came() {
        let text = concat!(
            r#"{"pk":7,"template":{"pk":3,"name":"scan","version":2},"parent":null,"start_time":null,"end_time":null,"#,
            r#""error_reason":null,"input_values":{"b":{"value":1e0,"type":"float"},"a":{"value":1,"type":"int"}},"#,
            r#""parameter_values":{"n":"8","unit":{"value":"mV","type":"str"}},"node":4,"#,
            r#""outputs":[{"pk":9,"name":"log","type":"str"}],"description":"","is_cancelled":false,"#,
            r#""progress_amount":0.0,"phase":"created","creator":1,"creation_time":"2026-01-02T03:04:05.000006Z","#,
            r#""deletion_time":null,"attempt":2,"priority":-1,"max_attempts":3,"retry_delay":0.5,"timeout":null,"#,
            r#""hold":false,"labels":{"plate":"7"},"lease_expires":null}"#
        );
        let job: Job = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&job).unwrap(), text);
        assert_eq!(job.inputs().unwrap()["b"], TypedValue::new(1.0, "float"));
        assert_eq!(job.parameters().unwrap()["n"], ParameterValue::Text("8".to_owned()));
    }
}
