//! One ADS stream as a pair of channels: what both transports, memory and gRPC, come down to.
//!
//! The channels are short and bounded: who does not read holds up who writes, and nothing piles up.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;
use tonic::Status;
use weir_xds::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource as WireResource};

use crate::guard::UnderWay;
use crate::owner;
pub use crate::protocol::Protocol;
use crate::push::Push;
use crate::resources::Resource;
use crate::shown::Shown;

/// How many messages may be under way.
const DEPTH: usize = 8;

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

impl Request {
    /// The type of resources, or of message, that it is about.
    pub fn type_url(&self) -> &str {
        match self {
            Self::Delta(request) => &request.type_url,
            Self::State(request) => &request.type_url,
        }
    }
}

/// From server to client.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// Of the delta protocol.
    Delta(DeltaDiscoveryResponse),
    /// Of the state-of-the-world protocol.
    State(DiscoveryResponse),
}

impl From<Push> for Response {
    fn from(push: Push) -> Self {
        let wire = |(name, resource): &(Arc<str>, Arc<Resource>)| WireResource {
            name: name.to_string(),
            version: resource.version.to_string(),
            resource: Some(resource.body.clone()),
            ..Default::default()
        };
        match push.protocol {
            Protocol::Delta => Self::Delta(push.delta(push.resources.iter().map(wire).collect())),
            Protocol::StateOfTheWorld => {
                Self::State(push.state(push.resources.iter().map(|(_, resource)| resource.body.clone()).collect()))
            }
        }
    }
}

/// Who is at the other end of a stream, as far as the system knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// This very process.
    Here,
    /// A process of a user, at a Unix socket.
    Unix {
        /// Its number.
        user: u32,
    },
    /// Whoever has the other end of a connection of TCP.
    Tcp {
        /// The other end.
        peer: SocketAddr,
        /// This end.
        local: SocketAddr,
    },
    /// The same, where nobody is to look whose process that is.
    Stranger {
        /// The other end.
        peer: SocketAddr,
        /// This end.
        local: SocketAddr,
    },
    /// Whoever has shown this by TLS.
    Tls(Arc<Shown>),
    /// Nobody can tell.
    Unknown,
}

impl Peer {
    /// Whether it is a process of this machine that runs as the user of this one, or as root. For one that has come by TCP the system
    /// is asked now, which takes the longer the more connections there are.
    pub fn is_own(&self) -> bool {
        match self {
            Self::Here => true,
            Self::Unix { user } => owner::is_own(*user),
            Self::Tcp { peer, local } => owner::of_connection(*peer, *local).is_some_and(owner::is_own),
            Self::Stranger { .. } | Self::Tls(_) | Self::Unknown => false,
        }
    }

    /// Whether it is on this machine: there, and on the way there, nobody else reads along.
    pub fn is_here(&self) -> bool {
        match self {
            Self::Here | Self::Unix { .. } => true,
            Self::Tcp { peer, local } | Self::Stranger { peer, local } => {
                let (peer, local) = (peer.ip().to_canonical(), local.ip().to_canonical());
                peer.is_loopback() || peer == local
            }
            Self::Tls(_) | Self::Unknown => false,
        }
    }
}

/// The server's end of a stream.
#[derive(Debug)]
pub struct ServerStream {
    /// Which protocol the client chose.
    pub protocol: Protocol,
    /// Who is at the other end.
    pub peer: Peer,
    /// What the client sends; ends when the client is gone.
    pub requests: mpsc::Receiver<Request>,
    /// To the client.
    pub responses: Responses,
}

/// Where a server's responses go.
#[derive(Debug)]
pub struct Responses {
    way: Way,
    /// For who watches the connection.
    _under_way: Option<UnderWay>,
}

#[derive(Debug)]
enum Way {
    /// To a client of this process, which reads messages.
    Messages(mpsc::Sender<Response>),
    /// To a connection, which writes what is already encoded, and at the end why it ends.
    Wire(mpsc::Sender<Push>, Ending),
}

/// Why a stream ends, where it has a reason.
pub(crate) type Ending = Arc<OnceLock<Status>>;

/// The client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct Gone;

impl Responses {
    /// Sends a response, as soon as the client has read enough of the earlier ones.
    ///
    /// # Errors
    /// If the client is gone.
    pub async fn send(&self, push: Push) -> Result<(), Gone> {
        match &self.way {
            Way::Messages(client) => client.send(push.into()).await.map_err(|_| Gone),
            Way::Wire(connection, _) => connection.send(push).await.map_err(|_| Gone),
        }
    }

    /// Ends the stream with a reason, which a client of another process is told.
    pub fn end(self, reason: Status) {
        if let Way::Wire(_, ending) = self.way {
            // Nobody else can have given one.
            let _ = ending.set(reason);
        }
    }
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
    let (client, requests, responses) = client();
    (
        client,
        ServerStream { protocol, peer: Peer::Here, requests, responses: Responses { way: Way::Messages(responses), _under_way: None } },
    )
}

/// A client's end, and what a connection to a server reads and writes.
pub(crate) fn client() -> (ClientStream, mpsc::Receiver<Request>, mpsc::Sender<Response>) {
    let (to_server, from_client) = mpsc::channel(DEPTH);
    let (to_client, from_server) = mpsc::channel(DEPTH);
    (ClientStream { requests: to_server, responses: from_server }, from_client, to_client)
}

/// A server's end, and what a connection of a client writes and reads.
/// While the server holds its end, the call is under way for those that watch the connection: not while the client leaves unread that it
/// has ended.
pub(crate) fn server(
    protocol: Protocol,
    peer: Peer,
    under_way: Option<UnderWay>,
) -> (ServerStream, mpsc::Sender<Request>, mpsc::Receiver<Push>, Ending) {
    let (to_server, from_client) = mpsc::channel(DEPTH);
    let (to_client, from_server) = mpsc::channel(DEPTH);
    let ending = Ending::default();
    let responses = Responses { way: Way::Wire(to_client, ending.clone()), _under_way: under_way };
    (ServerStream { protocol, peer, requests: from_client, responses }, to_server, from_server, ending)
}
