//! All VirtualServices of a mesh, each with the rules of its delegates, by the gateways that they apply to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_api::resources::virtual_service::VirtualService as Written;
use weir_api::{Diagnostic, Object, ObjectChange, Spec};

use crate::changes::{Changes, Name, Subject};
use crate::delegate::{self, Delegates};
use crate::registry::Settings;
use crate::rule::Age;
use crate::tree::{Groups, Tree, put};
use crate::virtual_service::VirtualService;

/// All VirtualServices of a mesh.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VirtualServices {
    /// Those that have hosts, from the oldest to the youngest.
    all: Tree<Age, Arc<VirtualService>>,
    by_name: Tree<Name, Age>,
    /// By the name of the one that they are about; in the order of names.
    findings: Tree<Name, Arc<[Diagnostic]>>,
    by_gateway: Groups<String, Age, Arc<VirtualService>>,
    delegates: Delegates,
    /// Who delegates to a name, whether there is such a delegate or not.
    delegating: Groups<Name, Age, ()>,
}

/// A VirtualService that has hosts and is not what it was: before and after.
#[derive(Clone)]
pub(crate) struct RuleChange {
    pub old: Option<Arc<VirtualService>>,
    pub new: Option<Arc<VirtualService>>,
}

impl RuleChange {
    /// Both, as far as they are there.
    pub fn sides(&self) -> impl Iterator<Item = &Arc<VirtualService>> {
        self.old.iter().chain(&self.new)
    }
}

fn written(object: &Object) -> Option<&Written> {
    match &object.spec {
        Spec::VirtualService(written) => Some(written),
        _ => None,
    }
}

fn name(object: &Object) -> Name {
    (object.meta.namespace.clone(), object.meta.name.clone())
}

impl VirtualServices {
    /// Those that have hosts, from the oldest to the youngest.
    pub fn all(&self) -> impl Iterator<Item = &Arc<VirtualService>> {
        self.all.values()
    }

    /// The one of a name, if it has hosts.
    pub fn get(&self, name: &Name) -> Option<&Arc<VirtualService>> {
        self.all.get(self.by_name.get(name)?)
    }

