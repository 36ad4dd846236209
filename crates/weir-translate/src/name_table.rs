//! The names of the mesh that a sidecar may answer to questions of DNS.
//!
//! Facts: pkg/dns/server/name_table.go of Istio.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weir_api::FieldPath;
use weir_model::{Endpoint, Origin, Registry, Resolution, Service};
use weir_xds::names::{NameInfo, NameTable};

use crate::context::Context;

const KUBERNETES: &str = "Kubernetes";

/// The table of a proxy: what it may reach and what has addresses.
pub(crate) fn table(context: &Context<'_>) -> NameTable {
    let services = &context.scope.services;
    let known = services.iter().filter_map(|service| Some((service.hostname.to_string(), info(context, service)?)));
    let of_instances = services.iter().filter(|service| is_of_instances(context, service)).flat_map(|service| instances(context, service));
    let mut table = BTreeMap::new();
    for (name, found) in of_instances {
        table.entry(name).or_insert_with(|| NameInfo { ips: vec![], ..found.clone() }).ips.extend(found.ips);
    }
    // A service goes before an instance of another that is called so.
    table.extend(known);
    NameTable { table: table.into_iter().collect() }
}

/// The instances of a Service without an address that have names of their own below it.
fn instances(context: &Context<'_>, service: &Service) -> Vec<(String, NameInfo)> {
    let Some((_, domain)) = service.hostname.split_once('.').filter(|_| service.registry == Registry::Kubernetes) else { return vec![] };
    let first_port = service.ports.first().map(|port| port.number);
    let all = context.mesh.services.endpoints(service);
    let named = all.iter().filter(|at| at.is_healthy() && !at.own_name.is_empty() && Some(at.service_port) == first_port);
    let info = |at: &Endpoint| {
        let info = NameInfo {
            ips: vec![single(&at.address)?],
            registry: KUBERNETES.to_owned(),
            shortname: at.own_name.clone(),
            namespace: service.namespace.to_string(),
        };
        Some((format!("{}.{domain}", at.own_name), info))
    };
    named.filter_map(info).collect()
}

fn info(context: &Context<'_>, service: &Service) -> Option<NameInfo> {
    let ips = addresses(context, service);
    if ips.is_empty() && service.automatic.is_none() && service.wants_addresses() {
        let message = format!("no address is left for {}: its clients ask the servers of their resolv.conf for one", service.hostname);
        context.warn(&Origin::new(&service.object, FieldPath::default().key("spec").key("addresses")), message);
    }
    let (shortname, namespace) = short(service);
    let registry = match service.registry {
        Registry::Kubernetes => KUBERNETES,
        Registry::External => "External",
    };
    (!ips.is_empty()).then(|| NameInfo { ips, registry: registry.to_owned(), shortname, namespace })
}

/// Those of the service itself, or that it is given; if it has none because clients choose among its instances, those of the instances.
fn addresses(context: &Context<'_>, service: &Service) -> Vec<String> {
    if !is_of_instances(context, service) {
        return context.addresses(service).iter().filter_map(|written| single(written)).collect();
    }
    let instances = context.mesh.services.endpoints(service);
    let mut addresses: Vec<String> = instances.iter().filter(|at| at.is_healthy()).filter_map(|at| single(&at.address)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Whether the addresses of a service are those of its instances.
pub(crate) fn is_of_instances(context: &Context<'_>, service: &Service) -> bool {
    service.resolution == Resolution::Passthrough && context.addresses(service).iter().all(|written| single(written).is_none())
}

/// An address, which may be written as the range of itself; a range of several is nobody's address.
fn single(written: &str) -> Option<String> {
    let (address, length) = written.split_once('/').map_or((written, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { "32" } else { "128" };
    length.is_none_or(|length| length == whole).then(|| address.to_string())
}

/// The short name and the namespace by which a service of the platform is known. One of a ServiceEntry is, if its host is named alike: in a mesh
/// without Kubernetes those are its services.
fn short(service: &Service) -> (String, String) {
    if service.registry == Registry::Kubernetes {
        return (service.name.to_string(), service.namespace.to_string());
    }
    match service.hostname.split('.').collect::<Vec<_>>().as_slice() {
        [name, namespace, "svc", _, ..] if *name != "*" => ((*name).to_owned(), (*namespace).to_owned()),
        _ => Default::default(),
    }
}
