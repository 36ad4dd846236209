//! Kubernetes' Services. Their instances stand in EndpointSlices (or Endpoints), and, in a mesh without
//! Kubernetes, are the WorkloadEntries that the Service's selector picks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_api::resources::kubernetes::{
    EndpointConditions, EndpointPort, EndpointSlice, Endpoints, IntOrString, ObjectReference, Service as Written,
    ServicePort as WrittenPort,
};
use weir_api::resources::protocol::Protocol;
use weir_api::{Kind, Object, ObjectKey, Spec};

use super::instances::Input;
use super::links::Reference;
use super::workload::Workload;
use super::{Settings, keeps_sessions};
use crate::address::canonical;
use crate::identity::Identity;
use crate::service::{Endpoint, Health, Registry, Resolution, Service, ServiceKey, ServicePort, TrafficDistribution, select_protocol};
use crate::visibility::Visibility;

/// Names the Service that an EndpointSlice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Says who may see a Service.
const EXPORT_TO: &str = "networking.istio.io/exportTo";
/// Service accounts of its own namespace as which a Service's instances may show themselves, besides their own.
const ACCOUNTS: &str = "alpha.istio.io/kubernetes-serviceaccounts";
/// The same, as they stand in certificates.
const IDENTITIES: &str = "alpha.istio.io/canonical-serviceaccounts";

/// The name of the Service whose instances an object lists.
pub(super) fn service_of(object: &Object) -> Option<&str> {
    match &object.spec {
        Spec::EndpointSlice(_) => object.meta.labels.get(SERVICE_NAME).map(String::as_str),
        Spec::Endpoints(_) => Some(&object.meta.name),
        _ => None,
    }
}

/// The host name and namespace of a Service.
pub(super) fn service_key(namespace: &str, name: &str, domain: &str) -> ServiceKey {
    (format!("{name}.{namespace}.svc.{domain}").into(), namespace.into())
}

/// A Service.
pub(super) fn service(settings: &Settings<'_>, object: &Arc<Object>, written: &Written) -> Service {
    let (name, namespace) = (&object.meta.name, &object.meta.namespace);
    let export_to: Vec<String> = listed(object, EXPORT_TO).map(str::to_owned).collect();
    let (hostname, namespace_word) = service_key(namespace, name, settings.domain);
    Service {
        hostname,
        name: name.as_str().into(),
        namespace: namespace_word,
        addresses: addresses(written),
        automatic: None,
        ports: written.spec.ports.iter().filter_map(port).collect(),
        resolution: match (written.spec.is_external_name(), written.spec.is_headless()) {
            (true, _) => Resolution::Alias,
            (_, true) => Resolution::Passthrough,
            (false, false) => Resolution::Static,
        },
        external: false,
        visibility: Visibility::parse(&export_to, namespace, &settings.mesh.default_service_export_to),
        registry: Registry::Kubernetes,
        traffic_distribution: TrafficDistribution::default(),
        node_local: written.spec.internal_traffic_policy == "Local",
        keeps_sessions: keeps_sessions(&object.meta.labels),
        alias_of: written.spec.is_external_name().then(|| written.spec.external_name.to_ascii_lowercase().into()),
        aliases: vec![],
        subject_alt_names: accepted(settings, object),
        object: object.clone(),
    }
}

/// The words of an annotation, which stand with commas between them.
fn listed<'o>(object: &'o Object, annotation: &str) -> impl Iterator<Item = &'o str> {
    let words = object.meta.annotations.get(annotation).into_iter().flat_map(|list| list.split(','));
    words.map(str::trim).filter(|word| !word.is_empty())
}

/// As whom the instances of a Service may show themselves, besides as whom they are known.
fn accepted(settings: &Settings<'_>, object: &Object) -> Vec<String> {
    let of_account = |account| Identity::new(&object.meta.namespace, account);
    let accounts = listed(object, ACCOUNTS).map(of_account).filter(Identity::is_valid);
    listed(object, IDENTITIES).map(str::to_owned).chain(accounts.map(|identity| identity.spiffe(&settings.mesh.trust_domain))).collect()
}

fn addresses(written: &Written) -> Vec<String> {
    let mut addresses: Vec<String> = std::iter::once(&written.spec.cluster_ip).chain(&written.spec.cluster_ips).cloned().collect();
    addresses.retain(|address| !address.is_empty() && address != "None");
    addresses.dedup();
    addresses
}

