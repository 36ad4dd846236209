//! Which instances of a Kubernetes Service a proxy is told of, as what, and what its cluster makes of that. The facts are those of
//! Istio's endpoint_builder.go and cluster.go.

use serde_json::json;
use weir_model::{MeshSnapshot, Proxy};
use weir_translate::{Class, ClassKey, Labels, translate};
use weir_xds::core::HealthStatus;
use weir_xds::endpoint::ClusterLoadAssignment;
use weir_xds::endpoint::lb_endpoint::HostIdentifier;
use weir_xds::resource::ResourceType;
use weir_xds::values::host_and_port;

use crate::support::{cluster, json_of, mesh, sidecar};

const WEB: &str = "outbound|80||web.default.svc.cluster.local";

/// A Service with four instances on two nodes: one is ready, one is not, one drains, one ends.
fn web(meta: &str, spec: &str) -> MeshSnapshot {
    web_with(meta, spec, "")
}

/// The same with a rule.
fn web_with(meta: &str, spec: &str, rule: &str) -> MeshSnapshot {
    let instances = [
        ("a", "n1", "ready: true"),
        ("b", "n2", "ready: false, serving: false, terminating: false"),
        ("c", "n1", "ready: false, serving: true, terminating: true"),
        ("d", "n2", "ready: false, serving: false, terminating: true"),
    ];
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: default{meta}}}\nspec: {{clusterIP: 10.9.0.1, ports: [{{name: http, \
         port: 80}}]{spec}}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web, namespace: default, labels: \
         {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\nports: [{{name: http, port: 80}}]\nendpoints:\n"
    );
    for (index, (name, _, conditions)) in instances.iter().enumerate() {
        text += &format!("- {{addresses: [10.0.0.{index}], targetRef: {{kind: Pod, name: {name}}}, conditions: {{{conditions}}}}}\n");
    }
    for (index, (name, node, _)) in instances.iter().enumerate() {
        text += &format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default}}\nspec: {{nodeName: {node}}}\nstatus: {{podIP: 10.0.0.{index}}}\n"
        );
    }
    for (index, node) in ["n1", "n2", "n3"].iter().enumerate() {
        text += &format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: client-{node}, namespace: default}}\nspec: {{nodeName: {node}}}\nstatus: {{podIP: 10.0.9.{index}}}\n"
        );
    }
    mesh(&[("web.yaml", &text), ("rule.yaml", rule)])
}

fn shown(assignment: &ClusterLoadAssignment) -> String {
    let all = assignment.endpoints.iter().flat_map(|group| &group.lb_endpoints);
    let mut shown: Vec<String> = all
        .map(|endpoint| {
            let Some(HostIdentifier::Endpoint(host)) = &endpoint.host_identifier else { panic!("{endpoint:?}") };
            let (address, _) = host_and_port(host.address.as_ref().unwrap()).unwrap();
            let status = HealthStatus::try_from(endpoint.health_status).unwrap();
            format!("{} {}", address.rsplit('.').next().unwrap(), status.as_str_name())
        })
        .collect();
    shown.sort();
    shown.join(", ")
}

/// What a sidecar is told: alone, and as one of its class.
fn told(mesh: &MeshSnapshot, proxy: &Proxy) -> String {
    let made = translate(mesh, proxy);
    let alone = shown(made.endpoints.iter().find(|assignment| assignment.cluster_name == WEB).unwrap());
    let update = Class::new(ClassKey::of(mesh, &Labels::of(mesh), proxy)).refresh(mesh, proxy);
    let shared = update.upserts.iter().find(|made| made.kind == ResourceType::Endpoint && &*made.name == WEB).unwrap();
    assert_eq!(shown(&shared.body.unpack().unwrap()), alone);
    alone
}

fn client(node: usize) -> Proxy {
    Proxy { name: format!("client-n{}", node + 1), ..sidecar(&format!("10.0.9.{node}"), &[]) }
}

#[test]
fn clients_are_told_of_those_that_are_of_use_to_them() {
    let sessions = ", labels: {istio.io/persistent-session: session}";
    for (meta, spec, statuses, expected) in [
        ("", "", None, "0 HEALTHY"),
        ("", ", trafficDistribution: PreferClose", None, "0 HEALTHY, 1 UNHEALTHY"),
        (sessions, "", Some(4), "0 HEALTHY, 2 DRAINING"),
        (sessions, ", trafficDistribution: PreferSameNode", Some(4), "0 HEALTHY, 1 UNHEALTHY, 2 DRAINING"),
        (", labels: {istio.io/persistent-session-header: x}", "", Some(4), "0 HEALTHY, 2 DRAINING"),
    ] {
        let mesh = web(meta, spec);
        assert_eq!(told(&mesh, &client(0)), expected, "{meta} {spec}");
        let config = json_of(cluster(&translate(&mesh, &client(0)), WEB))["common_lb_config"].clone();
        assert_eq!(config["override_host_status"]["statuses"].as_array().map(Vec::len), statuses, "{meta} {spec} {config}");
        // Or those that are told of though they are not ready would get requests: a percentage of zero is a message without a field.
        assert_eq!(config["healthy_panic_threshold"], json!({}), "{meta} {spec} {config}");
    }
}

/// From that percentage down, who is known to take no requests would get them.
#[test]
fn nobody_is_told_of_those_that_are_not_ready_where_too_few_healthy_ones_mean_panic() {
    for (percent, expected) in
        [("", "0 HEALTHY, 1 UNHEALTHY"), (", minHealthPercent: 0", "0 HEALTHY, 1 UNHEALTHY"), (", minHealthPercent: 30", "0 HEALTHY")]
    {
        let rule = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: web, namespace: default}}\nspec: {{host: web, \
             trafficPolicy: {{outlierDetection: {{consecutive5xxErrors: 5{percent}}}}}}}\n"
        );
        let mesh = web_with("", ", trafficDistribution: PreferClose", &rule);
        assert_eq!(told(&mesh, &client(0)), expected, "{percent}");
    }
}

#[test]
fn a_service_for_its_own_node_has_no_instances_on_others() {
    let mesh = web("", ", internalTrafficPolicy: Local, trafficDistribution: PreferClose");
    for (node, expected) in ["0 HEALTHY", "1 UNHEALTHY", ""].into_iter().enumerate() {
        assert_eq!(told(&mesh, &client(node)), expected, "{node}");
    }
    // Of which nobody knows where it runs.
    assert_eq!(told(&mesh, &sidecar("10.0.9.9", &[])), "");
    let mesh = web("", ", internalTrafficPolicy: Cluster, trafficDistribution: PreferClose");
    assert_eq!(told(&mesh, &client(2)), "0 HEALTHY, 1 UNHEALTHY");
}
