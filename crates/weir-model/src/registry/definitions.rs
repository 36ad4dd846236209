//! Services as objects define them, and which definition has the name where there are several.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use weir_api::{Entry, Kind, Node, Object, ObjectChange, ObjectKey, Spec};

use super::automatic::{Allocation, Place, Wanted, place_of};
use super::{Settings, external, kubernetes};
use crate::rule::creation_time;
use crate::service::{Registry, Service, ServiceKey, TrafficDistribution};
use crate::tree::{Groups, Tree, put};

/// Which of two services is older: by creation time; of one age, by name, then namespace. A ServiceEntry's service is
/// called by its host, a Kubernetes Service by its own name. What follows only tells definitions apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServiceAge {
    created: Timestamp,
    name: Arc<str>,
    namespace: Arc<str>,
    object: Arc<str>,
    kind: Kind,
    index: usize,
}

impl ServiceAge {
    pub(super) fn new(service: &Service, index: usize) -> Self {
        let object = service.object.meta.name.as_str();
        let name = match service.registry {
            Registry::Kubernetes => &service.name,
            Registry::External => &service.hostname,
        };
        Self {
            created: creation_time(&service.object),
            object: if **name == *object { name.clone() } else { object.into() },
            name: name.clone(),
            namespace: service.namespace.clone(),
            kind: service.object.kind,
            index,
        }
    }
}

/// A service as one object defines it.
pub(crate) type Definition = (ServiceAge, Arc<Service>);

/// The services of a host that have its name, by namespace.
pub(crate) type Named = BTreeMap<Arc<str>, Arc<Service>>;

/// All services as they are defined.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Definitions {
    /// From the oldest to the youngest.
    pub all: Tree<ServiceAge, Arc<Service>>,
    /// Those of each host and namespace, from the oldest to the youngest.
    of_key: Tree<ServiceKey, Arc<[Definition]>>,
    /// Those that have the name of their host, by namespace.
    pub by_host: Tree<Arc<str>, Arc<Named>>,
    /// The services that are but other names for a host.
    aliases: Groups<Arc<str>, ServiceAge, Arc<str>>,
    /// The addresses of those that have none.
    automatic: Allocation,
    /// What namespaces say of where their services' instances are preferred, for those that say nothing themselves.
    distributions: Tree<String, TrafficDistribution>,
}

/// The definitions of a host in a namespace, before and after.
pub(crate) struct DefinitionChange {
    pub key: ServiceKey,
    pub old: Arc<[Definition]>,
    pub new: Arc<[Definition]>,
}

impl DefinitionChange {
    /// The services before and after.
    pub fn sides(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.old.iter().chain(self.new.iter()).map(|(_, service)| service)
    }

    /// The service before and after, if its place among others is the same: it has one definition, of one age, and the same
    /// may see it.
    pub fn in_place(&self) -> Option<(&Arc<Service>, &Arc<Service>)> {
        let ([(age_before, old)], [(age, new)]) = (&*self.old, &*self.new) else { return None };
        (age_before == age && old.visibility == new.visibility).then_some((old, new))
    }

    /// Whether nothing changed but the instances that its ServiceEntry has in place. All else says the same, and at the same place, so
    /// that whatever is told of the service is told as before.
    pub fn is_of_instances_alone(&self) -> bool {
        self.in_place().is_some_and(|(old, new)| {
            let (a, b) = (&old.object, &new.object);
            let is_entry = |object: &Object| matches!(object.spec, Spec::ServiceEntry(_));
            is_entry(a)
                && is_entry(b)
                && a.source.path == b.source.path
                && same_but_for(&a.node, &b.node, &["spec", "endpoints"])
                && Service { object: b.clone(), ..Service::clone(old) } == **new
        })
    }
}

/// Whether two maps are the same but for what stands at the end of a path, and for how far they reach because of it.
fn same_but_for(a: &Node, b: &Node, path: &[&str]) -> bool {
    let Some((key, rest)) = path.split_first() else { return true };
    let (a, b) = (a.entries(), b.entries());
    let is_same = |(a, b): (&Entry, &Entry)| match a.key == *key && b.key == *key {
        true => a.key_span == b.key_span && same_but_for(&a.node, &b.node, rest),
        false => a == b,
    };
    a.len() == b.len() && a.iter().zip(b).all(is_same)
}

