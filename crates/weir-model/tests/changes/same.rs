//! What two snapshots have in common.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_api::Spec;
use weir_api::resources::ServiceEntry;
use weir_model::{Changes, Endpoint, Interception, MeshSnapshot, Proxy, ProxyKind, Service};

/// Proxies that look at meshes from different places.
fn proxies() -> Vec<Proxy> {
    let proxy = |kind, namespace: &str, name: &str, app: &str, addresses: &[&str]| Proxy {
        id: format!("{namespace}/{name}"),
        kind,
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        labels: [("app".to_owned(), app.to_owned()), ("istio".to_owned(), "ingressgateway".to_owned())].into(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        locality: "us/z".to_owned(),
        interception: Interception::Redirect,
    };
    vec![
        proxy(ProxyKind::Sidecar, "x", "w1", "a", &["10.0.0.1"]),
        proxy(ProxyKind::Sidecar, "y", "w9", "b", &["10.0.0.2", "10.0.0.3", "10.0.0.2"]),
        proxy(ProxyKind::Sidecar, "z", "w1", "a", &[]),
        proxy(ProxyKind::Router, "istio-system", "gateway", "gateway", &["10.0.0.5"]),
    ]
}

/// Everything that one can ask of them.
pub fn as_rebuilt(updated: &MeshSnapshot, rebuilt: &MeshSnapshot) {
    assert_eq!(updated.workloads, rebuilt.workloads);
    assert_eq!(updated.services, rebuilt.services);
    assert_eq!(updated.virtual_services, rebuilt.virtual_services);
    assert_eq!(updated.destination_rules, rebuilt.destination_rules);
    assert_eq!(updated.groups, rebuilt.groups);
    assert_eq!(updated.envoy_filters, rebuilt.envoy_filters);
    assert_eq!(updated.request_authentications, rebuilt.request_authentications);
    assert_eq!(updated.key_addresses(), rebuilt.key_addresses());
    assert_eq!(updated.authorization_policies, rebuilt.authorization_policies);
    assert!(updated.gateways == rebuilt.gateways && updated.sidecars == rebuilt.sidecars && updated.secrets == rebuilt.secrets);
    for proxy in proxies() {
        assert_eq!(updated.scope(&proxy), rebuilt.scope(&proxy), "{}", proxy.id);
        assert_eq!(of_workload(updated, &proxy), of_workload(rebuilt, &proxy), "{}", proxy.id);
        assert_eq!(updated.workload_of(&proxy), rebuilt.workload_of(&proxy), "{}", proxy.id);
    }
}

/// What a proxy's own listeners are made of; the health of instances does not count.
fn of_workload(mesh: &MeshSnapshot, proxy: &Proxy) -> String {
    let instances = mesh.instances_of(proxy).into_iter().map(|(service, at)| {
        let Endpoint { address, port, service_port, .. } = at;
        (service.key(), service.ports.clone(), address, port, service_port)
    });
    let instances: Vec<_> = instances.collect();
    format!("{instances:?} {:?} {:?} {:?}", mesh.locality_of(proxy), mesh.labels_of(proxy), mesh.workload_of(proxy).map(|own| &own.labels))
}

/// What differs is listed, and nothing else is; what does not differ is the same by pointer.
pub fn as_listed(before: &MeshSnapshot, after: &MeshSnapshot) {
    let changes = &after.changes;
    assert_eq!((changes.previous, after.version), (before.version, before.version + 1));
    services(before, after, changes);
    rules(before, after, changes);
    assert_eq!(before.envoy_filters == after.envoy_filters, changes.envoy_filters.is_empty());
    let is_same = before.request_authentications == after.request_authentications;
    assert_eq!(is_same, changes.request_authentications.is_empty());
    assert_eq!(before.authorization_policies == after.authorization_policies, changes.authorization_policies.is_empty());
    let by_name = |mesh: &MeshSnapshot| mesh.gateways.iter().map(|object| (object.key(), Arc::as_ptr(object))).collect::<BTreeSet<_>>();
    assert_eq!(by_name(before) == by_name(after), changes.gateways.is_empty());
    let by_name = |mesh: &MeshSnapshot| {
        mesh.sidecars.iter().map(|sidecar| (sidecar.object.key(), Arc::as_ptr(&sidecar.spec))).collect::<BTreeSet<_>>()
    };
    assert_eq!(by_name(before) == by_name(after), changes.sidecars.is_empty());
    for proxy in proxies() {
        let (old, new) = (before.scope(&proxy), after.scope(&proxy));
        assert_eq!(old == new, Arc::ptr_eq(&old, &new), "scope of {}", proxy.id);
        if of_workload(before, &proxy) != of_workload(after, &proxy) {
            assert!(changes.concerns(&proxy) || !changes.services.is_empty(), "{}", proxy.id);
        }
        if !changes.concerns(&proxy) {
            assert_eq!(of_workload(before, &proxy), of_workload(after, &proxy), "{}", proxy.id);
        }
    }
}

fn services(before: &MeshSnapshot, after: &MeshSnapshot, changes: &Changes) {
    let keys: BTreeSet<_> = before.services.all().chain(after.services.all()).map(|service| service.key()).collect();
    for key in &keys {
        let defined = |mesh: &MeshSnapshot| mesh.services.all().filter(|service| service.key() == *key).cloned().collect::<Vec<_>>();
        let (old, new) = (defined(before), defined(after));
        let is_same = old.len() == new.len() && old.iter().zip(&new).all(|(old, new)| Arc::ptr_eq(old, new));
        match changes.services.contains(key) {
            true => assert!(!is_same, "service {key:?}"),
            false => assert!(is_same || have_other_instances_alone(&old, &new), "service {key:?}"),
        }
        let (old, new) = (endpoints(before, key), endpoints(after, key));
        assert_eq!(old != new, changes.endpoints.contains(key), "endpoints of {key:?}");
        let same_pointer = old.as_ref().zip(new.as_ref()).is_none_or(|(old, new)| (old == new) == Arc::ptr_eq(old, new));
        assert!(same_pointer, "endpoints of {key:?}");
    }
    assert!(changes.services.is_subset(&keys) && changes.endpoints.is_subset(&keys));
}

/// Whether a service's one definition is as it was but for the instances that stand in its ServiceEntry.
fn have_other_instances_alone(old: &[Arc<Service>], new: &[Arc<Service>]) -> bool {
    let ([old], [new]) = (old, new) else { return false };
    let without = |service: &Service| match &service.object.spec {
        Spec::ServiceEntry(entry) => Some(ServiceEntry { endpoints: vec![], ..entry.clone() }),
        _ => None,
    };
    let is_entry = without(old).is_some_and(|entry| without(new).as_ref() == Some(&entry));
    is_entry && Service { object: new.object.clone(), ..Service::clone(old) } == **new
}

fn endpoints(mesh: &MeshSnapshot, (host, namespace): &(Arc<str>, Arc<str>)) -> Option<Arc<[Endpoint]>> {
    let service = mesh.services.of_host(host)?.get(namespace)?;
    Some(mesh.services.endpoints(service)).filter(|endpoints| !endpoints.is_empty())
}

fn rules(before: &MeshSnapshot, after: &MeshSnapshot, changes: &Changes) {
    let named = |mesh: &MeshSnapshot| -> BTreeSet<_> {
        mesh.virtual_services.all().map(|rule| ((rule.namespace.clone(), rule.name.clone()), Arc::as_ptr(rule))).collect()
    };
    let (old, new) = (named(before), named(after));
    let differing: BTreeSet<_> = old.symmetric_difference(&new).map(|(name, _)| name.clone()).collect();
    assert_eq!(differing, changes.virtual_services.keys().cloned().collect());
    for proxy in proxies() {
        for service in after.services.all() {
            let rule = |mesh: &MeshSnapshot| mesh.destination_rules.find(&proxy, &service.hostname, &service.namespace).cloned();
            let (Some(old), Some(new)) = (rule(before), rule(after)) else { continue };
            assert_eq!(old == new, Arc::ptr_eq(&old, &new), "rule for {}", service.hostname);
            let key = (new.namespace.clone(), new.host.clone());
            assert!(old == new || old.host != new.host || old.namespace != new.namespace || changes.destination_rules.contains(&key));
        }
    }
}
