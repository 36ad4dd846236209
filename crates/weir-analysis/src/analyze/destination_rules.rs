//! DestinationRules: their host is there, their subsets select something, and TLS verifies whom it speaks to.

use std::collections::HashMap;

use weir_api::Document;
use weir_api::resources::DestinationRule;
use weir_api::resources::destination_rule::{ClientTlsMode, ClientTlsSettings};
use weir_model::registry::workload::entry_labels;
use weir_model::topology;

use super::codes::{SUBSET_WITHOUT_PODS, UNKNOWN_HOST, UNVERIFIED_DESTINATION, UNVERIFIED_PORT};
use super::finding::{Report, path};
use super::index::Index;
use super::selection::{Selectable, Selected, selects, written};
use super::tree::labels;

/// Looks at all DestinationRules.
pub(super) fn check(index: &Index<'_>, report: &mut Report) {
    let instances = instances(index);
    for (document, rule) in index.destination_rules() {
        check_tls(document, rule, report);
        check_subsets(index, document, rule, &instances, report);
    }
}

fn check_tls(document: &Document, rule: &DestinationRule, report: &mut Report) {
    let Some(policy) = &rule.traffic_policy else { return };
    let is_unverified = |tls: &&ClientTlsSettings| {
        let by_secret = !tls.credential_name.is_empty() && rule.workload_selector.is_some();
        matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual) && tls.ca_certificates.is_empty() && !by_secret
    };
    let help = || "set `caCertificates` to the file of the authorities, such as system".to_owned();
    if policy.tls.as_ref().is_some_and(|tls| is_unverified(&tls)) {
        let message = format!("no authority is named: the certificate of {} is not verified", rule.host);
        report.say_help(UNVERIFIED_DESTINATION, document, path("spec.trafficPolicy.tls.mode"), message, help());
    }
    for (number, settings) in policy.port_level_settings.iter().enumerate() {
        if settings.tls.as_ref().is_some_and(|tls| is_unverified(&tls)) {
            let port = settings.port.as_ref().map_or(0, |port| port.number);
            let message = format!("no authority is named: the certificate of {} at port {port} is not verified", rule.host);
            let at = path("spec.trafficPolicy.portLevelSettings").index(number).key("tls").key("mode");
            report.say_help(UNVERIFIED_PORT, document, at, message, help());
        }
    }
}

fn check_subsets(index: &Index<'_>, document: &Document, rule: &DestinationRule, instances: &Selectable<'_>, report: &mut Report) {
    let namespace = &document.meta.namespace;
    let Some(host) = index.hosts.find(&rule.host, namespace, &rule.export_to) else {
        if index.hosts.any_ends_as(&rule.host, namespace, &rule.export_to) {
            return;
        }
        let message = format!("no Service or ServiceEntry that can be seen here has the host {}: the rule is for nothing", rule.host);
        return report.say(UNKNOWN_HOST, document, path("spec.host"), message);
    };
    for (number, subset) in rule.subsets.iter().enumerate() {
        let mut labels = host.selector.cloned().unwrap_or_default();
        labels.extend(subset.labels.clone());
        if instances.any(&labels, None) || host.endpoints.iter().any(|endpoint| selects(&labels, &endpoint.labels)) {
            continue;
        }
        let message = format!("nothing has the labels {}: requests for the subset {} get 503", written(&labels), subset.name);
        report.say(SUBSET_WITHOUT_PODS, document, path("spec.subsets").index(number).key("labels"), message);
    }
}

/// Whatever may be an instance of a service, by its own labels and those that say where it runs.
fn instances<'i>(index: &Index<'i>) -> Selectable<'i> {
    let nodes: HashMap<&str, String> =
        index.of("", "Node").iter().map(|node| (node.meta.name.as_str(), topology::node_locality(&node.meta.labels))).collect();
    let mut found = Selectable::default();
    for (document, pod) in index.pods() {
        let mut labels = document.meta.labels.clone();
        let node = pod.spec.node_name.as_str();
        topology::add_labels(&mut labels, nodes.get(node).map(String::as_str).unwrap_or_default(), "", node);
        found.add(Selected::new(document, labels));
    }
    for (document, entry) in index.workload_entries() {
        let mut labels = entry_labels(entry, &document.meta.labels);
        let locality = topology::locality(&entry.locality, &labels);
        topology::add_labels(&mut labels, &locality, &entry.network, "");
        found.add(Selected::new(document, labels));
    }
    for document in index.of("apps", "Deployment") {
        found.add(Selected::new(document, labels(document.node(), "spec.template.metadata.labels")));
    }
    found
}
