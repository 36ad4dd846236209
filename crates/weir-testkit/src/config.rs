//! The resources that a mesh on one machine needs before a test adds its own.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::peer::Peer;
use crate::ports;
use crate::protocol::Protocol;

/// The client's workload: an address of this machine, so that `weir run` gives it a sidecar.
pub(crate) const CLIENT_ADDRESS: &str = "127.0.0.10";

/// Where the proxies of a mesh listen. No two meshes share a port.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// The gateway's HTTP port.
    pub gateway: u16,
    /// The port of HTTP services; the client's sidecar listens there.
    pub http: u16,
    /// The port of TCP services; the client's sidecar listens there.
    pub tcp: u16,
}

impl Layout {
    /// Takes ports.
    #[expect(clippy::new_without_default, reason = "each one is different: that is no default")]
    pub fn new() -> Self {
        Self { gateway: ports::free(), http: ports::free(), tcp: ports::free() }
    }

    /// The Gateway `gw`, and the workload `client` with its Sidecar.
    pub(crate) fn prelude(&self) -> String {
        let Self { gateway, http, tcp } = self;
        format!(
            r#"apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gw, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: {gateway}, name: http, protocol: HTTP}}, hosts: ["*"]}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: client, namespace: default}}
spec: {{address: {CLIENT_ADDRESS}, labels: {{app: client}}}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: client, namespace: default}}
spec:
  workloadSelector: {{labels: {{app: client}}}}
  egress:
  - {{port: {{number: {http}, name: http, protocol: HTTP}}, bind: 127.0.0.1, captureMode: NONE, hosts: ["*/*"]}}
  - {{port: {{number: {tcp}, name: tcp, protocol: TCP}}, bind: 127.0.0.1, captureMode: NONE, hosts: ["*/*"]}}
"#
        )
    }

    /// A service of the namespace `default` with these instances, and a DestinationRule of its name with a subset for
    /// each of their names.
    ///
    /// Its instances are used in turn. By chance, which is the default, a retry may find the instance again that it is to
    /// avoid: with one of two stopped and eight clients, Envoy answered 37 of 6,400 requests with 503, Weir 24.
    pub fn service(&self, name: &str, peers: &[&Peer], protocol: Protocol) -> String {
        let port = match protocol {
            Protocol::Http => self.http,
            Protocol::Tcp => self.tcp,
        };
        service_at(name, port, peers, protocol) + &subsets(name, peers)
    }
}

/// A service of the namespace `default` at a port, with these instances and nothing else.
pub fn service_at(name: &str, port: u16, peers: &[&Peer], protocol: Protocol) -> String {
    let word = match protocol {
        Protocol::Http => "HTTP",
        Protocol::Tcp => "TCP",
    };
    let instances: Vec<(SocketAddr, &str)> = peers.iter().map(|peer| (peer.address(), peer.name())).collect();
    service_of(name, port, &instances, word)
}

/// A service of the namespace `default` at a port that speaks this protocol, with instances at these addresses and with
/// these versions.
pub fn service_of(name: &str, port: u16, instances: &[(SocketAddr, &str)], protocol: &str) -> String {
    let mut text = format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [{name}.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {{number: {port}, name: main, protocol: {protocol}}}
  endpoints:
"
    );
    for (address, version) in instances {
        let (ip, port) = (address.ip(), address.port());
        let _ = writeln!(text, "  - {{address: {ip}, ports: {{main: {port}}}, labels: {{version: {version}}}}}");
    }
    text
}

fn subsets(service: &str, peers: &[&Peer]) -> String {
    let mut names: Vec<&str> = peers.iter().map(|peer| peer.name()).collect();
    names.sort_unstable();
    names.dedup();
    let subsets: Vec<String> = names.iter().map(|name| format!("  - {{name: {name}, labels: {{version: {name}}}}}\n")).collect();
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {service}, namespace: default}}
spec:
  host: {service}
  trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN}}}}
  subsets:
{}",
        subsets.concat()
    )
}
