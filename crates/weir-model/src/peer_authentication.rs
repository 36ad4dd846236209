//! PeerAuthentication resources: which of them decides for a workload and its ports.
//!
//! The narrower goes before the wider: a port, the workload, its namespace, the mesh. Among those of one width the oldest counts.
//! Facts: `initPeerAuthentications` in pilot/pkg/model/authentication.go and `ComposePeerAuthentication` in
//! pilot/pkg/security/authn/policy_applier.go of Istio.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_api::resources::PeerAuthentication as Written;
use weir_api::resources::peer_authentication::{MutualTls as WrittenTls, MutualTlsMode, PolicyRead};
use weir_api::{Diagnostic, FieldPath, Object, ObjectChange, Severity, Spec};

use crate::by_age;
use crate::changes::{Changes, Subject};
use crate::proxy::selects;

/// What is taken from clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MutualTls {
    /// Plaintext.
    Disable,
    /// Plaintext and mutual TLS.
    #[default]
    Permissive,
    /// Mutual TLS.
    Strict,
}

impl MutualTls {
    /// What a policy says; none if it leaves that to a wider one.
    fn read(written: Option<&WrittenTls>) -> Option<Self> {
        match written?.mode {
            MutualTlsMode::Unset => None,
            MutualTlsMode::Disable => Some(Self::Disable),
            MutualTlsMode::Permissive => Some(Self::Permissive),
            MutualTlsMode::Strict => Some(Self::Strict),
        }
    }
}

/// What holds for a workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkloadTls {
    mode: MutualTls,
    of_ports: BTreeMap<u16, MutualTls>,
}

impl WorkloadTls {
    /// What it takes at one of its own ports.
    pub fn at(&self, port: u16) -> MutualTls {
        self.of_ports.get(&port).copied().unwrap_or(self.mode)
    }

    /// What it takes at ports of which nothing is said.
    pub fn elsewhere(&self) -> MutualTls {
        self.mode
    }

    /// The ports of which something is said.
    pub fn ports(&self) -> impl Iterator<Item = (u16, MutualTls)> {
        self.of_ports.iter().map(|(port, mode)| (*port, *mode))
    }
}

/// A policy for some workloads of a namespace.
#[derive(Debug, Clone, PartialEq)]
struct OfWorkloads {
    selector: BTreeMap<String, String>,
    mode: Option<MutualTls>,
    of_ports: BTreeMap<u16, Option<MutualTls>>,
}

/// What the policies say of the workloads of one namespace.
#[derive(Debug, Default, PartialEq)]
pub struct NamespaceTls {
    /// What holds where no policy is narrower.
    pub mode: MutualTls,
    /// The oldest first.
    of_workloads: Vec<OfWorkloads>,
    findings: Arc<[Diagnostic]>,
}

impl NamespaceTls {
    /// What a workload with these labels takes at one of its own ports.
    pub fn at(&self, labels: &BTreeMap<String, String>, port: u16) -> MutualTls {
        let Some(own) = self.own(labels) else { return self.mode };
        own.of_ports.get(&port).copied().flatten().or(own.mode).unwrap_or(self.mode)
    }

    fn own(&self, labels: &BTreeMap<String, String>) -> Option<&OfWorkloads> {
        self.of_workloads.iter().find(|own| selects(&own.selector, labels))
    }

    /// What holds for a workload with these labels.
    pub fn of_workload(&self, labels: &BTreeMap<String, String>) -> WorkloadTls {
        let Some(own) = self.own(labels) else { return WorkloadTls { mode: self.mode, of_ports: BTreeMap::new() } };
        let mode = own.mode.unwrap_or(self.mode);
        WorkloadTls { mode, of_ports: own.of_ports.iter().map(|(port, own)| (*port, own.unwrap_or(mode))).collect() }
    }
}

/// All PeerAuthentications of a mesh.
#[derive(Debug, Clone, Default)]
pub struct PeerAuthentications {
    /// The oldest first.
    all: Arc<[Arc<Object>]>,
    /// Those namespaces that have policies of their own.
    of_namespaces: BTreeMap<String, Arc<NamespaceTls>>,
    /// Any other.
    elsewhere: Arc<NamespaceTls>,
}

impl PartialEq for PeerAuthentications {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all && self.of_namespaces == other.of_namespaces && self.elsewhere == other.elsewhere
    }
}

impl PeerAuthentications {
    /// What holds in a namespace. The same, by pointer, for as long as it does.
    pub fn of_namespace(&self, namespace: &str) -> &Arc<NamespaceTls> {
        self.of_namespaces.get(namespace).unwrap_or(&self.elsewhere)
    }