/// Which instances are preferred by where they run, as the object says that defines a service.
fn distribution(object: &Object) -> Option<TrafficDistribution> {
    match &object.spec {
        Spec::Service(service) => TrafficDistribution::of_service(&service.spec.traffic_distribution, &object.meta.annotations),
        _ => TrafficDistribution::of_annotation(&object.meta.annotations),
    }
}

/// What an object defines: a ServiceEntry one service for each host.
fn defined_by(object: &Arc<Object>, settings: &Settings<'_>) -> Vec<Definition> {
    let services = match &object.spec {
        Spec::ServiceEntry(entry) => external::services(settings, object, entry),
        Spec::Service(service) => vec![kubernetes::service(settings, object, service)],
        _ => vec![],
    };
    let aged = services.into_iter().enumerate().map(|(index, service)| (ServiceAge::new(&service, index), Arc::new(service)));
    aged.collect()
}

impl Definitions {
    /// The definitions of a host in a namespace, from the oldest to the youngest.
    pub fn of(&self, key: &ServiceKey) -> Arc<[Definition]> {
        self.of_key.get(key).cloned().unwrap_or_default()
    }

    /// The definition that has the name.
    pub fn chosen(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.by_host.get(&key.0)?.get(&key.1)
    }

    /// Takes in what became of objects. What is defined by them as it was before stays the same.
    pub(super) fn update(&mut self, objects: &[ObjectChange], settings: &Settings<'_>) -> Vec<DefinitionChange> {
        let mut touched: BTreeMap<ServiceKey, Vec<Definition>> = BTreeMap::new();
        let mut named_otherwise: BTreeSet<Arc<str>> = BTreeSet::new();
        for change in objects {
            for (age, service) in change.old.iter().flat_map(|object| defined_by(object, settings)) {
                self.touch(&mut touched, service.key()).retain(|(known, _)| *known != age);
                if let Some(target) = &service.alias_of {
                    self.aliases.remove(target, &age);
                    named_otherwise.insert(target.clone());
                }
            }
            for (age, service) in change.new.iter().flat_map(|object| defined_by(object, settings)) {
                if let Some(target) = &service.alias_of {
                    self.aliases.insert(target.clone(), age.clone(), service.hostname.clone());
                    named_otherwise.insert(target.clone());
                }
                self.touch(&mut touched, service.key()).push((age, service));
            }
        }
        for target in named_otherwise {
            let namespaces: Vec<Arc<str>> = self.by_host.get(&target).into_iter().flat_map(|named| named.keys().cloned()).collect();
            for namespace in namespaces {
                self.touch(&mut touched, (target.clone(), namespace));
            }
        }
        self.update_namespaces(objects, &mut touched);
        self.distribute(&mut touched);
        self.give_addresses(&mut touched);
        touched.into_iter().filter_map(|(key, definitions)| self.settle(key, definitions)).collect()
    }

    /// Takes in what namespaces say. All services of one that says otherwise are touched.
    fn update_namespaces(&mut self, objects: &[ObjectChange], touched: &mut BTreeMap<ServiceKey, Vec<Definition>>) {
        let mut otherwise: BTreeSet<String> = BTreeSet::new();
        for change in objects.iter().filter(|change| change.sides().any(|object| object.kind == Kind::Namespace)) {
            let Some(ObjectKey { name, .. }) = change.key() else { continue };
            let said = change.new.as_ref().and_then(|object| TrafficDistribution::of_annotation(&object.meta.annotations));
            if self.distributions.get(&name) != said.as_ref() {
                put(&mut self.distributions, name.clone(), said);
                otherwise.insert(name);
            }
        }
        if otherwise.is_empty() {
            return;
        }
        let theirs: Vec<ServiceKey> = self.of_key.keys().filter(|(_, namespace)| otherwise.contains(&**namespace)).cloned().collect();
        for key in theirs {
            self.touch(touched, key);
        }
    }

    /// Says which instances are preferred of services that do not say it themselves.
    fn distribute(&self, touched: &mut BTreeMap<ServiceKey, Vec<Definition>>) {
        for (_, service) in touched.values_mut().flatten() {
            let of_namespace = || self.distributions.get(&*service.namespace).copied();
            let said = distribution(&service.object).or_else(of_namespace).unwrap_or_default();
            if service.traffic_distribution != said {
                Arc::make_mut(service).traffic_distribution = said;
            }
        }
    }

