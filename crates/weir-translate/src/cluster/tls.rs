//! TLS towards the instances of a cluster.
//!
//! Facts: pilot/pkg/networking/core/cluster_tls.go of Istio.

use weir_api::resources::destination_rule::{ClientTlsMode, ClientTlsSettings};
use weir_xds::Any;
use weir_xds::cluster::Cluster;
use weir_xds::core::{DataSource, TransportSocket, data_source::Specifier, transport_socket::ConfigType};
use weir_xds::matcher::{StringMatcher, string_matcher};
use weir_xds::tls::common_tls_context::ValidationContextType;
use weir_xds::tls::tls_parameters::TlsProtocol;
use weir_xds::tls::{
    CertificateValidationContext, CommonTlsContext, SubjectAltNameMatcher, TlsCertificate, TlsParameters, UpstreamTlsContext,
    subject_alt_name_matcher::SanType,
};

use super::pool;

/// The certificate authorities that the system trusts.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Why a cluster cannot have the TLS that was asked for. Without TLS it must not be used either.
pub(super) struct Unsupported(pub &'static str);

/// Applies TLS settings to a cluster.
///
/// # Errors
/// Says what cannot be carried out.
pub(super) fn apply(cluster: &mut Cluster, settings: &ClientTlsSettings, is_http2: bool) -> Result<(), Unsupported> {
    match settings.mode {
        ClientTlsMode::Disable => return Ok(()),
        ClientTlsMode::IstioMutual => return Err(Unsupported("ISTIO_MUTUAL needs certificates of the mesh, which are not issued yet")),
        ClientTlsMode::Simple | ClientTlsMode::Mutual if !settings.credential_name.is_empty() => {
            return Err(Unsupported("credentialName is not carried out here yet; name files instead"));
        }
        ClientTlsMode::Simple | ClientTlsMode::Mutual => {}
    }
    if settings.sni.is_empty() {
        // Names that the rule lists take the place of the one that is asked for.
        let verify = settings.insecure_skip_verify != Some(true) && settings.subject_alt_names.is_empty();
        pool::name_from_request(cluster, verify);
    }
    let context =
        UpstreamTlsContext { common_tls_context: Some(common(settings, is_http2)), sni: settings.sni.clone(), ..Default::default() };
    cluster.transport_socket = Some(socket(&context));
    Ok(())
}

/// TLS to somebody whose certificate nobody looks at.
pub(super) fn unverified() -> TransportSocket {
    socket(&UpstreamTlsContext { common_tls_context: Some(CommonTlsContext::default()), ..Default::default() })
}

fn socket(context: &UpstreamTlsContext) -> TransportSocket {
    TransportSocket { name: "envoy.transport_sockets.tls".to_owned(), config_type: Some(ConfigType::TypedConfig(Any::pack(context))) }
}

fn common(settings: &ClientTlsSettings, is_http2: bool) -> CommonTlsContext {
    let own = || TlsCertificate {
        certificate_chain: Some(file(&settings.client_certificate)),
        private_key: Some(file(&settings.private_key)),
        ..Default::default()
    };
    let parameters = TlsParameters {
        tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
        tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
        ..Default::default()
    };
    CommonTlsContext {
        tls_params: Some(parameters),
        tls_certificates: if settings.mode == ClientTlsMode::Mutual { vec![own()] } else { vec![] },
        alpn_protocols: if is_http2 { vec!["h2".to_owned()] } else { vec![] },
        validation_context_type: (settings.insecure_skip_verify != Some(true)).then(|| validation(settings)),
        ..Default::default()
    }
}

fn validation(settings: &ClientTlsSettings) -> ValidationContextType {
    let authorities = if settings.ca_certificates.is_empty() { SYSTEM_AUTHORITIES } else { &settings.ca_certificates };
    ValidationContextType::ValidationContext(CertificateValidationContext {
        trusted_ca: Some(file(authorities)),
        crl: (!settings.ca_crl.is_empty()).then(|| file(&settings.ca_crl)),
        match_typed_subject_alt_names: settings.subject_alt_names.iter().map(|name| alt_name(name)).collect(),
        ..Default::default()
    })
}

fn alt_name(name: &str) -> SubjectAltNameMatcher {
    let matcher = StringMatcher { match_pattern: Some(string_matcher::MatchPattern::Exact(name.to_owned())), ..Default::default() };
    let kind = if name.contains("://") { SanType::Uri } else { SanType::Dns };
    SubjectAltNameMatcher { san_type: kind.into(), matcher: Some(matcher), ..Default::default() }
}

fn file(path: &str) -> DataSource {
    DataSource { specifier: Some(Specifier::Filename(path.to_owned())), ..Default::default() }
}
