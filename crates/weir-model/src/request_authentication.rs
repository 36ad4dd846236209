//! RequestAuthentication resources: for which proxies they are, and the keys that are fetched for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_api::resources::RequestAuthentication as Written;
use weir_api::resources::request_authentication::JwtRule;
use weir_api::{Object, Spec};

use crate::envoy_filter::{GATEWAY_CLASS, GATEWAY_NAME};
use crate::proxy::Proxy;

/// A RequestAuthentication resource.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestAuthentication {
    /// The object that defines it.
    pub object: Arc<Object>,
}

/// Where the keys of an issuer are fetched from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyAddress {
    /// They are there.
    Keys(String),
    /// An issuer, whose OpenID configuration says where they are.
    Issuer(String),
}

/// Sets of keys as they were fetched last, each as it came.
pub type FetchedKeys = BTreeMap<KeyAddress, Arc<str>>;

impl RequestAuthentication {
    /// The one that an object defines.
    pub(crate) fn read(object: &Arc<Object>) -> Option<Self> {
        matches!(object.spec, Spec::RequestAuthentication(_)).then(|| Self { object: object.clone() })
    }

    /// What it says.
    pub fn spec(&self) -> Option<&Written> {
        match &self.object.spec {
            Spec::RequestAuthentication(written) => Some(written),
            _ => None,
        }
    }

    /// Whether it is for a proxy: one of its own namespace, or any if that is the root namespace, that it selects. What it is
    /// attached to are gateways that are made for a Gateway of the Gateway API.
    pub fn selects(&self, proxy: &Proxy, root: &str) -> bool {
        let namespace = self.object.meta.namespace.as_str();
        let Some(written) = self.spec().filter(|_| namespace == proxy.namespace || namespace == root) else { return false };
        let mut targets = written.target_ref.iter().chain(&written.target_refs).peekable();
        if targets.peek().is_some() {
            return targets.any(|target| {
                let (label, is_here) = match target.kind.as_str() {
                    "Gateway" => (GATEWAY_NAME, namespace == proxy.namespace),
                    "GatewayClass" => (GATEWAY_CLASS, namespace == root),
                    // Only waypoints stand for services.
                    _ => return false,
                };
                is_here && proxy.labels.get(label) == Some(&target.name)
            });
        }
        written.selector.as_ref().is_none_or(|selector| proxy.is_selected(&selector.match_labels))
    }

    /// The labels of proxies that it looks at.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        let written = self.spec();
        let selector = written.and_then(|written| written.selector.as_ref());
        let has_targets = written.is_some_and(|written| written.target_ref.is_some() || !written.target_refs.is_empty());
        let of_targets = [GATEWAY_NAME, GATEWAY_CLASS].into_iter().filter(move |_| has_targets);
        selector.into_iter().flat_map(|selector| selector.match_labels.keys().map(String::as_str)).chain(of_targets)
    }

    /// Where keys are fetched from for it.
    pub fn key_addresses(&self) -> impl Iterator<Item = KeyAddress> {
        self.spec().into_iter().flat_map(|written| &written.jwt_rules).filter_map(KeyAddress::of)
    }
}

impl KeyAddress {
    /// Where the keys of a rule are; none if they stand in it.
    pub fn of(rule: &JwtRule) -> Option<Self> {
        match (rule.jwks.as_str(), rule.jwks_uri.as_str()) {
            ("", "") => Some(Self::Issuer(rule.issuer.clone())),
            ("", address) => Some(Self::Keys(address.to_owned())),
            _ => None,
        }
    }

    /// The address that is asked first.
    pub fn address(&self) -> String {
        match self {
            Self::Keys(address) => address.clone(),
            Self::Issuer(issuer) => format!("{issuer}/.well-known/openid-configuration"),
        }
    }
}

/// The names of those for which other keys are known than before.
pub(crate) fn with_other_keys(all: &[RequestAuthentication], before: &FetchedKeys, now: &FetchedKeys) -> BTreeSet<crate::changes::Name> {
    let differs = |address: &KeyAddress| before.get(address) != now.get(address);
    let touched = all.iter().filter(|policy| policy.key_addresses().any(|address| differs(&address)));
    touched.map(|policy| (policy.object.meta.namespace.clone(), policy.object.meta.name.clone())).collect()
}

#[cfg(test)]
mod tests {
    use weir_api::{ObjectChange, Severity, Source, parse};

    use super::*;
    use crate::proxy::{Interception, ProxyKind};
    use crate::snapshot::{DEFAULT_DOMAIN, MeshSnapshot};

    fn policy(namespace: &str, name: &str, spec: &str) -> Arc<Object> {
        let text = format!(
            "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
        );
        let parsed = parse(&Source::new("p.yaml", text));
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
    fn they_are_for_those_whom_they_select_where_they_stand() {
        let web = proxy("a", &[("app", "web"), (GATEWAY_NAME, "g"), (GATEWAY_CLASS, "c")]);
        let target = |kind: &str, name: &str| format!("targetRefs: [{{group: gateway.networking.k8s.io, kind: {kind}, name: {name}}}]");
        let table = [
            ("a", String::new(), true),
            ("b", String::new(), false),
            ("istio-system", String::new(), true),
            ("a", "selector: {matchLabels: {app: web}}".to_owned(), true),
            ("a", "selector: {matchLabels: {app: web, v: '1'}}".to_owned(), false),
            ("istio-system", "selector: {matchLabels: {app: other}}".to_owned(), false),
            ("a", target("Gateway", "g"), true),
            ("a", target("Gateway", "h"), false),
            ("istio-system", target("Gateway", "g"), false),
            ("istio-system", target("GatewayClass", "c"), true),
            ("a", "targetRef: {kind: Service, name: g}".to_owned(), false),
        ];
        for (namespace, spec, expected) in table {
            let policy = RequestAuthentication { object: policy(namespace, "p", &spec) };
            assert_eq!(policy.selects(&web, "istio-system"), expected, "{namespace}: {spec}");
        }
    }

    #[test]
    fn keys_that_were_fetched_change_the_policies_that_use_them() {
        let rule = |keys: &str| format!("jwtRules: [{{issuer: 'https://a.test'{keys}}}]");
        let all = [
            policy("a", "inline", &rule(", jwks: '{\"keys\": [{\"kty\": \"oct\", \"k\": \"AQAB\"}]}'")),
            policy("a", "fetched", &rule(", jwksUri: 'https://a.test/keys'")),
            policy("a", "found", &rule("")),
        ];
        let mesh = MeshSnapshot::new(&all, Arc::default(), DEFAULT_DOMAIN);
        let addresses: BTreeSet<String> = mesh.key_addresses().iter().map(KeyAddress::address).collect();
        assert_eq!(addresses, ["https://a.test/.well-known/openid-configuration", "https://a.test/keys"].map(str::to_owned).into());
        let keys: FetchedKeys = [(KeyAddress::Keys("https://a.test/keys".into()), "{}".into())].into();
        let next = mesh.update(&[], None, &[]).with_keys(&Arc::new(keys.clone()));
        let name = ("a".to_owned(), "fetched".to_owned());
        assert_eq!(next.changes.request_authentications, [name].into());
        assert!(!next.changes_since(mesh.version).only_endpoints() && next.fetched_keys.len() == 1);
        let same = next.update(&[], None, &[]).with_keys(&Arc::new(keys));
        assert!(same.changes.is_empty() && same.fetched_keys.len() == 1);
        let gone = same.update(&[ObjectChange { old: Some(all[1].clone()), new: None }], None, &[]);
        assert_eq!(gone.request_authentications.len(), 2);
    }
}
