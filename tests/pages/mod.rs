//! The pages, as a browser asks for them; the folders mirror the URLs.

mod access;
mod assets;
mod job;
mod jobs;
mod login;
mod outputs;
mod people;
mod setup;
mod submit;
