//! What an Envoy bootstrap says of the node and of the server that it follows. Everything else in it is Envoy's own business, and is
//! not read: the types of its extensions need not be known.

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Map, Value};
use weir_xds::core::node::UserAgentVersionType;
use weir_xds::core::{Locality, Node};
use weir_xds::values::structure;

/// Whom a proxy follows, and as whom.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    pub node: Node,
    /// `HOST:PORT`, or `unix:PATH`
    pub server: String,
    pub is_delta: bool,
    /// Fields of the node that are not told to the server.
    pub untold: Vec<String>,
    /// A bootstrap of nothing but what may limit connections, if there is any of that.
    pub bounds: Option<Value>,
}

impl Bootstrap {
    /// Reads one in YAML or JSON; fields may be named either way.
    ///
    /// # Errors
    /// If it is no bootstrap, or names no node or no server.
    pub fn read(text: &str) -> anyhow::Result<Self> {
        // Most are JSON, of which every one is YAML; but the reader of that takes longer.
        let json = serde_json::from_str(text).or_else(|_| serde_saphyr::from_str::<Value>(text)).context("neither YAML nor JSON")?;
        let bounds = bounds(&json);
        let written: Written = serde_json::from_value(json).context("no Envoy bootstrap")?;
        let (node, untold) = written.node.context("there is no node")?.told();
        let ads =
            written.dynamic_resources.and_then(|resources| resources.ads_config).context("there is no dynamic_resources.ads_config")?;
        let clusters = written.static_resources.unwrap_or_default().clusters;
        let server = server(&ads, clusters).context("ads_config names no static cluster with an address")?;
        Ok(Self { node, server, is_delta: ads.api_type == "DELTA_GRPC", untold, bounds })
    }
}

/// What may limit connections: its types are Envoy's, and are read only where it is there.
fn bounds(bootstrap: &Value) -> Option<Value> {
    const NAMES: [&str; 4] = ["overload_manager", "overloadManager", "layered_runtime", "layeredRuntime"];
    let found = NAMES.iter().filter_map(|name| Some(((*name).to_owned(), bootstrap.get(*name)?.clone())));
    let mut found: Map<String, Value> = found.collect();
    found.values_mut().for_each(drop_other_monitors);
    (!found.is_empty()).then_some(Value::Object(found))
}

/// Monitors of other resources are extensions whose types need not be known.
fn drop_other_monitors(manager: &mut Value) {
    const KNOWN: [&str; 2] = ["downstream_connections.v3.DownstreamConnectionsConfig", "fixed_heap.v3.FixedHeapConfig"];
    for name in ["resource_monitors", "resourceMonitors"] {
        let Some(Value::Array(monitors)) = manager.get_mut(name) else { continue };
        monitors.retain(|monitor| {
            let config = monitor.get("typed_config").or_else(|| monitor.get("typedConfig"));
            let kind = config.and_then(|config| config.get("@type")).and_then(Value::as_str).unwrap_or_default();
            KNOWN.iter().any(|known| kind.ends_with(known))
        });
    }
}

fn server(ads: &Ads, clusters: Vec<Cluster>) -> Option<String> {
    let name = &ads.grpc_services.iter().find_map(|service| service.envoy_grpc.as_ref())?.cluster_name;
    let cluster = clusters.into_iter().find(|cluster| cluster.name == *name)?;
    let endpoint = cluster.load_assignment?.endpoints.into_iter().next()?.lb_endpoints.into_iter().next()?;
    let address = endpoint.endpoint?.address?;
    if let Some(pipe) = address.pipe {
        return Some(format!("unix:{}", pipe.path));
    }
    let socket = address.socket_address?;
    Some(format!("{}:{}", socket.address, socket.port_value?))
}

