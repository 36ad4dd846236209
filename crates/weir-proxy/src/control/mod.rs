//! The data plane's control side: it follows xDS servers and tells the workers what to do. It runs on a runtime
//! of its own, never on a worker's.

pub mod certificate;
mod dns;
pub mod follow;
pub mod pilot;
pub mod received;
mod refusal;
pub mod state;
