//! What a sidecar is told of the probe of its workload's group.

use serde_json::Value;
use weir_translate::translate;
use weir_xds::health::{EXEC, ExecCommand, Probe};
use weir_xds::json::{Names, to_value};

use crate::support::{mesh, sidecar};

fn group(probe: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: shop}}
spec:
  metadata: {{labels: {{app: shop}}}}
  template: {{}}
  probe: {{{probe}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: one}}
spec: {{address: 10.0.0.1, labels: {{app: shop}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: other}}
spec: {{address: 10.0.0.2, labels: {{app: other}}}}
"
    )
}

/// The cluster by which the workload at an address is probed.
fn probe(probe: &str, address: &str) -> Option<Value> {
    let made = translate(&mesh(&[("mesh.yaml", &group(probe))]), &sidecar(address, &[]));
    assert!(made.findings.is_empty(), "{:?}", made.findings);
    let cluster = made.clusters.into_iter().find(|cluster| cluster.name == "WorkloadProbe")?;
    assert!(Probe::read(cluster.metadata.as_ref()).is_some());
    Some(to_value(&cluster, Names::Camel).unwrap())
}

fn target(cluster: &Value) -> (Value, Value) {
    let socket = &cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"][0]["endpoint"]["address"]["socketAddress"];
    (socket["address"].clone(), socket["portValue"].clone())
}

#[test]
fn a_request_goes_to_the_workload_unless_another_host_is_named() {
    let cluster =
        probe("httpGet: {path: /healthz, port: 8080, httpHeaders: [{name: Host, value: a.example}, {name: x, value: 5%}]}", "10.0.0.1")
            .unwrap();
    assert_eq!(target(&cluster), ("10.0.0.1".into(), 8080.into()));
    let check = &cluster["healthChecks"][0];
    let http = &check["httpHealthCheck"];
    assert_eq!((&http["path"], &http["host"]), (&"/healthz".into(), &"a.example".into()));
    assert_eq!(http["requestHeadersToAdd"][0]["header"]["value"], "5%%");
    // Kubernetes' defaults.
    assert_eq!((&check["timeout"], &check["interval"]), (&"1s".into(), &"10s".into()));
    assert_eq!((&check["unhealthyThreshold"], &check["healthyThreshold"]), (&3.into(), &1.into()));
    let cluster = probe("httpGet: {path: /, port: 80, host: a.example}", "10.0.0.1").unwrap();
    assert_eq!((target(&cluster).0, &cluster["type"]), ("a.example".into(), &"STRICT_DNS".into()));
}

#[test]
fn connections_and_grpc_have_checks_of_their_own() {
    let cluster = probe("tcpSocket: {port: 90}, periodSeconds: 2, failureThreshold: 5", "10.0.0.1").unwrap();
    assert_eq!(target(&cluster), ("10.0.0.1".into(), 90.into()));
    let check = &cluster["healthChecks"][0];
    assert_eq!((&check["interval"], &check["noTrafficInterval"], &check["unhealthyThreshold"]), (&"2s".into(), &"2s".into(), &5.into()));
    let cluster = probe("grpc: {port: 91, service: shop}", "10.0.0.1").unwrap();
    assert_eq!(cluster["healthChecks"][0]["grpcHealthCheck"]["serviceName"], "shop");
}

#[test]
fn a_command_is_a_check_under_a_name_of_ours() {
    let made = translate(&mesh(&[("mesh.yaml", &group("exec: {command: [check, -v]}"))]), &sidecar("10.0.0.1", &[]));
    let cluster = made.clusters.iter().find(|cluster| cluster.name == "WorkloadProbe").unwrap();
    let Some(weir_xds::core::health_check::HealthChecker::CustomHealthCheck(custom)) = &cluster.health_checks[0].health_checker else {
        panic!("it is a check of its own kind");
    };
    assert_eq!(custom.name, EXEC);
    let Some(weir_xds::core::health_check::custom_health_check::ConfigType::TypedConfig(config)) = &custom.config_type else {
        panic!("it has a configuration");
    };
    assert_eq!(ExecCommand::unpack(config).unwrap().command, ["check", "-v"]);
}

#[test]
fn a_probe_by_https_believes_any_certificate() {
    let cluster = probe("httpGet: {path: /, port: 80, scheme: HTTPS}", "10.0.0.1").unwrap();
    let tls = &cluster["transportSocket"]["typedConfig"];
    assert_eq!(tls["commonTlsContext"], serde_json::json!({}), "as the kubelet it verifies nobody");
}

#[test]
fn nobody_else_probes() {
    for (written, address) in [("httpGet: {path: /, port: 80}", "10.0.0.2"), ("tcpSocket: {port: 1}", "10.0.0.3")] {
        assert_eq!(probe(written, address), None, "{written} {address}");
    }
}
