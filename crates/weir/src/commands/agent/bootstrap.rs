//! How an Envoy is started: who it is, that it has its configuration from the pilot and its certificates from the agent, and where it tells
//! others how it is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use weir_xds::core::Node;
use weir_xds::json::Names;

use super::secrets::{AUTHORITIES, CERTIFICATE};
use crate::cli::{EnvoyArgs, XdsAddress};

/// The agent, and Envoy's own admin interface, as clusters.
const AGENT: &str = "sds-grpc";
const ADMIN: &str = "admin";
/// Where Envoy's admin interface is, when others are told of it: Istio's.
const ADMIN_PORT: u16 = 15000;

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

/// The bootstrap of an Envoy that calls itself this, whose agent is at a socket.
///
/// # Errors
/// If paths cannot be made absolute, or the node has no JSON form.
pub(super) fn bootstrap(node: &Node, pilot: &PilotAt, socket: &Path, envoy: &EnvoyArgs) -> anyhow::Result<Value> {
    let node = weir_xds::json::to_value(node, Names::Proto).map_err(|error| anyhow::anyhow!("the node has no JSON form: {error}"))?;
    let agent = http2(cluster(AGENT, "STATIC", pipe(&std::path::absolute(socket)?)));
    let mut clusters = vec![http2(pilot_cluster(pilot)?), agent];
    let mut listeners = vec![];
    let open = [
        ("health", envoy.envoy_health, "/healthz/ready", "/ready"),
        ("metrics", envoy.envoy_metrics, "/stats/prometheus", "/stats/prometheus"),
    ];
    for (name, address, path, told) in open {
        listeners.extend(address.map(|address| listener(name, address, path, told)));
    }
    let usual = if listeners.is_empty() { 0 } else { ADMIN_PORT };
    let admin = envoy.envoy_admin.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, usual)));
    if !listeners.is_empty() {
        ensure!(admin.port() != 0, "--envoy-admin {admin}: others cannot be told of what is at a port that nobody knows yet");
        clusters.push(cluster(ADMIN, "STATIC", at(admin)));
    }
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
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }))
}

fn pilot_cluster(pilot: &PilotAt) -> anyhow::Result<Value> {
    const NAME: &str = "xds-grpc";
    Ok(match pilot {
        PilotAt::Here(XdsAddress::Tcp(address)) => cluster(NAME, "STATIC", at(*address)),
        PilotAt::Here(XdsAddress::Unix(path)) => cluster(NAME, "STATIC", pipe(&std::path::absolute(path)?)),
        PilotAt::Elsewhere { host, port, name } => {
            let place = json!({"socket_address": {"address": host, "port_value": port}});
            let mut cluster = cluster(NAME, "STRICT_DNS", place);
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

/// A listener that leads to one page of the admin interface, and to nothing else of it.
fn listener(name: &str, address: SocketAddr, path: &str, told: &str) -> Value {
    let page = json!({"match": {"path": path}, "route": {"cluster": ADMIN, "prefix_rewrite": told}});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"name": name, "virtual_hosts": [{"name": name, "domains": ["*"], "routes": [page]}]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
    });
    let filter = json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager});
    json!({"name": name, "address": at(address), "filter_chains": [{"filters": [filter]}]})
}

fn at(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn pipe(path: &Path) -> Value {
    json!({"pipe": {"path": path}})
}
