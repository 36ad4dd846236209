//! Sidecar: which listeners a workload's proxy has, and what it knows of the mesh.

use serde::Deserialize;

use super::destination_rule::ConnectionPoolSettings;
use super::gateway::ServerTlsSettings;
use super::protocol::Protocol;
use super::service_entry::WorkloadSelector;
use super::virtual_service::Destination;

/// The proxies of some workloads.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Sidecar {
    /// The workloads; absent means all of the namespace.
    pub workload_selector: Option<WorkloadSelector>,
    /// Listeners towards the workload; none means one for each of its service's ports.
    pub ingress: Vec<IstioIngressListener>,
    /// Listeners towards the mesh, and what they lead to; none means all of the mesh.
    pub egress: Vec<IstioEgressListener>,
    /// Limits and times of the connections to the workload.
    pub inbound_connection_pool: Option<ConnectionPoolSettings>,
    /// What becomes of traffic to unknown destinations; absent means as the mesh says.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}

/// A listener towards the workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IstioIngressListener {
    /// The port; required.
    pub port: Option<SidecarPort>,
    /// The address to listen on; empty means the workload's.
    pub bind: String,
    /// How traffic comes to the listener.
    pub capture_mode: CaptureMode,
    /// Where the workload listens: `127.0.0.1:PORT`, `0.0.0.0:PORT`, `[::1]:PORT`, `[::]:PORT` or `unix://PATH`;
    /// empty means the same port.
    pub default_endpoint: String,
    /// TLS for clients from outside the mesh.
    pub tls: Option<ServerTlsSettings>,
    /// Limits and times of the connections to the workload.
    pub connection_pool: Option<ConnectionPoolSettings>,
}

/// A listener towards the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IstioEgressListener {
    /// The port; absent means each port of the imported services. Such a listener stands last.
    pub port: Option<SidecarPort>,
    /// The address or `unix://` socket to listen on; empty means what the capture mode asks for.
    pub bind: String,
    /// How traffic comes to the listener.
    pub capture_mode: CaptureMode,
    /// What is imported: `namespace/host`. The namespace may be `*`, `.` or `~` (nothing), and begins with
    /// `~` for what is left out again.
    pub hosts: Vec<String>,
}

/// A port of a sidecar.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SidecarPort {
    /// The number; 0 only with a `unix://` socket.
    pub number: u32,
    /// The protocol by name, in any case; empty means that it is found out.
    pub protocol: String,
    /// Its name.
    pub name: String,
    /// Deprecated; it never had an effect.
    pub target_port: u32,
}

impl SidecarPort {
    /// The protocol, if it is a known one.
    pub fn protocol(&self) -> Option<Protocol> {
        Protocol::parse(&self.protocol)
    }
}

/// How traffic comes to a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CaptureMode {
    /// As the proxy is set up.
    #[default]
    Default,
    /// By redirection in the kernel.
    Iptables,
    /// Clients ask for the listener's own address.
    None,
}

/// What becomes of traffic to unknown destinations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OutboundTrafficPolicy {
    /// Whether it is let out.
    pub mode: OutboundTrafficPolicyMode,
    /// The service that it goes through.
    pub egress_proxy: Option<Destination>,
}

/// Whether traffic to unknown destinations is let out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundTrafficPolicyMode {
    /// No.
    #[default]
    RegistryOnly,
    /// Yes.
    AllowAny,
}
