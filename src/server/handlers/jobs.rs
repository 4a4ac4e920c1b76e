//! Jobs: making them, reading them, and every action of their lifecycle (contract §5).

use serde_json::{Map, Value};
use warp::reply::Response;

use super::claims::{attempt_said, canonical, lease_asked, leased};
use super::lists;
use crate::blobs::Digest;
use crate::domain::fields::{Fields, Problems, boolean, kind_of, nullable, object, text};
use crate::domain::ids::{JobId, TemplateId};
use crate::domain::job::Policy;
use crate::domain::notification;
use crate::server::error::ApiError;
use crate::server::request::{Call, no_content, ok};
use crate::store::create::NewJob;
use crate::store::idempotency::IdempotencyKey;
use crate::store::jobs::{By, Verb, listing};
use crate::wire::Job;

/// Characters of a description; the body's limit is met first.
const DESCRIPTION_CHARS_MAX: usize = 1 << 20;

/// `POST /v1/jobs/list`.
pub(crate) async fn list(call: &mut Call) -> Result<Response, ApiError> {
    lists::list(call, listing(), |job| job).await
}

/// `GET /v1/jobs/{PK}`.
pub(crate) async fn retrieve(call: &mut Call) -> Result<Response, ApiError> {
    ok(&call.app.store.job(JobId(call.pk()))?.ok_or_else(ApiError::not_found)?)
}

/// `POST /v1/job-templates/{PK}/create-job`.
pub(crate) async fn create(call: &mut Call) -> Result<Response, ApiError> {
    let body = call.json().await?;
    ok(&make(call, &body).await?)
}

/// Makes a job of the template in the path, as a body asks for it.
///
/// # Errors
/// 400 naming what is wrong, 406 when the template is deleted, 409 when the idempotency key stands for another body.
pub(in crate::server) async fn make(call: &mut Call, body: &Map<String, Value>) -> Result<Job, ApiError> {
    let creator = call.caller()?.user;
    let template = TemplateId(call.pk());
    let idempotency = idempotency_key(call, body)?;
    if let Some(key) = &idempotency
        && let Some(made) = call.app.store.job_made_under(key, creator, call.app.clock.now())?
    {
        return call.app.store.job(made)?.ok_or_else(ApiError::not_found);
    }
    let nothing = Map::new();
    let mut fields = Fields::new(body);
    let input_values = fields.required("input_values", object).unwrap_or(&nothing);
    // Null as servers before this one show it: none given.
    let parameter_values = fields.optional("parameter_values", nullable(object)).flatten().unwrap_or(&nothing);
    let description = fields.optional("description", text(0..=DESCRIPTION_CHARS_MAX)).unwrap_or_default();
    let policy = Policy::read(&mut fields);
    let own = fields.raw("notification_override");
    let of_children = fields.raw("child_notification_overrides");

    let blobs = call.app.blobs.clone();
    let has_blob = move |hex: &str| hex.parse::<Digest>().is_ok_and(|digest| blobs.contains(digest));
    let checked = call.app.store.check_values(template, input_values, parameter_values, &has_blob)?;
    if let Err(problems) = &checked.values {
        fields.problems_here(problems.clone());
    }
    let requested = match notification::parse_requested(own, of_children, checked.children.as_deref()) {
        Ok(requested) => Some(requested),
        Err(problems) => {
            fields.problems_here(problems);
            None
        }
    };
    fields.finish()?;
    let (Ok(values), Some(requested)) = (checked.values, requested) else { return Err(Problems::default().into()) };
    // Held until the row that names them is there, so that no sweep takes them meanwhile.
    let mut held = Vec::new();
    for hex in &values.blobs {
        let digest: Digest = hex.parse().map_err(|_| ApiError::internal("a checked digest can't be read"))?;
        let bytes = call.app.blobs.hold(digest).await.map_err(ApiError::internal)?;
        held.push(bytes.ok_or_else(|| ApiError::field("input_values", format!("The bytes {hex} are gone.")))?);
    }
    let new = NewJob {
        template,
        input_values: Value::Object(values.inputs).to_string(),
        parameter_values: Value::Object(values.parameters).to_string(),
        description,
        notifications: serde_json::to_string(&requested).map_err(ApiError::internal)?,
        creator,
        blobs: values.blobs,
        policy,
        idempotency,
    };
    Ok(call.app.store.create_job(new).await?)
}

