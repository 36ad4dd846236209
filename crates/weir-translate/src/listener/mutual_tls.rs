//! What a workload takes from its clients, plaintext or mutual TLS: the filter chains of one of its ports.
//!
//! Facts: pilot/pkg/networking/core/filterchain_options.go and pilot/pkg/security/authn/utils of Istio.

use weir_api::resources::mesh_config::TlsConfig;
use weir_api::resources::protocol::Protocol;
use weir_model::MutualTls;
use weir_xds::listener::Filter;
use weir_xds::tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
use weir_xds::tls::tls_parameters::TlsProtocol;
use weir_xds::tls::{CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, TlsParameters};

use super::chain::{Chain, RAW_BUFFER};
use super::tls::{HTTP_ALPN, version};
use crate::context::Context;
use crate::members::any_of_mesh;
use crate::secret_names::{MESH_AUTHORITIES, MESH_CERTIFICATE, of_mesh};

/// How a connection with TLS is named in a condition.
pub(super) const TLS: &str = "tls";
/// What those who speak TLS with the mesh's certificates offer by ALPN.
pub(super) const MESH_PROTOCOLS: [&str; 5] = ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// What is agreed on with those who send bytes.
const TCP_ALPN: [&str; 3] = ["istio-peer-exchange", "h2", "http/1.1"];
/// The same of clients that have seen that they forward HTTP.
const MESH_HTTP: [&str; 3] = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// The same of clients that have not.
const MESH_TCP: [&str; 2] = ["istio-peer-exchange", "istio"];
/// Those of TLS 1.2. Istio names two more, of TLS without forward secrecy, which no proxy of a mesh offers.
const CIPHER_SUITES: [&str; 4] =
    ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"];

/// What becomes of connections, by what they carry.
pub(super) struct Filters<'f> {
    pub http: &'f dyn Fn() -> Filter,
    pub bytes: &'f dyn Fn() -> Vec<Filter>,
}

/// The chains of a port: those with conditions, and the one for what none of them is for.
pub(super) struct Chains {
    pub by_condition: Vec<Chain>,
    pub rest: Option<Chain>,
}

/// The chains of a port that takes what a mode says. Of what it speaks nothing may be known.
pub(super) fn chains(context: &Context<'_>, mode: MutualTls, protocol: Option<Protocol>, filters: &Filters<'_>) -> Chains {
    let http = || Chain { filters: vec![(filters.http)()], ..Default::default() };
    let bytes = || Chain { filters: (filters.bytes)(), ..Default::default() };
    let terminated = |chain: Chain, offered: &[&str], spoken: &[&str]| Chain {
        transport_protocol: TLS,
        application_protocols: offered.iter().map(|name| (*name).to_owned()).collect(),
        tls: Some(of_mesh_clients(context, spoken)),
        ..chain
    };
    let http_in_tls = |offered: &[&str]| terminated(http(), offered, &HTTP_ALPN);
    let bytes_in_tls = |offered: &[&str]| terminated(bytes(), offered, &TCP_ALPN);
    let begins = |chain: Chain, transport_protocol| Chain { transport_protocol, ..chain };
    let of = |by_condition: Vec<Chain>| Chains { by_condition, rest: None };
    // Who has no certificate of the mesh cannot take mutual TLS besides; to take nothing else it must try.
    let mode = if mode == MutualTls::Permissive && !context.has_certificates { MutualTls::Disable } else { mode };
    match (mode, protocol.map(Protocol::is_http)) {
        (MutualTls::Disable, Some(true)) => of(vec![http()]),
        (MutualTls::Disable, Some(false)) => of(vec![bytes()]),
        // What is not found out to be HTTP passes as bytes: a chain without a condition would not be looked at beside one with.
        (MutualTls::Disable, None) => Chains { by_condition: vec![http().only_plaintext_http()], rest: Some(bytes()) },
        (MutualTls::Permissive, Some(true)) => of(vec![http_in_tls(&MESH_PROTOCOLS), begins(http(), RAW_BUFFER)]),
        (MutualTls::Permissive, Some(false)) => of(vec![bytes_in_tls(&MESH_PROTOCOLS), begins(bytes(), TLS), begins(bytes(), RAW_BUFFER)]),
        (MutualTls::Permissive, None) => of(vec![
            http_in_tls(&MESH_HTTP),
            http().only_plaintext_http(),
            bytes_in_tls(&MESH_TCP),
            begins(bytes(), RAW_BUFFER),
            begins(bytes(), TLS),
        ]),
        (MutualTls::Strict, Some(true)) => of(vec![http_in_tls(&[])]),
        (MutualTls::Strict, Some(false)) => of(vec![bytes_in_tls(&[])]),
        (MutualTls::Strict, None) => of(vec![http_in_tls(&MESH_HTTP), bytes_in_tls(&[])]),
    }
}

/// TLS with clients of the mesh: they must show a certificate of it.
fn of_mesh_clients(context: &Context<'_>, spoken: &[&str]) -> DownstreamTlsContext {
    let mesh = &context.mesh.config;
    let names = any_of_mesh(context);
    let context =
        with_mesh_certificates(context, CertificateValidationContext { match_typed_subject_alt_names: names, ..Default::default() });
    DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(parameters(mesh.mesh_mtls.as_ref())),
            alpn_protocols: spoken.iter().map(|name| (*name).to_owned()).collect(),
            ..context
        }),
        require_client_certificate: Some(true),
        ..Default::default()
    }
}

/// The mesh's certificates, and its authorities for the certificates of others, of whom `asked` asks more.
pub(super) fn with_mesh_certificates(context: &Context<'_>, asked: CertificateValidationContext) -> CommonTlsContext {
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(asked),
        validation_context_sds_secret_config: Some(of_mesh(context, MESH_AUTHORITIES)),
        ..Default::default()
    };
    CommonTlsContext {
        alpn_protocols: HTTP_ALPN.map(str::to_owned).to_vec(),
        tls_certificate_sds_secret_configs: vec![of_mesh(context, MESH_CERTIFICATE)],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        ..Default::default()
    }
}

fn parameters(written: Option<&TlsConfig>) -> TlsParameters {
    let default = TlsConfig::default();
    let TlsConfig { min_protocol_version, ecdh_curves, cipher_suites } = written.unwrap_or(&default);
    let least = match version(*min_protocol_version) {
        TlsProtocol::TlSv13 => TlsProtocol::TlSv13,
        _ => TlsProtocol::TlSv12,
    };
    TlsParameters {
        tls_minimum_protocol_version: least.into(),
        tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
        cipher_suites: if cipher_suites.is_empty() { CIPHER_SUITES.map(str::to_owned).to_vec() } else { cipher_suites.clone() },
        ecdh_curves: ecdh_curves.clone(),
        ..Default::default()
    }
}
