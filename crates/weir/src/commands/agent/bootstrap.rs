//! How Envoy is started: who it is, and that it has its configuration from the pilot and its certificates from the agent.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use weir_model::Proxy;
use weir_pilot::node;
use weir_xds::json::Names;

use super::{AUTHORITIES, CERTIFICATE, Pilot};
use crate::cli::XdsAddress;
use crate::commands::proxy::host_of;

/// The bootstrap of a proxy whose agent is at a socket.
///
/// # Errors
/// If a path cannot be made absolute.
pub(super) fn of(proxy: &Proxy, pilot: &Pilot, socket: &Path, admin: SocketAddr) -> anyhow::Result<Value> {
    let node = weir_xds::json::to_value(&node::introduce_with_agent(proxy), Names::Proto)
        .map_err(|error| anyhow::anyhow!("the node has no JSON form: {error}"))?;
    let agent = pipe(&std::path::absolute(socket)?);
    Ok(json!({
        "node": node,
        "admin": {"address": at(&admin.ip().to_string(), admin.port())},
        "dynamic_resources": {
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
        },
        "static_resources": {"clusters": [xds(pilot)?, cluster("sds-grpc", agent)]},
    }))
}

/// The cluster of the pilot.
fn xds(pilot: &Pilot) -> anyhow::Result<Value> {
    match pilot {
        Pilot::Near(XdsAddress::Tcp(address)) => Ok(cluster("xds-grpc", at(&address.ip().to_string(), address.port()))),
        Pilot::Near(XdsAddress::Unix(path)) => Ok(cluster("xds-grpc", pipe(&std::path::absolute(path)?))),
        Pilot::Remote(_, server) => {
            let parts = host_of(server).zip(server.rsplit_once(':').and_then(|(_, port)| port.parse().ok()));
            let (host, port) = parts.with_context(|| format!("--xds {server:?} names no port: write HOST:PORT"))?;
            let mut cluster = cluster("xds-grpc", at(host, port));
            if host.parse::<IpAddr>().is_err() {
                cluster["type"] = "STRICT_DNS".into();
                // Of a name with addresses of both families, that which answers is taken.
                cluster["dns_lookup_family"] = "ALL".into();
            }
            cluster["transport_socket"] = mutual_tls(host);
            Ok(cluster)
        }
    }
}

/// Both show certificates of the mesh, the pilot one for its name.
fn mutual_tls(host: &str) -> Value {
    let secret = |name: &str| {
        let services = json!([{"envoy_grpc": {"cluster_name": "sds-grpc"}}]);
        let source = json!({"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": services});
        json!({"name": name, "sds_config": {"resource_api_version": "V3", "api_config_source": source}})
    };
    let is_address = host.parse::<IpAddr>().is_ok();
    let called = json!([{"san_type": if is_address { "IP_ADDRESS" } else { "DNS" }, "matcher": {"exact": host}}]);
    let mut tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [secret(CERTIFICATE)],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": called},
                "validation_context_sds_secret_config": secret(AUTHORITIES),
            },
        },
    });
    if !is_address {
        tls["sni"] = host.into();
    }
    json!({"name": "envoy.transport_sockets.tls", "typed_config": tls})
}

fn cluster(name: &str, address: Value) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
    })
}

fn at(host: &str, port: u16) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}

fn pipe(path: &Path) -> Value {
    json!({"pipe": {"path": path}})
}
