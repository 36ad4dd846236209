//! The certificates that a proxy asks for by name, from Kubernetes Secrets: a gateway for its servers, and whoever may for
//! what its DestinationRules say of TLS.
//!
//! A Secret must be in the proxy's own namespace: what a gateway may show to the world is decided by who runs
//! it. (Facts: pilot/pkg/credentials/kube of Istio.)

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use webpki::EndEntityCert;
use weir_api::resources::destination_rule::{ClientTlsMode, ClientTlsSettings, TrafficPolicy};
use weir_api::resources::gateway::ServerTlsMode;
use weir_api::resources::kubernetes::Secret as Written;
use weir_api::{FieldPath, Spec};
use weir_model::{DestinationRule, GatewayServer, MergedGateway, Origin, ProxyKind};
use weir_xds::core::{DataSource, data_source::Specifier};
use weir_xds::tls::secret::Type;
use weir_xds::tls::{CertificateValidationContext, Secret, TlsCertificate};

use crate::context::Context;
use crate::secret_names::{authorities_file, authorities_name, authorities_of, certificate_files, file, files, secret_name};

/// The keys under which a Secret holds a certificate, and its private key.
const CERTIFICATE_KEYS: [(&str, &str); 2] = [("tls.crt", "tls.key"), ("cert", "key")];
/// The key under which it holds what proves to clients that the certificate has not been revoked.
const STAPLE_KEY: &str = "tls.ocsp-staple";
/// The keys under which a Secret holds certificate authorities.
const AUTHORITIES_KEYS: [&str; 2] = ["ca.crt", "cacert"];
/// The keys under which it holds what they have revoked.
const REVOKED_KEYS: [&str; 2] = ["ca.crl", "crl"];

/// The secrets that the servers of a gateway name.
pub(crate) fn of_gateway(context: &Context<'_>, gateway: &MergedGateway) -> Vec<Secret> {
    let mut known = BTreeSet::new();
    let servers = gateway.ports.iter().flat_map(|port| &port.servers);
    servers.flat_map(|server| of_server(context, server)).filter(|secret| known.insert(secret.name.clone())).collect()
}

fn of_server(context: &Context<'_>, server: &GatewayServer) -> Vec<Secret> {
    let Some(settings) = server.spec.tls.as_ref().filter(|settings| !settings.mode.is_passthrough()) else { return vec![] };
    let mut secrets: Vec<Secret> = vec![];
    let asks = matches!(settings.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    if settings.credential_name.is_empty() && settings.credential_names.is_empty() {
        secrets.extend(files(settings).map(|(chain, key)| of_files(chain, key)));
        if asks && settings.ca_cert_credential_name.is_empty() && !settings.ca_certificates.is_empty() {
            secrets.push(of_authorities(&settings.ca_certificates, &settings.ca_crl));
        }
    }
    let named = std::iter::once(&settings.credential_name).chain(&settings.credential_names).filter(|name| !name.is_empty());
    let origin = Origin::new(&server.origin.object, server.origin.path.key("tls").key("credentialName"));
    for (i, credential) in named.enumerate() {
        let Some(written) = find(context, credential, &origin) else { continue };
        secrets.extend(certificate(context, credential, written, &origin));
        if asks && i == 0 && settings.ca_cert_credential_name.is_empty() {
            secrets.extend(authorities_beside(context, credential, &origin));
        }
    }
    let apart = &settings.ca_cert_credential_name;
    if asks && !apart.is_empty() {
        let written = find(context, apart, &origin);
        secrets.extend(written.and_then(|written| authorities(context, &secret_name(apart), written, &origin)));
    }
    secrets
}

/// Whether a proxy may have what the Secrets hold that a rule names. A rule for all sidecars would spread them.
pub(crate) fn may_use_credentials(kind: ProxyKind, rule: Option<&DestinationRule>) -> bool {
    kind == ProxyKind::Router || rule.is_some_and(|rule| rule.selector.is_some())
}

/// The secrets that a proxy's DestinationRules name.
pub(crate) fn of_rules(context: &Context<'_>) -> Vec<Secret> {
    let mut known = BTreeSet::new();
    let rules = context.scope.services.iter().filter_map(|service| context.destination_rule(service));
    let mut secrets: Vec<Secret> = vec![];
    let mine = |rule: &DestinationRule| may_use_credentials(context.proxy.kind, Some(rule));
    let all = rules.filter(|rule| known.insert(Arc::as_ptr(rule))).flat_map(|rule| settings(rule, mine(rule)));
    for (settings, origin) in all {
        for secret in of_client(context, settings, &origin) {
            if secrets.iter().all(|known| known.name != secret.name) {
                secrets.push(secret);
            }
        }
    }
    secrets
}

/// The TLS settings of a rule that name files, or a Secret if the proxy may have it; with the place of that name.
fn settings(rule: &DestinationRule, with_credentials: bool) -> Vec<(&ClientTlsSettings, Origin)> {
    let whole = rule.objects.first().map(|object| Origin::new(object, FieldPath::default().key("spec").key("trafficPolicy")));
    let whole = rule.policy.as_ref().zip(whole);
    let of_subsets = rule.subsets.iter().filter_map(|(subset, origin)| {
        Some((subset.traffic_policy.as_ref()?, Origin::new(&origin.object, origin.path.key("trafficPolicy"))))
    });
    whole.into_iter().chain(of_subsets).flat_map(|(policy, at)| of_policy(policy, &at, with_credentials)).collect()
}

/// The same of one policy and its ports.
fn of_policy<'p>(policy: &'p TrafficPolicy, at: &Origin, with_credentials: bool) -> Vec<(&'p ClientTlsSettings, Origin)> {
    let of_ports = policy.port_level_settings.iter().enumerate().map(|(i, port)| (&port.tls, at.path.key("portLevelSettings").index(i)));
    let all = std::iter::once((&policy.tls, at.path.clone())).chain(of_ports);
    all.filter_map(|(tls, path)| {
        let tls = tls.as_ref().filter(|tls| with_credentials || tls.credential_name.is_empty())?;
        Some((tls, Origin::new(&at.object, path.key("tls").key("credentialName"))))
    })
    .collect()
}

