//! What is asked again and again about all documents together, found by index: each question costs what its answer is long, also among
//! ten thousand documents of a kind.

use std::collections::HashMap;

use weir_api::resources::kubernetes::{ConfigMap, Namespace, Pod, Secret, Service};
use weir_api::resources::meta::Labels;
use weir_api::resources::{
    AuthorizationPolicy, DestinationRule, EnvoyFilter, Gateway, RequestAuthentication, ServiceEntry, Sidecar, VirtualService, WorkloadEntry,
};
use weir_api::{Document, Kind, Spec};
use weir_model::registry::workload::entry_labels;

use super::hosts::Hosts;
use super::selection::{Selectable, Selected, Selectors};

/// The group of the Gateway API.
pub(crate) const GATEWAY_API: &str = "gateway.networking.k8s.io";
/// Namespaces of Kubernetes itself, which are not looked at (`IgnoredNamespaces` in pkg/kube/inject of Istio).
const SYSTEM_NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

/// All documents, by what they are asked for.
pub(crate) struct Index<'i> {
    /// By kind, then by group.
    by_kind: HashMap<&'i str, HashMap<&'i str, Vec<&'i Document>>>,
    by_name: HashMap<Name<'i>, &'i Document>,
    /// Those of which there was one of the same name before, with that one.
    pub(crate) twice: Vec<(&'i Document, &'i Document)>,
    /// Pods.
    pub(crate) pods: Selectable<'i>,
    /// Whatever a selector of workloads may mean: pods, those that Deployments will make, and WorkloadEntries.
    pub(crate) workloads: Selectable<'i>,
    /// Services, by the pods that they select.
    pub(crate) services: Selectors<'i, (&'i Document, &'i Service)>,
    /// The hosts that destinations may name.
    pub(crate) hosts: Hosts<'i>,
}

/// Group, kind, namespace and name.
type Name<'i> = (&'i str, &'i str, &'i str, &'i str);

impl<'i> Index<'i> {
    /// Looks through all documents once. Of two of the same name the first counts.
    pub(crate) fn new(documents: impl Iterator<Item = &'i Document>) -> Self {
        let mut index = Self {
            by_kind: HashMap::new(),
            by_name: HashMap::new(),
            twice: vec![],
            pods: Selectable::default(),
            workloads: Selectable::default(),
            services: Selectors::default(),
            hosts: Hosts::default(),
        };
        for document in documents.filter(|document| !is_of_the_system(document)) {
            let meta = &document.meta;
            let name = (document.group.as_str(), document.kind.as_str(), meta.namespace.as_str(), meta.name.as_str());
            match index.by_name.get(&name) {
                Some(first) if !meta.name.is_empty() => index.twice.push((document, first)),
                _ => {
                    index.by_name.insert(name, document);
                    index.by_kind.entry(&document.kind).or_default().entry(&document.group).or_default().push(document);
                }
            }
        }
        index.fill();
        index
    }

    fn fill(&mut self) {
        let mut pods = Selectable::default();
        let mut workloads = Selectable::default();
        for (document, _) in self.pods() {
            pods.add(Selected::of(document));
            workloads.add(Selected::of(document));
        }
        for (document, entry) in self.workload_entries() {
            workloads.add(Selected::new(document, entry_labels(entry, &document.meta.labels)));
        }
        for document in self.of("apps", "Deployment") {
            workloads.add(Selected::new(document, super::tree::labels(document.node(), "spec.template.metadata.labels")));
        }
        let mut services = Selectors::default();
        let mut hosts = Hosts::default();
        for (document, entry) in self.service_entries() {
            hosts.add_entry(document, entry);
        }
        for (document, service) in self.services() {
            services.add(&document.meta.namespace, &service.spec.selector, (document, service));
            hosts.add_service(document, service);
        }
        (self.pods, self.workloads, self.services, self.hosts) = (pods, workloads, services, hosts);
    }

    /// The documents of a kind, in their order.
    pub(crate) fn of(&self, group: &str, kind: &str) -> &[&'i Document] {
        self.by_kind.get(kind).and_then(|groups| groups.get(group)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The document of a name.
    pub(crate) fn find(&self, group: &str, kind: &str, namespace: &str, name: &str) -> Option<&'i Document> {
        self.by_name.get(&(group, kind, namespace, name)).copied()
    }

    /// The labels of a namespace; none if it is not there.
    pub(crate) fn namespace_labels(&self, namespace: &str) -> Option<&'i Labels> {
        self.find("", "Namespace", "", namespace).map(|document| &document.meta.labels)
    }
}

fn is_of_the_system(document: &Document) -> bool {
    let meta = &document.meta;
    let namespace = if document.kind == "Namespace" { &meta.name } else { &meta.namespace };
    SYSTEM_NAMESPACES.contains(&namespace.as_str())
}

macro_rules! typed {
    ($($method:ident $kind:ident $spec:ty, $of:expr;)*) => {
        impl<'i> Index<'i> {
            $(
                pub(crate) fn $method(&self) -> impl Iterator<Item = (&'i Document, &'i $spec)> + use<'i> {
                    let documents = self.of(Kind::$kind.group(), Kind::$kind.name()).to_vec();
                    documents.into_iter().filter_map(|document| match document.spec()? {
                        Spec::$kind(spec) => Some((document, $of(spec))),
                        _ => None,
                    })
                }
            )*
        }
    };
}

typed! {
    virtual_services VirtualService VirtualService, std::convert::identity;
    destination_rules DestinationRule DestinationRule, Box::as_ref;
    gateways Gateway Gateway, std::convert::identity;
    service_entries ServiceEntry ServiceEntry, std::convert::identity;
    workload_entries WorkloadEntry WorkloadEntry, std::convert::identity;
    sidecars Sidecar Sidecar, std::convert::identity;
    envoy_filters EnvoyFilter EnvoyFilter, std::convert::identity;
    request_authentications RequestAuthentication RequestAuthentication, std::convert::identity;
    authorization_policies AuthorizationPolicy AuthorizationPolicy, std::convert::identity;
    services Service Service, std::convert::identity;
    pods Pod Pod, std::convert::identity;
    namespaces Namespace Namespace, std::convert::identity;
    secrets Secret Secret, std::convert::identity;
    config_maps ConfigMap ConfigMap, std::convert::identity;
}