    /// What is to be said of all of them.
    pub fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.of_namespaces.values().flat_map(|own| own.findings.iter())
    }

    /// The namespaces of which something is to be said.
    pub(crate) fn with_findings(&self) -> impl Iterator<Item = &String> {
        self.of_namespaces.iter().filter(|(_, own)| !own.findings.is_empty()).map(|(namespace, _)| namespace)
    }

    /// What is to be said of those of a namespace.
    pub(crate) fn findings_of(&self, namespace: &str) -> Arc<[Diagnostic]> {
        self.of_namespaces.get(namespace).map(|own| own.findings.clone()).unwrap_or_default()
    }

    /// Takes in what became of objects.
    pub(crate) fn update(&mut self, objects: &[ObjectChange], root: &str, changes: &mut Changes) {
        let read = |object: &Arc<Object>| written(object).is_some().then(|| object.clone());
        let changed = by_age::update(&mut self.all, objects, read, |object| object);
        if changed.is_empty() {
            return;
        }
        let written = || self.without_selector(root).first().and_then(|policy| MutualTls::read(policy.mtls.as_ref())).unwrap_or_default();
        let of_mesh = if self.is_shut(root) { MutualTls::Strict } else { written() };
        let before = std::mem::take(&mut self.of_namespaces);
        let namespaces: BTreeSet<&String> = self.all.iter().map(|object| &object.meta.namespace).collect();
        let same = |known: Option<&Arc<NamespaceTls>>, new: NamespaceTls| match known {
            Some(known) if **known == new => known.clone(),
            _ => Arc::new(new),
        };
        let of_namespaces = namespaces.into_iter().map(|namespace| {
            let new = self.read_namespace(namespace, root, of_mesh);
            (namespace.clone(), same(before.get(namespace), new))
        });
        let of_namespaces: BTreeMap<String, Arc<NamespaceTls>> = of_namespaces.collect();
        for namespace in before.keys().chain(of_namespaces.keys()) {
            let findings =
                |all: &BTreeMap<String, Arc<NamespaceTls>>| all.get(namespace).map(|own| own.findings.clone()).unwrap_or_default();
            if findings(&before) != findings(&of_namespaces) {
                changes.findings.insert(Subject::PeerAuthentications(namespace.clone()));
            }
        }
        self.of_namespaces = of_namespaces;
        self.elsewhere = same(Some(&self.elsewhere), NamespaceTls { mode: of_mesh, ..NamespaceTls::default() });
        changes.peer_authentications.extend(changed);
    }

    fn of(&self, namespace: &str) -> impl Iterator<Item = (&Arc<Object>, &Written)> {
        let here = self.all.iter().filter(move |object| object.meta.namespace == namespace);
        here.filter_map(|object| Some((object, written(object)?)))
    }

    fn without_selector(&self, namespace: &str) -> Vec<&Written> {
        self.of(namespace).map(|(_, policy)| policy).filter(|policy| !policy.selects()).collect()
    }

    /// Whether a policy could not be read, not even for whom it is: then it may be for anybody of its namespace.
    fn is_shut(&self, namespace: &str) -> bool {
        self.of(namespace).any(|(_, policy)| policy.read == PolicyRead::Nothing)
    }

    fn read_namespace(&self, namespace: &str, root: &str, of_mesh: MutualTls) -> NamespaceTls {
        if self.is_shut(namespace) {
            return NamespaceTls { mode: MutualTls::Strict, of_workloads: vec![], findings: self.without_effect(namespace, root) };
        }
        let of_all = self.without_selector(namespace);
        let own = of_all.first().and_then(|policy| MutualTls::read(policy.mtls.as_ref()));
        // In the root namespace a selector selects nothing.
        let selecting = self.of(namespace).filter(|(_, policy)| policy.selects() && namespace != root);
        NamespaceTls {
            mode: own.unwrap_or(of_mesh),
            of_workloads: selecting.map(|(_, policy)| of_workloads(policy)).collect(),
            findings: self.without_effect(namespace, root),
        }
    }

    /// Policies that another one leaves nothing to say.
    fn without_effect(&self, namespace: &str, root: &str) -> Arc<[Diagnostic]> {
        let mut first: Option<&Arc<Object>> = None;
        let mut findings = vec![];
        for (object, policy) in self.of(namespace) {
            let path = FieldPath::default().key("spec");
            let said = if policy.selects() {
                (namespace == root)
                    .then(|| (path.key("selector"), "it has no effect: in the root namespace a policy is for the whole mesh".to_owned()))
            } else if let Some(older) = first {
                Some((path, format!("it has no effect: {} says it for the whole namespace, and is older", older.name())))
            } else {
                first = Some(object);
                None
            };
            findings.extend(said.map(|(path, message)| object.diagnostic(Severity::Warning, path, message)));
        }
        findings.into()
    }
}

fn written(object: &Object) -> Option<&Written> {
    match &object.spec {
        Spec::PeerAuthentication(written) => Some(written),
        _ => None,
    }
}

fn of_workloads(policy: &Written) -> OfWorkloads {
    let port = |(port, tls): (&String, &WrittenTls)| Some((port.parse().ok()?, MutualTls::read(Some(tls))));
    OfWorkloads {
        selector: policy.selector.as_ref().map(|selector| selector.match_labels.clone()).unwrap_or_default(),
        mode: MutualTls::read(policy.mtls.as_ref()),
        of_ports: policy.port_level_mtls.iter().filter_map(port).collect(),
    }
}

#[cfg(test)]
mod tests;
