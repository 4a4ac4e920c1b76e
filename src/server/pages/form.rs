//! Forms as browsers send them.

use warp::http::StatusCode;

use crate::server::error::ApiError;
use crate::server::request::{Call, media_type};

/// The largest form, in bytes: ten thousand chosen jobs fit.
const FORM_BYTES_MAX: usize = 1 << 20;

/// The fields of a form, in order; a name may come more than once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Takes `application/x-www-form-urlencoded` apart.
    pub(super) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// Gives the first value of a field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Gives every value of a field.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// Says whether the body is a form.
pub(super) fn is_form(call: &Call) -> bool {
    media_type(&call.headers).as_deref() == Some("application/x-www-form-urlencoded")
}

/// Gives the form of a request.
///
/// # Errors
/// 413 over 1 MiB, 415 for another media type.
pub(super) async fn read(call: &mut Call) -> Result<&Form, ApiError> {
    if call.form.is_none() {
        if !is_form(call) {
            let detail = "This takes a form (application/x-www-form-urlencoded).";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        let bytes = call.body.whole(FORM_BYTES_MAX).await?;
        call.form = Some(Form::parse(&bytes));
    }
    Ok(call.form.get_or_insert_default())
}
