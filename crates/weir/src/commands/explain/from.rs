//! A workload from whose point of view is explained: `pod/NAME`, or what stands for pods, as kubectl takes them.

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use weir_api::resources::mesh_config::LabelSelector;
use weir_api::{Kind, ObjectKey};
use weir_model::{Interception, MeshSnapshot, Proxy, ProxyKind, Workload};

use crate::mesh::Cluster;

/// By this a Pod says from which template it was given its proxy: from that of gateways it is one.
const TEMPLATES: &str = "inject.istio.io/templates";

/// What stands for workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Pod,
    WorkloadEntry,
    Service,
    ServiceAccount,
    /// What makes pods by a selector: its group and version, and its plural.
    Controller(&'static str, &'static str),
}

const APPS: &str = "apps/v1";
/// The words for them: name, plural and short name.
const WORDS: [(&[&str], What); 9] = [
    (&["pod", "pods", "po"], What::Pod),
    (&["workloadentry", "workloadentries", "we"], What::WorkloadEntry),
    (&["service", "services", "svc"], What::Service),
    (&["serviceaccount", "serviceaccounts", "sa"], What::ServiceAccount),
    (&["deployment", "deployments", "deploy"], What::Controller(APPS, "deployments")),
    (&["statefulset", "statefulsets", "sts"], What::Controller(APPS, "statefulsets")),
    (&["daemonset", "daemonsets", "ds"], What::Controller(APPS, "daemonsets")),
    (&["replicaset", "replicasets", "rs"], What::Controller(APPS, "replicasets")),
    (&["job", "jobs"], What::Controller("batch/v1", "jobs")),
];

/// The proxy beside the workload that is meant: of several pods one that is ready, the first by name.
///
/// # Errors
/// If that is no workload's name, or there is none.
pub(super) fn proxy(written: &str, namespace: &str, mesh: &MeshSnapshot, cluster: Option<&Cluster>) -> anyhow::Result<Proxy> {
    let (what, name) = parse(written)?;
    let found = match what {
        What::Pod => named(mesh, Kind::Pod, namespace, name),
        What::WorkloadEntry => named(mesh, Kind::WorkloadEntry, namespace, name),
        What::ServiceAccount => first(mesh, namespace, |workload| workload.service_account == name),
        What::Service => first(mesh, namespace, |workload| serves(mesh, workload, namespace, name)),
        What::Controller(version, plural) => {
            let cluster = cluster.with_context(|| {
                format!("{written}: only a cluster knows what pods those are; for files name pod/, svc/, sa/ or we/ and a name")
            })?;
            let selector = selector(cluster, &format!("/apis/{version}/namespaces/{namespace}/{plural}/{name}"), written)?;
            first(mesh, namespace, |workload| workload.object.kind == Kind::Pod && selector.matches(&workload.labels))
        }
    };
    found.map(of_workload).ok_or_else(|| anyhow!("there is no workload for {written} in namespace {namespace}"))
}

fn parse(written: &str) -> anyhow::Result<(What, &str)> {
    // A name alone is a pod's, as for `kubectl exec`.
    let Some((kind, name)) = written.split_once('/') else { return Ok((What::Pod, written)) };
    let lower = kind.to_lowercase();
    let word = lower.split('.').next().unwrap_or_default();
    let found = WORDS.iter().find(|(words, _)| words.contains(&word)).map(|(_, what)| *what);
    let found = found.with_context(|| {
        let all: Vec<&str> = WORDS.iter().filter_map(|(words, _)| words.first().copied()).collect();
        format!("--from {written}: {kind:?} stands for no workloads; there are {}", all.join(", "))
    })?;
    if !weir_api::dns::is_subdomain(name) {
        bail!("--from {written}: {name:?} is no name that an object can have");
    }
    Ok((found, name))
}

fn named<'m>(mesh: &'m MeshSnapshot, kind: Kind, namespace: &str, name: &str) -> Option<&'m Workload> {
    mesh.workloads.get(&ObjectKey { kind, namespace: namespace.to_owned(), name: name.to_owned() }).map(|workload| &**workload)
}

/// One that is ready goes before others.
fn first<'m>(mesh: &'m MeshSnapshot, namespace: &str, is_meant: impl Fn(&Workload) -> bool) -> Option<&'m Workload> {
    let all = mesh.workloads.iter().map(|workload| &**workload);
    all.filter(|workload| workload.namespace == namespace && is_meant(workload)).min_by_key(|workload| (!workload.ready, &workload.name))
}

fn serves(mesh: &MeshSnapshot, workload: &Workload, namespace: &str, service: &str) -> bool {
    let host = format!("{service}.{namespace}.svc.{}", mesh.domain);
    let Some(service) = mesh.services.of_host(&host).and_then(|named| named.get(namespace)) else { return false };
    let is_of = |instance: &weir_model::Endpoint| instance.workload == workload.name && instance.namespace == workload.namespace;
    mesh.services.endpoints(service).iter().any(is_of)
}

/// The labels of the pods that a controller makes.
fn selector(cluster: &Cluster, path: &str, written: &str) -> anyhow::Result<LabelSelector> {
    let found = cluster.at(path)?.with_context(|| format!("there is no {written}: {path}"))?;
    let selector = found.pointer("/spec/selector").with_context(|| format!("{written} has no selector"))?;
    Ok(LabelSelector::deserialize(selector)?)
}

fn of_workload(workload: &Workload) -> Proxy {
    let meta = &workload.object.meta;
    let templates = meta.annotations.get(TEMPLATES).or_else(|| meta.labels.get(TEMPLATES));
    let is_gateway = templates.is_some_and(|list| list.split(',').any(|template| template.trim() == "gateway"));
    let kind = if is_gateway { ProxyKind::Router } else { ProxyKind::of_workload(&workload.labels) };
    Proxy {
        id: Proxy::make_id(kind, &workload.address, &workload.name, &workload.namespace, weir_model::DEFAULT_DOMAIN),
        kind,
        name: workload.name.clone(),
        namespace: workload.namespace.clone(),
        labels: (*workload.labels).clone(),
        interception: Interception::Redirect,
        addresses: vec![workload.address.clone()],
        locality: workload.locality.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_named_as_kubectl_names_it() {
        for (written, expected) in [
            ("web-1", Ok((What::Pod, "web-1"))),
            ("pod/web-1", Ok((What::Pod, "web-1"))),
            ("deploy/web", Ok((What::Controller(APPS, "deployments"), "web"))),
            ("Deployment.apps/web", Ok((What::Controller(APPS, "deployments"), "web"))),
            ("sa/default", Ok((What::ServiceAccount, "default"))),
            ("vs/web", Err("stands for no workloads")),
            ("pod/", Err("is no name")),
            ("deploy/../../secrets", Err("is no name")),
        ] {
            match (parse(written), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{written}"),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{written}: {error}"),
                (found, _) => panic!("{written}: {found:?}"),
            }
        }
    }
}
