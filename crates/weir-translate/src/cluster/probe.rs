//! The probe of a WorkloadGroup, as the active health check of a cluster that its sidecars get.
//!
//! Istio's agent reads the probe in its bootstrap. Here it travels as xDS, like all that a sidecar is told: a cluster with
//! the workload as its only instance, to which no route leads, whose `health_checks` are the probe. Weir's proxy tells the
//! control plane what it finds, because the cluster has `weir: {probe}` in its metadata; Envoy checks it as it would any
//! other cluster, and tells nobody. A command (`exec`) has no words in Envoy's API: it is a custom check under
//! a name of ours, for those who understand it.
//!
//! Facts: pkg/istio-agent/health of Istio, and the probes of Kubernetes, whose defaults these are.

use std::time::Duration;

use weir_api::FieldPath;
use weir_api::resources::workload::{HttpHealthCheck, ReadinessProbe};
use weir_model::Origin;
use weir_xds::cluster::Cluster;
use weir_xds::cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
use weir_xds::core::header_value_option::HeaderAppendAction;
use weir_xds::core::health_check::{
    CustomHealthCheck, GrpcHealthCheck, HealthChecker, HttpHealthCheck as XdsHttp, TcpHealthCheck, custom_health_check::ConfigType,
};
use weir_xds::core::{HeaderValue, HeaderValueOption, HealthCheck};
use weir_xds::endpoint::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier};
use weir_xds::health::{EXEC, ExecCommand, Probe};
use weir_xds::prost_types::{Struct, Value, value::Kind};
use weir_xds::types::Int64Range;
use weir_xds::values::{duration, set_metadata, socket_address};

use super::tls;
use crate::context::{Context, metadata_of};
use crate::names;

/// Kubernetes' defaults.
const TIMEOUT: u32 = 1;
const PERIOD: u32 = 10;
const SUCCESSES: u32 = 1;
const FAILURES: u32 = 3;

/// The cluster by which the workload of a sidecar is probed, if it is.
pub(super) fn cluster(context: &Context<'_>) -> Option<Cluster> {
    let probe = context.mesh.probe_of(context.proxy)?;
    let own = context.proxy.address();
    let (checker, target) = checker(probe.spec, own)?;
    let kind = if target.0.parse::<std::net::IpAddr>().is_ok() { DiscoveryType::Static } else { DiscoveryType::StrictDns };
    let host = Endpoint { address: Some(socket_address(target.0.as_str(), target.1)), ..Default::default() };
    let instance = LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(host)), ..Default::default() };
    let origin = Origin::new(probe.group, FieldPath::default().key("spec").key("probe"));
    let mut metadata = metadata_of(&origin, "workload-group");
    set_metadata(&mut metadata, Probe::NAMESPACE, Probe::KEY, as_metadata(probe.spec));
    Some(Cluster {
        name: names::PROBE.to_owned(),
        connect_timeout: Some(duration(seconds(probe.spec.timeout_seconds, TIMEOUT))),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: names::PROBE.to_owned(),
            endpoints: vec![LocalityLbEndpoints { lb_endpoints: vec![instance], ..Default::default() }],
            ..Default::default()
        }),
        health_checks: vec![health_check(probe.spec, checker)],
        // The kubelet looks at no certificate either.
        transport_socket: is_secure(probe.spec).then(tls::unverified),
        metadata: Some(metadata),
        ..Default::default()
    })
}

fn is_secure(probe: &ReadinessProbe) -> bool {
    probe.http_get.as_ref().is_some_and(|http| http.scheme.eq_ignore_ascii_case("HTTPS"))
}

/// What Envoy's API has no field for.
fn as_metadata(probe: &ReadinessProbe) -> Value {
    let delay = f64::from(probe.initial_delay_seconds.max(0));
    let fields = [(Probe::INITIAL_DELAY.to_owned(), Value { kind: Some(Kind::NumberValue(delay)) })];
    Value { kind: Some(Kind::StructValue(Struct { fields: fields.into() })) }
}

fn or(written: i32, usual: u32) -> u32 {
    u32::try_from(written).ok().filter(|written| *written > 0).unwrap_or(usual)
}

fn seconds(written: i32, usual: u32) -> Duration {
    Duration::from_secs(or(written, usual).into())
}

fn health_check(probe: &ReadinessProbe, checker: HealthChecker) -> HealthCheck {
    let period = duration(seconds(probe.period_seconds, PERIOD));
    HealthCheck {
        timeout: Some(duration(seconds(probe.timeout_seconds, TIMEOUT))),
        interval: Some(period),
        // Nobody sends traffic to this cluster.
        no_traffic_interval: Some(period),
        unhealthy_threshold: Some(or(probe.failure_threshold, FAILURES)),
        healthy_threshold: Some(or(probe.success_threshold, SUCCESSES)),
        // Each probe is a connection of its own, as the kubelet's are.
        reuse_connection: Some(false),
        health_checker: Some(checker),
        ..Default::default()
    }
}

/// What is asked, and where: at the workload's own address, unless the probe names another host.
fn checker(probe: &ReadinessProbe, own: &str) -> Option<(HealthChecker, (String, u16))> {
    let at = |host: &str, port: u32| {
        let host = if host.is_empty() { own } else { host };
        Some((host.to_owned(), u16::try_from(port).ok()?))
    };
    if let Some(http) = &probe.http_get {
        let target: (String, u16) = at(&http.host, http.port)?;
        let authority = names::host_and_port(&target.0, target.1);
        return Some((HealthChecker::HttpHealthCheck(request(http, authority)), target));
    }
    if let Some(tcp) = &probe.tcp_socket {
        return Some((HealthChecker::TcpHealthCheck(TcpHealthCheck::default()), at(&tcp.host, tcp.port)?));
    }
    if let Some(grpc) = &probe.grpc {
        let target = at("", grpc.port)?;
        let authority = names::host_and_port(&target.0, target.1);
        let check = GrpcHealthCheck { service_name: grpc.service.clone(), authority, ..Default::default() };
        return Some((HealthChecker::GrpcHealthCheck(check), target));
    }
    let exec = probe.exec.as_ref()?;
    let command = ExecCommand { command: exec.command.clone() };
    let config = Some(ConfigType::TypedConfig(command.pack()));
    // The command runs beside the sidecar, whatever the instance's address.
    Some((HealthChecker::CustomHealthCheck(CustomHealthCheck { name: EXEC.to_owned(), config_type: config }), at("", 1)?))
}

fn request(http: &HttpHealthCheck, authority: String) -> XdsHttp {
    let (hosts, others): (Vec<_>, Vec<_>) = http.http_headers.iter().partition(|header| header.name.eq_ignore_ascii_case("host"));
    let path = if http.path.starts_with('/') { http.path.clone() } else { format!("/{}", http.path) };
    XdsHttp {
        host: hosts.first().map_or(authority, |header| header.value.clone()),
        path,
        request_headers_to_add: others.iter().map(|header| header_to_set(&header.name, &header.value)).collect(),
        // Redirects are fine, as they are for the kubelet.
        expected_statuses: vec![Int64Range { start: 200, end: 400 }],
        retriable_statuses: vec![Int64Range { start: 400, end: 600 }],
        ..Default::default()
    }
}

fn header_to_set(name: &str, value: &str) -> HeaderValueOption {
    // What is written is meant as it is; to Envoy `%` would be an operator.
    let value = value.replace('%', "%%");
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value, ..Default::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..Default::default()
    }
}