fn port(written: &WrittenPort) -> Option<ServicePort> {
    let number = u16::try_from(written.port).ok()?;
    let protocol = select_protocol(&written.name, written.app_protocol.as_deref(), number, &written.protocol);
    Some(ServicePort { number, name: written.name.clone(), protocol })
}

/// The instances of a Service: those that slices list, and the WorkloadEntries that its selector picks.
pub(super) fn endpoints(input: &Input<'_>, service: &Service) -> Vec<Endpoint> {
    let object = &service.object;
    let Spec::Service(written) = &object.spec else { return vec![] };
    if written.spec.is_external_name() {
        return vec![];
    }
    let mut found: Vec<Endpoint> = vec![];
    let mut seen: BTreeSet<(String, u16)> = BTreeSet::new();
    for other in input.links.slices(&object.meta.namespace, &object.meta.name) {
        match &other.spec {
            Spec::EndpointSlice(slice) => {
                // While an endpoint moves from one slice to another, it stands in both.
                let all = of_slice(input, object, written, slice).into_iter();
                found.extend(all.filter(|endpoint| seen.insert((endpoint.address.clone(), endpoint.service_port))));
            }
            Spec::Endpoints(endpoints) => found.extend(of_endpoints(input, object, written, endpoints)),
            _ => {}
        }
    }
    let selector = &written.spec.selector;
    if !selector.is_empty() {
        let selected =
            input.workloads.selected(&object.meta.namespace, selector).filter(|workload| workload.object.kind == Kind::WorkloadEntry);
        found.extend(selected.flat_map(|workload| of_workload(workload, written)));
    }
    found
}

/// The Service's port that an endpoint's port serves: the one of the same name.
fn service_port(written: &Written, port: &EndpointPort) -> Option<u16> {
    let found = written.spec.ports.iter().find(|known| known.name == port.name);
    u16::try_from(found?.port).ok()
}

fn of_slice(input: &Input<'_>, object: &Arc<Object>, written: &Written, slice: &EndpointSlice) -> Vec<Endpoint> {
    let mut found = vec![];
    // Names of another DNS, which no proxy asks.
    if slice.address_type == "FQDN" {
        return found;
    }
    for port in &slice.ports {
        let (Some(service_port), Ok(number)) = (service_port(written, port), u16::try_from(port.port)) else { continue };
        for endpoint in &slice.endpoints {
            let health = health(&endpoint.conditions, written.spec.publish_not_ready_addresses);
            for address in &endpoint.addresses {
                let workload = behind(input, object, endpoint.target_ref.as_ref(), address);
                // Until it is known who that is, it might be taken for somebody else: without labels, locality and identity.
                if workload.is_some() || !is_pod(endpoint.target_ref.as_ref()) {
                    found.push(of_address(object, workload, address, (number, service_port), health));
                }
            }
        }
    }
    found
}

/// Facts: `endpointHealthStatus` in pilot/pkg/serviceregistry/kube/controller/endpointslice.go of Istio, where one that is not ready and does not say
/// whether it is being stopped, is.
fn health(conditions: &EndpointConditions, counts_unready: bool) -> Health {
    if conditions.is_ready() || counts_unready {
        return Health::Healthy;
    }
    match (conditions.terminating.unwrap_or(true), conditions.serving.unwrap_or(true)) {
        (false, _) => Health::Unhealthy,
        (true, true) => Health::Draining,
        (true, false) => Health::Terminating,
    }
}

fn of_endpoints(input: &Input<'_>, object: &Arc<Object>, written: &Written, endpoints: &Endpoints) -> Vec<Endpoint> {
    let mut found = vec![];
    for subset in &endpoints.subsets {
        let ready = subset.addresses.iter().map(|address| (address, true));
        let all = ready.chain(subset.not_ready_addresses.iter().map(|address| (address, written.spec.publish_not_ready_addresses)));
        for (address, ready) in all {
            for port in &subset.ports {
                let (Some(service_port), Ok(number)) = (service_port(written, port), u16::try_from(port.port)) else { continue };
                let workload = behind(input, object, address.target_ref.as_ref(), &address.ip);
                found.push(of_address(object, workload, &address.ip, (number, service_port), Health::of_ready(ready)));
            }
        }
    }
    found
}

