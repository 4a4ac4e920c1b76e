//! What an output looks like, drawn from the beginning of its bytes: an image, a table and its plot, a tree, a text.
//! Nothing of it runs: images are `<img>`, which starts no script of an SVG, and the rest is text.

mod kind;
mod plot;
mod table;
mod tree;

use askama::Template;
use futures_util::TryStreamExt;
use tokio::sync::Semaphore;
use warp::http::HeaderValue;
use warp::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use warp::reply::Response;

use super::show::{self, When};
use super::{Frame, ok, wants_part};
use crate::blobs::Digest;
use crate::domain::ids::{JobId, OutputId};
use crate::server::App;
use crate::server::error::ApiError;
use crate::server::request::Call;
use crate::server::send::send;
use crate::wire::Output;
use kind::Kind;

/// What is read of an output at the most, in bytes: memory that a preview takes, and no more.
const READ_BYTES_MAX: u64 = 1 << 20;
/// What is shown of a text, in bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Bytes that are shown of what is no text.
const HEX_BYTES_MAX: usize = 256;
/// The largest image that is shown, in bytes.
const IMAGE_BYTES_MAX: i64 = 32 << 20;
/// Previews that are drawn at the same time: each holds what it read, and some times that while it takes it apart.
static AT_A_TIME: Semaphore = Semaphore::const_new(4);
/// What an image may do that is opened by itself: nothing. An SVG may have style, which can load nothing either.
const IMAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'";

/// What is shown of an output.
enum View {
    Empty,
    /// Told why there is nothing to see.
    Nothing(String),
    Image,
    Table(table::Table),
    Tree(tree::Tree),
    Text(String),
    Hex(String),
}

/// The part that is put under an output in the list of them.
#[derive(Template)]
#[template(path = "preview/part.html")]
struct Part {
    pk: OutputId,
    name: String,
    view: View,
    /// How much of the bytes it was made from, where that is not all.
    from: String,
}

/// The page of an output.
#[derive(Template)]
#[template(path = "preview/page.html")]
struct Page {
    frame: Frame,
    output: Output,
    size: String,
    made: When,
    job: JobId,
    part: Part,
}

/// `GET /outputs/{PK}`.
pub(in crate::server) async fn show(call: &mut Call) -> Result<Response, ApiError> {
    let output = call.app.store.output(OutputId(call.pk()))?.ok_or_else(ApiError::not_found)?;
    let part = part(&call.app, &output).await?;
    if wants_part(call) {
        return ok(&part);
    }
    let frame = Frame::of(call, format!("{} of #{}", output.name, output.job), "/jobs")?;
    let (size, made) = (show::bytes(output.size), When::new(output.creation_time, call.app.clock.now()));
    ok(&Page { frame, size, made, job: output.job, part, output })
}

/// `GET /outputs/{PK}/image`: an image's bytes, under their own type, for `<img>`. Other bytes are none: 404.
pub(in crate::server) async fn image(call: &mut Call) -> Result<Response, ApiError> {
    let output = call.app.store.output(OutputId(call.pk()))?.ok_or_else(ApiError::not_found)?;
    let Some(head) = head(&call.app, &output, 4 << 10).await? else { return Err(ApiError::not_found()) };
    let Kind::Image(media) = kind::of(&head, &output.name, &output.type_name) else {
        return Err(ApiError::not_found());
    };
    let digest: Digest = output.sha256.parse().map_err(|_| ApiError::internal("a row's digest can't be read"))?;
    let size = u64::try_from(output.size).map_err(ApiError::internal)?;
    let mut response = send(&call.app, &call.method, call.headers.clone(), digest, size, "inline").await?;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("inline"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(IMAGE_POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

/// Reads the beginning of an output's bytes; `None` when they are damaged or gone.
async fn head(app: &App, output: &Output, bytes_max: u64) -> Result<Option<Vec<u8>>, ApiError> {
    let digest: Digest = output.sha256.parse().map_err(|_| ApiError::internal("a row's digest can't be read"))?;
    let Some(reader) = app.blobs.open_read(digest).await.map_err(ApiError::internal)? else { return Ok(None) };
    let length = reader.size_bytes().min(bytes_max);
    let pieces: Vec<bytes::Bytes> = reader.stream(0, length).try_collect().await.map_err(ApiError::internal)?;
    Ok(Some(pieces.concat()))
}

async fn part(app: &App, output: &Output) -> Result<Part, ApiError> {
    let part = |view, from| Part { pk: output.pk, name: output.name.clone(), view, from };
    if output.size == 0 {
        return Ok(part(View::Empty, String::new()));
    }
    let _turn = AT_A_TIME.acquire().await.map_err(ApiError::internal)?;
    let Some(head) = head(app, output, READ_BYTES_MAX).await? else {
        let why = "The bytes are damaged or gone; uploading the same bytes again restores them.";
        return Ok(part(View::Nothing(why.to_owned()), String::new()));
    };
    let is_whole = i64::try_from(head.len()).is_ok_and(|length| length >= output.size);
    let (name, type_name, size) = (output.name.clone(), output.type_name.clone(), output.size);
    // A mebibyte takes some time to be taken apart: not on a thread that answers requests.
    let drawn = tokio::task::spawn_blocking(move || view(&head, is_whole, &name, &type_name, size)).await;
    let (view, used) = drawn.map_err(ApiError::internal)?;
    let from = match i64::try_from(used) {
        Ok(used) if used < output.size => format!("the first {} of {}", show::bytes(used), show::bytes(output.size)),
        _ => String::new(),
    };
    Ok(part(view, from))
}

/// Draws what is to be seen of bytes; gives how many it used.
fn view(head: &[u8], is_whole: bool, name: &str, type_name: &str, size: i64) -> (View, usize) {
    let all = usize::MAX;
    match kind::of(head, name, type_name) {
        Kind::Image(_) if size > IMAGE_BYTES_MAX => {
            let why = format!("An image of {} is too large to be shown; download it.", show::bytes(size));
            (View::Nothing(why), all)
        }
        Kind::Image(_) => (View::Image, all),
        Kind::Json if is_whole => match tree::of(head) {
            Some(tree) => (View::Tree(tree), all),
            None => text(head),
        },
        Kind::Table(delimiter) => match table::of(head, delimiter, is_whole) {
            Some(table) => (View::Table(table), if is_whole { all } else { head.len() }),
            None => text(head),
        },
        Kind::Json | Kind::Text => text(head),
        Kind::Bytes => (View::Hex(hex(head)), HEX_BYTES_MAX),
    }
}

fn text(head: &[u8]) -> (View, usize) {
    let shown = head.get(..TEXT_BYTES_MAX).unwrap_or(head);
    (View::Text(String::from_utf8_lossy(shown).into_owned()), shown.len())
}

/// Writes bytes as people look at them: places, hex, and what of it is ASCII.
fn hex(bytes: &[u8]) -> String {
    let mut lines = String::new();
    for (row, some) in bytes.iter().take(HEX_BYTES_MAX).collect::<Vec<_>>().chunks(16).enumerate() {
        let digits: Vec<String> = some.iter().map(|byte| format!("{byte:02x}")).collect();
        let letter = |byte: &&u8| if byte.is_ascii_graphic() || **byte == b' ' { char::from(**byte) } else { '.' };
        let letters: String = some.iter().map(letter).collect();
        lines.push_str(&format!("{:08x}  {:<47}  {letters}\n", row * 16, digits.join(" ")));
    }
    lines
}