/// Reads the header `Idempotency-Key`, and binds it to what is asked for.
fn idempotency_key(call: &Call, body: &Map<String, Value>) -> Result<Option<IdempotencyKey>, ApiError> {
    const CHARS_MAX: usize = 255;
    let mut given = call.headers.get_all("idempotency-key").iter();
    let Some(value) = given.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=CHARS_MAX).contains(&key.len()) && given.next().is_none());
    let bad = || {
        let detail = format!("The header Idempotency-Key must be 1 to {CHARS_MAX} visible ASCII characters.");
        ApiError::bad_request("bad_idempotency_key", detail)
    };
    let key = key.ok_or_else(bad)?.to_owned();
    let fingerprint = Digest::of(canonical(call.pk(), body).as_bytes()).to_string();
    Ok(Some(IdempotencyKey { key, fingerprint }))
}

/// Notes that the caller's node is alive, which renews its leases.
pub(super) fn note_sign_of_life(call: &Call) {
    if let Ok(Some(node)) = call.caller().map(|caller| caller.node) {
        call.app.signs.note(node, call.app.clock.now());
    }
}

/// `PUT /v1/jobs/{PK}`.
pub(crate) async fn update(call: &mut Call) -> Result<Response, ApiError> {
    describe(call, true).await
}

/// `PATCH /v1/jobs/{PK}`.
pub(crate) async fn partial_update(call: &mut Call) -> Result<Response, ApiError> {
    describe(call, false).await
}

/// Changes the description, the one field that can be written.
async fn describe(call: &mut Call, whole: bool) -> Result<Response, ApiError> {
    const READ_ONLY: [&str; 24] = [
        "pk",
        "template",
        "parent",
        "start_time",
        "end_time",
        "error_reason",
        "input_values",
        "parameter_values",
        "node",
        "outputs",
        "is_cancelled",
        "progress_amount",
        "phase",
        "creator",
        "creation_time",
        "deletion_time",
        "attempt",
        "priority",
        "max_attempts",
        "retry_delay",
        "timeout",
        "hold",
        "labels",
        "lease_expires",
    ];
    let body = call.json().await?;
    let mut fields = Fields::new(&body);
    let description = fields.needed_if(whole, "description", text(0..=DESCRIPTION_CHARS_MAX));
    fields.pass_over(&READ_ONLY);
    fields.finish()?;
    ok(&call.app.store.describe_job(JobId(call.pk()), description).await?)
}

/// `DELETE /v1/jobs/{PK}`.
pub(crate) async fn destroy(call: &mut Call) -> Result<Response, ApiError> {
    call.app.store.set_job_deleted(JobId(call.pk()), true).await?;
    no_content()
}

/// `DELETE /v1/jobs/{PK}/reinstate`.
pub(crate) async fn reinstate(call: &mut Call) -> Result<Response, ApiError> {
    ok(&call.app.store.set_job_deleted(JobId(call.pk()), false).await?)
}

/// `DELETE /v1/jobs/{PK}/hard`.
pub(crate) async fn hard(call: &mut Call) -> Result<Response, ApiError> {
    let purged = call.app.store.purge_job(JobId(call.pk())).await?;
    call.app.hub.end(&purged.jobs);
    crate::server::tasks::reclaim(&call.app, purged.digests);
    ok(&purged.was)
}

/// `GET /v1/jobs/{PK}/acquire`.
pub(crate) async fn acquire(call: &mut Call) -> Result<Response, ApiError> {
    let lease_s = lease_asked(call)?;
    let by = acting(call)?;
    leased(&call.app.store.act(JobId(call.pk()), by, Verb::Acquire { lease_s }).await?)
}

