//! Which WorkloadEntries belong to which WorkloadGroup, and so are probed.

use std::sync::Arc;

use weir_api::resources::MeshConfig;
use weir_api::{Kind, Source, parse};
use weir_model::{DEFAULT_DOMAIN, MeshSnapshot, WorkloadHealth};

const GROUPS: &str = "apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: shop}
spec: {metadata: {labels: {app: shop, version: v1}}, template: {}, probe: {tcpSocket: {port: 80}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: bare}
spec: {template: {}, probe: {tcpSocket: {port: 80}}}
---
";

fn mesh(metadata: &str, labels: &str, health: Option<&WorkloadHealth>) -> MeshSnapshot {
    let entry = format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: one{metadata}}}\nspec: {{address: 10.0.0.1, labels: {labels}}}\n"
    );
    let parsed = parse(&Source::new("x.yaml", format!("{GROUPS}{entry}")));
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    MeshSnapshot::with_health(&parsed.objects, health, Arc::new(MeshConfig::default()), DEFAULT_DOMAIN)
}

#[test]
fn an_entry_belongs_to_the_group_that_it_names_or_whose_labels_it_has() {
    let group = |metadata: &str, labels: &str| {
        let mesh = mesh(metadata, labels, None);
        let entry = mesh.workloads.iter().find(|workload| workload.object.kind == Kind::WorkloadEntry).unwrap();
        mesh.groups.of_entry(&entry.object).map(|group| group.meta.name.clone())
    };
    for (metadata, labels, expected) in [
        ("", "{app: shop, version: v1, tier: front}", Some("shop")),
        (", labels: {version: v1}", "{app: shop}", Some("shop")),
        ("", "{app: shop}", None),
        ("", "{}", None),
        (", annotations: {istio.io/autoRegistrationGroup: bare}", "{app: shop, version: v1}", Some("bare")),
        (", annotations: {istio.io/autoRegistrationGroup: gone}", "{app: shop, version: v1}", None),
        (", namespace: other", "{app: shop, version: v1}", None),
    ] {
        assert_eq!(group(metadata, labels).as_deref(), expected, "{metadata} {labels}");
    }
}

#[test]
fn a_workload_that_is_probed_takes_requests_when_it_is_known_to_be_healthy() {
    const OURS: &str = "{app: shop, version: v1}";
    let known = |healthy: bool| WorkloadHealth::from([(("default".to_owned(), "one".to_owned()), healthy)]);
    let ready = |metadata: &str, labels: &str, health: Option<&WorkloadHealth>| {
        mesh(metadata, labels, health).workloads.iter().next().unwrap().ready
    };
    assert!(ready("", OURS, None), "nobody probes");
    assert!(!ready("", OURS, Some(&WorkloadHealth::new())));
    assert!(ready("", OURS, Some(&known(true))));
    assert!(!ready("", OURS, Some(&known(false))));
    assert!(ready("", "{app: shop}", Some(&known(false))), "it belongs to no group");
    let alone = ", annotations: {sidecar.istio.io/inject: 'false'}";
    assert!(ready(alone, OURS, Some(&WorkloadHealth::new())), "it has no sidecar that could probe");
}
