//! Claiming jobs, leases, and what else goes beyond the reference's lifecycle (contract §11).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use warp::http::HeaderValue;
use warp::reply::Response;

use crate::domain::fields::{Fields, number, object};
use crate::domain::ids::JobId;
use crate::server::auth::Leave;
use crate::server::error::ApiError;
use crate::server::request::{Call, no_content, ok};
use crate::store::claims::{ClaimedBy, Wanted};
use crate::wire::Job;

/// The longest that a claim may wait, in seconds.
const WAIT_MAX_S: f64 = 60.0;
/// The longest lease, in seconds.
const LEASE_MAX_S: f64 = 86_400.0;

/// `POST /v1/jobs/claim`.
pub(crate) async fn claim(call: &mut Call) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    let node = caller.node.ok_or_else(ApiError::not_found)?;
    let api_token = match &call.leave {
        Leave::ApiToken(sha256) => Some(sha256.as_str().into()),
        Leave::Login { .. } | Leave::Anyones => None,
    };
    let by = ClaimedBy { node, user: caller.user, api_token };
    let body = call.json().await?;
    let mut fields = Fields::new(&body);
    let filter = fields.optional("filter", |value| object(value).cloned()).unwrap_or_default();
    let wait_s = fields.optional("wait", |value| seconds(value, 0.0, WAIT_MAX_S)).unwrap_or(0.0);
    let lease_s = fields.optional("lease", |value| seconds(value, 1.0, LEASE_MAX_S));
    let wanted = Wanted::parse(&Value::Object(filter));
    if let Err(problems) = &wanted {
        fields.problems_within("filter", problems.clone());
    }
    fields.finish()?;
    let wanted = Arc::new(wanted?);
    match call.app.claims.claim(by, wanted, lease_s, Duration::from_secs_f64(wait_s)).await? {
        Some(job) => leased(&job),
        None => no_content(),
    }
}

/// `GET /v1/jobs/{PK}/attempts`.
pub(crate) async fn attempts(call: &mut Call) -> Result<Response, ApiError> {
    ok(&call.app.store.attempts(JobId(call.pk())).await?)
}

/// `POST /v1/jobs/{PK}/unhold`.
pub(crate) async fn unhold(call: &mut Call) -> Result<Response, ApiError> {
    ok(&call.app.store.unhold_job(JobId(call.pk())).await?)
}

/// Answers with a job, and with when its lease runs out if it has one.
pub(super) fn leased(job: &Job) -> Result<Response, ApiError> {
    let mut response = ok(job)?;
    if let Some(expires) = job.lease_expires {
        let value = HeaderValue::from_str(&expires.to_string()).map_err(ApiError::internal)?;
        response.headers_mut().insert("x-lease-expires", value);
    }
    Ok(response)
}

/// Reads `?lease=SECONDS`.
pub(super) fn lease_asked(call: &Call) -> Result<Option<f64>, ApiError> {
    let Some(text) = call.query_param("lease") else { return Ok(None) };
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let asked = text.parse::<f64>().ok().filter(|_| plain);
    match asked.filter(|asked| (1.0..=LEASE_MAX_S).contains(asked)) {
        Some(lease_s) => Ok(Some(lease_s)),
        None => Err(ApiError::field("lease", format!("Must be a number of seconds from 1 to {LEASE_MAX_S}."))),
    }
}

/// Reads the header `Attempt`, with which a worker says which attempt its call belongs to.
pub(super) fn attempt_said(call: &Call) -> Result<Option<i64>, ApiError> {
    let Some(value) = call.headers.get("attempt") else { return Ok(None) };
    let number = value.to_str().ok().and_then(crate::server::request::decimal);
    let bad = || ApiError::bad_request("bad_attempt", "The header Attempt must be the number of an attempt.");
    number.map(Some).ok_or_else(bad)
}

fn seconds(value: &Value, least: f64, most: f64) -> Result<f64, String> {
    let seconds = number(value)?;
    let fits = (least..=most).contains(&seconds);
    if fits { Ok(seconds) } else { Err(format!("Must be from {least} to {most} seconds.")) }
}

/// Gives the text whose SHA-256 tells one create-job request from another: the same values in whatever order.
pub(super) fn canonical(template: i64, body: &Map<String, Value>) -> String {
    json!([template, sorted(&Value::Object(body.clone()))]).to_string()
}

/// Sorts the keys of all objects. The depth is that of a parsed body, which the parser limits.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.as_str());
            Value::Object(members.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_makes_no_other_request() {
        let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let one = canonical(1, &read(r#"{"a": {"x": 1, "y": [2]}, "b": 3}"#));
        assert_eq!(one, canonical(1, &read(r#"{"b": 3, "a": {"y": [2], "x": 1}}"#)));
        assert_ne!(one, canonical(2, &read(r#"{"a": {"x": 1, "y": [2]}, "b": 3}"#)));
        assert_ne!(one, canonical(1, &read(r#"{"a": {"x": 1, "y": [2, 2]}, "b": 3}"#)));
    }
}
