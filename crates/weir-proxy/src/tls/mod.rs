//! TLS: the secrets of a proxy ([`secrets`]), what handshakes are done with, towards clients ([`server`]) and towards
//! instances ([`client`], [`transports`]), and whether the other side's certificate holds ([`verifier`], [`trust`], [`chain`]).

mod chain;
pub mod client;
pub mod files;
pub mod issued;
pub mod refusal;
pub mod secrets;
pub mod server;
pub mod shown;
mod staple;
mod subject;
mod tickets;
pub mod transports;
mod trust;
mod verifier;
mod x509;

use std::sync::{Arc, OnceLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use weir_config::tls::{Parameters, Versions};

/// The cryptography of all handshakes.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())).clone()
}

/// The cryptography that a configuration allows.
fn provider_for(parameters: &Parameters) -> Arc<CryptoProvider> {
    let mut provider = provider();
    let Parameters { versions: _, cipher_suites, groups, signature_schemes: _ } = parameters;
    if !cipher_suites.is_empty() {
        // Those of TLS 1.3 cannot be chosen.
        let allowed = |suite: &rustls::SupportedCipherSuite| suite.tls13().is_some() || cipher_suites.contains(&suite.suite().into());
        Arc::make_mut(&mut provider).cipher_suites.retain(allowed);
    }
    if !groups.is_empty() {
        let known = &mut Arc::make_mut(&mut provider).kx_groups;
        known.retain(|group| groups.contains(&group.name().into()));
        // The most wanted first.
        known.sort_by_key(|group| groups.iter().position(|wanted| *wanted == u16::from(group.name())));
    }
    provider
}

fn versions(versions: Versions) -> Vec<&'static SupportedProtocolVersion> {
    let known = [(versions.tls12, &rustls::version::TLS12), (versions.tls13, &rustls::version::TLS13)];
    known.into_iter().filter(|(allowed, _)| *allowed).map(|(_, version)| version).collect()
}
