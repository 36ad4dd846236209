//! Certificates, made for one test, and instances that speak TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams,
    SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Upstream, Wire, in_time};

/// Somebody who vouches for others.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let (params, key) = (Self::params(1), KeyPair::generate().unwrap());
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Another one that it vouches for, whose certificate has this number.
    pub(crate) fn below(&self, number: u8) -> Self {
        let (params, key) = (Self::params(number), KeyPair::generate().unwrap());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn params(number: u8) -> CertificateParams {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("authority {}", MADE.fetch_add(1, Ordering::Relaxed)));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.serial_number = Some(SerialNumber::from_slice(&[number]));
        params
    }

    /// Its list of what it has revoked: the certificates with these numbers.
    pub(crate) fn revokes(&self, numbers: &[u8]) -> String {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let now = SystemTime::now();
        let revoked = |number: &u8| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[*number]),
            revocation_time: (now - DAY).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: (now - DAY).into(),
            next_update: (now + DAY).into(),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: numbers.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// Vouches for a host.
    pub(crate) fn credentials(&self, host: &str) -> Credentials {
        self.credentials_with(host, |_| {})
    }

    /// The same, of which something is special.
    pub(crate) fn credentials_with(&self, host: &str, change: impl FnOnce(&mut CertificateParams)) -> Credentials {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Credentials { chain: certificate.pem(), key: key.serialize_pem() }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A validation context that trusts it.
    pub(crate) fn validation(&self) -> Value {
        json!({"trustedCa": {"inlineString": self.pem()}})
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }
}

impl Credentials {
    /// As a `TlsCertificate`.
    pub(crate) fn certificate(&self) -> Value {
        json!({"certificateChain": {"inlineString": self.chain}, "privateKey": {"inlineString": self.key}})
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.chain.as_bytes()).collect::<Result<_, _>>().unwrap()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }
}

/// A transport socket of TLS with this context.
pub(crate) fn secure(side: &str, context: Value) -> Value {
    let mut typed = json!({"@type": format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext")});
    typed.as_object_mut().unwrap().extend(context.as_object().unwrap().clone());
    json!({"name": "envoy.transport_sockets.tls", "typedConfig": typed})
}

/// A client that speaks TLS.
pub(crate) struct SecureClient<'c> {
    /// Who vouches for servers.
    pub(crate) authority: &'c Authority,
    /// What it shows of itself.
    pub(crate) shown: Option<&'c Credentials>,
}

impl SecureClient<'_> {
    /// Its connection to a host, once the handshake is done. It may be refused later.
    pub(crate) async fn connect(&self, address: SocketAddr, host: &'static str) -> std::io::Result<Wire<ClientStream<TcpStream>>> {
        self.shake_hands(TcpStream::connect(address).await?, host).await
    }

    /// The same, on a connection.
    pub(crate) async fn shake_hands(&self, stream: TcpStream, host: &'static str) -> std::io::Result<Wire<ClientStream<TcpStream>>> {
        let config = self.config();
        let connecting = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(host).unwrap(), stream);
        in_time("the handshake ends", connecting).await.map(Wire::new)
    }

    fn config(&self) -> rustls::ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(self.authority.roots());
        match self.shown {
            Some(shown) => builder.with_client_auth_cert(shown.chain(), shown.key()).unwrap(),
            None => builder.with_no_client_auth(),
        }
    }
}

/// An instance that speaks TLS: the test answers each connection itself.
pub(crate) struct SecureUpstream {
    pub(crate) upstream: Upstream,
    acceptor: TlsAcceptor,
}

impl SecureUpstream {
    /// Shows this certificate, and speaks what is offered of these protocols.
    pub(crate) async fn start(credentials: &Credentials, alpn: &[&str]) -> Self {
        Self::with(credentials, alpn, None).await
    }

    /// The same; clients must show a certificate of this authority.
    pub(crate) async fn asking(credentials: &Credentials, clients: &Authority) -> Self {
        Self::with(credentials, &[], Some(clients)).await
    }

    async fn with(credentials: &Credentials, alpn: &[&str], clients: Option<&Authority>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(credentials.chain(), credentials.key()).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { upstream: Upstream::start().await, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    /// The next connection that the proxy makes, once its handshake is done.
    pub(crate) async fn accept(&self) -> Wire<TlsStream<TcpStream>> {
        self.try_accept().await.unwrap()
    }

    /// The same, if the handshake succeeds.
    pub(crate) async fn try_accept(&self) -> std::io::Result<Wire<TlsStream<TcpStream>>> {
        self.shake_hands(self.upstream.accept().await).await
    }

    /// The handshake of a connection that was accepted before.
    pub(crate) async fn shake_hands(&self, connection: Wire) -> std::io::Result<Wire<TlsStream<TcpStream>>> {
        in_time("the handshake is done", self.acceptor.accept(connection.into_stream())).await.map(Wire::new)
    }
}

impl Wire<TlsStream<TcpStream>> {
    /// The server name that was asked for.
    pub(crate) fn server_name(&self) -> Option<String> {
        self.get_ref().get_ref().1.server_name().map(str::to_owned)
    }

    /// Whether a certificate was shown.
    pub(crate) fn showed_certificate(&self) -> bool {
        self.get_ref().get_ref().1.peer_certificates().is_some()
    }
}
