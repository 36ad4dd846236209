//! AuthorizationPolicy resources: for which proxies they are.

use std::sync::Arc;

use weir_api::resources::AuthorizationPolicy as Written;
use weir_api::{Object, Spec};

use crate::envoy_filter::{GATEWAY_CLASS, GATEWAY_NAME};
use crate::proxy::Proxy;

/// An AuthorizationPolicy resource.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizationPolicy {
    /// The object that defines it.
    pub object: Arc<Object>,
}

impl AuthorizationPolicy {
    /// The one that an object defines.
    pub(crate) fn read(object: &Arc<Object>) -> Option<Self> {
        matches!(object.spec, Spec::AuthorizationPolicy(_)).then(|| Self { object: object.clone() })
    }

    /// What it says.
    pub fn spec(&self) -> Option<&Written> {
        match &self.object.spec {
            Spec::AuthorizationPolicy(written) => Some(written),
            _ => None,
        }
    }

    /// Whether it is for a proxy: one of its own namespace, or any if that is the root namespace, that it selects. What is attached
    /// to a Gateway of Kubernetes' API is for that Gateway's proxies alone.
    pub fn selects(&self, proxy: &Proxy, root: &str) -> bool {
        let namespace = self.object.meta.namespace.as_str();
        // What stands in for a file that cannot be read is for all that could be in it.
        if namespace.is_empty() && self.object.stands_in() {
            return true;
        }
        let Some(written) = self.spec().filter(|_| namespace == proxy.namespace || namespace == root) else { return false };
        let mut targets = written.targets().peekable();
        if targets.peek().is_none() {
            return written.selector.as_ref().is_none_or(|selector| proxy.is_selected(&selector.match_labels));
        }
        targets.any(|target| {
            let (label, is_here) = match target.kind.as_str() {
                "Gateway" => (GATEWAY_NAME, namespace == proxy.namespace),
                "GatewayClass" => (GATEWAY_CLASS, namespace == root),
                // Only waypoints stand for services.
                _ => return false,
            };
            is_here && proxy.labels.get(label) == Some(&target.name)
        })
    }

    /// The labels of proxies that it looks at.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        let written = self.spec();
        let selector = written.and_then(|written| written.selector.as_ref());
        let has_targets = written.is_some_and(|written| written.targets().next().is_some());
        let of_targets = [GATEWAY_NAME, GATEWAY_CLASS].into_iter().filter(move |_| has_targets);
        selector.into_iter().flat_map(|selector| selector.match_labels.keys().map(String::as_str)).chain(of_targets)
    }
}

#[cfg(test)]
mod tests {
    use weir_api::{Source, parse};

    use super::*;
    use crate::proxy::{Interception, ProxyKind};

    #[test]
    fn a_policy_is_for_those_whom_it_selects_where_it_stands() {
        let labels = [("app", "web"), (GATEWAY_NAME, "g"), (GATEWAY_CLASS, "c")];
        let web = Proxy {
            id: "p".into(),
            kind: ProxyKind::Router,
            name: "p".into(),
            namespace: "a".into(),
            labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            addresses: vec![],
            locality: String::new(),
            interception: Interception::None,
        };
        let target = |kind: &str, name: &str| format!("targetRefs: [{{group: gateway.networking.k8s.io, kind: {kind}, name: {name}}}]");
        for (namespace, spec, expected) in [
            ("a", String::new(), true),
            ("b", String::new(), false),
            ("istio-system", String::new(), true),
            ("a", "selector: {matchLabels: {app: web}}".to_owned(), true),
            ("istio-system", "selector: {matchLabels: {app: other}}".to_owned(), false),
            ("a", target("Gateway", "g"), true),
            ("a", target("Gateway", "h"), false),
            ("istio-system", target("Gateway", "g"), false),
            ("istio-system", target("GatewayClass", "c"), true),
            ("a", target("GatewayClass", "c"), false),
            ("a", "targetRefs: [{kind: Service, name: g}]".to_owned(), false),
        ] {
            let text = format!(
                "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p, namespace: {namespace}}}\nspec: {{{spec}}}\n"
            );
            let parsed = parse(&Source::new("p.yaml", text));
            let policy = AuthorizationPolicy::read(&parsed.objects[0]).expect("a policy");
            assert_eq!(policy.selects(&web, "istio-system"), expected, "{namespace} {spec}");
        }
        let unknown = weir_api::object::of_unknown("p.yaml").expect("a policy");
        assert!(AuthorizationPolicy::read(&unknown).expect("a policy").selects(&web, "istio-system"));
    }
}
