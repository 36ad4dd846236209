//! The names of clusters, virtual hosts and listeners: Istio's, since people look for them in logs, dashboards and
//! EnvoyFilters.

/// The cluster that sends to the address that the client connected to.
pub const PASSTHROUGH: &str = "PassthroughCluster";
/// The cluster that sends to the host that a request names.
pub const DYNAMIC_DNS: &str = "AllowAnyDynamicDNSCluster";
/// The cluster that has no instances.
pub const BLACK_HOLE: &str = "BlackHoleCluster";

/// The cluster by which a sidecar probes its workload.
pub const PROBE: &str = "WorkloadProbe";

/// The cluster that sends to the workload itself, at ports that no service knows.
pub const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";
/// How the names of clusters of the proxy's own workload begin.
pub const INBOUND: &str = "inbound|";

/// The cluster of a service's port, or of a subset of its instances.
pub fn outbound(port: u32, subset: &str, hostname: &str) -> String {
    format!("outbound|{port}|{subset}|{hostname}")
}

/// The same as a server name of TLS, which may have no `|`: what gateways forward by it goes to the cluster of this name.
pub fn by_server_name(port: u32, subset: &str, hostname: &str) -> String {
    format!("outbound_.{port}_.{subset}_.{hostname}")
}

/// The cluster of a port of the proxy's own workload.
pub fn inbound(port: u16) -> String {
    format!("inbound|{port}||")
}

/// A host and a port as one name; brackets keep an IPv6 address apart from the port.
pub fn host_and_port(host: &str, port: u16) -> String {
    format!("{}:{port}", bracketed(host))
}

/// An IPv6 address in brackets, anything else as it is.
pub fn bracketed(host: &str) -> String {
    match host.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_owned(),
    }
}

/// A listener.
pub fn listener(address: &str, port: u16) -> String {
    format!("{address}_{port}")
}

/// The place of a rule's object in Kubernetes' API, as Istio marks what it made of it.
pub fn config_path(kind: &str, namespace: &str, name: &str) -> String {
    format!("/apis/networking.istio.io/v1/namespaces/{namespace}/{kind}/{name}")
}