#[derive(Deserialize)]
struct Written {
    node: Option<WrittenNode>,
    #[serde(alias = "dynamicResources")]
    dynamic_resources: Option<Dynamic>,
    #[serde(alias = "staticResources")]
    static_resources: Option<Static>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenNode {
    id: String,
    cluster: String,
    metadata: Map<String, Value>,
    locality: Option<Place>,
    #[serde(alias = "userAgentVersion")]
    user_agent_version: Option<String>,
    #[serde(alias = "clientFeatures")]
    client_features: Vec<String>,
    /// Ours is told instead.
    #[serde(alias = "userAgentName", rename = "user_agent_name")]
    _user_agent_name: Option<String>,
    #[serde(flatten)]
    untold: Map<String, Value>,
}

impl WrittenNode {
    /// As the server is told of it, and what it is not told.
    fn told(self) -> (Node, Vec<String>) {
        let Self { id, cluster, metadata, locality, user_agent_version, client_features, _user_agent_name: _, untold } = self;
        let node = Node {
            id,
            cluster,
            metadata: Some(structure(&metadata)),
            locality: locality.map(|Place { region, zone, sub_zone }| Locality { region, zone, sub_zone }),
            user_agent_version_type: user_agent_version.map(UserAgentVersionType::UserAgentVersion),
            client_features,
            ..Default::default()
        };
        (node, untold.into_iter().map(|(name, _)| name).collect())
    }
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Place {
    region: String,
    zone: String,
    #[serde(alias = "subZone")]
    sub_zone: String,
}

#[derive(Deserialize)]
struct Dynamic {
    #[serde(alias = "adsConfig")]
    ads_config: Option<Ads>,
}

#[derive(Deserialize)]
struct Ads {
    #[serde(alias = "apiType", default)]
    api_type: String,
    #[serde(alias = "grpcServices", default)]
    grpc_services: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(alias = "envoyGrpc")]
    envoy_grpc: Option<EnvoyGrpc>,
}

#[derive(Deserialize)]
struct EnvoyGrpc {
    #[serde(alias = "clusterName", default)]
    cluster_name: String,
}

#[derive(Deserialize, Default)]
struct Static {
    #[serde(default)]
    clusters: Vec<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    #[serde(default)]
    name: String,
    #[serde(alias = "loadAssignment")]
    load_assignment: Option<Assignment>,
}

#[derive(Deserialize)]
struct Assignment {
    #[serde(default)]
    endpoints: Vec<Locals>,
}

#[derive(Deserialize)]
struct Locals {
    #[serde(alias = "lbEndpoints", default)]
    lb_endpoints: Vec<LbEndpoint>,
}

#[derive(Deserialize)]
struct LbEndpoint {
    endpoint: Option<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    address: Option<Address>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(alias = "socketAddress")]
    socket_address: Option<Socket>,
    pipe: Option<Pipe>,
}

#[derive(Deserialize)]
struct Pipe {
    path: String,
}

#[derive(Deserialize)]
struct Socket {
    #[serde(default)]
    address: String,
    #[serde(alias = "portValue")]
    port_value: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "
node:
  id: router~127.0.0.1~gw.default~default.svc.cluster.local
  cluster: gw.default
  metadata: {NAMESPACE: default, LABELS: {istio: ingressgateway}}
  locality: {region: r, sub_zone: s}
  listening_addresses: []
dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, grpc_services: [{google_grpc: {}}, {envoy_grpc: {cluster_name: xds}}]}
static_resources:
  clusters:
  - {name: other}
  - name: xds
    typed_extension_protocol_options: {of.nobody: {'@type': type.googleapis.com/no.Such}}
    load_assignment: {endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 15010}}}}]}]}
stats_sinks: [{name: anything}]
";

    #[test]
    fn a_bootstrap_says_whom_a_proxy_follows_and_as_whom() {
        let read = Bootstrap::read(YAML).unwrap();
        assert_eq!((read.server.as_str(), read.is_delta), ("127.0.0.1:15010", true));
        assert_eq!(read.node.cluster, "gw.default");
        assert_eq!(read.node.metadata.unwrap().fields.len(), 2);
        assert_eq!(read.node.locality.unwrap().sub_zone, "s");
        assert_eq!(read.untold, ["listening_addresses"]);
    }

    #[test]
    fn a_server_may_be_at_a_path() {
        let text = YAML.replace("{socket_address: {address: 127.0.0.1, port_value: 15010}}", "{pipe: {path: /run/xds}}");
        assert_eq!(Bootstrap::read(&text).unwrap().server, "unix:/run/xds");
    }

    #[test]
    fn json_with_camel_case_says_the_same() {
        let names = [("ads_config", "adsConfig"), ("sub_zone", "subZone"), ("lb_endpoints", "lbEndpoints"), ("port_value", "portValue")];
        let json: Value = serde_saphyr::from_str(YAML).unwrap();
        let text = names.iter().fold(json.to_string(), |text, (snake, camel)| text.replace(snake, camel));
        let read = Bootstrap::read(&text).unwrap();
        assert_eq!(read.server, "127.0.0.1:15010");
        assert_eq!(read.node.locality.unwrap().sub_zone, "s");
    }

    #[test]
    fn what_bounds_a_process_is_kept_and_other_monitors_are_not() {
        let monitor =
            |kind: &str| format!("{{name: x, typed_config: {{'@type': type.googleapis.com/envoy.extensions.resource_monitors.{kind}}}}}");
        let [heap, cpu] = ["fixed_heap.v3.FixedHeapConfig", "cpu_utilization.v3.CpuUtilizationConfig"].map(monitor);
        let read = Bootstrap::read(&format!("{YAML}overload_manager: {{resource_monitors: [{heap}, {cpu}]}}")).unwrap();
        let bounds = read.bounds.unwrap();
        assert_eq!(bounds["overload_manager"]["resource_monitors"].as_array().unwrap().len(), 1, "{bounds}");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, missing) in [
            ("[", "neither YAML nor JSON"),
            ("node: [1]", "no Envoy bootstrap"),
            ("static_resources: {}", "no node"),
            ("node: {id: x}", "no dynamic_resources.ads_config"),
            ("{node: {id: x}, dynamic_resources: {ads_config: {grpc_services: [{envoy_grpc: {cluster_name: x}}]}}}", "no static cluster"),
        ] {
            let error = format!("{:#}", Bootstrap::read(text).unwrap_err());
            assert!(error.contains(missing), "{text}: {error}");
        }
    }
}
