//! What each action does once its row's checks have passed: reads the body, asks the store, answers.

pub(super) mod auth;
pub(super) mod blobs;
pub(super) mod bundle;
pub(super) mod catalogue;
pub(super) mod claims;
pub(super) mod jobs;
mod lists;
pub(super) mod logs;
pub(super) mod nodes;
pub(super) mod outputs;
pub(super) mod status;
pub(super) mod templates;
pub(super) mod tokens;
pub(super) mod uploads;
pub(super) mod users;

/// Writes soft state down before a list, so that filters and orders see it. A failure is no reason not to list: reads
/// show the newest times anyway.
async fn write_soft_state(app: &super::App) {
    if let Err(error) = super::tasks::flush_soft_state(app).await {
        tracing::warn!(%error, "the last-seen times could not be written; they are tried again");
    }
}
