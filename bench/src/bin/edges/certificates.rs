//! Certificates, and which of them a gateway shows.

use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use weir_bench::process::{Process, pause};

/// A handshake takes no longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who vouches for all of them.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    client: Arc<ClientConfig>,
}

impl Authority {
    /// Makes one, and a client that trusts it.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn new() -> anyhow::Result<Self> {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate()?);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let client = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        Ok(Self { issuer: Issuer::new(params, key), client })
    }

    /// A new certificate for a host, and its key, as PEM.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn certify(&self, host: &str) -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// The certificate that is shown for a host, if it is a good one.
    pub fn shown(&self, port: u16, host: &str) -> Option<Vec<u8>> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let name = ServerName::try_from(host.to_owned()).ok()?;
        let mut connection = ClientConnection::new(self.client.clone(), name).ok()?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).ok()?;
        }
        Some(connection.peer_certificates()?.first()?.to_vec())
    }

    /// Waits until another certificate is shown for a host than that.
    ///
    /// # Errors
    /// If the process ends, or the deadline passes.
    pub fn until_shown(
        &self,
        process: &mut Process,
        port: u16,
        host: &str,
        other: Option<&[u8]>,
        deadline: Duration,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.shown(port, host).is_none_or(|shown| Some(&shown[..]) == other) {
            process.check().with_context(|| host.to_owned())?;
            ensure!(begun.elapsed() < deadline, "no other certificate of {host} after {deadline:?}; it said:\n{}", process.last_words());
            pause();
        }
        Ok(())
    }
}
