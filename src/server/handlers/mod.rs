//! What each action does once its row's checks have passed: reads the body, asks the store, answers.

pub(super) mod auth;
pub(super) mod blobs;
pub(super) mod catalogue;
pub(super) mod jobs;
mod lists;
pub(super) mod nodes;
pub(super) mod outputs;
pub(super) mod status;
pub(super) mod templates;
pub(super) mod users;
