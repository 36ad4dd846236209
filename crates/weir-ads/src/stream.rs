//! One ADS stream as a pair of channels: what both transports, memory and gRPC, come down to.
//!
//! The channels are short and bounded: who does not read holds up who writes, and nothing piles up.

use tokio::sync::mpsc;
use weir_xds::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse};

/// How many messages may be under way.
const DEPTH: usize = 8;

/// Which of the two variants of the protocol a stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// Only what changed is sent.
    #[default]
    Delta,
    /// All clusters and listeners are sent when one of them changes.
    StateOfTheWorld,
}

/// The type by which a sidecar tells how its workload is, as Istio's agents do: a request of this type asks for nothing. It
/// has an `error_detail` while the workload is not well.
pub const HEALTH: &str = "type.googleapis.com/istio.v1.HealthInformation";

/// From client to server.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Of the delta protocol.
    Delta(DeltaDiscoveryRequest),
    /// Of the state-of-the-world protocol.
    State(DiscoveryRequest),
}

/// From server to client.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// Of the delta protocol.
    Delta(DeltaDiscoveryResponse),
    /// Of the state-of-the-world protocol.
    State(DiscoveryResponse),
}

/// The server's end of a stream.
#[derive(Debug)]
pub struct ServerStream {
    /// Which protocol the client chose.
    pub protocol: Protocol,
    /// What the client sends; ends when the client is gone.
    pub requests: mpsc::Receiver<Request>,
    /// To the client.
    pub responses: mpsc::Sender<Response>,
}

/// The client's end of a stream.
#[derive(Debug)]
pub struct ClientStream {
    /// To the server.
    pub requests: mpsc::Sender<Request>,
    /// What the server sends; ends when the server is gone.
    pub responses: mpsc::Receiver<Response>,
}

/// Both ends of a stream within one process.
pub fn pair(protocol: Protocol) -> (ClientStream, ServerStream) {
    let (to_server, from_client) = mpsc::channel(DEPTH);
    let (to_client, from_server) = mpsc::channel(DEPTH);
    let client = ClientStream { requests: to_server, responses: from_server };
    (client, ServerStream { protocol, requests: from_client, responses: to_client })
}
