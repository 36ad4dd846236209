//! TLS to instances with the certificates of the mesh: where a rule asks for it (ISTIO_MUTUAL), and, where nobody says anything,
//! to each instance that takes it (automatic mTLS).
//!
//! Facts: `buildUpstreamTLSSettings` in pilot/pkg/networking/core/cluster_tls.go and `BestEffortInferServiceMTLSMode` in
//! pilot/pkg/model/push_context.go of Istio.

use std::collections::BTreeSet;

use weir_model::{MutualTls, Peers, Service};
use weir_xds::cluster::Cluster;
use weir_xds::cluster::cluster::TransportSocketMatch;
use weir_xds::core::TransportSocket;
use weir_xds::prost_types::Struct;
use weir_xds::tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
use weir_xds::tls::tls_parameters::TlsProtocol;
use weir_xds::tls::{CertificateValidationContext, CommonTlsContext, TlsParameters, UpstreamTlsContext};
use weir_xds::values::text;

use super::proxy_protocol::plaintext;
use super::tls;
use crate::context::Context;
use crate::endpoints::TLS_MODE;
use crate::members::any_of_mesh;
use crate::secret_names::{MESH_AUTHORITIES, MESH_CERTIFICATE, of_mesh};

/// What workloads offer each other by ALPN, beside the version of HTTP.
const ALPN: &str = "istio";

/// TLS with the mesh's certificates.
pub(super) struct MeshTls<'a> {
    pub context: &'a Context<'a>,
    /// The names of which an instance's certificate must have one; none means any of the mesh.
    pub names: Vec<String>,
    /// The server name that is asked for.
    pub sni: String,
    pub is_http2: bool,
}

impl MeshTls<'_> {
    pub(super) fn socket(self) -> TransportSocket {
        let Self { context, names, sni, is_http2 } = self;
        let parameters = TlsParameters {
            tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
            tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
            ..Default::default()
        };
        let wanted = if names.is_empty() { any_of_mesh(context) } else { names.iter().map(|name| tls::alt_name(name)).collect() };
        let asked = CertificateValidationContext { match_typed_subject_alt_names: wanted, ..Default::default() };
        let validation = CombinedCertificateValidationContext {
            default_validation_context: Some(asked),
            validation_context_sds_secret_config: Some(of_mesh(context, MESH_AUTHORITIES)),
            ..Default::default()
        };
        let common = CommonTlsContext {
            tls_params: Some(parameters),
            alpn_protocols: std::iter::once(ALPN).chain(is_http2.then_some("h2")).map(str::to_owned).collect(),
            tls_certificate_sds_secret_configs: vec![of_mesh(context, MESH_CERTIFICATE)],
            validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
            ..Default::default()
        };
        tls::socket(&UpstreamTlsContext { common_tls_context: Some(common), sni, ..Default::default() })
    }
}

/// As whom the instances of a service may show themselves: by their accounts, in the mesh's trust domain and its aliases, and by
/// what the service says itself.
pub(super) fn names(context: &Context<'_>, service: &Service, peers: &Peers) -> Vec<String> {
    let mesh = &context.mesh.config;
    let domains = || std::iter::once(&mesh.trust_domain).chain(&mesh.trust_domain_aliases);
    let accounts = peers.identities.iter().flat_map(|identity| domains().map(|domain| identity.spiffe(domain)));
    let said = service.subject_alt_names.iter().flat_map(|name| in_all_domains(name, domains()));
    let all: BTreeSet<String> = accounts.chain(said).collect();
    all.into_iter().collect()
}

/// A name in a certificate; one in a trust domain of the mesh's in all of these.
fn in_all_domains<'n>(name: &'n str, domains: impl Iterator<Item = &'n String> + Clone) -> Vec<String> {
    let within = |domain: &String| name.strip_prefix("spiffe://")?.strip_prefix(domain.as_str())?.strip_prefix('/');
    match domains.clone().find_map(within) {
        Some(path) => domains.map(|domain| format!("spiffe://{domain}/{path}")).collect(),
        None => vec![name.to_owned()],
    }
}

/// Whether the mesh chooses the TLS to each instance of a service, of which no rule says anything. What is sent to the address
/// that the client chose goes to no instance that could say what it takes: there all of them must.
pub(super) fn is_automatic(context: &Context<'_>, service: &Service, peers: &Peers, to_own_address: bool) -> bool {
    let mesh = context.mesh;
    context.has_certificates
        && mesh.config.enable_auto_mtls
        && !service.external
        && (!to_own_address || peers.all_take_mutual_tls)
        && mesh.peer_authentications.of_namespace(&service.namespace).mode != MutualTls::Disable
}

/// Lets each instance have this socket that takes it, and plaintext any other. Where clients choose the address there is none that
/// could say so.
pub(super) fn by_instance(cluster: &mut Cluster, socket: TransportSocket, to_own_address: bool) {
    let takes_it = Struct { fields: [(TLS_MODE.to_owned(), text("istio"))].into() };
    let of = |name: &str, criteria: Struct, socket: TransportSocket| TransportSocketMatch {
        name: name.to_owned(),
        r#match: Some(criteria),
        transport_socket: Some(socket),
    };
    if to_own_address {
        cluster.transport_socket = Some(socket);
        return;
    }
    cluster.transport_socket_matches = vec![of("tlsMode-istio", takes_it, socket), of("tlsMode-disabled", Struct::default(), plaintext())];
}
