//! The kinds of objects: their names, groups and versions, and the words that people use for them.

use std::fmt;

use crate::likely::likely;

/// The kinds of objects that a mesh is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // Each is the API's kind of that name.
pub enum Kind {
    VirtualService,
    DestinationRule,
    Gateway,
    ServiceEntry,
    WorkloadEntry,
    WorkloadGroup,
    Sidecar,
    EnvoyFilter,
    RequestAuthentication,
    AuthorizationPolicy,
    PeerAuthentication,
    Ingress,
    Service,
    EndpointSlice,
    Endpoints,
    Pod,
    Node,
    Namespace,
    Secret,
    ConfigMap,
}

/// A kind's names and where it belongs.
pub(crate) struct KindInfo {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    pub(crate) versions: &'static [&'static str],
    /// Plural first, then the short names that kubectl knows, all in lower case.
    pub(crate) words: &'static [&'static str],
    pub(crate) namespaced: bool,
}

pub(crate) const NETWORKING: &str = "networking.istio.io";
const ISTIO_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];
/// The group of the kinds that say who may do what. To pass over one of them lets in whom it keeps out.
pub(crate) const SECURITY: &str = "security.istio.io";
const SECURITY_VERSIONS: &[&str] = &["v1", "v1beta1"];

pub(crate) const KINDS: &[KindInfo] = &[
    istio(Kind::VirtualService, "VirtualService", &["virtualservices", "vs"]),
    istio(Kind::DestinationRule, "DestinationRule", &["destinationrules", "dr"]),
    istio(Kind::Gateway, "Gateway", &["gateways", "gw"]),
    istio(Kind::ServiceEntry, "ServiceEntry", &["serviceentries", "se"]),
    istio(Kind::WorkloadEntry, "WorkloadEntry", &["workloadentries", "we"]),
    istio(Kind::WorkloadGroup, "WorkloadGroup", &["workloadgroups", "wg"]),
    istio(Kind::Sidecar, "Sidecar", &["sidecars"]),
    istio(Kind::EnvoyFilter, "EnvoyFilter", &["envoyfilters"]),
    security(Kind::RequestAuthentication, "RequestAuthentication", &["requestauthentications", "ra"]),
    security(Kind::AuthorizationPolicy, "AuthorizationPolicy", &["authorizationpolicies", "ap"]),
    security(Kind::PeerAuthentication, "PeerAuthentication", &["peerauthentications", "pa"]),
    KindInfo {
        kind: Kind::Ingress,
        name: "Ingress",
        group: "networking.k8s.io",
        versions: &["v1"],
        words: &["ingresses", "ing"],
        namespaced: true,
    },
    core(Kind::Service, "Service", &["services", "svc"], true),
    KindInfo {
        kind: Kind::EndpointSlice,
        name: "EndpointSlice",
        group: "discovery.k8s.io",
        versions: &["v1", "v1beta1"],
        words: &["endpointslices"],
        namespaced: true,
    },
    core(Kind::Endpoints, "Endpoints", &["endpoints", "ep"], true),
    core(Kind::Pod, "Pod", &["pods", "po"], true),
    core(Kind::Node, "Node", &["nodes", "no"], false),
    core(Kind::Namespace, "Namespace", &["namespaces", "ns"], false),
    core(Kind::Secret, "Secret", &["secrets"], true),
    core(Kind::ConfigMap, "ConfigMap", &["configmaps", "cm"], true),
];

/// Kinds of other groups that live in no namespace, by group and name: those that a folder of a mesh is likely to hold.
const OF_NO_NAMESPACE: &[(&str, &str)] = &[
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "APIService"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("networking.k8s.io", "IngressClass"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "StorageClass"),
    ("", "PersistentVolume"),
];

/// Whether objects of a kind live in a namespace. One that nobody knows is taken to.
pub(crate) fn is_namespaced(group: &str, kind: &str) -> bool {
    let known = KINDS.iter().find(|info| info.name == kind && info.group == group);
    known.map_or_else(|| !OF_NO_NAMESPACE.contains(&(group, kind)), |info| info.namespaced)
}

const fn istio(kind: Kind, name: &'static str, words: &'static [&'static str]) -> KindInfo {
    KindInfo { kind, name, group: NETWORKING, versions: ISTIO_VERSIONS, words, namespaced: true }
}

const fn security(kind: Kind, name: &'static str, words: &'static [&'static str]) -> KindInfo {
    KindInfo { kind, name, group: SECURITY, versions: SECURITY_VERSIONS, words, namespaced: true }
}

const fn core(kind: Kind, name: &'static str, words: &'static [&'static str], namespaced: bool) -> KindInfo {
    KindInfo { kind, name, group: "", versions: &["v1"], words, namespaced }
}

impl Kind {
    fn info(self) -> &'static KindInfo {
        // Every kind stands in the table: a test goes through all of them.
        KINDS.iter().find(|info| info.kind == self).unwrap_or(&KINDS[0])
    }

    /// Its name as in `kind:`.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// Its plural, as in a path of the API: `virtualservices`.
    pub fn plural(self) -> &'static str {
        self.info().words[0]
    }

    /// Its group; empty for Kubernetes' oldest kinds.
    pub fn group(self) -> &'static str {
        self.info().group
    }

    /// Whether its objects live in namespaces.
    pub fn is_namespaced(self) -> bool {
        self.info().namespaced
    }

    /// The versions in which it may be written, the newest first.
    pub fn versions(self) -> &'static [&'static str] {
        self.info().versions
    }

    /// All kinds.
    pub fn all() -> impl Iterator<Item = Kind> {
        KINDS.iter().map(|info| info.kind)
    }

    /// Whether a document of that kind can be no other: it is one of ours.
    pub fn is_name(name: &str) -> bool {
        KINDS.iter().any(|info| info.name == name)
    }

    /// The kind that a person means by `word`: its name, plural or short name, in any case.
    ///
    /// # Errors
    /// The likely word, where there is one.
    pub fn from_word(word: &str) -> Result<Kind, Option<&'static str>> {
        let lower = word.to_lowercase();
        // kubectl takes them with their group, too.
        let lower =
            lower.split_once('.').filter(|(_, group)| KINDS.iter().any(|info| info.group == *group)).map_or(&*lower, |(name, _)| name);
        let named = KINDS.iter().find(|info| info.name.to_lowercase() == lower || info.words.contains(&lower));
        let words: Vec<&str> = KINDS.iter().flat_map(|info| info.words).copied().collect();
        named.map(|info| info.kind).ok_or_else(|| likely(lower, &words))
    }
}

/// Whether a kind says who may do what.
pub fn is_policy(kind: &str) -> bool {
    KINDS.iter().any(|info| info.group == SECURITY && info.name == kind)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The fields of a document of any kind.
pub(crate) const DOCUMENT: &[&str] = &["apiVersion", "kind", "metadata", "spec", "status"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_in_the_table() {
        for (index, info) in KINDS.iter().enumerate() {
            assert_eq!(info.kind as usize, index, "{}", info.name);
            assert_eq!(Kind::from_word(info.name), Ok(info.kind));
        }
        assert_eq!(KINDS.len(), Kind::ConfigMap as usize + 1);
        assert_eq!((Kind::from_word("VS"), Kind::from_word("virtualservice")), (Ok(Kind::VirtualService), Ok(Kind::VirtualService)));
        assert_eq!(Kind::from_word("gateways.networking.istio.io"), Ok(Kind::Gateway));
        assert!(Kind::from_word("gateways.gateway.networking.k8s.io").is_err());
        assert_eq!(Kind::from_word("virtualservce"), Err(Some("virtualservices")));
    }
}
