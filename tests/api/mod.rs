//! The routes, one by one; the folders mirror the URLs.

mod access;
mod auth;
mod blobs;
mod catalogue;
mod job_outputs;
mod job_templates;
mod jobs;
mod nodes;
mod uploads;
mod users;
