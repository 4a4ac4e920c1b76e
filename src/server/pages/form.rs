//! Forms as browsers send them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use warp::http::StatusCode;
use warp::http::header::CONTENT_TYPE;

use crate::domain::fields::Problems;
use crate::server::error::ApiError;
use crate::server::request::{Body, Call, media_type};

/// The largest form, in bytes: ten thousand chosen jobs fit.
pub(super) const FORM_BYTES_MAX: usize = 1 << 20;
/// What may come of a form with files before the next part of it begins, in bytes: the part's own header, of which
/// browsers send a few hundred.
const UNREAD_BYTES_MAX: usize = 64 << 10;

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
pub(crate) struct Parts {
    form: multer::Multipart<'static>,
    unread: Unread,
}

impl Parts {
    /// Takes a body apart, at the boundary that its type says.
    fn new(body: Body, boundary: String) -> Self {
        let unread = Unread::default();
        // One piece at a time: the parser would take all that has arrived, however much that is.
        let pieces = futures_util::stream::unfold((body, unread.clone()), |(mut body, unread)| async {
            tokio::task::yield_now().await;
            if let Err(error) = unread.check() {
                return Some((Err(error), (body, unread)));
            }
            let piece = body.next().await.map_err(|error| std::io::Error::other(error.detail().to_owned()));
            let piece = piece.transpose()?;
            unread.add(piece.as_ref().map_or(0, Bytes::len));
            Some((piece, (body, unread)))
        });
        Self { form: multer::Multipart::new(pieces, boundary), unread }
    }

    /// Gives the next part; the one before it must have been read to its end, or let go.
    ///
    /// # Errors
    /// 400 when the form can't be read, or too much comes before the part.
    pub(super) async fn next(&mut self) -> Result<Option<Part>, ApiError> {
        let field = self.form.next_field().await.map_err(malformed)?;
        self.unread.clear();
        Ok(field.map(|field| Part { field, unread: self.unread.clone() }))
    }
}

/// A field or a file of a form with files.
pub(super) struct Part {
    field: multer::Field<'static>,
    unread: Unread,
}

impl Part {
    /// Gives the field's name.
    pub(super) fn name(&self) -> Option<&str> {
        self.field.name()
    }

    /// Gives the name of the file, if it is one.
    pub(super) fn file_name(&self) -> Option<&str> {
        self.field.file_name()
    }

    /// Gives the next piece of what it holds; `None` at its end.
    ///
    /// # Errors
    /// 400 when it breaks off.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, ApiError> {
        let piece = self.field.chunk().await.map_err(malformed)?;
        self.unread.clear();
        Ok(piece)
    }

    /// Reads it as a text.
    ///
    /// # Errors
    /// 413 beyond `bytes_max`, 400 when it breaks off.
    pub(super) async fn text(mut self, bytes_max: usize) -> Result<String, ApiError> {
        let mut text = Vec::new();
        while let Some(piece) = self.piece().await? {
            if text.len() + piece.len() > bytes_max {
                return Err(ApiError::too_large(bytes_max as u64));
            }
            text.extend_from_slice(&piece);
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Counts the bytes that the parser was given since it last gave something of them. It keeps what it is given until it
/// finds the end of a part's header, so that one without an end would fill the memory.
#[derive(Debug, Clone, Default)]
struct Unread(Arc<AtomicUsize>);

impl Unread {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Asked before each piece and not after: a piece of any size may hold several whole parts.
    fn check(&self) -> std::io::Result<()> {
        if self.0.load(Ordering::Relaxed) <= UNREAD_BYTES_MAX {
            return Ok(());
        }
        Err(std::io::Error::other(format!("more than {UNREAD_BYTES_MAX} bytes come before a part")))
    }
}

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
        call.parts = Some(Parts::new(call.body.take(), boundary));
    }
    call.parts.as_mut().ok_or_else(|| ApiError::internal("the parts of a form are gone"))
}

/// Reads the field that stands first in a form with files, if it is the one of this name: the token, so that a file is
/// looked at only when it comes from a page of ours.
///
/// # Errors
/// 400 when the form can't be read, 413 when the field is too large.
pub(super) async fn first_part(call: &mut Call, name: &str) -> Result<Option<String>, ApiError> {
    let Some(part) = parts(call)?.next().await? else { return Ok(None) };
    if part.name() != Some(name) || part.file_name().is_some() {
        return Ok(None);
    }
    part.text(FORM_BYTES_MAX).await.map(Some)
}

/// Says that a form with files can't be read.
fn malformed(error: multer::Error) -> ApiError {
    let why = match error {
        multer::Error::StreamReadFailed(why) => why.to_string(),
        other => other.to_string(),
    };
    ApiError::bad_request("malformed_form", format!("The form can't be read: {}.", why.trim_end_matches('.')))
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
