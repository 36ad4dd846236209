//! What handshakes with the instances of a cluster are done with: made once, and shared by all workers.

use std::io;
use std::sync::Arc;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use weir_config::CompileError;
use weir_config::http::client_certificate::ShownCertificate;
use weir_config::tls::ClientTls;

use super::chain::Side;
use super::refusal::HandshakeRefusal;
use super::secrets::{Own, Secrets};
use super::shown;
use super::trust::Shown;
use super::verifier::{Peer, ServerVerifier};
use super::{provider_for, versions};

/// What is offered by ALPN, where the configuration does not say it: Envoy's fallback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Nothing: only bytes pass.
    Nothing,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Both, HTTP/2 first.
    Either,
}

impl Offer {
    const ALL: [Self; 4] = [Self::Nothing, Self::Http1, Self::Http2, Self::Either];

    fn protocols(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Nothing => &[],
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Either => &[b"h2", b"http/1.1"],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// TLS towards instances, made ready. Secrets are looked at in each handshake.
#[derive(Debug)]
pub struct ClientTransport {
    /// What it is told to do.
    pub policy: Arc<ClientTls>,
    resolver: Arc<Resolver>,
    peer: Arc<Peer>,
    /// In the order of [`Offer::ALL`].
    configs: Vec<Arc<ClientConfig>>,
}

impl ClientTransport {
    /// Makes it ready. Files are read now; secrets may arrive later.
    ///
    /// # Errors
    /// If a certificate or authority that stands in the configuration cannot be used.
    pub fn new(policy: &Arc<ClientTls>, secrets: &mut Secrets) -> Result<Self, CompileError> {
        let resolver = Arc::new(Resolver(secrets.own(&policy.certificates)?));
        let peer = Arc::new(Peer::new(&policy.validation, &policy.parameters, secrets)?);
        let builder = ClientConfig::builder_with_provider(provider_for(&policy.parameters));
        let builder = builder.with_protocol_versions(&versions(policy.parameters.versions));
        let builder = builder.map_err(|error| CompileError::new("common_tls_context.tls_params", error.to_string()))?;
        let verifier = Arc::new(ServerVerifier { peer: peer.clone(), host: None });
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = builder.with_client_cert_resolver(resolver.clone());
        // A session that is resumed would not be measured by what is asked now, nor by the host that this request names.
        config.resumption = Resumption::disabled();
        let offering = |offer: Offer| {
            let mut config = config.clone();
            config.alpn_protocols = if policy.alpn.is_empty() { offer.protocols() } else { policy.alpn.clone() };
            Arc::new(config)
        };
        let configs = Offer::ALL.into_iter().map(offering).collect();
        Ok(Self { policy: policy.clone(), resolver, peer, configs })
    }

    /// Looks whether all secrets are there.
    ///
    /// # Errors
    /// Names the one that is not.
    pub fn ready(&self) -> io::Result<()> {
        match self.missing() {
            Some(name) => Err(HandshakeRefusal::Missing((&**name).into()).into_io()),
            None => Ok(()),
        }
    }

    /// A secret that has not come yet.
    pub fn missing(&self) -> Option<&Arc<str>> {
        let own = self.resolver.0.iter().filter(|own| own.slot.get().is_none()).find_map(|own| own.name.as_ref());
        own.or_else(|| self.peer.missing())
    }

    /// Whether a secret may still come.
    pub fn is_waiting(&self) -> bool {
        self.resolver.0.iter().any(|own| own.slot.is_awaited()) || self.peer.is_waiting()
    }

    /// What a handshake is done with. The certificate must be for `host`, where one is named; `alpn` takes the place of what the
    /// configuration offers.
    pub fn config(&self, offer: Offer, alpn: &[Vec<u8>], host: Option<&Arc<str>>) -> Option<Arc<ClientConfig>> {
        let position = Offer::ALL.iter().position(|known| *known == offer)?;
        let config = self.configs.get(position)?;
        if host.is_none() && alpn.is_empty() {
            return Some(config.clone());
        }
        let mut own = ClientConfig::clone(config);
        if !alpn.is_empty() {
            own.alpn_protocols = alpn.to_vec();
        }
        own.dangerous().set_certificate_verifier(Arc::new(ServerVerifier { peer: self.peer.clone(), host: host.cloned() }));
        Some(Arc::new(own))
    }
}

/// What the ends of a handshake have shown each other.
pub struct Seen {
    /// The URIs of our own certificate; where there are several, the first.
    pub own_uris: Vec<String>,
    /// What the instance has shown.
    pub peer: Option<ShownCertificate>,
}

impl ClientTransport {
    /// What was shown in a handshake that is finished, in which the instance has shown `chain`.
    pub fn seen(&self, chain: Option<&[CertificateDer<'_>]>) -> Seen {
        let own = self.resolver.0.iter().find_map(|own| own.slot.get());
        let own_uris = own.and_then(|own| own.cert.first().map(shown::uris)).unwrap_or_default();
        let holds = |chain: &[CertificateDer<'_>]| {
            chain.split_first().is_some_and(|(leaf, others)| self.peer.holds(&Shown { leaf, others }, UnixTime::now(), Side::Server))
        };
        let peer = chain.and_then(|chain| shown::read(chain, &own_uris, holds(chain)));
        Seen { own_uris, peer }
    }
}

/// Shows the first certificate that the other side can use.
#[derive(Debug)]
struct Resolver(Vec<Own>);

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.iter().filter_map(|own| own.slot.get()).find(|key| key.key.choose_scheme(schemes).is_some())
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}
