//! Who is injected. Two gates, and both must say yes: which webhook of ours the API server sends a pod to, by the labels of the pod and of
//! its namespace, and then the policy of who answers it.
//!
//! Facts: charts/istio-control/istio-discovery/templates/mutatingwebhook.yaml, `injectRequired` in pkg/kube/inject/inject.go of Istio.

use std::collections::BTreeMap;
use std::fmt;

use weir_api::resources::mesh_config::LabelSelector;

use crate::names::{INJECT, NAMESPACE_INJECTION, REVISION};
use crate::pod::Pod;

/// Namespaces of Kubernetes itself, in which nothing is injected.
pub const SYSTEM_NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];
/// The name of the revision, and of the tag, that `istio-injection` means.
pub const DEFAULT: &str = "default";

/// A control plane's webhooks: which pods are its.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// Its revision; one without a name is `default`.
    pub revision: String,
    /// The tags that point to it.
    pub tags: Vec<String>,
    /// Whether pods of namespaces without any label are injected.
    pub every_namespace: bool,
    /// The namespace of the control plane, which that leaves out.
    pub own_namespace: String,
}

/// What decides where no label and no annotation does.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Pods without a word of their own are not injected.
    pub disabled: bool,
    /// Pods that are not injected: one of these is enough.
    pub never: Vec<LabelSelector>,
    /// Pods that are, unless one of the former selects them.
    pub always: Vec<LabelSelector>,
}

/// Whether a pod is injected, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is.
    Inject(Reason),
    /// It is not.
    Skip(Reason),
}

impl Decision {
    /// Whether it is injected.
    pub fn injects(&self) -> bool {
        matches!(self, Self::Inject(_))
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        let (Self::Inject(reason) | Self::Skip(reason)) = self;
        reason
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.injects() { "injected" } else { "not injected" };
        write!(f, "{verb}: {}", self.reason())
    }
}

/// Why a pod is injected, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The namespace's label `istio-injection` asks for it.
    NamespaceLabel,
    /// The namespace's label `istio-injection` has a value by which no webhook comes.
    NamespaceLabelOther(String),
    /// The namespace asks for this revision or tag.
    NamespaceRevision(String),
    /// The namespace asks for a revision that is another's.
    NamespaceRevisionOther(String),
    /// `istio-injection` is the business of the default revision, and this is none.
    NotDefault(String),
    /// The pod asks for this revision or tag.
    PodRevision(String),
    /// The pod asks for a revision that is another's.
    PodRevisionOther(String),
    /// The pod's label asks for it, in a namespace without labels.
    PodLabel,
    /// The pod's label or annotation says no.
    PodSaysNo,
    /// Neither the namespace nor the pod asks for it.
    NobodyAsks,
    /// All namespaces are injected that do not say otherwise.
    EveryNamespace,
    /// The pod shares the machine's network, whose traffic is not its own.
    HostNetwork,
    /// The namespace is one of Kubernetes.
    SystemNamespace(String),
    /// The number of the selector of `neverInjectSelector` that selects it.
    Never(usize),
    /// The number of the selector of `alwaysInjectSelector`.
    Always(usize),
    /// The policy is `disabled`, and the pod says nothing.
    PolicyDisabled,
    /// The policy is `enabled`, and the pod says nothing.
    PolicyEnabled,
    /// The pod says yes.
    PodSaysYes,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NamespaceLabel => write!(f, "its namespace has the label {NAMESPACE_INJECTION}=enabled"),
            Self::NamespaceLabelOther(value) => {
                write!(f, "its namespace has the label {NAMESPACE_INJECTION}={value}, which no pod can override")
            }
            Self::NamespaceRevision(revision) => write!(f, "its namespace has the label {REVISION}={revision}"),
            Self::NamespaceRevisionOther(revision) => {
                write!(f, "its namespace has the label {REVISION}={revision}, which is another control plane's")
            }
            Self::NotDefault(own) => write!(f, "the label {NAMESPACE_INJECTION} means the default revision, and this is {own}"),
            Self::PodRevision(revision) => write!(f, "it has the label {REVISION}={revision}"),
            Self::PodRevisionOther(revision) => write!(f, "it has the label {REVISION}={revision}, which is another control plane's"),
            Self::PodLabel => write!(f, "it has the label {INJECT}=true"),
            Self::PodSaysNo => write!(f, "it has {INJECT}: \"false\""),
            Self::NobodyAsks => write!(
                f,
                "neither its namespace nor itself asks for it: label the namespace {NAMESPACE_INJECTION}=enabled or {REVISION}=REVISION, or \
                 the pod {INJECT}=true"
            ),
            Self::EveryNamespace => f.write_str("all namespaces are injected that do not say otherwise"),
            Self::HostNetwork => f.write_str("it shares the machine's network (hostNetwork), whose traffic is not its own"),
            Self::SystemNamespace(name) => write!(f, "{name} is a namespace of Kubernetes itself"),
            Self::Never(number) => write!(f, "neverInjectSelector[{number}] selects it"),
            Self::Always(number) => write!(f, "alwaysInjectSelector[{number}] selects it"),
            Self::PolicyDisabled => write!(f, "the policy is disabled, and it does not say {INJECT}: \"true\""),
            Self::PolicyEnabled => f.write_str("the policy is enabled"),
            Self::PodSaysYes => write!(f, "it has {INJECT}: \"true\""),
        }
    }
}