/// What TLS towards instances needs of a Secret.
fn of_client(context: &Context<'_>, settings: &ClientTlsSettings, origin: &Origin) -> Vec<Secret> {
    let credential = &settings.credential_name;
    let shows = settings.mode == ClientTlsMode::Mutual;
    if !shows && settings.mode != ClientTlsMode::Simple {
        return vec![];
    }
    let verifies = settings.insecure_skip_verify != Some(true);
    if credential.is_empty() {
        let own = shows.then(|| of_files(&settings.client_certificate, &settings.private_key));
        let authorities = authorities_of(settings).filter(|_| verifies).map(|path| of_authorities(path, &settings.ca_crl));
        return own.into_iter().chain(authorities).collect();
    }
    let Some(written) = find(context, credential, origin) else { return vec![] };
    let own = if shows { certificate(context, credential, written, origin) } else { None };
    let authorities = if verifies { authorities_beside(context, credential, origin) } else { None };
    own.into_iter().chain(authorities).collect()
}

/// A certificate that stands in files of the proxy's machine.
fn of_files(chain: &str, key: &str) -> Secret {
    let certificate = TlsCertificate { certificate_chain: file(chain), private_key: file(key), ..Default::default() };
    Secret { name: certificate_files(chain, key), r#type: Some(Type::TlsCertificate(certificate)) }
}

/// Authorities that stand in such a file, and what they have revoked.
fn of_authorities(path: &str, revoked: &str) -> Secret {
    let context = CertificateValidationContext { trusted_ca: file(path), crl: file(revoked), ..Default::default() };
    Secret { name: authorities_file(path, revoked), r#type: Some(Type::ValidationContext(context)) }
}

/// The authorities that go with a certificate: they stand in a Secret of their own, or in the same.
fn authorities_beside(context: &Context<'_>, credential: &str, origin: &Origin) -> Option<Secret> {
    let own = format!("{credential}-cacert");
    let apart = context.mesh.secrets.contains_key(&(context.proxy.namespace.clone(), own.clone()));
    let written = find(context, if apart { &own } else { credential }, origin)?;
    authorities(context, &authorities_name(credential), written, origin)
}

/// The DNS names in the certificate of a Secret; none where there is no such Secret, or nothing that can be read.
pub(crate) fn names_in(context: &Context<'_>, name: &str) -> Vec<String> {
    let found = context.mesh.secrets.get(&(context.proxy.namespace.clone(), name.to_owned()));
    let Some(Spec::Secret(written)) = found.map(|object| &object.spec) else { return vec![] };
    let chain = CERTIFICATE_KEYS.iter().find_map(|(chain, _)| value(written, chain));
    let own = chain.and_then(|chain| CertificateDer::from_pem_slice(&chain).ok());
    let read = own.as_ref().and_then(|own| EndEntityCert::try_from(own).ok());
    read.map(|read| read.valid_dns_names().map(str::to_ascii_lowercase).collect()).unwrap_or_default()
}

fn find<'c>(context: &'c Context<'_>, name: &str, origin: &Origin) -> Option<&'c Written> {
    let namespace = &context.proxy.namespace;
    let found = context.mesh.secrets.get(&(namespace.clone(), name.to_owned()));
    match found.map(|object| &object.spec) {
        Some(Spec::Secret(written)) => Some(written),
        _ => {
            context.warn(origin, format!("there is no Secret {namespace}/{name}: TLS handshakes that need it fail until there is one"));
            None
        }
    }
}

/// The value under the first of the keys that there is.
fn value(written: &Written, key: &str) -> Option<Vec<u8>> {
    match written.string_data.get(key) {
        Some(text) => Some(text.clone().into_bytes()),
        // kubectl may break the lines of long values.
        None => STANDARD.decode(written.data.get(key)?.split_whitespace().collect::<String>()).ok(),
    }
}

fn bytes(value: Vec<u8>) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(value.into())), ..Default::default() }
}

fn certificate(context: &Context<'_>, credential: &str, written: &Written, origin: &Origin) -> Option<Secret> {
    let pair = CERTIFICATE_KEYS.iter().find_map(|(chain, key)| Some((value(written, chain)?, value(written, key)?)));
    let Some((chain, key)) = pair else {
        let message = format!("the Secret {credential} has no certificate: it needs the keys tls.crt and tls.key");
        context.warn(origin, message);
        return None;
    };
    let ocsp_staple = value(written, STAPLE_KEY).map(bytes);
    let certificate =
        TlsCertificate { certificate_chain: Some(bytes(chain)), private_key: Some(bytes(key)), ocsp_staple, ..Default::default() };
    Some(Secret { name: secret_name(credential), r#type: Some(Type::TlsCertificate(certificate)) })
}

fn authorities(context: &Context<'_>, name: &str, written: &Written, origin: &Origin) -> Option<Secret> {
    let Some(found) = AUTHORITIES_KEYS.iter().find_map(|key| value(written, key)) else {
        context.warn(origin, "no Secret has the authorities that the other side is checked against: it needs the key ca.crt");
        return None;
    };
    let crl = REVOKED_KEYS.iter().find_map(|key| value(written, key)).map(bytes);
    let context = CertificateValidationContext { trusted_ca: Some(bytes(found)), crl, ..Default::default() };
    Some(Secret { name: name.to_owned(), r#type: Some(Type::ValidationContext(context)) })
}
