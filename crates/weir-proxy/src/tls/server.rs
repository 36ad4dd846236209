//! What the handshakes of a filter chain's clients are done with.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use weir_config::CompileError;
use weir_config::tls::{Certificate, ServerTls, Versions};

use super::secrets::{SecretSlot, Secrets, certified_key};

/// Makes a filter chain's TLS ready. Files are read now; named certificates may arrive later.
///
/// # Errors
/// If a certificate that stands in the configuration cannot be used.
pub fn config(tls: &ServerTls, secrets: &mut Secrets) -> Result<Arc<ServerConfig>, CompileError> {
    let mut slots = vec![];
    for certificate in &tls.certificates {
        slots.push(match certificate {
            Certificate::Named(name) => secrets.slot(name),
            Certificate::Written(source) => {
                let slot = SecretSlot::default();
                slot.set(Some(certified_key(source).map_err(|error| error.within("common_tls_context.tls_certificates"))?));
                Arc::new(slot)
            }
        });
    }
    let builder = ServerConfig::builder_with_provider(super::provider()).with_protocol_versions(&versions(tls.versions));
    let builder = builder.map_err(|error| CompileError::new("common_tls_context.tls_params", error.to_string()))?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(Resolver(slots)));
    config.alpn_protocols.clone_from(&tls.alpn);
    Ok(Arc::new(config))
}

fn versions(versions: Versions) -> Vec<&'static SupportedProtocolVersion> {
    let known = [(versions.tls12, &rustls::version::TLS12), (versions.tls13, &rustls::version::TLS13)];
    known.into_iter().filter(|(allowed, _)| *allowed).map(|(_, version)| version).collect()
}

/// Gives the handshake the first certificate that is there.
#[derive(Debug)]
struct Resolver(Vec<Arc<SecretSlot>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |key: &Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().filter_map(|slot| slot.get()).find(usable)
    }
}
