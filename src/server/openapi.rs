//! stub
/// x
pub(crate) static DOCUMENT: std::sync::LazyLock<serde_json::Value> = std::sync::LazyLock::new(|| serde_json::json!({}));
