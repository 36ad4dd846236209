//! TLS towards the instances of a cluster.
//!
//! Facts: pilot/pkg/networking/core/cluster_tls.go of Istio.

use weir_api::resources::destination_rule::{ClientTlsMode, ClientTlsSettings};
use weir_xds::Any;
use weir_xds::cluster::Cluster;
use weir_xds::core::{TransportSocket, transport_socket::ConfigType};
use weir_xds::matcher::{StringMatcher, string_matcher};
use weir_xds::tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
use weir_xds::tls::tls_parameters::TlsProtocol;
use weir_xds::tls::{
    CertificateValidationContext, CommonTlsContext, SubjectAltNameMatcher, TlsParameters, UpstreamTlsContext,
    subject_alt_name_matcher::SanType,
};

use super::mesh_tls::MeshTls;
use super::pool;
use crate::context::Context;
use crate::secret_names::{
    SYSTEM_AUTHORITIES, authorities_file, authorities_name, authorities_of, by_name, certificate_files, file, secret_name,
};

/// Why a cluster cannot have the TLS that was asked for. Without TLS it must not be used either.
pub(super) struct Unsupported(pub &'static str);

/// What a cluster's TLS is made of.
pub(super) struct Asked<'a> {
    pub context: &'a Context<'a>,
    pub settings: &'a ClientTlsSettings,
    pub is_http2: bool,
    /// The names that its service lists for the certificates of its instances.
    pub names_of_service: &'a [String],
    /// As whom its instances show themselves in the mesh.
    pub names_in_mesh: &'a dyn Fn() -> Vec<String>,
    /// What is asked for of them there.
    pub name_in_mesh: &'a str,
    /// Whether the proxy may have what a Secret holds.
    pub may_use_credentials: bool,
}

/// Applies TLS settings to a cluster.
///
/// # Errors
/// Says what cannot be carried out.
pub(super) fn apply(cluster: &mut Cluster, asked: &Asked<'_>) -> Result<(), Unsupported> {
    let settings = asked.settings;
    match settings.mode {
        ClientTlsMode::Disable => return Ok(()),
        ClientTlsMode::IstioMutual => {
            let ClientTlsSettings { sni, subject_alt_names, .. } = settings;
            let mesh = MeshTls {
                context: asked.context,
                names: if subject_alt_names.is_empty() { (asked.names_in_mesh)() } else { subject_alt_names.clone() },
                sni: if sni.is_empty() { asked.name_in_mesh.to_owned() } else { sni.clone() },
                is_http2: asked.is_http2,
            };
            cluster.transport_socket = Some(mesh.socket());
            return Ok(());
        }
        ClientTlsMode::Simple | ClientTlsMode::Mutual if !settings.credential_name.is_empty() && !asked.may_use_credentials => {
            return Err(Unsupported(
                "credentialName is for gateways, and for the sidecars that a workloadSelector of the rule selects; name files instead",
            ));
        }
        ClientTlsMode::Simple | ClientTlsMode::Mutual => {}
    }
    if settings.sni.is_empty() {
        // Names that the rule lists take the place of the one that is asked for.
        let verify = settings.insecure_skip_verify != Some(true) && settings.subject_alt_names.is_empty();
        pool::name_from_request(cluster, verify);
    }
    let context = UpstreamTlsContext { common_tls_context: Some(asked.common()), sni: settings.sni.clone(), ..Default::default() };
    cluster.transport_socket = Some(socket(&context));
    Ok(())
}

/// TLS to somebody whose certificate nobody looks at.
pub(super) fn unverified() -> TransportSocket {
    socket(&UpstreamTlsContext { common_tls_context: Some(CommonTlsContext::default()), ..Default::default() })
}

pub(super) fn socket(context: &UpstreamTlsContext) -> TransportSocket {
    TransportSocket { name: "envoy.transport_sockets.tls".to_owned(), config_type: Some(ConfigType::TypedConfig(Any::pack(context))) }
}

impl Asked<'_> {
    fn common(&self) -> CommonTlsContext {
        let defaults = self.context.mesh.config.tls_defaults.as_ref();
        let parameters = TlsParameters {
            tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
            tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
            cipher_suites: defaults.map(|defaults| defaults.cipher_suites.clone()).unwrap_or_default(),
            ecdh_curves: defaults.map(|defaults| defaults.ecdh_curves.clone()).unwrap_or_default(),
            ..Default::default()
        };
        let mut common = CommonTlsContext {
            tls_params: Some(parameters),
            alpn_protocols: if self.is_http2 { vec!["h2".to_owned()] } else { vec![] },
            validation_context_type: (self.settings.insecure_skip_verify != Some(true)).then(|| self.validation()),
            ..Default::default()
        };
        if self.settings.mode == ClientTlsMode::Mutual {
            self.show_certificate(&mut common);
        }
        common
    }

    /// The certificate that is shown to instances.
    fn show_certificate(&self, common: &mut CommonTlsContext) {
        let ClientTlsSettings { credential_name, client_certificate, private_key, .. } = self.settings;
        let name = match credential_name.as_str() {
            "" => certificate_files(client_certificate, private_key),
            credential => secret_name(credential),
        };
        common.tls_certificate_sds_secret_configs = vec![by_name(&name)];
    }

    /// What an instance's certificate is measured by.
    fn validation(&self) -> ValidationContextType {
        let ClientTlsSettings { credential_name, ca_crl, subject_alt_names, .. } = self.settings;
        let names = if subject_alt_names.is_empty() { self.names_of_service } else { subject_alt_names };
        let mut context = CertificateValidationContext {
            match_typed_subject_alt_names: names.iter().map(|name| alt_name(name)).collect(),
            ..Default::default()
        };
        let authorities = match (credential_name.as_str(), authorities_of(self.settings)) {
            (_, Some(path)) => authorities_file(path, ca_crl),
            ("", None) => {
                context.trusted_ca = file(SYSTEM_AUTHORITIES);
                return ValidationContextType::ValidationContext(context);
            }
            (credential, None) => {
                context.crl = file(ca_crl);
                authorities_name(credential)
            }
        };
        ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
            default_validation_context: Some(context),
            validation_context_sds_secret_config: Some(by_name(&authorities)),
            ..Default::default()
        })
    }
}

pub(super) fn alt_name(name: &str) -> SubjectAltNameMatcher {
    let matcher = StringMatcher { match_pattern: Some(string_matcher::MatchPattern::Exact(name.to_owned())), ..Default::default() };
    let kind = if name.contains("://") { SanType::Uri } else { SanType::Dns };
    SubjectAltNameMatcher { san_type: kind.into(), matcher: Some(matcher), ..Default::default() }
}
