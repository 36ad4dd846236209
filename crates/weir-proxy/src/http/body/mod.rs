//! The bodies of answers on their way to a client.

pub(super) mod held;
mod response;

pub use response::ResponseBody;
