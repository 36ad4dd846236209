//! Envoy's aggregated discovery service (ADS): how a control plane tells its proxies what to do.
//!
//! [`Server`] and [`Client`] are state machines without IO: messages in, messages out. A stream is a pair of
//! channels ([`stream`]), within one process or over gRPC ([`grpc`]). The protocol is
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>, delta and state of the world.
//!
//! The server keeps the order that lets a configuration change under load: clusters and their instances
//! first, then what routes to them, and a cluster is taken away only after the last route to it.

pub mod certificates;
pub mod client;
mod departure;
pub mod grpc;
mod guard;
mod manifest;
mod owner;
mod protocol;
mod push;
mod resources;
pub mod server;
mod set;
mod shared_map;
mod shown;
pub mod stream;

pub use client::{Client, Update, is_among};
pub use departure::Departure;
pub use guard::{Admission, Asked, Guard, Patience};
pub use manifest::Manifest;
pub use push::Push;
pub use resources::{Resource, Version};
pub use server::{Event, Server};
pub use set::{Names, ResourceSet};
pub use shown::{Certified, Shown, Token};
pub use stream::{ClientStream, HEALTH, Peer, Protocol, Request, Response, Responses, ServerStream};
