//! How what TLS needs is named and asked for: certificates and authorities that come as secrets on their own, and files.

use weir_api::resources::destination_rule::ClientTlsSettings;
use weir_api::resources::gateway::ServerTlsSettings;
use weir_xds::core::grpc_service::{EnvoyGrpc, TargetSpecifier};
use weir_xds::core::{
    AggregatedConfigSource, ApiConfigSource, ApiVersion, ConfigSource, DataSource, GrpcService, api_config_source::ApiType,
    config_source::ConfigSourceSpecifier, data_source,
};
use weir_xds::tls::SdsSecretConfig;
use weir_xds::values::duration;

use crate::context::Context;

/// A proxy's own certificate of the mesh.
pub(crate) const MESH_CERTIFICATE: &str = "default";
/// The authorities of the mesh.
pub(crate) const MESH_AUTHORITIES: &str = "ROOTCA";
/// The cluster by which Istio's agents serve both.
const AGENT: &str = "sds-grpc";

/// The certificate authorities that the system trusts.
pub(crate) const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How Istio writes that a name is that of a Secret.
const SECRETS: &str = "kubernetes://";

/// The Secret that a `credentialName` names, for a proxy of a namespace: `NAME`, `kubernetes://NAME`, or the same with that namespace before it.
///
/// # Errors
/// If it names none that the proxy may have.
pub fn secret_of<'c>(credential: &'c str, namespace: &str) -> Result<&'c str, String> {
    let named = credential.strip_prefix(SECRETS).unwrap_or(credential);
    if named.contains("://") {
        return Err(format!("{credential:?} names no Secret of the proxy's namespace, and nothing else is carried out"));
    }
    match named.split_once('/') {
        None => Ok(named),
        Some((own, name)) if own == namespace && !name.contains('/') => Ok(name),
        Some(_) => Err(format!("{credential:?} is in another namespace than the proxy, {namespace}: nobody is given the keys of another")),
    }
}

/// The name of a certificate that stands in a Kubernetes Secret.
pub(crate) fn secret_name(credential: &str) -> String {
    if credential.contains("://") { credential.to_owned() } else { format!("{SECRETS}{credential}") }
}

/// The name of the certificate authorities that go with a certificate.
pub(crate) fn authorities_name(credential: &str) -> String {
    format!("{}-cacert", secret_name(credential))
}

/// The name of a certificate that stands in files, as Istio's agents have it. Files come as secrets, too: one that is missing or
/// broken is refused alone, and one that changes is read again.
pub(crate) fn certificate_files(chain: &str, key: &str) -> String {
    format!("file-cert:{chain}~{key}")
}

/// The name of certificate authorities that stand in a file, and of the file that says what they have revoked, if there is one.
pub(crate) fn authorities_file(path: &str, revoked: &str) -> String {
    if revoked.is_empty() { format!("file-root:{path}") } else { format!("file-root:{path}~{revoked}") }
}

/// The file of the authorities that a client goes by; none where those come from a Secret, or are the system's and stand in the
/// configuration itself.
pub(crate) fn authorities_of(settings: &ClientTlsSettings) -> Option<&str> {
    match (settings.credential_name.as_str(), settings.ca_certificates.as_str(), settings.ca_crl.as_str()) {
        ("", "", "") => None,
        // What is revoked is looked at again when it changes: so both come as a secret.
        ("", "", _) => Some(SYSTEM_AUTHORITIES),
        ("", path, _) => Some(path),
        _ => None,
    }
}

/// Whether a secret holds but the names of files.
pub fn is_of_files(name: &str) -> bool {
    name.starts_with("file-cert:") || name.starts_with("file-root:")
}

/// A secret that comes on its own.
pub(crate) fn by_name(name: &str) -> SdsSecretConfig {
    SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(ConfigSource {
            config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
            resource_api_version: ApiVersion::V3.into(),
            ..Default::default()
        }),
    }
}

/// A secret of the mesh's own, which a proxy has from the agent beside it, or makes itself. One that has neither asks for it where
/// nobody answers, so that it refuses what it cannot prove.
pub(crate) fn of_mesh(context: &Context<'_>, name: &str) -> SdsSecretConfig {
    if !context.has_certificates {
        return by_name(name);
    }
    let agent = EnvoyGrpc { cluster_name: AGENT.to_owned(), ..Default::default() };
    let source = ApiConfigSource {
        api_type: ApiType::Grpc.into(),
        transport_api_version: ApiVersion::V3.into(),
        grpc_services: vec![GrpcService { target_specifier: Some(TargetSpecifier::EnvoyGrpc(agent)), ..Default::default() }],
        set_node_on_first_message_only: true,
        ..Default::default()
    };
    SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(ConfigSource {
            config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(source)),
            initial_fetch_timeout: Some(duration(std::time::Duration::ZERO)),
            resource_api_version: ApiVersion::V3.into(),
            ..Default::default()
        }),
    }
}

/// What a file holds; none if there is none.
pub(crate) fn file(path: &str) -> Option<DataSource> {
    (!path.is_empty()).then(|| DataSource { specifier: Some(data_source::Specifier::Filename(path.to_owned())), ..Default::default() })
}

/// The certificates of a server that stand in files: chain and key.
pub(crate) fn files(settings: &ServerTlsSettings) -> impl Iterator<Item = (&str, &str)> {
    let single = (settings.server_certificate.as_str(), settings.private_key.as_str());
    let several = settings.tls_certificates.iter().map(|own| (own.server_certificate.as_str(), own.private_key.as_str()));
    std::iter::once(single).filter(|(chain, _)| !chain.is_empty()).chain(several)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_a_secret_of_the_proxys_own_namespace() {
        for good in ["web", "kubernetes://web", "shop/web", "kubernetes://shop/web"] {
            assert_eq!(secret_of(good, "shop"), Ok("web"));
        }
        for bad in [
            "money/web",
            "kubernetes://money/web",
            "../money/web",
            "shop/../money/web",
            "kubernetes-gateway://shop/web",
            "configmap://a/b",
            "/",
        ] {
            assert!(secret_of(bad, "shop").is_err(), "{bad}");
        }
    }
}
