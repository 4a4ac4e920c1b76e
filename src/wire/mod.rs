//! What goes over the wire: requests and answers as the contract names their fields, shared by server and client.

pub mod audit;
pub mod auth;
pub mod blob;
pub mod error;
pub mod job;
pub mod list;
pub mod node;
pub mod output;
pub mod template;
pub mod token;
pub mod upload;
pub mod user;

pub use blob::Blob;
pub use error::ErrorBody;
pub use job::{Attempt, Job, OutputRef, Phase, TemplateRef};
pub use node::Node;
pub use output::Output;
pub use template::Template;
pub use upload::Upload;
pub use user::User;
