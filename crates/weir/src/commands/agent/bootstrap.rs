//! How an Envoy is started: who it is, and that it has its configuration from the pilot and its certificates from the agent.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use weir_xds::core::Node;
use weir_xds::json::Names;

use super::secrets::{AUTHORITIES, CERTIFICATE};
use crate::cli::XdsAddress;

/// The agent, as a cluster.
const AGENT: &str = "sds-grpc";

/// Where the pilot is.
pub(in crate::commands) enum PilotAt {
    /// On this machine.
    Here(XdsAddress),
    /// On another one, at HOST:PORT.
    Elsewhere {
        host: String,
        port: u16,
        /// What its certificate is for: a name or an address.
        name: String,
    },
}

impl PilotAt {
    /// On another machine, at `HOST:PORT`; its certificate is for this name or address.
    ///
    /// # Errors
    /// If it is nowhere.
    pub fn elsewhere(server: &str, name: &str) -> anyhow::Result<Self> {
        let split = server.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = split.with_context(|| format!("the pilot at {server:?} has no port"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self::Elsewhere { host, port, name: name.to_owned() })
    }
}

/// The bootstrap of an Envoy that calls itself this, whose agent is at a socket, and its admin interface at an address.
///
/// # Errors
/// If paths cannot be made absolute, or the node has no JSON form.
pub(super) fn bootstrap(node: &Node, pilot: &PilotAt, socket: &Path, admin: SocketAddr) -> anyhow::Result<Value> {
    let node = weir_xds::json::to_value(node, Names::Proto).map_err(|error| anyhow::anyhow!("the node has no JSON form: {error}"))?;
    let agent = http2(cluster(AGENT, "STATIC", pipe(&std::path::absolute(socket)?)));
    Ok(json!({
        "node": node,
        "admin": {"address": at(admin)},
        "dynamic_resources": {
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
        },
        "static_resources": {"clusters": [http2(pilot_cluster(pilot)?), agent]},
    }))
}

fn pilot_cluster(pilot: &PilotAt) -> anyhow::Result<Value> {
    const NAME: &str = "xds-grpc";
    Ok(match pilot {
        PilotAt::Here(XdsAddress::Tcp(address)) => cluster(NAME, "STATIC", at(*address)),
        PilotAt::Here(XdsAddress::Unix(path)) => cluster(NAME, "STATIC", pipe(&std::path::absolute(path)?)),
        PilotAt::Elsewhere { host, port, name } => {
            let place = json!({"socket_address": {"address": host, "port_value": port}});
            let is_address = host.parse::<IpAddr>().is_ok();
            let mut cluster = cluster(NAME, if is_address { "STATIC" } else { "STRICT_DNS" }, place);
            if !is_address {
                // Of a name with addresses of both families, that which answers is taken.
                cluster["dns_lookup_family"] = "ALL".into();
            }
            cluster["transport_socket"] = by_mutual_tls(name);
            cluster
        }
    })
}

/// Envoy shows the pilot its certificate of the mesh, which the agent has had by the token; and goes on to nobody but the pilot.
fn by_mutual_tls(name: &str) -> Value {
    let secret = |name: &str| {
        let source = json!({"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": AGENT}}]});
        json!({"name": name, "sds_config": {"api_config_source": source, "resource_api_version": "V3"}})
    };
    let is_address = name.parse::<IpAddr>().is_ok();
    let (kind, sni) = if is_address { ("IP_ADDRESS", Value::Null) } else { ("DNS", json!(name)) };
    let mut tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [secret(CERTIFICATE)],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": name}}]},
                "validation_context_sds_secret_config": secret(AUTHORITIES),
            },
        },
    });
    if !sni.is_null() {
        tls["sni"] = sni;
    }
    json!({"name": "envoy.transport_sockets.tls", "typed_config": tls})
}

fn cluster(name: &str, kind: &str, address: Value) -> Value {
    json!({
        "name": name,
        "type": kind,
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
    })
}

fn http2(mut cluster: Value) -> Value {
    cluster["typed_extension_protocol_options"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }});
    cluster
}

fn at(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn pipe(path: &Path) -> Value {
    json!({"pipe": {"path": path}})
}