impl Webhooks {
    /// The first gate: whether the API server sends a pod to one of our webhooks. The annotation `sidecar.istio.io/inject` is nothing that
    /// it looks at.
    pub fn send(&self, namespace: &str, namespace_labels: &BTreeMap<String, String>, pod: &BTreeMap<String, String>) -> Decision {
        let label = |labels: &'_ BTreeMap<String, String>, name: &str| labels.get(name).cloned();
        let no = pod.get(INJECT).is_some_and(|value| value == "false");
        match (label(namespace_labels, NAMESPACE_INJECTION), label(namespace_labels, REVISION)) {
            (Some(value), _) if value != "enabled" => Decision::Skip(Reason::NamespaceLabelOther(value)),
            (Some(_), _) if !self.is_default() => Decision::Skip(Reason::NotDefault(self.revision.clone())),
            (None, Some(revision)) if !self.is_called(&revision) => Decision::Skip(Reason::NamespaceRevisionOther(revision)),
            (Some(_), _) | (None, Some(_)) if no => Decision::Skip(Reason::PodSaysNo),
            (Some(_), _) => Decision::Inject(Reason::NamespaceLabel),
            (None, Some(revision)) => Decision::Inject(Reason::NamespaceRevision(revision)),
            (None, None) => self.send_unlabelled(namespace, pod, no),
        }
    }

    /// The pod speaks for itself where its namespace says nothing.
    fn send_unlabelled(&self, namespace: &str, pod: &BTreeMap<String, String>, no: bool) -> Decision {
        if no {
            return Decision::Skip(Reason::PodSaysNo);
        }
        if let Some(revision) = pod.get(REVISION) {
            return match self.is_called(revision) {
                true => Decision::Inject(Reason::PodRevision(revision.clone())),
                false => Decision::Skip(Reason::PodRevisionOther(revision.clone())),
            };
        }
        let system = SYSTEM_NAMESPACES.contains(&namespace) || namespace == self.own_namespace;
        match pod.get(INJECT).map(String::as_str) {
            Some("true") if self.is_default() => Decision::Inject(Reason::PodLabel),
            Some("true") => Decision::Skip(Reason::NotDefault(self.revision.clone())),
            None if self.every_namespace && self.is_default() && !system => Decision::Inject(Reason::EveryNamespace),
            _ => Decision::Skip(Reason::NobodyAsks),
        }
    }

    /// Whether labels without a revision mean this control plane: it is the default one, or has that tag.
    pub(crate) fn is_default(&self) -> bool {
        self.is_called(DEFAULT)
    }

    fn is_called(&self, name: &str) -> bool {
        let own = if self.revision.is_empty() { DEFAULT } else { &self.revision };
        own == name || self.tags.iter().any(|tag| tag == name)
    }
}

impl Policy {
    /// The second gate: whether who answers the webhook injects the pod. The warning is about a value that says neither yes nor no.
    pub fn decide(&self, namespace: &str, pod: Pod<'_>) -> (Decision, Option<String>) {
        if pod.has_host_network() {
            return (Decision::Skip(Reason::HostNetwork), None);
        }
        if SYSTEM_NAMESPACES.contains(&namespace) {
            return (Decision::Skip(Reason::SystemNamespace(namespace.to_owned())), None);
        }
        match pod.label(INJECT).or(pod.annotation(INJECT)) {
            Some("true") => (Decision::Inject(Reason::PodSaysYes), None),
            Some("false") => (Decision::Skip(Reason::PodSaysNo), None),
            None | Some("") => (self.usual(pod), None),
            Some(other) => {
                let warning = format!("{INJECT}: {other:?} is neither \"true\" nor \"false\", and is passed over");
                (self.usual(pod), Some(warning))
            }
        }
    }

    fn usual(&self, pod: Pod<'_>) -> Decision {
        let labels = pod.labels();
        // An empty selector would select everything, and is left out, as by Istio.
        let selects = |selector: &LabelSelector| *selector != LabelSelector::default() && selector.matches(&labels);
        let first = |selectors: &[LabelSelector]| selectors.iter().position(selects);
        match (first(&self.never), first(&self.always)) {
            (Some(number), _) => Decision::Skip(Reason::Never(number)),
            (None, Some(number)) => Decision::Inject(Reason::Always(number)),
            (None, None) if self.disabled => Decision::Skip(Reason::PolicyDisabled),
            (None, None) => Decision::Inject(Reason::PolicyEnabled),
        }
    }
}
