//! EnvoyFilter resources: for which proxies they are, and in which order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_api::resources::EnvoyFilter as Written;
use weir_api::{Object, ObjectChange, Spec};

use crate::by_age;
use crate::changes::Name;
use crate::proxy::Proxy;

/// The label by which a proxy of the Gateway API says which Gateway it is of.
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// The same for its class.
pub const GATEWAY_CLASS: &str = "gateway.networking.k8s.io/gateway-class-name";

/// An EnvoyFilter resource.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvoyFilter {
    /// The object that defines it.
    pub object: Arc<Object>,
}

impl EnvoyFilter {
    /// The one that an object defines.
    fn read(object: &Arc<Object>) -> Option<Self> {
        matches!(object.spec, Spec::EnvoyFilter(_)).then(|| Self { object: object.clone() })
    }

    /// What it says.
    pub fn spec(&self) -> Option<&Written> {
        match &self.object.spec {
            Spec::EnvoyFilter(written) => Some(written),
            _ => None,
        }
    }

    /// Whether it is for a proxy: one of its own namespace, or any if that is the root namespace, that it selects.
    pub fn selects(&self, proxy: &Proxy, root: &str) -> bool {
        let namespace = self.object.meta.namespace.as_str();
        let Some(written) = self.spec().filter(|_| namespace == proxy.namespace || namespace == root) else { return false };
        if !written.target_refs.is_empty() {
            return written.target_refs.iter().any(|target| {
                let (label, is_here) = match target.kind.as_str() {
                    "Gateway" => (GATEWAY_NAME, namespace == proxy.namespace),
                    "GatewayClass" => (GATEWAY_CLASS, namespace == root),
                    // Only waypoints stand for services.
                    _ => return false,
                };
                is_here && proxy.labels.get(label) == Some(&target.name)
            });
        }
        written.workload_selector.as_ref().is_none_or(|selector| proxy.is_selected(&selector.labels))
    }

    /// The labels of proxies that it looks at.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        let written = self.spec();
        let selector = written.and_then(|written| written.workload_selector.as_ref());
        let has_targets = written.is_some_and(|written| !written.target_refs.is_empty());
        let of_targets = [GATEWAY_NAME, GATEWAY_CLASS].into_iter().filter(move |_| has_targets);
        selector.into_iter().flat_map(|selector| selector.labels.keys().map(String::as_str)).chain(of_targets)
    }
}

/// Takes in what became of objects, and returns the names of those that changed.
pub(crate) fn update(filters: &mut Arc<[EnvoyFilter]>, objects: &[ObjectChange], root: &str) -> BTreeSet<Name> {
    let changed = by_age::update(filters, objects, EnvoyFilter::read, |filter| &filter.object);
    if !changed.is_empty() {
        let rank = |filter: &EnvoyFilter| {
            let priority = filter.spec().map_or(0, |written| written.priority);
            (priority, Reverse(filter.object.meta.namespace == root))
        };
        let by_rank: BTreeMap<_, _> = filters.iter().enumerate().map(|(age, filter)| ((rank(filter), age), filter.clone())).collect();
        *filters = by_rank.into_values().collect();
    }
    changed
}

#[cfg(test)]
mod tests {
    use weir_api::{Severity, Source, parse};

    use super::*;
    use crate::proxy::{Interception, ProxyKind};
    use crate::snapshot::{DEFAULT_DOMAIN, MeshSnapshot};

    fn filter(namespace: &str, name: &str, spec: &str) -> Arc<Object> {
        let text = format!(
            "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}, \
             configPatches: [{{applyTo: CLUSTER, patch: {{operation: REMOVE}}}}]}}\n"
        );
        let parsed = parse(&Source::new("f.yaml", text));
        assert!(parsed.diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error), "{:?}", parsed.diagnostics);
        parsed.objects[0].clone()
    }

    fn proxy(namespace: &str, labels: &[(&str, &str)]) -> Proxy {
        Proxy {
            id: "p".into(),
            kind: ProxyKind::Router,
            name: "p".into(),
            namespace: namespace.into(),
            labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            addresses: vec![],
            locality: String::new(),
            interception: Interception::None,
        }
    }

    #[test]
    fn they_are_applied_by_priority_the_root_namespace_first() {
        let all = [
            filter("a", "own", "priority: 0"),
            filter("istio-system", "root", "priority: 0"),
            filter("a", "early", "priority: -5"),
            filter("istio-system", "late", "priority: 5"),
            filter("a", "another", "priority: 0"),
        ];
        let names = |mesh: &MeshSnapshot| mesh.envoy_filters.iter().map(|filter| filter.object.meta.name.clone()).collect::<Vec<_>>();
        let mesh = MeshSnapshot::new(&all, Arc::default(), DEFAULT_DOMAIN);
        assert_eq!(names(&mesh), ["early", "root", "another", "own", "late"]);
        let next = mesh.update(&[ObjectChange { old: Some(all[1].clone()), new: None }], None, &[]);
        assert_eq!(names(&next), ["early", "another", "own", "late"]);
        assert!(next.changes.envoy_filters.contains(&("istio-system".to_owned(), "root".to_owned())));
        assert!(!next.changes.only_endpoints() && !next.changes.is_empty());
    }

    #[test]
    fn they_are_for_those_whom_they_select_where_they_stand() {
        let web = proxy("a", &[("app", "web"), (GATEWAY_NAME, "g"), (GATEWAY_CLASS, "c")]);
        let target = |kind: &str, name: &str| format!("targetRefs: [{{group: gateway.networking.k8s.io, kind: {kind}, name: {name}}}]");
        let table = [
            ("a", "priority: 1".to_owned(), true),
            ("b", "priority: 1".to_owned(), false),
            ("istio-system", "priority: 1".to_owned(), true),
            ("a", "workloadSelector: {labels: {app: web}}".to_owned(), true),
            ("istio-system", "workloadSelector: {labels: {app: other}}".to_owned(), false),
            ("a", target("Gateway", "g"), true),
            ("a", target("Gateway", "h"), false),
            ("istio-system", target("Gateway", "g"), false),
            ("istio-system", target("GatewayClass", "c"), true),
        ];
        for (namespace, spec, expected) in table {
            let filter = EnvoyFilter { object: filter(namespace, "f", &spec) };
            assert_eq!(filter.selects(&web, "istio-system"), expected, "{namespace}: {spec}");
        }
    }
}
