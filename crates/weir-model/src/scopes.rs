//! The scopes that proxies asked for, kept from one snapshot to the next.
//!
//! Most proxies of a namespace share one. One that a change touches is made anew when somebody asks for it, and is the same
//! as before if the change made no difference.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::changes::Name;
use crate::proxy::ProxyKind;
use crate::registry::{DefinitionChange, Services};
use crate::rule;
use crate::scope::{EgressListener, Scope, destinations};
use crate::service::Service;
use crate::virtual_service::VirtualService;
use crate::virtual_services::RuleChange;

/// What a scope is a function of, besides the snapshot: the kind and namespace of a proxy, and the namespace and
/// name of its Sidecar.
pub(crate) type ScopeKey = (ProxyKind, String, Option<Name>);

/// A scope that nobody asked for through so many changes is forgotten.
const PATIENCE: u32 = 32;

/// Of so many services at a time each is put in its place; more are read anew together.
const FEW: usize = 8;

#[derive(Debug, Clone)]
struct Kept {
    scope: Arc<Scope>,
    /// How many changes touched it since it was made.
    touched: u32,
}

/// The scopes of a snapshot. Copies are of the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scopes(Arc<Mutex<HashMap<ScopeKey, Kept>>>);

/// What scopes depend on, as far as it changed.
pub(crate) struct Touched<'t> {
    pub services: &'t [DefinitionChange],
    pub rules: &'t [RuleChange],
    pub sidecars: &'t BTreeSet<Name>,
    /// All services as they are now.
    pub newest: &'t Services,
}

impl Scopes {
    /// The scope of this key; `build` makes it.
    pub fn get(&self, key: ScopeKey, build: impl FnOnce() -> Scope) -> Arc<Scope> {
        let mut scopes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = scopes.get(&key);
        if let Some(kept) = before.filter(|kept| kept.touched == 0) {
            return kept.scope.clone();
        }
        let scope = match before {
            Some(before) => keep(build(), &before.scope),
            None => Arc::new(build()),
        };
        scopes.insert(key, Kept { scope: scope.clone(), touched: 0 });
        scope
    }

    /// Those of the snapshot after a change.
    pub fn after(&self, touched: &Touched<'_>) -> Self {
        if touched.services.is_empty() && touched.rules.is_empty() && touched.sidecars.is_empty() {
            return self.clone();
        }
        let scopes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = scopes.iter().filter_map(|(key, kept)| Some((key.clone(), after(key, kept, touched)?)));
        Self(Arc::new(Mutex::new(kept.collect())))
    }
}

/// A scope after a change; none if it is forgotten.
fn after((kind, namespace, sidecar): &ScopeKey, kept: &Kept, touched: &Touched<'_>) -> Option<Kept> {
    let sees = |service: &Arc<Service>| service.visibility.allows(namespace) || *service.namespace == **namespace;
    let services: Vec<&DefinitionChange> = touched.services.iter().filter(|change| change.sides().any(sees)).collect();
    let concerns = |rule: &&RuleChange| rule.sides().any(|rule| rule.applies_to_mesh() && rule.visibility.allows(namespace));
    let rules: Vec<&RuleChange> = touched.rules.iter().filter(concerns).collect();
    let has_other_sidecar = sidecar.as_ref().is_some_and(|name| touched.sidecars.contains(name));
    if !has_other_sidecar && services.is_empty() && rules.is_empty() {
        return Some(kept.clone());
    }
    let is_whole = !has_other_sidecar && kept.touched == 0;
    let newest = || with_rules(&with_services(&kept.scope, *kind, &services, touched.newest)?, &rules);
    if let Some(scope) = is_whole.then(newest).flatten() {
        return Some(Kept { scope, touched: 0 });
    }
    (kept.touched < PATIENCE).then(|| Kept { scope: kept.scope.clone(), touched: kept.touched + 1 })
}

/// The same scope with some of its services as they are defined now. None if it may be more that changes: if a service may
/// be merged with others, or be reached at some of its ports only.
fn with_services(scope: &Arc<Scope>, kind: ProxyKind, changes: &[&DefinitionChange], newest: &Services) -> Option<Arc<Scope>> {
    if changes.len() > FEW || !changes.is_empty() && scope.egress.iter().any(|listener| listener.port().is_some()) {
        return None;
    }
    let mut scope = scope.clone();
    for change in changes {
        let (old, new) = change.in_place().filter(|(old, new)| !old.ports.is_empty() && !new.ports.is_empty())?;
        let is_only = newest.of_host(&new.hostname).is_some_and(|named| named.len() == 1);
        // Where the first listener lists it, it is reached whole, whatever rules say of it besides.
        let first = match kind {
            ProxyKind::Sidecar => &scope.egress.first()?.services,
            ProxyKind::Router => &scope.services,
        };
        if !is_only || !first.iter().any(|service| Arc::ptr_eq(service, old)) {
            return None;
        }
        let scope = Arc::make_mut(&mut scope);
        let lists = scope.egress.iter_mut().map(|listener| &mut listener.services);
        for list in std::iter::once(&mut scope.services).chain(lists) {
            replace(list, old, new)?;
        }
    }
    Some(scope)
}