fn of_address(object: &Arc<Object>, workload: Option<&Arc<Workload>>, address: &str, ports: (u16, u16), health: Health) -> Endpoint {
    let (port, service_port) = ports;
    Endpoint {
        address: canonical(address),
        port,
        service_port,
        labels: workload.map(|workload| workload.instance_labels.clone()).unwrap_or_default(),
        locality: workload.map(|workload| workload.locality.clone()).unwrap_or_default(),
        weight: 0,
        workload: workload.map_or_else(|| object.meta.name.clone(), |workload| workload.known_as.clone()),
        namespace: object.meta.namespace.clone(),
        service_account: workload.map(|workload| workload.service_account.clone()).unwrap_or_default(),
        takes_mutual_tls: workload.is_some_and(|workload| workload.takes_mutual_tls),
        own_name: workload.map(|workload| own_name(workload)).unwrap_or_default(),
        health,
    }
}

/// The name of a Pod below that of a Service without an address, if it is given one.
fn own_name(workload: &Workload) -> String {
    let Spec::Pod(pod) = &workload.object.spec else { return String::new() };
    let hostname = if pod.spec.hostname.is_empty() { &workload.name } else { &pod.spec.hostname };
    if pod.spec.subdomain.is_empty() { String::new() } else { format!("{hostname}.{}", pod.spec.subdomain) }
}

fn is_pod(written: Option<&ObjectReference>) -> bool {
    written.is_some_and(|reference| reference.kind == "Pod")
}

/// Whom an endpoint of a slice means.
fn reference(object: &Object, written: Option<&ObjectReference>, address: &str) -> Reference {
    match written.filter(|_| is_pod(written)) {
        Some(reference) => {
            let namespace = if reference.namespace.is_empty() { &object.meta.namespace } else { &reference.namespace };
            Reference::Pod(namespace.clone(), reference.name.clone())
        }
        None => Reference::Address(object.meta.namespace.clone(), canonical(address)),
    }
}

/// All that an EndpointSlice, or Endpoints, refer to.
pub(super) fn references(object: &Object) -> Vec<Reference> {
    match &object.spec {
        Spec::EndpointSlice(slice) => {
            let all = slice.endpoints.iter().flat_map(|at| at.addresses.iter().map(|address| (at.target_ref.as_ref(), address)));
            all.map(|(written, address)| reference(object, written, address)).collect()
        }
        Spec::Endpoints(endpoints) => {
            let all = endpoints.subsets.iter().flat_map(|subset| subset.addresses.iter().chain(&subset.not_ready_addresses));
            all.map(|at| reference(object, at.target_ref.as_ref(), &at.ip)).collect()
        }
        _ => vec![],
    }
}

/// The workload that an endpoint means, if it is known.
fn behind<'i>(input: &Input<'i>, object: &Object, written: Option<&ObjectReference>, address: &str) -> Option<&'i Arc<Workload>> {
    match reference(object, written, address) {
        Reference::Pod(namespace, name) => input.workloads.get(&ObjectKey { kind: Kind::Pod, namespace, name }),
        // Whoever has an address in another namespace says nothing of this service, and says what he likes.
        Reference::Address(_, address) => {
            input.workloads.at_in(&object.meta.namespace, &address).into_iter().min_by_key(|workload| workload.object.kind != Kind::Pod)
        }
    }
}

fn of_workload(workload: &Workload, written: &Written) -> Vec<Endpoint> {
    let at = |port: &WrittenPort| {
        let service_port = u16::try_from(port.port).ok()?;
        Some(Endpoint {
            address: workload.address.clone(),
            port: target(port, &workload.ports).unwrap_or(service_port),
            service_port,
            labels: workload.instance_labels.clone(),
            locality: workload.locality.clone(),
            weight: workload.weight,
            workload: workload.known_as.clone(),
            namespace: workload.namespace.clone(),
            service_account: workload.service_account.clone(),
            takes_mutual_tls: workload.takes_mutual_tls,
            own_name: String::new(),
            health: Health::of_ready(workload.ready),
        })
    };
    let tcp = written.spec.ports.iter().filter(|port| !port.protocol.eq_ignore_ascii_case(Protocol::Udp.name()));
    tcp.filter_map(at).collect()
}

/// Where a workload serves a port: as it says itself, else the port's target, by number or name.
fn target(port: &WrittenPort, own: &BTreeMap<String, u32>) -> Option<u16> {
    let named = |name: &str| own.get(name).and_then(|number| u16::try_from(*number).ok());
    named(&port.name).or_else(|| match &port.target_port {
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok().filter(|number| *number != 0),
        Some(IntOrString::String(name)) => named(name),
        None => None,
    })
}
