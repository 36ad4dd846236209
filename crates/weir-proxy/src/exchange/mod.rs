//! One exchange: a request and its answer, or a TCP connection. What is known of it ([`record`]), why it failed
//! ([`failure`]), its end ([`end`]), and what is logged and counted of it ([`recorder`], [`log`]).

pub mod connection;
pub mod end;
pub mod ends;
pub mod failure;
pub mod introduction;
pub mod log;
pub mod peer;
pub mod record;
pub mod recorder;
mod values;

pub use connection::ConnectionInfo;
pub use end::Ending;
pub use ends::Ends;
pub use introduction::Introduction;
pub use peer::LastHeard;
pub use record::{Destination, Exchange, Matched, Target};
pub use values::{bytes, protocol_name};