    /// What of them has no effect.
    pub fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.findings.values().flat_map(|findings| findings.iter())
    }

    /// Those of which something is to be said.
    pub(crate) fn with_findings(&self) -> impl Iterator<Item = &Name> {
        self.findings.keys()
    }

    /// What of one of them has no effect.
    pub(crate) fn findings_of(&self, name: &Name) -> Arc<[Diagnostic]> {
        self.findings.get(name).cloned().unwrap_or_default()
    }

    /// Those that apply to a gateway, or to [`MESH`](crate::virtual_service::MESH), as far as a namespace may see them, in the order in which
    /// Istio looks at them: private ones, those exported by name, public ones; the older first.
    pub fn of_gateway(&self, gateway: &str, namespace: &str) -> Vec<Arc<VirtualService>> {
        self.of_entrances([gateway], namespace)
    }

    /// The same of several [names](crate::GatewayServer::entrances) of one server, each rule once.
    pub fn of_entrances<'e>(&self, entrances: impl IntoIterator<Item = &'e str>, namespace: &str) -> Vec<Arc<VirtualService>> {
        let all: BTreeMap<&Age, &Arc<VirtualService>> = entrances.into_iter().flat_map(|name| self.by_gateway.members(name)).collect();
        let all = all.into_values();
        let mut visible: Vec<Arc<VirtualService>> = all.filter(|service| service.visibility.allows(namespace)).cloned().collect();
        visible.sort_by_key(|service| service.visibility.rank(&service.namespace, namespace));
        visible
    }

    /// Takes in what became of objects. Returns those that are not what they were.
    pub(crate) fn update(&mut self, objects: &[ObjectChange], settings: &Settings<'_>, changes: &mut Changes) -> Vec<RuleChange> {
        let delegates = self.update_delegates(objects, settings);
        let mut newest = self.update_roots(objects);
        for delegate in delegates {
            for (age, ()) in self.delegating.members(&delegate) {
                let again = || self.all.get(age).map(|service| service.object.clone());
                newest.entry(age.clone()).or_insert_with(again);
            }
        }
        // One whose time of creation is another now goes before it comes.
        let (gone, there): (Vec<_>, Vec<_>) = newest.into_iter().partition(|(_, object)| object.is_none());
        let all = gone.into_iter().chain(there);
        all.filter_map(|(age, object)| self.settle(age, object.as_ref(), settings, changes)).collect()
    }

    /// Takes in those without hosts. Returns the names of those that are not what they were.
    fn update_delegates(&mut self, objects: &[ObjectChange], settings: &Settings<'_>) -> BTreeSet<Name> {
        let is_delegate = |object: &&Arc<Object>| written(object).is_some_and(Written::is_delegate);
        let mut changed = BTreeSet::new();
        for change in objects {
            let Some(name) = change.sides().find(is_delegate).map(|object| name(object)) else { continue };
            let object = change.new.as_ref().filter(is_delegate);
            let new = object.and_then(|object| Some(VirtualService::read(object, written(object)?, settings.mesh, settings.domain)));
            if self.delegates.get(&name).map(|known| &**known) != new.as_ref() {
                put(&mut self.delegates, name.clone(), new.map(Arc::new));
                changed.insert(name);
            }
        }
        changed
    }

    /// Takes in whom those with hosts delegate to. Returns the newest object of each that changed; none for one that is gone.
    fn update_roots(&mut self, objects: &[ObjectChange]) -> BTreeMap<Age, Option<Arc<Object>>> {
        let is_root = |object: &&Arc<Object>| written(object).is_some_and(|written| !written.is_delegate());
        let mut newest = BTreeMap::new();
        for old in objects.iter().filter_map(|change| change.old.as_ref()).filter(is_root) {
            let age = Age::of(old);
            delegates_of(old).iter().for_each(|name| self.delegating.remove(name, &age));
            newest.insert(age, None);
        }
        for new in objects.iter().filter_map(|change| change.new.as_ref()).filter(is_root) {
            let age = Age::of(new);
            delegates_of(new).into_iter().for_each(|name| self.delegating.insert(name, age.clone(), ()));
            newest.insert(age, Some(new.clone()));
        }
        newest
    }

    /// Reads one that has hosts as it is now. None if it is what it was.
    fn settle(&mut self, age: Age, object: Option<&Arc<Object>>, settings: &Settings<'_>, changes: &mut Changes) -> Option<RuleChange> {
        let mut findings = vec![];
        let new = object.and_then(|object| {
            let mut service = VirtualService::read(object, written(object)?, settings.mesh, settings.domain);
            delegate::resolve(&mut service, &self.delegates, &mut findings);
            Some(service)
        });
        let name = (age.namespace.clone(), age.name.clone());
        if self.findings_of(&name)[..] != findings {
            changes.findings.insert(Subject::VirtualService(name.clone()));
            put(&mut self.findings, name.clone(), (!findings.is_empty()).then(|| findings.into()));
        }
        let old = self.all.get(&age).cloned();
        if old.as_deref() == new.as_ref() {
            return None;
        }
        let change = RuleChange { old, new: new.map(Arc::new) };
        let hosts = change.sides().flat_map(|service| service.hosts.iter().cloned());
        changes.virtual_services.entry(name).or_default().extend(hosts);
        self.replace(age, &change);
        Some(change)
    }

    fn replace(&mut self, age: Age, change: &RuleChange) {
        for gateway in change.old.iter().flat_map(|old| &old.gateways) {
            self.by_gateway.remove(gateway, &age);
        }
        for (new, gateway) in change.new.iter().flat_map(|new| new.gateways.iter().map(move |gateway| (new, gateway))) {
            self.by_gateway.insert(gateway.clone(), age.clone(), new.clone());
        }
        let name = (age.namespace.clone(), age.name.clone());
        put(&mut self.by_name, name, change.new.is_some().then(|| age.clone()));
        put(&mut self.all, age, change.new.clone());
    }
}

/// The names that an object delegates to.
fn delegates_of(object: &Object) -> BTreeSet<Name> {
    let rules = written(object).into_iter().flat_map(|written| &written.http);
    let references = rules.filter_map(|rule| rule.delegate.as_ref());
    references.map(|reference| delegate::name_of(reference, &object.meta.namespace)).collect()
}
