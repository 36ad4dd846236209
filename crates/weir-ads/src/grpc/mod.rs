//! ADS over gRPC: [`server`] accepts streams of others' proxies, [`client`] opens one to a server.

mod body;
pub mod client;
mod listener;
mod message;
mod requests;
pub mod server;

pub use client::Channel;
pub use listener::{Listener, UNIX, open_path, socket_path};

/// The method of the delta protocol.
const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// The method of the state-of-the-world protocol.
const STATE: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// The same two of SDS.
const SECRETS_DELTA: &str = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets";
const SECRETS_STATE: &str = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";

/// A message may be this large: a mesh of 10,000 services fits, and no client can make us keep more.
const MAX_MESSAGE: usize = 256 << 20;

/// Who comes from another machine asks for no more than fits into this: it is kept before anybody knows who that is.
const MAX_REMOTE_MESSAGE: usize = 16 << 20;

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
