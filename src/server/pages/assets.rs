//! Style sheet, scripts and icons: in the binary, under names that change with what they hold, so that browsers keep
//! them for ever.

use std::sync::LazyLock;

use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use crate::blobs::Digest;
use crate::server::error::ApiError;
use crate::server::request::Call;

/// Hex digits of the digest that stand in the name.
const DIGITS: usize = 12;

/// One file.
struct Asset {
    name: &'static str,
    media: &'static str,
    bytes: &'static [u8],
    /// `/assets/STEM.HASH.EXTENSION`.
    path: String,
    etag: String,
}

impl Asset {
    fn new(name: &'static str, media: &'static str, bytes: &'static [u8]) -> Self {
        let digest = Digest::of(bytes).to_string();
        let hash = digest.get(..DIGITS).unwrap_or_default();
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        Self { name, media, bytes, path: format!("/assets/{stem}.{hash}.{extension}"), etag: format!("\"{hash}\"") }
    }
}

/// One sheet, to be fetched at once: what all pages have, and what some places add.
const STYLE: &str = concat!(include_str!("assets/style.css"), include_str!("assets/places.css"));

/// All of them. Where `htmx.min.js` is from and on what terms stands in `assets/htmx.LICENSE`.
static ASSETS: LazyLock<[Asset; 5]> = LazyLock::new(|| {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    [
        Asset::new("style.css", "text/css; charset=utf-8", STYLE.as_bytes()),
        Asset::new("labrun.js", SCRIPT, include_bytes!("assets/labrun.js")),
        Asset::new("submit.js", SCRIPT, include_bytes!("assets/submit.js")),
        Asset::new("htmx.min.js", SCRIPT, include_bytes!("assets/htmx.min.js")),
        Asset::new("icon.svg", "image/svg+xml", include_bytes!("assets/icon.svg")),
    ]
});

/// Gives the path of an asset; a name that there is not leads to a 404, and a test finds it.
pub(super) fn path(name: &str) -> &'static str {
    ASSETS.iter().find(|asset| asset.name == name).map_or("/assets/missing", |asset| &asset.path)
}

/// `GET /assets/{NAME}`.
pub(in crate::server) async fn serve(call: &mut Call) -> Result<Response, ApiError> {
    let wanted = call.param(0);
    let found = ASSETS.iter().find(|asset| asset.path.strip_prefix("/assets/") == Some(wanted));
    let asset = found.ok_or_else(ApiError::not_found)?;
    let is_known = call.headers.get(IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == asset.etag.as_bytes());
    let mut response = if is_known { Response::default() } else { Response::new(asset.bytes.into()) };
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(ETAG, HeaderValue::from_static(&asset.etag));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_the_hash_of_what_they_name() {
        for asset in ASSETS.iter() {
            let hash = Digest::of(asset.bytes).to_string();
            assert!(asset.path.contains(hash.get(..DIGITS).unwrap()), "{}", asset.path);
            assert_eq!(path(asset.name), asset.path);
        }
        assert!(path("htmx.min.js").ends_with(".js"));
    }
}
