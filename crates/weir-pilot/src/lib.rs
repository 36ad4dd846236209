//! The control plane: a [`Pilot`] reads each new catalog of objects into a snapshot of the mesh, translates it for
//! every proxy that follows it, and sends what differs from what the proxy has.
//!
//! [`node`] is how proxies introduce themselves, [`standalone`] which proxies a mesh on one machine has.

pub mod node;
mod pilot;
mod report;
mod resources;
pub mod standalone;
mod stream;
mod unsupported;

pub use pilot::{Options, Pilot, ProxyStatus};
pub use report::Report;
pub use unsupported::DataPlane;
