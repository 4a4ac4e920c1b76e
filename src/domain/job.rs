//! What create-job takes beside inputs and parameters: how the job is handed out and tried (contract §11).

use serde_json::{Map, Value};

use super::fields::{Fields, boolean, integer, number, object};

/// The most attempts that a job may take by itself.
pub const ATTEMPTS_MAX: i64 = 1_000;
/// The longest delay or time-out, in seconds: a year.
pub const SECONDS_MAX: f64 = 366.0 * 86_400.0;
/// The most labels of a job.
pub const LABELS_MAX: usize = 64;
/// Characters of a label's name, and of its value.
const LABEL_CHARS_MAX: usize = 255;

/// How a job is handed out and tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Who goes first: the highest, then the oldest.
    pub priority: i64,
    /// How many attempts it may take by itself.
    pub max_attempts: i64,
    /// Seconds before the first retry, doubled for each one after it.
    pub retry_delay_s: f64,
    /// Seconds that a run may take.
    pub timeout_s: Option<f64>,
    /// Whether it is kept from all nodes until it is let go.
    pub hold: bool,
    /// What its creator marks it with: an object of texts.
    pub labels: Map<String, Value>,
}

impl Default for Policy {
    fn default() -> Self {
        let (max_attempts, labels) = (1, Map::new());
        Self { priority: 0, max_attempts, retry_delay_s: 0.0, timeout_s: None, hold: false, labels }
    }
}

impl Policy {
    /// Reads it from the body of create-job; what is wrong is kept by `fields`.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        let default = Self::default();
        let priority = fields.optional("priority", integer(i64::MIN..=i64::MAX)).unwrap_or(default.priority);
        let max_attempts = fields.optional("max_attempts", integer(1..=ATTEMPTS_MAX)).unwrap_or(default.max_attempts);
        let retry_delay_s = fields.optional("retry_delay", |value| seconds(value, true));
        let timeout_s = fields.optional("timeout", |value| seconds(value, false));
        let hold = fields.optional("hold", boolean).unwrap_or(default.hold);
        let labels = fields.optional("labels", labels).unwrap_or_default();
        Self {
            priority,
            max_attempts,
            retry_delay_s: retry_delay_s.unwrap_or(default.retry_delay_s),
            timeout_s,
            hold,
            labels,
        }
    }
}

/// Takes a number of seconds.
fn seconds(value: &Value, zero: bool) -> Result<f64, String> {
    let seconds = number(value)?;
    if (0.0..=SECONDS_MAX).contains(&seconds) && (zero || seconds > 0.0) {
        return Ok(seconds);
    }
    let least = if zero { "from 0" } else { "above 0 and" };
    Err(format!("Must be {least} to {SECONDS_MAX} seconds."))
}

/// Takes labels: short texts by short names.
fn labels(value: &Value) -> Result<Map<String, Value>, String> {
    let labels = object(value)?;
    if labels.len() > LABELS_MAX {
        return Err(format!("There may be {LABELS_MAX} labels at most."));
    }
    for (name, value) in labels {
        if !is_label_name(name) {
            return Err(format!("{name:?} is no name of a label: 1 to {LABEL_CHARS_MAX} characters, none to control."));
        }
        let text = value.as_str().ok_or_else(|| format!("The label {name:?} must be a text."))?;
        if text.chars().count() > LABEL_CHARS_MAX || text.contains('\0') {
            return Err(format!("The label {name:?} must have {LABEL_CHARS_MAX} characters at most, and no U+0000."));
        }
    }
    Ok(labels.clone())
}

/// Says whether a text can be the name of a label.
pub fn is_label_name(name: &str) -> bool {
    (1..=LABEL_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &Value) -> Result<Policy, super::super::fields::Problems> {
        let mut fields = Fields::new(body.as_object().unwrap());
        let policy = Policy::read(&mut fields);
        fields.finish().map(|()| policy)
    }

    #[test]
    fn nothing_said_is_the_default() {
        assert_eq!(read(&json!({})).unwrap(), Policy::default());
    }

    #[test]
    fn what_is_said_is_taken() {
        let body = json!({"priority": -5, "max_attempts": 3, "retry_delay": 0.5, "timeout": 60, "hold": true,
                          "labels": {"plate/row": "7", "Größe in µm": "1.5", "$.a\"": "x"}});
        let policy = read(&body).unwrap();
        assert_eq!((policy.priority, policy.max_attempts, policy.hold), (-5, 3, true));
        assert_eq!((policy.retry_delay_s, policy.timeout_s), (0.5, Some(60.0)));
        assert_eq!(Value::from(policy.labels), body["labels"]);
    }

    #[test]
    fn bad_values_name_their_field() {
        for (body, field) in [
            (json!({"priority": 1.5}), "priority"),
            (json!({"priority": null}), "priority"),
            (json!({"max_attempts": 0}), "max_attempts"),
            (json!({"retry_delay": -1}), "retry_delay"),
            (json!({"timeout": 0}), "timeout"),
            (json!({"timeout": 1e300}), "timeout"),
            (json!({"hold": "yes"}), "hold"),
            (json!({"labels": {"": "x"}}), "labels"),
            (json!({"labels": {"a\nb": "x"}}), "labels"),
            (json!({"labels": {"a".repeat(256): "x"}}), "labels"),
            (json!({"labels": {"a": 1}}), "labels"),
            (json!({"labels": ["a"]}), "labels"),
        ] {
            let problems = read(&body).unwrap_err();
            assert!(problems.names().eq([field]), "{body}: {}", problems.sentence());
        }
    }
}
