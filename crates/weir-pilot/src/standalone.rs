//! The proxies of a mesh on one machine, without a platform that would start them.

use std::collections::{BTreeMap, BTreeSet};

use weir_api::{Object, Spec};
use weir_model::proxy::selects;
use weir_model::workload_group::wants_sidecar;
use weir_model::{Interception, MeshSnapshot, Proxy, ProxyKind};

use crate::workloads::registration;

/// Where gateways are.
const GATEWAY_NAMESPACE: &str = "istio-system";
/// A gateway stands for no address of a workload: its servers keep their own ports.
const GATEWAY_ADDRESS: &str = "0.0.0.0";

type Labels = BTreeMap<String, String>;

/// The labels of the gateway that every mesh has.
pub fn standard_gateway() -> Labels {
    [("istio", "ingressgateway"), ("app", "istio-ingressgateway")].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Reads labels as the command line gives them: `istio=ingressgateway,app=istio-ingressgateway`.
///
/// # Errors
/// Says which part is none.
pub fn parse_labels(text: &str) -> Result<Labels, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let read = |part: &str| match part.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{part:?} is no label; write name=value, and commas between labels")),
    };
    parts.map(read).collect()
}

/// The proxies of a mesh: its gateways, and a sidecar for each workload of this machine.
///
/// `named` are the gateways' labels, if somebody named them; else there is the standard one, and one for each selector
/// of a Gateway that it does not satisfy. `is_local` says whether an address is one of this machine.
pub fn proxies(mesh: &MeshSnapshot, named: &[Labels], is_local: &dyn Fn(&str) -> bool) -> Vec<Proxy> {
    let gateways = if named.is_empty() { gateways(mesh) } else { named.to_vec() };
    let mut names = BTreeSet::new();
    let gateways = gateways.iter().map(|labels| gateway(labels, &mesh.domain, &mut names)).collect::<Vec<_>>();
    let workloads = mesh.workloads.iter().filter(|workload| needs_sidecar(&workload.object) && is_local(&workload.address));
    let sidecar = |workload: &weir_model::Workload| Proxy {
        id: Proxy::make_id(ProxyKind::Sidecar, &workload.address, &workload.name, &workload.namespace, &mesh.domain),
        kind: ProxyKind::Sidecar,
        name: workload.name.clone(),
        namespace: workload.namespace.clone(),
        labels: (*workload.labels).clone(),
        addresses: vec![workload.address.clone()],
        // What its workload says counts once a service selects it, as in Istio.
        locality: String::new(),
        interception: Interception::None,
    };
    gateways.into_iter().chain(workloads.map(|workload| sidecar(workload))).collect()
}

fn gateways(mesh: &MeshSnapshot) -> Vec<Labels> {
    let standard = standard_gateway();
    let selectors = mesh.gateways.iter().filter_map(|object| match &object.spec {
        Spec::Gateway(gateway) if !selects(&gateway.selector, &standard) => Some(gateway.selector.clone()),
        _ => None,
    });
    let others: BTreeSet<Labels> = selectors.collect();
    // A proxy with more labels satisfies a selector with some of them: two would fight for its ports.
    let is_covered = |labels: &Labels| others.iter().any(|other| other != labels && selects(labels, other));
    std::iter::once(standard).chain(others.iter().filter(|labels| !is_covered(labels)).cloned()).collect()
}

fn gateway(labels: &Labels, domain: &str, names: &mut BTreeSet<String>) -> Proxy {
    let wanted = labels.get("app").or_else(|| labels.get("istio")).or_else(|| labels.values().next());
    let wanted = wanted.map_or("gateway", String::as_str);
    let numbered = (2..).map(|number| format!("{wanted}-{number}"));
    let name = std::iter::once(wanted.to_owned()).chain(numbered).find(|name| names.insert(name.clone())).unwrap_or_default();
    Proxy {
        id: Proxy::make_id(ProxyKind::Router, GATEWAY_ADDRESS, &name, GATEWAY_NAMESPACE, domain),
        kind: ProxyKind::Router,
        name,
        namespace: GATEWAY_NAMESPACE.to_owned(),
        labels: labels.clone(),
        addresses: vec![],
        locality: String::new(),
        interception: Interception::None,
    }
}

/// One that registered itself has a sidecar: that is who registered it.
fn needs_sidecar(object: &Object) -> bool {
    wants_sidecar(object) && object.source.path != registration::SOURCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_from_the_command_line() {
        assert_eq!(parse_labels("istio=ingressgateway,app=istio-ingressgateway"), Ok(standard_gateway()));
        assert!(parse_labels("istio").unwrap_err().contains("name=value"));
    }
}
