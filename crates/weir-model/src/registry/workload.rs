//! Workloads: WorkloadEntries and Pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_api::resources::WorkloadEntry;
use weir_api::resources::controller::Controller;
use weir_api::resources::kubernetes::Pod;
use weir_api::resources::meta::ObjectMeta;
use weir_api::{Object, Spec};

use crate::address::canonical;
use crate::identity::{Identity, takes_mutual_tls};
use crate::topology;

type Labels = BTreeMap<String, String>;

/// The label of a Pod that says what it is known as.
const WORKLOAD_NAME: &str = "service.istio.io/workload-name";

/// What runs somewhere and may be an instance of services.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// What people know it by: the Deployment of a Pod, or whatever made that; else its name.
    pub known_as: String,
    /// Its namespace.
    pub namespace: String,
    /// Where it is: an IP address in its [`canonical`] form, a name, or `unix://` and a path.
    pub address: String,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// The labels of its instances: its own, and those that say where it runs.
    pub instance_labels: Arc<Labels>,
    /// Its ports by name.
    pub ports: BTreeMap<String, u32>,
    /// `region/zone/subzone`; may be empty.
    pub locality: String,
    /// The node that it runs on, where it is a Pod that has one; else empty.
    pub node: String,
    /// Its share of the requests; 0 counts as 1.
    pub weight: u32,
    /// The service account that it names; may be empty.
    pub service_account: String,
    /// Whether its proxy takes TLS with the mesh's certificates.
    pub takes_mutual_tls: bool,
    /// Whether it takes requests.
    pub ready: bool,
    /// The object that defines it.
    pub object: Arc<Object>,
}

/// Labels of a WorkloadEntry: those of its spec, and over them those of its metadata.
pub fn entry_labels(entry: &WorkloadEntry, meta: &Labels) -> Labels {
    let mut labels = entry.labels.clone();
    labels.extend(meta.iter().map(|(name, value)| (name.clone(), value.clone())));
    labels
}

/// Labels, and those that say where their workload runs.
pub fn instance_labels(labels: &Arc<Labels>, locality: &str, network: &str, node: &str) -> Arc<Labels> {
    if locality.is_empty() && network.is_empty() && node.is_empty() {
        return labels.clone();
    }
    let mut all = (**labels).clone();
    topology::add_labels(&mut all, locality, network, node);
    Arc::new(all)
}

/// The workload that an object defines; `ready` says which WorkloadEntries take requests, `standing` where a node stands.
pub(super) fn of_object(object: &Arc<Object>, ready: &dyn Fn(&Object) -> bool, standing: &dyn Fn(&str) -> String) -> Option<Workload> {
    match &object.spec {
        Spec::WorkloadEntry(entry) => Some(of_entry(object, entry, ready(object))),
        Spec::Pod(pod) => of_pod(object, pod, standing),
        _ => None,
    }
}

fn of_entry(object: &Arc<Object>, entry: &WorkloadEntry, ready: bool) -> Workload {
    let labels = Arc::new(entry_labels(entry, &object.meta.labels));
    let locality = topology::locality(&entry.locality, &labels);
    let takes_mutual_tls = takes_mutual_tls(&labels, !entry.service_account.is_empty());
    Workload {
        name: object.meta.name.clone(),
        known_as: object.meta.name.clone(),
        namespace: object.meta.namespace.clone(),
        address: canonical(&entry.address),
        instance_labels: instance_labels(&labels, &locality, &entry.network, ""),
        labels,
        ports: entry.ports.clone(),
        locality,
        node: String::new(),
        weight: entry.weight,
        service_account: entry.service_account.clone(),
        takes_mutual_tls,
        ready,
        object: object.clone(),
    }
}

fn of_pod(object: &Arc<Object>, pod: &Pod, standing: &dyn Fn(&str) -> String) -> Option<Workload> {
    let address = if pod.status.pod_ip.is_empty() { &pod.status.pod_ips.first()?.ip } else { &pod.status.pod_ip };
    let named = pod.spec.containers.iter().flat_map(|container| &container.ports).filter(|port| !port.name.is_empty());
    let labels = Arc::new(object.meta.labels.clone());
    let own = topology::locality("", &labels);
    let locality = if own.is_empty() { standing(&pod.spec.node_name) } else { own };
    let takes_mutual_tls = takes_mutual_tls(&labels, false);
    let mut instance_labels = instance_labels(&labels, &locality, "", &pod.spec.node_name);
    Arc::make_mut(&mut instance_labels).insert(topology::CLUSTER.to_owned(), topology::THIS_CLUSTER.to_owned());
    Some(Workload {
        name: object.meta.name.clone(),
        known_as: known_as(&object.meta).to_owned(),
        namespace: object.meta.namespace.clone(),
        address: canonical(address),
        instance_labels,
        labels,
        ports: named.filter_map(|port| Some((port.name.clone(), u32::try_from(port.container_port).ok()?))).collect(),
        locality,
        node: pod.spec.node_name.clone(),
        weight: 0,
        service_account: Identity::new("", &pod.spec.service_account_name).account,
        takes_mutual_tls,
        ready: pod.status.is_ready(),
        object: object.clone(),
    })
}

/// What people know a Pod by: what its label says; what made it; or itself, where a person did.
fn known_as(pod: &ObjectMeta) -> &str {
    let label = |name: &str| pod.labels.get(name).map(String::as_str);
    if let Some(said) = label(WORKLOAD_NAME).filter(|said| !said.is_empty()) {
        return said;
    }
    let made = pod.owner_references.iter().find(|owner| owner.controller).filter(|_| !pod.generate_name.is_empty());
    let made = made.map(|owner| Controller { kind: &owner.kind, api_version: &owner.api_version, name: &owner.name });
    made.map_or(&pod.name, |made| made.seen_through(label).name)
}

#[cfg(test)]
mod tests {
    use weir_api::{Source, parse};

    use super::*;

    #[test]
    fn a_pod_is_known_as_what_made_it() {
        let owner = "ownerReferences: [{kind: Other, name: x}, {apiVersion: apps/v1, kind: ReplicaSet, name: web-v1-6c9, controller: true, uid: u}]";
        for (metadata, expected) in [
            ("name: alone".to_owned(), "alone"),
            (format!("name: web-v1-6c9-x, {owner}"), "web-v1-6c9-x"),
            (format!("name: web-v1-6c9-x, generateName: web-v1-6c9-, {owner}"), "web-v1-6c9"),
            (format!("name: web-v1-6c9-x, generateName: web-v1-6c9-, labels: {{pod-template-hash: 6c9}}, {owner}"), "web-v1"),
            (format!("name: p, labels: {{service.istio.io/workload-name: said}}, {owner}"), "said"),
        ] {
            let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{{metadata}}}\nstatus: {{podIP: 10.0.0.1}}\n");
            let pod = parse(&Source::new("x.yaml", text)).objects.remove(0);
            assert_eq!(of_object(&pod, &|_| true, &|_| String::new()).unwrap().known_as, expected, "{metadata}");
        }
    }
}
