//! What the server is measured against.

pub(crate) mod beanstalkd;
pub(crate) mod empty_route;
pub(crate) mod files;
pub(crate) mod nginx;
pub(crate) mod raw;
