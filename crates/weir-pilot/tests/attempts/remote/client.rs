//! A client on another machine: it tells with which status it is refused.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::{Body, Bytes, Frame};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::{Code, Status};
use weir_ads::certificates::{CREATE, IstioCertificateRequest, IstioCertificateResponse};
use weir_xds::core::Node;
use weir_xds::discovery::DeltaDiscoveryRequest;
use weir_xds::resource::ResourceType;

const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// What a client shows.
#[derive(Debug, Default)]
pub(super) struct Shows {
    pub certificate: Option<Arc<CertifiedKey>>,
    pub token: Option<String>,
}

impl Shows {
    pub fn token(token: &str) -> Self {
        Self { certificate: None, token: Some(token.to_owned()) }
    }
}

#[derive(Debug)]
struct Show(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Show {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

async fn dial(address: SocketAddr, root: &str, certificate: Option<Arc<CertifiedKey>>) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_client_cert_resolver(Arc::new(Show(certificate)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let socket = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::from(address.ip()), socket).await.unwrap()
}

/// An encoded message as gRPC frames it.
fn framed(encoded: &[u8]) -> Bytes {
    let length = u32::try_from(encoded.len()).unwrap().to_be_bytes();
    [&[0][..], &length, encoded].concat().into()
}

/// Calls a method with one message, after which the client says no more if it does not stay. All that is answered, or the status.
async fn call(address: SocketAddr, root: &str, shows: Shows, path: &str, message: Bytes, stays: bool) -> Result<Bytes, Status> {
    Connection::open(address, root, shows).await.call(path, message, stays).await
}

/// A connection, on which somebody may call several times.
pub(super) struct Connection {
    sender: SendRequest<Said>,
    token: Option<String>,
    open: JoinHandle<()>,
}

impl Connection {
    pub async fn open(address: SocketAddr, root: &str, shows: Shows) -> Self {
        let stream = dial(address, root, shows.certificate).await;
        let http = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = http.unwrap();
        let open = tokio::spawn(async move { drop(connection.await) });
        Self { sender, token: shows.token, open }
    }

    async fn call(&mut self, path: &str, message: Bytes, stays: bool) -> Result<Bytes, Status> {
        let (more, said) = mpsc::channel(1);
        more.send(message).await.unwrap();
        let _more = stays.then_some(more);
        let mut request = Request::post(format!("https://pilot{path}")).header("content-type", "application/grpc").header("te", "trailers");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Said(said)).unwrap();
        let response = self.sender.send_request(request).await.map_err(|error| Status::internal(error.to_string()))?;
        let (parts, body) = response.into_parts();
        let collected = body.collect().await.map_err(|error| Status::internal(error.to_string()))?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let status = Status::from_header_map(&trailers).or_else(|| Status::from_header_map(&parts.headers));
        match status {
            Some(status) if status.code() != Code::Ok => Err(status),
            _ => Ok(collected.to_bytes()),
        }
    }

    /// The certificate that somebody gets.
    pub async fn certify(&mut self, request: IstioCertificateRequest) -> Result<IstioCertificateResponse, Status> {
        let answered = self.call(CREATE, framed(&request.encode_to_vec()), false).await?;
        Ok(IstioCertificateResponse::decode(&answered[5..]).unwrap())
    }

    /// Waits until the pilot ends it.
    pub async fn ended(self) {
        self.open.await.unwrap();
    }
}

/// What a client says: one message after the other, for as long as there may be more.
struct Said(mpsc::Receiver<Bytes>);

impl Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|message| message.map(|message| Ok(Frame::data(message))))
    }
}

/// How many bytes somebody gets who follows.
pub(super) async fn follow(address: SocketAddr, root: &str, shows: Shows, node: Node) -> Result<usize, Status> {
    call(address, root, shows, DELTA, first(node), false).await.map(|answered| answered.len())
}

/// With which status a stream ends, of somebody who stays.
pub(super) async fn stay(address: SocketAddr, root: &str, shows: Shows, node: Node) -> Status {
    call(address, root, shows, DELTA, first(node), true).await.err().unwrap_or_else(|| Status::ok("it ended"))
}

fn first(node: Node) -> Bytes {
    let type_url = ResourceType::Cluster.type_url();
    framed(&DeltaDiscoveryRequest { node: Some(node), type_url, ..DeltaDiscoveryRequest::default() }.encode_to_vec())
}

/// The certificate that somebody gets.
pub(super) async fn certify(
    address: SocketAddr,
    root: &str,
    shows: Shows,
    request: IstioCertificateRequest,
) -> Result<IstioCertificateResponse, Status> {
    Connection::open(address, root, shows).await.certify(request).await
}
