//! WorkloadEntry and WorkloadGroup: instances of a service that no platform knows of by itself.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::meta::Labels;

/// The label of a WorkloadEntry that says what its proxy is: `sidecar`, which each is without it, or `router`, a gateway. By it a gateway of
/// another machine is known as one: nothing that a proxy says of itself makes it one.
pub const PROXY_TYPE: &str = "weir.dev/proxy-type";

/// One instance of a service; also an endpoint of a ServiceEntry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkloadEntry {
    /// Its IP address, DNS name or `unix://` socket. Empty only with a `network`, whose gateway leads to it.
    pub address: String,
    /// Its own numbers for ports of the service, by the port's name.
    pub ports: BTreeMap<String, u32>,
    /// Its labels.
    pub labels: Labels,
    /// The network in which its address means something; empty means the default one.
    pub network: String,
    /// Where it runs, as `region/zone/subzone`.
    pub locality: String,
    /// Its share of the traffic relative to its neighbours; 0 counts as 1.
    pub weight: u32,
    /// The service account that it runs as; its certificate's name.
    pub service_account: String,
}

/// What the WorkloadEntries of a group have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkloadGroup {
    /// Labels and annotations of the WorkloadEntries.
    pub metadata: Option<WorkloadGroupMeta>,
    /// Their content; required.
    pub template: Option<WorkloadEntry>,
    /// How it is found out whether one is ready.
    pub probe: Option<ReadinessProbe>,
}

/// Labels and annotations of a group's WorkloadEntries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkloadGroupMeta {
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Labels,
}

/// How it is found out whether a workload is ready: by one of the four methods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReadinessProbe {
    /// Seconds before the first probe.
    pub initial_delay_seconds: i32,
    /// Seconds until a probe has failed; 0 means 1.
    pub timeout_seconds: i32,
    /// Seconds between probes; 0 means 10.
    pub period_seconds: i32,
    /// After how many successes in a row it is ready; 0 means 1.
    pub success_threshold: i32,
    /// After how many failures in a row it is not; 0 means 3.
    pub failure_threshold: i32,
    /// A request.
    pub http_get: Option<HttpHealthCheck>,
    /// A connection.
    pub tcp_socket: Option<TcpHealthCheck>,
    /// A command.
    pub exec: Option<ExecHealthCheck>,
    /// gRPC's health protocol.
    pub grpc: Option<GrpcHealthCheck>,
}

/// A probe by a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpHealthCheck {
    /// The path.
    pub path: String,
    /// The port.
    pub port: u32,
    /// The host; empty means the workload's address.
    pub host: String,
    /// `HTTP` (the default) or `HTTPS`.
    pub scheme: String,
    /// Headers of the request.
    pub http_headers: Vec<HttpHeader>,
}

/// A header of a probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A probe by a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TcpHealthCheck {
    /// The host; empty means the workload's address.
    pub host: String,
    /// The port.
    pub port: u32,
}

/// A probe by a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExecHealthCheck {
    /// The command and its arguments.
    pub command: Vec<String>,
}

/// A probe by gRPC's health protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GrpcHealthCheck {
    /// The port.
    pub port: u32,
    /// The service to ask about; empty means the server.
    pub service: String,
}