/// `DELETE /v1/jobs/{PK}/release`.
pub(crate) async fn release(call: &mut Call) -> Result<Response, ApiError> {
    act(call, Verb::Release).await
}

/// `POST /v1/jobs/{PK}/start`.
pub(crate) async fn start(call: &mut Call) -> Result<Response, ApiError> {
    let body = call.json().await?;
    let mut fields = Fields::new(&body);
    fields.optional("send_notification", text(0..=DESCRIPTION_CHARS_MAX));
    fields.finish()?;
    act(call, Verb::Start).await
}

/// `POST /v1/jobs/{PK}/progress/{PROGRESS}`.
pub(crate) async fn progress(call: &mut Call) -> Result<Response, ApiError> {
    let amount = fraction(call.param(1))
        .ok_or_else(|| ApiError::field("progress", "Must be a decimal number from 0 to 1, such as 0.25."))?;
    let data = Value::Object(call.json().await?).to_string();
    note_sign_of_life(call);
    act(call, Verb::Progress { amount, data }).await
}

/// `POST /v1/jobs/{PK}/finish`.
pub(crate) async fn finish(call: &mut Call) -> Result<Response, ApiError> {
    let body = call.json().await?;
    let mut fields = Fields::new(&body);
    fields.optional("success", boolean);
    fields.optional("send_notification", text(0..=DESCRIPTION_CHARS_MAX));
    let error = fields.optional("error", |value| match value {
        Value::Null => Ok(None),
        Value::String(reason) => Ok(Some(reason.replace('\0', "\u{fffd}"))),
        other => Err(format!("Must be a text, not {}.", kind_of(other))),
    });
    fields.finish()?;
    act(call, Verb::Finish { error: error.flatten() }).await
}

/// `DELETE /v1/jobs/{PK}/reset`.
pub(crate) async fn reset(call: &mut Call) -> Result<Response, ApiError> {
    act(call, Verb::Reset).await
}

/// `DELETE /v1/jobs/{PK}/abort`.
pub(crate) async fn abort(call: &mut Call) -> Result<Response, ApiError> {
    act(call, Verb::Abort).await
}

/// `DELETE /v1/jobs/{PK}/cancel`.
pub(crate) async fn cancel(call: &mut Call) -> Result<Response, ApiError> {
    act(call, Verb::Cancel).await
}

/// Hands a verb to the rules, for the caller's node.
async fn act(call: &mut Call, verb: Verb) -> Result<Response, ApiError> {
    let by = acting(call)?;
    let job: Job = call.app.store.act(JobId(call.pk()), by, verb).await?;
    ok(&job)
}

/// Says on whose behalf a call is made, and for which attempt.
fn acting(call: &Call) -> Result<By, ApiError> {
    Ok(By { node: call.caller()?.node, attempt: attempt_said(call)? })
}

/// Reads a decimal number in [0, 1]: digits with at most one point and an exponent, as in `0.5`, `.5` or `1e-3`.
fn fraction(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    let amount: f64 = if plain && !text.starts_with(['+', '-']) { text.parse().ok()? } else { return None };
    (0.0..=1.0).contains(&amount).then_some(amount)
}

#[cfg(test)]
mod tests {
    use super::fraction;

    #[test]
    fn progress_is_a_decimal_number_from_0_to_1() {
        for (text, amount) in [("0", 0.0), ("1", 1.0), (".5", 0.5), ("1e-3", 0.001), ("0.1e1", 1.0), ("1.00", 1.0)] {
            assert_eq!(fraction(text), Some(amount), "{text}");
        }
        for text in [
            "",
            "1.5",
            "-0.1",
            "-0",
            "+1",
            "abc",
            "nan",
            "inf",
            "0x1",
            "0,5",
            "1_0",
            "1.0000001",
            "1e400",
            " ",
            "½",
            ".",
        ] {
            assert_eq!(fraction(text), None, "{text:?}");
        }
    }
}
