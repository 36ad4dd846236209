//! Bodies on their way to an instance (as they come from the client in [`inbound`], as they go out in [`request`], and copies
//! of them) and back ([`answer`]); what filters make of them ([`step`]) or hold back ([`held`]); and what becomes of those that nobody wants ([`arrived`]).

pub mod answer;
pub mod arrived;
mod copies;
pub mod held;
pub mod inbound;
pub mod request;
pub mod step;
#[cfg(test)]
pub(crate) mod testing;

pub use answer::{Origin, UpstreamBody};
pub use inbound::Inbound;
pub use request::{ClientBody, RequestBody};
