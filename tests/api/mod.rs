//! The routes, one by one; the folders mirror the URLs.

mod access;
mod blobs;
mod jobs;
