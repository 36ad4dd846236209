//! Headers that a proxy adds, as `proxyHeaders` and `gatewayTopology` of MeshConfig's `defaultConfig` ask for them.
//!
//! Facts: pilot/pkg/networking/util/proxy_headers.go of Istio, and who calls it. A gateway's `x-forwarded-client-cert` follows
//! `gatewayTopology`, a sidecar's `proxyHeaders`.

use weir_api::resources::MeshConfig;
use weir_api::resources::proxy_config::{
    EnabledHeader, ForwardClientCertDetails as Written, OptionalHeader, ProxyHeaders, SetCurrentClientCertDetails as Details,
};
use weir_xds::Any;
use weir_xds::core::http1_protocol_options::{HeaderKeyFormat, header_key_format::HeaderFormat};
use weir_xds::core::{Http1ProtocolOptions, TypedExtensionConfig};
use weir_xds::envoy::extensions::http::header_formatters::preserve_case::v3::PreserveCaseFormatterConfig;
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::hcm::http_connection_manager::{ForwardClientCertDetails, ServerHeaderTransformation, SetCurrentClientCertDetails};

use crate::listener::http::Class;

fn written(mesh: &MeshConfig) -> Option<&ProxyHeaders> {
    mesh.default_config.proxy_headers.as_ref()
}

fn is_disabled(header: Option<&OptionalHeader>) -> bool {
    header.is_some_and(|header| header.disabled == Some(true))
}

fn is_enabled(header: Option<&EnabledHeader>) -> bool {
    header.is_some_and(|header| header.enabled == Some(true))
}

/// Whether a request says how often it was sent (`x-envoy-attempt-count`).
pub(crate) fn counts_attempts(mesh: &MeshConfig) -> bool {
    !written(mesh).is_some_and(|headers| is_disabled(headers.attempt_count.as_ref()))
}

/// Whether Envoy's headers about times, clusters and the like are left away.
pub(crate) fn suppresses_debug_headers(mesh: &MeshConfig) -> bool {
    written(mesh).is_some_and(|headers| is_disabled(headers.envoy_debug_headers.as_ref()))
}

/// Whether a host that is replaced is told in `x-forwarded-host`.
pub(crate) fn appends_host(mesh: &MeshConfig) -> bool {
    written(mesh).is_some_and(|headers| is_enabled(headers.x_forwarded_host.as_ref()))
}

/// Whether names of headers are written in HTTP/1.1 as they came.
pub(crate) fn preserves_case(mesh: &MeshConfig) -> bool {
    written(mesh).is_some_and(|headers| headers.preserve_http1_header_case == Some(true))
}

/// The options of HTTP/1.1, towards clients and services.
pub(crate) fn http1(mesh: &MeshConfig) -> Http1ProtocolOptions {
    let preserve = || TypedExtensionConfig {
        name: "preserve_case".to_owned(),
        typed_config: Some(Any::pack(&PreserveCaseFormatterConfig::default())),
    };
    let format = || HeaderKeyFormat { header_format: Some(HeaderFormat::StatefulFormatter(preserve())) };
    Http1ProtocolOptions { header_key_format: preserves_case(mesh).then(format), ..Default::default() }
}

/// Sets what a proxy says about itself and about the client.
pub(crate) fn set(manager: &mut HttpConnectionManager, mesh: &MeshConfig, class: Class) {
    let none = ProxyHeaders::default();
    let headers = written(mesh).unwrap_or(&none);
    set_server(manager, headers, class);
    if is_disabled(headers.request_id.as_ref()) {
        manager.generate_request_id = Some(false);
    }
    manager.append_x_forwarded_port = is_enabled(headers.x_forwarded_port.as_ref());
    match class {
        Class::Gateway => {
            let topology = mesh.default_config.gateway_topology.as_ref();
            manager.xff_num_trusted_hops = topology.map_or(0, |topology| topology.num_trusted_proxies);
            let forward = topology.map_or(Written::Undefined, |topology| topology.forward_client_cert_details);
            let whole = Details { cert: Some(true), ..Details::default() };
            set_client_certificate(manager, forward, ForwardClientCertDetails::SanitizeSet, &whole);
        }
        Class::Inbound => {
            let details = headers.set_current_client_cert_details.clone().unwrap_or_default();
            set_client_certificate(manager, headers.forwarded_client_cert, ForwardClientCertDetails::AppendForward, &details);
        }
        Class::Outbound => {}
    }
}

fn set_server(manager: &mut HttpConnectionManager, headers: &ProxyHeaders, class: Class) {
    // On the way out of a workload Envoy calls itself by its own name.
    if class != Class::Outbound {
        manager.server_name = "istio-envoy".to_owned();
    }
    if let Some(server) = &headers.server {
        if server.disabled == Some(true) {
            manager.server_name.clear();
            manager.server_header_transformation = ServerHeaderTransformation::PassThrough.into();
        } else if !server.value.is_empty() {
            manager.server_name.clone_from(&server.value);
        }
    }
}

fn set_client_certificate(manager: &mut HttpConnectionManager, written: Written, default: ForwardClientCertDetails, details: &Details) {
    let forward = match written {
        Written::Undefined => default,
        Written::Sanitize => ForwardClientCertDetails::Sanitize,
        Written::ForwardOnly => ForwardClientCertDetails::ForwardOnly,
        Written::AppendForward => ForwardClientCertDetails::AppendForward,
        Written::SanitizeSet => ForwardClientCertDetails::SanitizeSet,
        Written::AlwaysForwardOnly => ForwardClientCertDetails::AlwaysForwardOnly,
    };
    manager.forward_client_cert_details = forward.into();
    if matches!(forward, ForwardClientCertDetails::AppendForward | ForwardClientCertDetails::SanitizeSet) {
        let Details { subject, cert, chain, dns, uri } = details;
        manager.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
            subject: Some(subject.unwrap_or(true)),
            cert: cert.unwrap_or(false),
            chain: chain.unwrap_or(false),
            dns: dns.unwrap_or(true),
            uri: uri.unwrap_or(true),
            ..Default::default()
        });
    }
}
