//! The certificates that a gateway asks for by name, from Kubernetes Secrets.
//!
//! A Secret must be in the gateway proxy's own namespace: what a gateway may show to the world is decided by who runs
//! it. (Facts: pilot/pkg/credentials/kube of Istio.)

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use weir_api::Spec;
use weir_api::resources::gateway::ServerTlsMode;
use weir_api::resources::kubernetes::Secret as Written;
use weir_model::{GatewayServer, MergedGateway, Origin};
use weir_xds::core::{DataSource, data_source::Specifier};
use weir_xds::tls::secret::Type;
use weir_xds::tls::{CertificateValidationContext, Secret, TlsCertificate};

use crate::context::Context;
use crate::listener::tls::{authorities_name, secret_name};

/// The keys under which a Secret holds a certificate, and its private key.
const CERTIFICATE_KEYS: [(&str, &str); 2] = [("tls.crt", "tls.key"), ("cert", "key")];
/// The keys under which a Secret holds certificate authorities.
const AUTHORITIES_KEYS: [&str; 2] = ["ca.crt", "cacert"];

/// The secrets that the servers of a gateway name.
pub(crate) fn of_gateway(context: &Context<'_>, gateway: &MergedGateway) -> Vec<Secret> {
    let mut known = BTreeSet::new();
    let servers = gateway.ports.iter().flat_map(|port| &port.servers);
    servers.flat_map(|server| of_server(context, server)).filter(|secret| known.insert(secret.name.clone())).collect()
}

fn of_server(context: &Context<'_>, server: &GatewayServer) -> Vec<Secret> {
    let Some(settings) = server.spec.tls.as_ref().filter(|settings| !settings.mode.is_passthrough()) else { return vec![] };
    let named = std::iter::once(&settings.credential_name).chain(&settings.credential_names).filter(|name| !name.is_empty());
    let origin = Origin::new(&server.origin.object, server.origin.path.key("tls").key("credentialName"));
    let asks = matches!(settings.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    let mut secrets = vec![];
    for (i, credential) in named.enumerate() {
        let Some(written) = find(context, credential, &origin) else { continue };
        secrets.extend(certificate(context, credential, written, &origin));
        if asks && i == 0 && settings.ca_cert_credential_name.is_empty() {
            let own = format!("{credential}-cacert");
            let apart = context.mesh.secrets.contains_key(&(context.proxy.namespace.clone(), own.clone()));
            let written = if apart { find(context, &own, &origin) } else { Some(written) };
            secrets.extend(written.and_then(|written| authorities(context, &authorities_name(credential), written, &origin)));
        }
    }
    let apart = &settings.ca_cert_credential_name;
    if asks && !apart.is_empty() {
        let written = find(context, apart, &origin);
        secrets.extend(written.and_then(|written| authorities(context, &secret_name(apart), written, &origin)));
    }
    secrets
}

fn find<'c>(context: &'c Context<'_>, name: &str, origin: &Origin) -> Option<&'c Written> {
    let namespace = &context.proxy.namespace;
    let found = context.mesh.secrets.get(&(namespace.clone(), name.to_owned()));
    match found.map(|object| &object.spec) {
        Some(Spec::Secret(written)) => Some(written),
        _ => {
            context.warn(origin, format!("there is no Secret {namespace}/{name}: TLS handshakes for this server fail until there is one"));
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
    let certificate = TlsCertificate { certificate_chain: Some(bytes(chain)), private_key: Some(bytes(key)), ..Default::default() };
    Some(Secret { name: secret_name(credential), r#type: Some(Type::TlsCertificate(certificate)) })
}

fn authorities(context: &Context<'_>, name: &str, written: &Written, origin: &Origin) -> Option<Secret> {
    let Some(found) = AUTHORITIES_KEYS.iter().find_map(|key| value(written, key)) else {
        context.warn(origin, "no Secret has the authorities that clients are checked against: it needs the key ca.crt");
        return None;
    };
    let context = CertificateValidationContext { trusted_ca: Some(bytes(found)), ..Default::default() };
    Some(Secret { name: name.to_owned(), r#type: Some(Type::ValidationContext(context)) })
}