/// Puts a service in the place of another of its host, where that is in a list. None if another of that host is there.
fn replace(list: &mut Arc<[Arc<Service>]>, old: &Arc<Service>, new: &Arc<Service>) -> Option<()> {
    let Some(place) = list.iter().position(|service| service.hostname == old.hostname) else { return Some(()) };
    if !Arc::ptr_eq(list.get(place)?, old) {
        return None;
    }
    *list = list.iter().enumerate().map(|(index, service)| if index == place { new } else { service }.clone()).collect();
    Some(())
}

/// The same scope with what some of its rules say now. None if it may be more that changes.
fn with_rules(scope: &Arc<Scope>, changes: &[&RuleChange]) -> Option<Arc<Scope>> {
    let mut scope = scope.clone();
    for change in changes {
        let (Some(old), Some(new)) = (&change.old, &change.new) else { return None };
        if !is_alike(old, new, &scope.namespace) {
            return None;
        }
        let places: Vec<Option<usize>> = scope.egress.iter().map(|listener| place_of(old, listener, &scope.namespace)).collect();
        if places.iter().any(Option::is_some) {
            let egress = &mut Arc::make_mut(&mut scope).egress;
            for (listener, place) in egress.iter_mut().zip(places).filter_map(|(listener, place)| Some((listener, place?))) {
                listener.virtual_services.set_mut(place, new.clone());
            }
        }
    }
    Some(scope)
}

/// Where a rule stands among those of a listener, which are in order.
fn place_of(rule: &Arc<VirtualService>, listener: &EgressListener, namespace: &str) -> Option<usize> {
    let rank = |rule: &VirtualService| rule.visibility.rank(&rule.namespace, namespace);
    let order = |a: &VirtualService, b: &VirtualService| rank(a).cmp(&rank(b)).then_with(|| rule::by_age(&a.object, &b.object));
    let all = &listener.virtual_services;
    let (mut from, mut to) = (0, all.len());
    while from < to {
        let middle = from.midpoint(to);
        let known = all.get(middle)?;
        match order(known, rule) {
            Ordering::Less => from = middle + 1,
            Ordering::Greater => to = middle,
            Ordering::Equal => return Arc::ptr_eq(known, rule).then_some(middle),
        }
    }
    None
}

/// Whether two versions of a rule are the same to a scope: for the same hosts and gateways, with the same destinations.
fn is_alike(old: &VirtualService, new: &VirtualService, namespace: &str) -> bool {
    old.hosts == new.hosts
        && old.visibility == new.visibility
        && old.gateways == new.gateways
        && destinations(old, namespace) == destinations(new, namespace)
}

/// A new scope with all that it shares with the last one; the last one itself, if that is all of it.
fn keep(mut new: Scope, before: &Arc<Scope>) -> Arc<Scope> {
    keep_list(&mut new.services, &before.services);
    if Arc::ptr_eq(&new.services, &before.services) {
        new.by_host = before.by_host.clone();
    }
    let listeners = new.egress.iter_mut().zip(&before.egress);
    let are_same = listeners.fold(true, |same, (new, before)| keep_listener(new, before) && same);
    let is_same = are_same
        && new.egress.len() == before.egress.len()
        && Arc::ptr_eq(&new.services, &before.services)
        && new.sidecar == before.sidecar
        && new.outbound_policy == before.outbound_policy;
    if is_same { before.clone() } else { Arc::new(new) }
}

/// The same of a listener. Whether it is the last one.
fn keep_listener(new: &mut EgressListener, before: &EgressListener) -> bool {
    keep_list(&mut new.services, &before.services);
    let (rules, rules_before) = (&new.virtual_services, &before.virtual_services);
    let has_same_rules = rules.len() == rules_before.len() && rules.iter().zip(rules_before.iter()).all(|(a, b)| Arc::ptr_eq(a, b));
    let has_same = Arc::ptr_eq(&new.services, &before.services) && has_same_rules;
    if has_same {
        new.virtual_services = before.virtual_services.clone();
        new.by_host = before.by_host.clone();
    }
    has_same && new.spec == before.spec && new.origin == before.origin
}

fn is_same_service(a: &Arc<Service>, b: &Arc<Service>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// Puts services of a list as it was in the place of those that equal them now, and the whole list if it is the same.
fn keep_list(list: &mut Arc<[Arc<Service>]>, before: &Arc<[Arc<Service>]>) {
    if list.len() == before.len() && list.iter().zip(before.iter()).all(|(a, b)| is_same_service(a, b)) {
        *list = before.clone();
        return;
    }
    let known: HashMap<&str, &Arc<Service>> = before.iter().map(|service| (&*service.hostname, service)).collect();
    let same = |service: &Arc<Service>| known.get(&*service.hostname).copied().filter(|known| is_same_service(known, service)).cloned();
    *list = list.iter().map(|service| same(service).unwrap_or_else(|| service.clone())).collect();
}
