//! Deployments and pods: the user that they run as, and the Services that select them.

use std::collections::{BTreeMap, BTreeSet};

use weir_api::resources::kubernetes::{IntOrString, Service};
use weir_api::{Document, FieldPath, Node};

use super::codes::{APPLICATION_UID, CONFLICTING_PORTS, PROTOCOLS_OF_SERVICES};
use super::finding::{Report, listed, path};
use super::in_mesh::{PROXY, has_sidecar, is, is_of_control_plane};
use super::index::Index;
use super::tree::{at, below, items, labels, number, text};

/// The user that a sidecar runs as: its traffic is not captured.
const PROXY_USER: i128 = 1337;
/// The container of Istio's former operator.
const OPERATOR: &str = "istio-operator";

/// Looks at Deployments and pods.
pub(super) fn check(index: &Index<'_>, report: &mut Report) {
    for document in index.of("", "Pod") {
        check_user(document, "spec", report);
    }
    for document in index.of("apps", "Deployment") {
        check_user(document, "spec.template.spec", report);
        check_services(index, document, report);
    }
}

fn check_user(document: &Document, spec: &str, report: &mut Report) {
    if is_of_control_plane(&document.meta.labels) {
        return;
    }
    if let Some(place) = user_of_proxy(document.node(), spec) {
        let message = format!("it runs as user {PROXY_USER}, which is the sidecar's: its traffic would not be captured");
        report.say_help(APPLICATION_UID, document, place, message, "choose another `runAsUser`".to_owned());
    }
}

/// Where it is said that something runs as the sidecar's user.
fn user_of_proxy(document: &Node, spec: &str) -> Option<FieldPath> {
    const USER: &str = "securityContext.runAsUser";
    let pod = at(document, spec)?;
    if number(pod, USER) == Some(PROXY_USER) {
        return Some(below(&path(spec), USER));
    }
    let of_application = |container: &Node| ![PROXY, OPERATOR].contains(&text(container, "name"));
    let mut containers = items(pod, "containers");
    let (number, _) = containers.find(|(_, container)| of_application(container) && number(container, USER) == Some(PROXY_USER))?;
    Some(below(&path(spec).key("containers").index(number), USER))
}

/// Services that select the same pods must not mean different things by the same port.
fn check_services(index: &Index<'_>, document: &Document, report: &mut Report) {
    let node = document.node();
    let pod_labels = labels(node, "spec.template.metadata.labels");
    let annotations = labels(node, "spec.template.metadata.annotations");
    let namespace = &document.meta.namespace;
    let is_waypoint = is(&document.meta.labels, "gateway.istio.io/managed", "istio.io-mesh-controller");
    let spec = at(node, "spec.template.spec");
    if is_waypoint || !spec.is_some_and(|spec| has_sidecar(index, spec, &pod_labels, &annotations, namespace)) {
        return;
    }
    let services = index.services.selecting(namespace, &pod_labels);
    check_protocols(document, &services, report);
    check_target_ports(document, &services, report);
}

type Services<'i> = [(&'i Document, &'i Service)];

fn check_protocols(document: &Document, services: &Services<'_>, report: &mut Report) {
    let mut by_port: BTreeMap<i32, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for (service, content) in services {
        for port in &content.spec.ports {
            let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
            by_port.entry(port.port).or_default().entry(protocol).or_default().insert(&service.meta.name);
        }
    }
    for (port, protocols) in by_port.into_iter().filter(|(_, protocols)| protocols.len() > 1) {
        let protocol_names: Vec<&str> = protocols.keys().copied().collect();
        let names: BTreeSet<&str> = protocols.into_values().flatten().collect();
        let names: Vec<&str> = names.into_iter().collect();
        let message = format!("its Services {} have port {port} with different protocols: {}", listed(&names), protocol_names.join(", "));
        let help = "one port of a workload speaks one protocol: use different numbers".to_owned();
        report.say_help(PROTOCOLS_OF_SERVICES, document, path("metadata.name"), message, help);
    }
}

fn check_target_ports(document: &Document, services: &Services<'_>, report: &mut Report) {
    let mut by_target: BTreeMap<String, BTreeMap<i32, &str>> = BTreeMap::new();
    for (service, content) in services {
        for port in &content.spec.ports {
            let target = match &port.target_port {
                Some(IntOrString::Int(number)) if *number != 0 => number.to_string(),
                Some(IntOrString::String(name)) if !name.is_empty() && name != "0" => name.clone(),
                _ => port.port.to_string(),
            };
            by_target.entry(target).or_default().insert(port.port, &service.meta.name);
        }
    }
    for (target, ports) in by_target.into_iter().filter(|(_, ports)| ports.len() > 1) {
        let numbers: Vec<String> = ports.keys().map(ToString::to_string).collect();
        let names: BTreeSet<&str> = ports.into_values().collect();
        let names: Vec<&str> = names.into_iter().collect();
        let message = format!("its Services {} lead to port {target} by different ports: {}", listed(&names), listed(&numbers));
        let help = "give them the same `port` for one `targetPort`".to_owned();
        report.say_help(CONFLICTING_PORTS, document, path("metadata.name"), message, help);
    }
}
