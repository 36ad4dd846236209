//! What a proxy says about itself and about the client. A gateway's `x-forwarded-client-cert` follows `gatewayTopology`, a sidecar's
//! `proxyHeaders`.
//!
//! Facts: pilot/pkg/networking/core/gateway.go and listener_inbound.go of Istio.

use weir_api::resources::MeshConfig;
use weir_api::resources::proxy_config::{ForwardClientCertDetails as Written, ProxyHeaders, SetCurrentClientCertDetails as Details};
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::hcm::http_connection_manager::{ForwardClientCertDetails, ServerHeaderTransformation, SetCurrentClientCertDetails};

use super::http::Class;
use crate::proxy_headers::{appends_port, numbers_requests, written};

/// Sets what a proxy says about itself and about the client.
pub(super) fn set(manager: &mut HttpConnectionManager, mesh: &MeshConfig, class: Class) {
    let none = ProxyHeaders::default();
    let headers = written(mesh).unwrap_or(&none);
    set_server(manager, headers, class);
    if !numbers_requests(mesh) {
        manager.generate_request_id = Some(false);
    }
    manager.append_x_forwarded_port = appends_port(mesh);
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
