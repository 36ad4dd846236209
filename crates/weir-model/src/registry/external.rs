//! ServiceEntries: services that no platform knows, with their instances in place or selected by label.

use std::sync::Arc;

use weir_api::resources::service_entry::{Location, Resolution as Written, ServicePort as WrittenPort};
use weir_api::resources::{ServiceEntry, WorkloadEntry};
use weir_api::{Object, Spec};

use super::workload::{Workload, entry_labels, instance_labels};
use super::workloads::Workloads;
use super::{Settings, keeps_sessions};
use crate::address::canonical;
use crate::identity::takes_mutual_tls;
use crate::service::{Endpoint, Health, Registry, Resolution, Service, ServicePort, TrafficDistribution};
use crate::topology;
use crate::visibility::Visibility;

/// The services of an entry: one for each host.
pub(super) fn services(settings: &Settings<'_>, object: &Arc<Object>, entry: &ServiceEntry) -> Vec<Service> {
    entry.hosts.iter().map(|host| service(settings, object, entry, host)).collect()
}

fn service(settings: &Settings<'_>, object: &Arc<Object>, entry: &ServiceEntry, host: &str) -> Service {
    let namespace = &object.meta.namespace;
    let hostname: Arc<str> = host.to_ascii_lowercase().into();
    Service {
        name: short_name(&hostname, namespace, settings.domain).into(),
        namespace: namespace.as_str().into(),
        addresses: entry.addresses.iter().map(|address| single(address).to_owned()).collect(),
        automatic: None,
        ports: entry.ports.iter().filter_map(port).collect(),
        resolution: match entry.resolution {
            Written::None => Resolution::Passthrough,
            Written::Static => Resolution::Static,
            Written::Dns => Resolution::Dns,
            Written::DnsRoundRobin => Resolution::DnsRoundRobin,
            Written::DynamicDns => Resolution::DynamicDns,
        },
        external: entry.location == Location::MeshExternal,
        visibility: Visibility::parse(&entry.export_to, namespace, &settings.mesh.default_service_export_to),
        registry: Registry::External,
        traffic_distribution: TrafficDistribution::default(),
        node_local: false,
        keeps_sessions: keeps_sessions(&object.meta.labels),
        alias_of: None,
        aliases: vec![],
        subject_alt_names: entry.subject_alt_names.clone(),
        object: object.clone(),
        hostname,
    }
}

fn port(written: &WrittenPort) -> Option<ServicePort> {
    Some(ServicePort { number: u16::try_from(written.number).ok()?, name: written.name.clone(), protocol: written.protocol() })
}

/// `reviews` of `reviews.default.svc.cluster.local`; anything else stays as it is.
fn short_name<'h>(hostname: &'h str, namespace: &str, domain: &str) -> &'h str {
    hostname.strip_suffix(&format!(".{namespace}.svc.{domain}")).unwrap_or(hostname)
}

/// A range of one address is that address.
fn single(address: &str) -> &str {
    address.strip_suffix("/32").or_else(|| address.strip_suffix("/128")).unwrap_or(address)
}

/// The instances that an entry brings along for one of its services.
pub(super) fn endpoints(workloads: &Workloads, service: &Service) -> Vec<Endpoint> {
    let object = &service.object;
    let Spec::ServiceEntry(entry) = &object.spec else { return vec![] };
    if let Some(selector) = &entry.workload_selector {
        let selected = workloads.selected(&object.meta.namespace, &selector.labels);
        return selected.flat_map(|workload| of_workload(workload, entry)).collect();
    }
    if !entry.endpoints.is_empty() {
        return entry.endpoints.iter().enumerate().flat_map(|(i, endpoint)| in_place(object, entry, i, endpoint)).collect();
    }
    match service.resolution {
        // The name of the service is the name of its instances.
        Resolution::Dns | Resolution::DnsRoundRobin => {
            entry.ports.iter().filter_map(|port| by_name(object, &service.hostname, port)).collect()
        }
        Resolution::Static | Resolution::Passthrough | Resolution::DynamicDns | Resolution::Alias => vec![],
    }
}

/// Where an instance serves a port: as it says itself, else the port's target, else the same number.
fn target(port: &WrittenPort, own: Option<&u32>) -> Option<(u16, u16)> {
    let number = own.copied().or((port.target_port != 0).then_some(port.target_port)).unwrap_or(port.number);
    Some((u16::try_from(port.number).ok()?, u16::try_from(number).ok()?))
}

fn of_workload(workload: &Workload, entry: &ServiceEntry) -> Vec<Endpoint> {
    let at = |port: &WrittenPort| {
        let (service_port, number) = target(port, workload.ports.get(&port.name))?;
        Some(Endpoint {
            address: workload.address.clone(),
            port: number,
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
    entry.ports.iter().filter_map(at).collect()
}

fn in_place(object: &Arc<Object>, entry: &ServiceEntry, number: usize, endpoint: &WorkloadEntry) -> Vec<Endpoint> {
    let own = Arc::new(entry_labels(endpoint, &Default::default()));
    let locality = topology::locality(&endpoint.locality, &own);
    let labels = instance_labels(&own, &locality, &endpoint.network, "");
    let at = |port: &WrittenPort| {
        let (service_port, target) = target(port, endpoint.ports.get(&port.name))?;
        Some(Endpoint {
            address: canonical(&endpoint.address),
            port: target,
            service_port,
            labels: labels.clone(),
            locality: locality.clone(),
            weight: endpoint.weight,
            workload: format!("{}-{number}", object.meta.name),
            namespace: object.meta.namespace.clone(),
            service_account: endpoint.service_account.clone(),
            takes_mutual_tls: takes_mutual_tls(&own, !endpoint.service_account.is_empty()),
            own_name: String::new(),
            health: Health::Healthy,
        })
    };
    entry.ports.iter().filter_map(at).collect()
}

fn by_name(object: &Arc<Object>, hostname: &str, port: &WrittenPort) -> Option<Endpoint> {
    let (service_port, target) = target(port, None)?;
    Some(Endpoint {
        address: hostname.to_owned(),
        port: target,
        service_port,
        labels: Arc::default(),
        locality: String::new(),
        weight: 0,
        workload: object.meta.name.clone(),
        namespace: object.meta.namespace.clone(),
        service_account: String::new(),
        takes_mutual_tls: false,
        own_name: String::new(),
        health: Health::Healthy,
    })
}