    /// Gives addresses to those that are to have some. Who has others because of it is touched as well.
    fn give_addresses(&mut self, touched: &mut BTreeMap<ServiceKey, Vec<Definition>>) {
        let mut moved = BTreeSet::new();
        for (key, definitions) in &*touched {
            let since = definitions.iter().filter(|(_, service)| service.wants_addresses()).map(|(age, _)| age).min();
            let (before, after) = (places(&self.of(key)), places(definitions));
            let (given_up, taken) = (&before - &after, &after - &before);
            self.automatic.update(Wanted { key, since: since.cloned(), given_up, taken }, &mut moved);
        }
        for key in moved {
            self.touch(touched, key);
        }
        for (key, definitions) in touched {
            let automatic = self.automatic.of(key);
            for (_, service) in definitions {
                let given = automatic.filter(|_| service.wants_addresses());
                if service.automatic != given {
                    Arc::make_mut(service).automatic = given;
                }
            }
        }
    }

    /// The definitions of a key, to be changed.
    fn touch<'t>(&self, touched: &'t mut BTreeMap<ServiceKey, Vec<Definition>>, key: ServiceKey) -> &'t mut Vec<Definition> {
        touched.entry(key).or_insert_with_key(|key| self.of(key).to_vec())
    }

    /// Takes over the definitions of a key. None if they are what they were.
    fn settle(&mut self, key: ServiceKey, mut definitions: Vec<Definition>) -> Option<DefinitionChange> {
        let old = self.of(&key);
        definitions.sort_by(|(a, _), (b, _)| a.cmp(b));
        let aliases = self.aliases_of(&key.0);
        for (age, service) in &mut definitions {
            if service.aliases != aliases {
                Arc::make_mut(service).aliases.clone_from(&aliases);
            }
            if let Some((_, known)) = old.iter().find(|(known, service_before)| known == age && service_before == service) {
                *service = known.clone();
            }
        }
        let is_same = |(a, b): (&Definition, &Definition)| a.0 == b.0 && Arc::ptr_eq(&a.1, &b.1);
        if old.len() == definitions.len() && old.iter().zip(&definitions).all(is_same) {
            return None;
        }
        for (age, _) in old.iter() {
            self.all.remove_mut(age);
        }
        definitions.iter().for_each(|(age, service)| self.all.insert_mut(age.clone(), service.clone()));
        self.give_name(&key, &definitions);
        let new: Arc<[Definition]> = definitions.into();
        put(&mut self.of_key, key.clone(), (!new.is_empty()).then(|| new.clone()));
        Some(DefinitionChange { key, old, new })
    }

    /// The oldest has the name; a Kubernetes Service goes before ServiceEntries.
    fn give_name(&mut self, (host, namespace): &ServiceKey, definitions: &[Definition]) {
        let of_kubernetes = definitions.iter().find(|(_, service)| service.registry == Registry::Kubernetes);
        let mut named = self.by_host.get(host).cloned().unwrap_or_default();
        match of_kubernetes.or(definitions.first()) {
            Some((_, service)) => drop(Arc::make_mut(&mut named).insert(namespace.clone(), service.clone())),
            None => drop(Arc::make_mut(&mut named).remove(namespace)),
        }
        put(&mut self.by_host, host.clone(), (!named.is_empty()).then_some(named));
    }

    /// The other names of a host, in alphabetical order.
    fn aliases_of(&self, host: &Arc<str>) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = self.aliases.members(host).map(|(_, name)| name.clone()).collect();
        names.sort();
        names
    }
}

/// Where the addresses stand that are written for a host, as far as others might be given them.
fn places(definitions: &[Definition]) -> BTreeSet<Place> {
    definitions.iter().flat_map(|(_, service)| &service.addresses).filter_map(|address| place_of(address)).collect()
}

/// Orders two lists of definitions by their oldest ones; a list without any comes last.
pub(super) fn by_oldest(a: &[Definition], b: &[Definition]) -> Ordering {
    match (a.first(), b.first()) {
        (Some((a, _)), Some((b, _))) => a.cmp(b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    }
}
