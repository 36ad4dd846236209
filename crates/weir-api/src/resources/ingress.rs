//! Kubernetes' Ingress: hosts and paths at the edge, in fewer words than Gateways and VirtualServices.

use serde::Deserialize;

use super::meta::ObjectMeta;

/// The class that is ours.
const CLASS: &str = "istio";
/// The older way to name a class.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// An Ingress.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ingress {
    /// What it is.
    pub spec: IngressSpec,
}

impl Ingress {
    /// Whether its class is ours.
    pub fn is_ours(&self, meta: &ObjectMeta) -> bool {
        let class = meta.annotations.get(CLASS_ANNOTATION).or(self.spec.ingress_class_name.as_ref());
        class.is_some_and(|class| class == CLASS)
    }
}

/// What an Ingress is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressSpec {
    /// Who carries it out.
    pub ingress_class_name: Option<String>,
    /// Where what no rule is for goes.
    pub default_backend: Option<IngressBackend>,
    /// The certificates of hosts.
    pub tls: Vec<IngressTls>,
    /// By host.
    pub rules: Vec<IngressRule>,
}

/// The certificate of hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressTls {
    /// None means all.
    pub hosts: Vec<String>,
    /// The Secret that holds it.
    pub secret_name: String,
}

/// The paths of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressRule {
    /// Empty means any.
    pub host: String,
    /// Its paths.
    pub http: Option<IngressPaths>,
}

/// Paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressPaths {
    /// In no order that counts.
    pub paths: Vec<IngressPath>,
}

/// A path, and where its requests go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressPath {
    /// Empty means any.
    pub path: String,
    /// How it is compared.
    pub path_type: PathType,
    /// Where they go.
    pub backend: IngressBackend,
}

/// How a path is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum PathType {
    /// As a whole.
    Exact,
    /// Segment by segment.
    Prefix,
    /// As a whole, or as a prefix if it ends in `*`.
    #[default]
    ImplementationSpecific,
}

/// Where requests go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressBackend {
    /// A Service of the Ingress's namespace.
    pub service: Option<IngressService>,
}

/// A Service and its port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressService {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: IngressPort,
}

/// A port by its number or its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressPort {
    /// 0 where it is named.
    pub number: u32,
    /// Empty where it has a number.
    pub name: String,
}
