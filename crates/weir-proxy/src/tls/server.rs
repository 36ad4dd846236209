//! What the handshakes of a filter chain's clients are done with.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use weir_config::CompileError;
use weir_config::tls::{ServerTls, Staples};

use super::chain::Side;
use super::secrets::{Own, Secrets};
use super::staple;
use super::trust::Shown;
use super::verifier::{ClientVerifier, Peer};
use super::{provider_for, versions};

/// The TLS of a filter chain, made ready.
#[derive(Debug)]
pub struct ServerTransport {
    config: Arc<ServerConfig>,
    /// The same without ALPN.
    silent: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
}

impl ServerTransport {
    /// Makes it ready. Files are read now; secrets may arrive later.
    ///
    /// # Errors
    /// If a certificate that stands in the configuration cannot be used.
    pub fn new(tls: &ServerTls, secrets: &mut Secrets) -> Result<Arc<Self>, CompileError> {
        let (config, resolver) = config(tls, secrets)?;
        let mut silent = config.clone();
        silent.alpn_protocols.clear();
        Ok(Arc::new(Self { config: Arc::new(config), silent: Arc::new(silent), resolver }))
    }

    /// What the handshake of a client is done with. Who offers by ALPN only what is not spoken here gets no answer to that, as
    /// with Envoy, and not the end of the handshake.
    pub fn config(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let spoken = |offered: &[u8]| self.config.alpn_protocols.iter().any(|own| own == offered);
        let is_foreign = hello.alpn().is_some_and(|mut offered| !offered.any(spoken));
        if is_foreign { self.silent.clone() } else { self.config.clone() }
    }

    /// Whether what a client has shown holds, its own certificate first: where that is asked for, a handshake is also finished with one
    /// that does not.
    pub fn holds(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some(((leaf, others), peer)) = chain.split_first().zip(self.resolver.peer.as_ref()) else { return false };
        peer.holds(&Shown { leaf, others }, UnixTime::now(), Side::Client)
    }

    /// The certificate that clients are shown; where there are several, the first.
    pub fn own_certificate(&self) -> Option<Arc<CertifiedKey>> {
        self.resolver.own.iter().find_map(|own| own.slot.get())
    }
}

fn config(tls: &ServerTls, secrets: &mut Secrets) -> Result<(ServerConfig, Arc<Resolver>), CompileError> {
    let own = secrets.own(&tls.certificates)?;
    let peer = tls.clients.as_ref().map(|clients| {
        let peer = Peer::new(&clients.validation, &tls.parameters, secrets)?;
        Ok((Arc::new(peer), clients.is_required))
    });
    let peer = peer.transpose()?;
    let builder =
        ServerConfig::builder_with_provider(provider_for(&tls.parameters)).with_protocol_versions(&versions(tls.parameters.versions));
    let builder = builder.map_err(|error| CompileError::new("common_tls_context.tls_params", error.to_string()))?;
    let builder = match &peer {
        None => builder.with_no_client_auth(),
        Some((peer, is_required)) => builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(peer.clone(), *is_required))),
    };
    let asks_clients = peer.is_some();
    let (requires_sni, staples) = (tls.requires_sni, tls.staples);
    let resolver = Arc::new(Resolver { own, peer: peer.map(|(peer, _)| peer), requires_sni, staples });
    let mut config = builder.with_cert_resolver(resolver.clone());
    config.alpn_protocols.clone_from(&tls.alpn);
    // A session that is resumed would not be measured by what is asked of clients now.
    let tickets = (!asks_clients && tls.resumption.by_tickets).then(|| secrets.ticket_keys.of_chain(&tls.certificates)).flatten();
    let has_tickets = tickets.is_some();
    if let Some(tickets) = tickets {
        config.ticketer = tickets;
    }
    if asks_clients || has_tickets || !tls.resumption.by_memory {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = if has_tickets { config.send_tls13_tickets } else { 0 };
    }
    Ok((config, resolver))
}

/// Gives the handshake the first certificate that is there.
#[derive(Debug)]
struct Resolver {
    own: Vec<Own>,
    peer: Option<Arc<Peer>>,
    requires_sni: bool,
    staples: Staples,
}

impl Resolver {
    /// Whether enough is said of a certificate to show it.
    fn may_show(&self, key: &CertifiedKey) -> bool {
        match (self.staples, &key.ocsp) {
            (Staples::Optional, _) | (Staples::Current, None) => true,
            (Staples::Required, None) => false,
            (Staples::Current | Staples::Required, Some(_)) => staple::is_current(key),
        }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Nobody is let in while it is not known what is asked of clients.
        let missing = self.peer.as_ref().and_then(|peer| peer.missing());
        if missing.is_some() || self.requires_sni && hello.server_name().is_none() {
            return None;
        }
        let usable = |key: &Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let mut all = self.own.iter().filter_map(|own| own.slot.get()).filter(|key| self.may_show(key));
        all.find(usable).map(staple::without_outdated)
    }
}
