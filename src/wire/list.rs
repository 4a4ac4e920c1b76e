//! Filter specs, as `POST …/list` takes them (contract §9).

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

/// Asks for a list: which rows, in what order, how many.
///
/// ```
/// use labrun::wire::list::{ListSpec, exact, is_null};
/// let free = ListSpec::default().with(exact("phase", "created")).with(is_null("node")).limit(1);
/// assert_eq!(
///     serde_json::to_value(&free).unwrap(),
///     serde_json::json!({
///         "expressions": [
///             {"type": "exact", "field": "phase", "value": "created"},
///             {"type": "isnull", "field": "node"},
///         ],
///         "limit": 1,
///     })
/// );
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct ListSpec {
    /// The tests that a row must all pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expressions: Vec<Value>,
    /// What to sort by; by key when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub order_by: Vec<Value>,
    /// Whether soft-deleted rows are shown too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub include_inactive: bool,
    /// How many rows at most, from 1 to 10,000; all when none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl ListSpec {
    /// Adds a test.
    #[must_use]
    pub fn with(mut self, expression: Value) -> Self {
        self.expressions.push(expression);
        self
    }

    /// Sorts by a field, behind those named before.
    #[must_use]
    pub fn order_by(mut self, field: &str, ascending: bool) -> Self {
        self.order_by.push(json!({"field": field, "ascending": ascending}));
        self
    }

    /// Shows at most this many rows.
    #[must_use]
    pub fn limit(mut self, rows: u32) -> Self {
        self.limit = Some(rows);
        self
    }
}

/// Tests that a field has this value.
pub fn exact(field: &str, value: impl Into<Value>) -> Value {
    json!({"type": "exact", "field": field, "value": value.into()})
}

/// Tests that a field is null.
pub fn is_null(field: &str) -> Value {
    json!({"type": "isnull", "field": field})
}
