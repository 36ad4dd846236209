//! The bodies of answers on their way to a client.

mod response;

pub use response::ResponseBody;
