//! Forms as browsers send them.

use warp::http::StatusCode;
use warp::http::header::CONTENT_TYPE;

use crate::domain::fields::Problems;
use crate::server::error::ApiError;
use crate::server::request::{Call, media_type};

/// The largest form, in bytes: ten thousand chosen jobs fit.
pub(super) const FORM_BYTES_MAX: usize = 1 << 20;

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

    /// Adds a field.
    pub(super) fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// Gives the first value of a field that is not empty.
    pub(super) fn filled(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
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

/// The fields and files of a form with files, as they arrive.
pub(crate) type Parts = multer::Multipart<'static>;

/// Says whether the body is a form with files.
pub(super) fn has_files(call: &Call) -> bool {
    call.parts.is_some() || media_type(&call.headers).as_deref() == Some("multipart/form-data")
}

/// Begins to read a form with files.
///
/// # Errors
/// 400 when it says no boundary.
pub(super) fn parts(call: &mut Call) -> Result<&mut Parts, ApiError> {
    if call.parts.is_none() {
        let header = call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = multer::parse_boundary(header).map_err(malformed)?;
        let body = call.body.take();
        // One piece at a time: the parser would take all that has arrived, however much that is.
        let pieces = futures_util::stream::unfold(body, |mut body| async {
            tokio::task::yield_now().await;
            let piece = body.next().await.map_err(|error| std::io::Error::other(error.detail().to_owned()));
            piece.transpose().map(|piece| (piece, body))
        });
        call.parts = Some(multer::Multipart::new(pieces, boundary));
    }
    call.parts.as_mut().ok_or_else(|| ApiError::internal("the parts of a form are gone"))
}

/// Reads the field that stands first in a form with files, if it is the one of this name: the token, so that a file is
/// looked at only when it comes from a page of ours.
///
/// # Errors
/// 400 when the form can't be read, 413 when the field is too large.
pub(super) async fn first_part(call: &mut Call, name: &str) -> Result<Option<String>, ApiError> {
    let Some(field) = parts(call)?.next_field().await.map_err(malformed)? else { return Ok(None) };
    if field.name() != Some(name) || field.file_name().is_some() {
        return Ok(None);
    }
    text_of(field, FORM_BYTES_MAX).await.map(Some)
}

/// Reads a field that is a text.
///
/// # Errors
/// 413 beyond `bytes_max`, 400 when it breaks off.
pub(super) async fn text_of(mut field: multer::Field<'static>, bytes_max: usize) -> Result<String, ApiError> {
    let mut text = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(malformed)? {
        if text.len() + piece.len() > bytes_max {
            return Err(ApiError::too_large(bytes_max as u64));
        }
        text.extend_from_slice(&piece);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Says that a form with files can't be read.
pub(super) fn malformed(error: multer::Error) -> ApiError {
    ApiError::bad_request("malformed_form", format!("The form can't be read: {error}."))
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

/// What is wrong with a form, to be told where it was filled in.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    /// What is wrong with no field in particular.
    pub(super) whole: String,
    fields: Problems,
}

impl Complaints {
    /// Takes an error for what is wrong with the form, and passes others on.
    ///
    /// # Errors
    /// The error, when other fields would not help.
    pub(super) fn of(error: ApiError) -> Result<Self, ApiError> {
        match (error.status(), error.errors()) {
            (_, Some(fields)) => Ok(Self { whole: String::new(), fields: fields.clone() }),
            (StatusCode::BAD_REQUEST | StatusCode::NOT_ACCEPTABLE | StatusCode::UNAUTHORIZED, None) => {
                Ok(Self { whole: error.detail().to_owned(), fields: Problems::default() })
            }
            _ => Err(error),
        }
    }

    /// Makes one about one field.
    pub(super) fn about(field: &str, sentence: &str) -> Self {
        Self { whole: String::new(), fields: Problems::one(field, sentence) }
    }

    /// Says whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.fields.is_empty()
    }

    /// Gives what is wrong with a field; nothing, when nothing is.
    pub(super) fn at(&self, field: &str) -> String {
        self.fields.about(field).collect::<Vec<_>>().join(" ")
    }

    /// Gives what is wrong with fields that are none of these, and with the whole.
    pub(super) fn elsewhere(&self, shown: &[&str]) -> String {
        let others = self.fields.names().filter(|name| !shown.iter().any(|shown| name.starts_with(shown)));
        let others: Vec<String> = others.map(|name| format!("{name}: {}", self.at(name))).collect();
        format!("{} {}", self.whole, others.join(" ")).trim().to_owned()
    }
}
