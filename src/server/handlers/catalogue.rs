//! The catalogues: one set of handlers for all of them; the row of the table says whose call it is (contract §4).

use serde_json::Value;
use warp::reply::Response;

use super::lists;
use crate::server::error::ApiError;
use crate::server::request::{Call, created, no_content, ok};
use crate::server::routes::Target;
use crate::store::catalogue::{CATALOGUES, Catalogue, listing};

/// `POST /v1/{CATALOGUE}/list`.
pub(crate) async fn list(call: &mut Call) -> Result<Response, ApiError> {
    let listing = listing(catalogue(call)?, sees_secrets(call)?);
    lists::list(call, listing, |row| row).await
}

/// `POST /v1/{CATALOGUE}/create`.
pub(crate) async fn create(call: &mut Call) -> Result<Response, ApiError> {
    let catalogue = catalogue(call)?;
    let body = call.json().await?;
    created(&call.app.store.create_catalogue_row(catalogue, body).await?)
}

/// `GET /v1/{CATALOGUE}/{PK}`.
pub(crate) async fn retrieve(call: &mut Call) -> Result<Response, ApiError> {
    let row = call.app.store.catalogue_row(catalogue(call)?, call.pk(), sees_secrets(call)?)?;
    ok(&row.ok_or_else(ApiError::not_found)?)
}

/// `PUT /v1/{CATALOGUE}/{PK}`.
pub(crate) async fn update(call: &mut Call) -> Result<Response, ApiError> {
    change(call, true).await
}

/// `PATCH /v1/{CATALOGUE}/{PK}`.
pub(crate) async fn partial_update(call: &mut Call) -> Result<Response, ApiError> {
    change(call, false).await
}

/// `DELETE /v1/{CATALOGUE}/{PK}`: removes it for good.
pub(crate) async fn destroy(call: &mut Call) -> Result<Response, ApiError> {
    call.app.store.destroy_catalogue_row(catalogue(call)?, call.pk()).await?;
    no_content()
}

/// `GET /v1/hardware/get-hardware-generation/{COMPUTE}`: the generation that spans a compute capability.
pub(crate) async fn by_compute_capability(call: &mut Call) -> Result<Response, ApiError> {
    let compute = decimal_number(call.param(0))
        .ok_or_else(|| ApiError::field("compute", "Must be a decimal number, such as 7.5."))?;
    let row = call.app.store.hardware_for(compute)?;
    ok(&row.ok_or_else(|| ApiError::field("compute", "No hardware generation has this compute capability."))?)
}

/// Gives a row as its own route would show it to this caller.
pub(super) fn shown(call: &Call, spelling: &str, pk: i64) -> Result<Option<Value>, ApiError> {
    let Some(catalogue) = CATALOGUES.iter().find(|catalogue| catalogue.spellings.contains(&spelling)) else {
        return Ok(None);
    };
    Ok(call.app.store.catalogue_row(catalogue, pk, sees_secrets(call)?)?)
}

async fn change(call: &mut Call, whole: bool) -> Result<Response, ApiError> {
    let catalogue = catalogue(call)?;
    let body = call.json().await?;
    ok(&call.app.store.update_catalogue_row(catalogue, call.pk(), body, whole).await?)
}

/// Gives the catalogue that the call is about.
fn catalogue(call: &Call) -> Result<&'static Catalogue, ApiError> {
    match call.route.target {
        Target::Row(catalogue) => Ok(catalogue),
        _ => Err(ApiError::internal("a route of a catalogue does not name it")),
    }
}

/// Says whether the caller may see what registries are logged in to with: staff, and nodes, which pull from them.
fn sees_secrets(call: &Call) -> Result<bool, ApiError> {
    let caller = call.caller()?;
    Ok(caller.is_staff || caller.node.is_some())
}

/// Reads a decimal number; infinity and the like are none.
fn decimal_number(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if is_plain { text.parse().ok().filter(|number: &f64| number.is_finite()) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compute_capabilities_are_decimal_numbers() {
        for (text, number) in [("7.5", 7.5), ("8", 8.0), (".5", 0.5), ("-1", -1.0), ("75e-1", 7.5)] {
            assert_eq!(decimal_number(text), Some(number), "{text}");
        }
        for text in ["", "abc", "nan", "inf", "infinity", "1e400", "0x2", "7,5", "7_5", " 7", "e", ".", "٧"] {
            assert_eq!(decimal_number(text), None, "{text:?}");
        }
    }
}
