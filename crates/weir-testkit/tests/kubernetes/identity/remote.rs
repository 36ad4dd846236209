//! A proxy in a Pod, as far as its pilot sees of it: it shows a token, asks for certificates, and follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::{Instant, timeout, timeout_at};
use weir_ads::certificates::IstioCertificateRequest;
use weir_ads::{Client, ClientStream, Protocol, Token};
use weir_proxy::control::pilot::RemotePilot;
use weir_testkit::{DEADLINE, until};
use weir_xds::Any;
use weir_xds::core::Node;
use weir_xds::prost_types::Struct;
use weir_xds::resource::ResourceType;
use weir_xds::values::text;

/// What somebody shows and says.
#[derive(Debug, Clone, Default)]
pub struct Says {
    pub token: Option<String>,
    /// The node's id, and more of its metadata than that.
    pub node: String,
    pub metadata: Vec<(&'static str, String)>,
}

impl Says {
    pub fn node(self) -> Node {
        let fields = self.metadata.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
        Node { id: self.node, metadata: Some(Struct { fields }), ..Node::default() }
    }
}

/// The id of the node of a Pod.
pub fn node(kind: &str, namespace: &str, name: &str, address: &str) -> String {
    format!("{kind}~{address}~{name}.{namespace}~{namespace}.svc.cluster.local")
}

/// A way to the pilot at an address, which is known by these roots.
pub fn dial(server: &str, roots: &str, token: Option<&str>) -> RemotePilot {
    RemotePilot::new(server, "127.0.0.1", roots, token.map(Token::new)).unwrap()
}

/// A request for a certificate, which may ask for a name.
fn request(name: Option<&str>) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = name.map(|name| SanType::URI(name.try_into().unwrap())).into_iter().collect();
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

/// Whose certificate somebody gets who asks as this node, or none, for a name, or none: all SPIFFE ids in it.
pub async fn certify(pilot: &RemotePilot, node: Option<&str>, name: Option<&str>) -> Result<String, String> {
    let csr = request(name);
    let asked = match node {
        Some(node) => IstioCertificateRequest::new(node, csr, 0),
        None => IstioCertificateRequest { csr, ..IstioCertificateRequest::default() },
    };
    let answered = pilot.certify(asked).await?;
    let leaf = CertificateDer::from_pem_slice(answered.cert_chain.first().ok_or("there is none")?.as_bytes()).unwrap();
    let begins = (1..leaf.len()).filter(|at| leaf[*at..].starts_with(b"spiffe://"));
    // In front of a text stands its length (X.690, section 8.1.3.4).
    let ids = begins.map(|at| String::from_utf8_lossy(&leaf[at..at + usize::from(leaf[at - 1])]).into_owned());
    Ok(ids.collect::<Vec<_>>().join(" "))
}

/// A proxy that follows the pilot.
pub struct Remote {
    client: Client,
    stream: ClientStream,
    resources: BTreeMap<(ResourceType, Arc<str>), Any>,
}

impl Remote {
    /// Comes as soon as the pilot is there, and asks for all clusters and these secrets.
    pub async fn connect(server: &str, roots: &str, says: &Says, secrets: &[&str]) -> Self {
        let mut client = Client::new(Protocol::Delta, says.clone().node());
        client.want_all(ResourceType::Cluster);
        client.want(ResourceType::Secret, secrets.iter().map(|name| (*name).into()).collect());
        let pilot = dial(server, roots, says.token.as_deref());
        let mut stream = None;
        until("the pilot is there", async || {
            stream = pilot.connect(Protocol::Delta).await.ok();
            stream.is_some()
        })
        .await;
        let stream = stream.unwrap();
        for request in client.connect() {
            stream.requests.send(request).await.unwrap();
        }
        Self { client, stream, resources: BTreeMap::new() }
    }

    /// Whether somebody who says this is let in.
    pub async fn is_served(server: &str, roots: &str, says: &Says) -> bool {
        let mut client = Client::new(Protocol::Delta, says.clone().node());
        client.want_all(ResourceType::Cluster);
        let Ok(mut stream) = dial(server, roots, says.token.as_deref()).connect(Protocol::Delta).await else { return false };
        for request in client.connect() {
            let _ = stream.requests.send(request).await;
        }
        timeout(DEADLINE, stream.responses.recv()).await.expect("who is refused is told").is_some()
    }

    /// Takes what comes until it is so.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !holds(self) {
            let response = timeout_at(end, self.stream.responses.recv()).await;
            let response = response.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}")).expect("the pilot goes on");
            let Some(update) = self.client.receive(response) else { continue };
            for name in &update.removals {
                self.resources.remove(&(update.kind, name.clone()));
            }
            self.resources.extend(update.upserts.iter().map(|(name, body)| ((update.kind, name.clone()), body.clone())));
            let answer = self.client.answer(&update, &[]);
            timeout(DEADLINE, self.stream.requests.send(answer)).await.unwrap().unwrap();
        }
    }

    /// The names of those that it has of a type.
    pub fn names(&self, kind: ResourceType) -> BTreeSet<&str> {
        self.resources.keys().filter(|(of, _)| *of == kind).map(|(_, name)| &**name).collect()
    }

    /// Whether a secret holds these bytes.
    pub fn holds(&self, secret: &str, bytes: &str) -> bool {
        let body = self.resources.get(&(ResourceType::Secret, secret.into()));
        body.is_some_and(|body| body.value.windows(bytes.len()).any(|part| part == bytes.as_bytes()))
    }
}
