//! What tells an API server which of a control plane's webhooks it is to ask about what: Istio's objects, by its names and with its selectors.
//! Whoever installs the control plane applies them.
//!
//! They hold no `caBundle`: the control plane puts that in, and sets the `failurePolicy` of validation to `Fail` when it has seen it work.
//!
//! Facts: templates/mutatingwebhook.yaml, revision-tags-mwc.yaml and validatingwebhookconfiguration.yaml of charts/istio-control/istio-discovery,
//! templates/validatingwebhook.yaml of charts/default.

use serde_json::{Value, json};

use crate::decision::{DEFAULT, SYSTEM_NAMESPACES, Webhooks};
use crate::names::{INJECT, NAMESPACE_INJECTION, REVISION, TAG};

/// The namespace in which Istio is, unless somebody chose another.
const USUAL_NAMESPACE: &str = "istio-system";
/// The version of the configurations.
const VERSION: &str = "admissionregistration.k8s.io/v1";
/// Each webhook of a configuration has a name of its own, which ends so.
const INJECTOR: &str = "sidecar-injector.istio.io";
/// The label by which the API server names each namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// The groups of all kinds of Istio's.
const GROUPS: [&str; 4] = ["security.istio.io", "networking.istio.io", "telemetry.istio.io", "extensions.istio.io"];

/// How the API server reaches the webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// By port 443 of the control plane's [`service`].
    Service,
    /// At an address that is no Service's: `https://HOST:PORT`.
    Url(String),
}

/// The name of a revision's Service.
pub fn service(revision: &str) -> String {
    format!("istiod{}", suffix(revision))
}

/// The name of the ConfigMap in which the operator of a revision says how pods are injected.
pub fn injector(revision: &str) -> String {
    format!("istio-sidecar-injector{}", suffix(revision))
}

/// What the names of a revision's objects end in.
fn suffix(revision: &str) -> String {
    if revision == DEFAULT || revision.is_empty() { String::new() } else { format!("-{revision}") }
}

fn not_in(key: &str, values: &[&str]) -> Value {
    json!({"key": key, "operator": "NotIn", "values": values})
}

fn among(key: &str, value: &str) -> Value {
    json!({"key": key, "operator": "In", "values": [value]})
}

fn absent(key: &str) -> Value {
    json!({"key": key, "operator": "DoesNotExist"})
}

impl Webhooks {
    /// The configurations by which pods are sent here: that of the revision, and then one for each tag.
    pub fn injectors(&self, reach: &Reach) -> Vec<Value> {
        let name = format!("{}{}", injector(&self.revision), self.elsewhere());
        let mut all = vec![self.injector(&name, self.name(), None, reach)];
        // A tag of the revision's own name would send each pod twice.
        for tag in self.tags.iter().filter(|tag| *tag != self.name()) {
            all.push(self.injector(&format!("istio-revision-tag-{tag}{}", self.elsewhere()), tag, Some(tag), reach));
        }
        all
    }

    /// The configurations by which resources are sent here: those of the revision, and those of none if this is the default one.
    pub fn validators(&self, reach: &Reach) -> Vec<Value> {
        let name = format!("istio-validator{}-{}", suffix(&self.revision), self.own_namespace);
        let mut all = vec![self.validator(&name, "rev.validation.istio.io", &among(REVISION, self.name()), None, reach)];
        if self.is_default() {
            all.push(self.validator("istiod-default-validator", "validation.istio.io", &absent(REVISION), Some(DEFAULT), reach));
        }
        all
    }

    /// The revision's name.
    fn name(&self) -> &str {
        if self.revision.is_empty() { DEFAULT } else { &self.revision }
    }

    /// What else names end in, where two control planes of one revision could be in two namespaces.
    fn elsewhere(&self) -> String {
        if self.own_namespace == USUAL_NAMESPACE { String::new() } else { format!("-{}", self.own_namespace) }
    }

    /// A configuration for pods that ask for a revision, or for a tag, by this name.
    fn injector(&self, name: &str, asked: &str, tag: Option<&str>, reach: &Reach) -> Value {
        let unlabelled = || vec![absent(REVISION), absent(NAMESPACE_INJECTION)];
        let willing = || not_in(INJECT, &["false"]);
        let mut hooks = vec![
            self.injection("rev.namespace.", reach, &[among(REVISION, asked), absent(NAMESPACE_INJECTION)], &[willing()]),
            self.injection("rev.object.", reach, &unlabelled(), &[willing(), among(REVISION, asked)]),
        ];
        if asked == DEFAULT {
            hooks.push(self.injection("namespace.", reach, &[among(NAMESPACE_INJECTION, "enabled")], &[willing()]));
            hooks.push(self.injection("object.", reach, &unlabelled(), &[among(INJECT, "true"), absent(REVISION)]));
            if self.every_namespace {
                // Istio's leaves its own namespace in: a control plane that waits for its own webhook never starts.
                let system: Vec<&str> = SYSTEM_NAMESPACES.into_iter().chain([self.own_namespace.as_str()]).collect();
                let namespaces = [unlabelled(), vec![not_in(NAMESPACE_NAME, &system)]].concat();
                hooks.push(self.injection("auto.", reach, &namespaces, &[absent(INJECT), absent(REVISION)]));
            }
        }
        let mut labels = json!({"app": "sidecar-injector", REVISION: self.name()});
        if let Some(tag) = tag {
            labels[TAG] = tag.into();
        }
        json!({
            "apiVersion": VERSION,
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name, "labels": labels},
            "webhooks": hooks,
        })
    }

    fn injection(&self, prefix: &str, reach: &Reach, namespaces: &[Value], pods: &[Value]) -> Value {
        json!({
            "name": format!("{prefix}{INJECTOR}"),
            "clientConfig": self.client(reach, "/inject"),
            "sideEffects": "None",
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "*"}],
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "admissionReviewVersions": ["v1"],
            "namespaceSelector": {"matchExpressions": namespaces},
            "objectSelector": {"matchExpressions": pods},
        })
    }

    fn validator(&self, name: &str, hook: &str, resources: &Value, tag: Option<&str>, reach: &Reach) -> Value {
        let mut labels = json!({"app": "istiod", "istio": "istiod", REVISION: self.name()});
        if let Some(tag) = tag {
            labels[TAG] = tag.into();
        }
        let rule = json!({"operations": ["CREATE", "UPDATE"], "apiGroups": GROUPS, "apiVersions": ["*"], "resources": ["*"], "scope": "*"});
        json!({
            "apiVersion": VERSION,
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name, "labels": labels},
            "webhooks": [{
                "name": hook,
                "clientConfig": self.client(reach, "/validate"),
                "sideEffects": "None",
                "rules": [rule],
                "failurePolicy": "Ignore",
                "admissionReviewVersions": ["v1"],
                "objectSelector": {"matchExpressions": [resources]},
            }],
        })
    }

    fn client(&self, reach: &Reach, path: &str) -> Value {
        match reach {
            Reach::Service => {
                json!({"service": {"name": service(&self.revision), "namespace": self.own_namespace, "path": path, "port": 443}})
            }
            Reach::Url(root) => json!({"url": format!("{root}{path}")}),
        }
    }
}
