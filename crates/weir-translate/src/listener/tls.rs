//! TLS that ends at a gateway: where certificates come from, and what is asked of clients.

use weir_api::resources::gateway::{ServerTlsMode, ServerTlsSettings, TlsProtocol};
use weir_api::resources::mesh_config::TlsConfig;
use weir_xds::matcher::{StringMatcher, string_matcher};
use weir_xds::tls::certificate_validation_context::TrustChainVerification::{AcceptUntrusted, VerifyTrustChain};
use weir_xds::tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
use weir_xds::tls::tls_parameters::TlsProtocol as Version;
use weir_xds::tls::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SubjectAltNameMatcher, TlsParameters,
    subject_alt_name_matcher::SanType,
};

use super::mutual_tls::with_mesh_certificates;
use crate::context::Context;
use crate::secret_names::{authorities_file, authorities_name, by_name, certificate_files, file, files, secret_name};

/// What is offered by ALPN, the most wanted first.
pub(super) const HTTP_ALPN: [&str; 2] = ["h2", "http/1.1"];

/// The TLS of a server; none if it passes TLS on.
pub(crate) fn of_server(context: &Context<'_>, settings: &ServerTlsSettings) -> Option<DownstreamTlsContext> {
    if settings.mode.is_passthrough() {
        return None;
    }
    if settings.mode == ServerTlsMode::IstioMutual {
        return Some(of_mesh_clients(context, settings));
    }
    let defaults = context.mesh.config.tls_defaults.as_ref();
    let requires = settings.mode == ServerTlsMode::Mutual;
    let asks = requires || settings.mode == ServerTlsMode::OptionalMutual;
    let mut common = CommonTlsContext {
        alpn_protocols: HTTP_ALPN.map(str::to_owned).to_vec(),
        tls_params: parameters(settings, defaults),
        ..Default::default()
    };
    let credentials: Vec<&String> = match settings.credential_names.as_slice() {
        [] => (!settings.credential_name.is_empty()).then_some(&settings.credential_name).into_iter().collect(),
        several => several.iter().collect(),
    };
    common.tls_certificate_sds_secret_configs = credentials.iter().map(|credential| by_name(&secret_name(credential))).collect();
    if credentials.is_empty() {
        common.tls_certificate_sds_secret_configs = files(settings).map(|(chain, key)| by_name(&certificate_files(chain, key))).collect();
    }
    common.validation_context_type = asks.then(|| validation(settings, credentials.first().copied()));
    Some(DownstreamTlsContext { common_tls_context: Some(common), require_client_certificate: Some(requires), ..Default::default() })
}

/// TLS with clients of the mesh. Other than a sidecar, a gateway takes them from any trust domain that its authorities vouch for.
fn of_mesh_clients(context: &Context<'_>, settings: &ServerTlsSettings) -> DownstreamTlsContext {
    let common = with_mesh_certificates(context, asked(settings));
    DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext { tls_params: parameters(settings, None), ..common }),
        require_client_certificate: Some(true),
        ..Default::default()
    }
}

/// What a client's certificate is checked against.
fn validation(settings: &ServerTlsSettings, credential: Option<&String>) -> ValidationContextType {
    let mut context = asked(settings);
    let skips = settings.insecure_skip_verify == Some(true);
    context.trust_chain_verification = if skips { AcceptUntrusted } else { VerifyTrustChain }.into();
    let authorities = match (settings.ca_cert_credential_name.as_str(), credential) {
        ("", None) if settings.ca_certificates.is_empty() => return ValidationContextType::ValidationContext(context),
        // What is revoked comes with them, so that it is looked at again when it changes.
        ("", None) => {
            context.crl = None;
            authorities_file(&settings.ca_certificates, &settings.ca_crl)
        }
        ("", Some(credential)) => authorities_name(credential),
        (own, _) => secret_name(own),
    };
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(context),
        validation_context_sds_secret_config: Some(by_name(&authorities)),
        ..Default::default()
    })
}

/// What is asked of it besides.
fn asked(settings: &ServerTlsSettings) -> CertificateValidationContext {
    CertificateValidationContext {
        match_typed_subject_alt_names: settings.subject_alt_names.iter().flat_map(|name| alt_names(name)).collect(),
        verify_certificate_spki: settings.verify_certificate_spki.clone(),
        verify_certificate_hash: settings.verify_certificate_hash.clone(),
        crl: file(&settings.ca_crl),
        ..Default::default()
    }
}

/// A name may stand in a certificate as a DNS name or as a URI.
fn alt_names(name: &str) -> Vec<SubjectAltNameMatcher> {
    let matcher = StringMatcher { match_pattern: Some(string_matcher::MatchPattern::Exact(name.to_owned())), ..Default::default() };
    let kind = if name.contains("://") { SanType::Uri } else { SanType::Dns };
    vec![SubjectAltNameMatcher { san_type: kind.into(), matcher: Some(matcher), ..Default::default() }]
}

/// What a server says, and where it says nothing, what the mesh does.
fn parameters(settings: &ServerTlsSettings, defaults: Option<&TlsConfig>) -> Option<TlsParameters> {
    let none = TlsConfig::default();
    let TlsConfig { min_protocol_version, ecdh_curves, cipher_suites } = defaults.unwrap_or(&none);
    let least = if settings.min_protocol_version == TlsProtocol::Auto { *min_protocol_version } else { settings.min_protocol_version };
    let or = |own: &Vec<String>, others: &Vec<String>| if own.is_empty() { others.clone() } else { own.clone() };
    let parameters = TlsParameters {
        tls_minimum_protocol_version: version(least).into(),
        tls_maximum_protocol_version: version(settings.max_protocol_version).into(),
        cipher_suites: or(&settings.cipher_suites, cipher_suites),
        ecdh_curves: or(&settings.ecdh_curves, ecdh_curves),
        ..Default::default()
    };
    (parameters != TlsParameters::default()).then_some(parameters)
}

pub(super) fn version(written: TlsProtocol) -> Version {
    match written {
        TlsProtocol::Auto => Version::TlsAuto,
        TlsProtocol::V1_0 => Version::TlSv10,
        TlsProtocol::V1_1 => Version::TlSv11,
        TlsProtocol::V1_2 => Version::TlSv12,
        TlsProtocol::V1_3 => Version::TlSv13,
    }
}
