//! Bodies on their way to an instance ([`request`], and copies of them) and back ([`answer`]).

pub mod answer;
mod copies;
pub mod request;

pub use answer::{Origin, UpstreamBody};
pub use request::{ClientBody, RequestBody};
