//! Istio's API for certificates (`istio.v1.auth.IstioCertificateService`): who makes a key has it certified. The answer is for who the
//! caller is, whatever the request says of names.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use weir_xds::prost_types::{Struct, value::Kind};
use weir_xds::values::text;

use crate::shown::Shown;
use crate::stream::Peer;

/// The method.
pub const CREATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// Where a request's metadata says by which node id the caller follows the mesh.
const NODE: &str = "weir.node";
/// Where it has the proof that the caller is of the authority's user.
const PROOF: &str = "weir.proof";
/// Where it has what the caller's last answer was made of: it is told when that has changed, and gets no certificate.
const KNOWN: &str = "weir.known";
/// So long a request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IstioCertificateRequest {
    /// A certificate signing request, as PEM. Only its key counts.
    #[prost(string, tag = "1")]
    pub csr: String,
    /// How many seconds the certificate shall last; 0 leaves it to the authority.
    #[prost(int64, tag = "3")]
    pub validity_duration: i64,
    /// What the authority may want to know besides.
    #[prost(message, optional, tag = "4")]
    pub metadata: Option<Struct>,
}

impl IstioCertificateRequest {
    /// A request of the proxy with that node id.
    pub fn new(node: &str, csr: String, validity_duration: i64) -> Self {
        let metadata = Struct { fields: [(NODE.to_owned(), text(node))].into() };
        Self { csr, validity_duration, metadata: Some(metadata) }
    }

    /// The same with a proof of who asks.
    #[must_use]
    pub fn with_proof(mut self, proof: &str) -> Self {
        self.metadata.get_or_insert_default().fields.insert(PROOF.to_owned(), text(proof));
        self
    }

    /// A request of that proxy for word of when it would get another certificate than the one whose answer had this
    /// [state](IstioCertificateResponse::state).
    pub fn for_changes(node: &str, known: &str) -> Self {
        let mut request = Self::new(node, String::new(), 0);
        request.metadata.get_or_insert_default().fields.insert(KNOWN.to_owned(), text(known));
        request
    }

    /// What the caller knows, if it asks for changes alone.
    pub fn known(&self) -> Option<&str> {
        self.word(KNOWN)
    }

    /// The node id that the caller says it has.
    pub fn node(&self) -> Option<&str> {
        self.word(NODE)
    }

    /// The proof of who asks.
    pub fn proof(&self) -> Option<&str> {
        self.word(PROOF)
    }

    fn word(&self, name: &str) -> Option<&str> {
        match &self.metadata.as_ref()?.fields.get(name)?.kind {
            Some(Kind::StringValue(id)) => Some(id),
            _ => None,
        }
    }
}

/// What is answered.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IstioCertificateResponse {
    /// The certificate, those between it and the authority, and as the last one the authority's, all as PEM.
    #[prost(string, repeated, tag = "1")]
    pub cert_chain: Vec<String>,
    /// The proof that the authority is of the caller's user. Istio has no such field, and passes over it.
    #[prost(string, tag = "1000")]
    pub proof: String,
    /// What it was made of, in short: who the caller is, and by whom he is certified. It has no other meaning.
    #[prost(string, tag = "1001")]
    pub state: String,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A proxy of the same process.
    Hosted,
    /// Somebody who could open a Unix socket.
    AtSocket,
    /// Somebody at the other end of a connection that proves nothing.
    Connected(SocketAddr),
    /// Somebody who has shown this by TLS.
    Remote(Arc<Shown>),
}

impl Caller {
    /// Who asks from the other end of a connection; none if nobody can tell.
    pub fn of(peer: Peer) -> Option<Self> {
        match peer {
            Peer::Here => Some(Self::Hosted),
            Peer::Unix { .. } => Some(Self::AtSocket),
            Peer::Tcp { peer, .. } => Some(Self::Connected(peer)),
            Peer::Tls(shown) => Some(Self::Remote(shown)),
            Peer::Stranger { .. } | Peer::Unknown => None,
        }
    }

    /// Whether nobody but this machine hears what is said to it.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Hosted | Self::AtSocket => true,
            Self::Remote(_) => false,
            Self::Connected(peer) => peer.ip().to_canonical().is_loopback(),
        }
    }
}

/// A request on its way to the authority.
#[derive(Debug)]
pub struct Call {
    /// Who asks.
    pub caller: Caller,
    /// For what.
    pub request: IstioCertificateRequest,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<IstioCertificateResponse, Status>>,
}

/// Where requests for certificates are given to be answered.
pub type Certificates = mpsc::Sender<Call>;

/// Has a request answered.
///
/// # Errors
/// The authority's refusal, or that there is none any more.
pub async fn call(to: &Certificates, caller: Caller, request: IstioCertificateRequest) -> Result<IstioCertificateResponse, Status> {
    let (answer, answered) = oneshot::channel();
    let gone = || Status::unavailable("the authority has ended");
    let asked = async {
        to.send(Call { caller, request, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("the authority does not answer")))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_request_is_istios_on_the_wire() {
        let request = IstioCertificateRequest { csr: "c".to_owned(), validity_duration: 3, metadata: None };
        assert_eq!(request.encode_to_vec(), [0x0a, 1, b'c', 0x18, 3]);
        let named = IstioCertificateRequest::new("sidecar~1", String::new(), 0);
        assert_eq!(
            IstioCertificateRequest::decode(&*named.encode_to_vec()).map(|read| read.node().map(str::to_owned)),
            Ok(Some("sidecar~1".to_owned()))
        );
        assert_eq!(request.node(), None);
    }
}
