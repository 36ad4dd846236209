//! All DestinationRules of a mesh, merged by namespace and host.
//!
//! Facts: pilot/pkg/model/push_context.go and destination_rule.go of Istio.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_api::resources::destination_rule::{DestinationRule as Written, Subset};
use weir_api::{Diagnostic, FieldPath, Object, ObjectChange, Severity, Spec};

use crate::changes::{Changes, Subject};
use crate::destination_rule::DestinationRule;
use crate::host::{by_specificity, expand, is_subset, is_wildcard};
use crate::proxy::{Proxy, selects};
use crate::registry::Settings;
use crate::rule::{Age, Origin};
use crate::tree::{Groups, Tree, put};

/// Those for certain workloads go first, then the older ones.
type Order = (bool, Age);

/// The rules of a namespace for one host.
#[derive(Debug, Clone, Default, PartialEq)]
struct OfHost {
    objects: BTreeMap<Order, Arc<Object>>,
    /// For proxies of the same namespace.
    local: Vec<Arc<DestinationRule>>,
    /// Private ones of the root namespace, for proxies of it.
    root_local: Vec<Arc<DestinationRule>>,
    /// For proxies of other namespaces.
    exported: Vec<Arc<DestinationRule>>,
    /// What of them has no effect, since older ones say it already.
    findings: Arc<[Diagnostic]>,
}

/// All DestinationRules of a mesh.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DestinationRules {
    /// By namespace and host.
    by_host: Groups<String, String, Arc<OfHost>>,
    /// The hosts of a namespace that are wildcards, the most specific first.
    wildcards: Tree<String, Arc<Vec<String>>>,
    root: String,
}

fn written(object: &Object) -> Option<&Written> {
    match &object.spec {
        Spec::DestinationRule(written) => Some(written),
        _ => None,
    }
}

fn order(object: &Object, written: &Written) -> Order {
    (written.workload_selector.is_none(), Age::of(object))
}

impl DestinationRules {
    /// None yet, in a mesh with this root namespace.
    pub(crate) fn new(root: &str) -> Self {
        Self { root: root.to_owned(), ..Self::default() }
    }

    /// Takes in what became of objects.
    pub(crate) fn update(&mut self, objects: &[ObjectChange], settings: &Settings<'_>, changes: &mut Changes) {
        let mut touched: BTreeMap<(String, String), BTreeMap<Order, Arc<Object>>> = BTreeMap::new();
        let mut change = |object: &Arc<Object>, is_new: bool| {
            let Some(written) = written(object) else { return };
            let namespace = &object.meta.namespace;
            let key = (namespace.clone(), expand(&written.host, namespace, settings.domain));
            let of_host =
                touched.entry(key).or_insert_with_key(|key| self.of_host(key).map(|known| known.objects.clone()).unwrap_or_default());
            match is_new {
                true => drop(of_host.insert(order(object, written), object.clone())),
                false => drop(of_host.remove(&order(object, written))),
            }
        };
        for of_object in objects {
            of_object.old.iter().for_each(|object| change(object, false));
            of_object.new.iter().for_each(|object| change(object, true));
        }
        touched.into_iter().for_each(|(key, objects)| self.settle(key, objects, settings, changes));
    }

    fn of_host(&self, (namespace, host): &(String, String)) -> Option<&Arc<OfHost>> {
        self.by_host.get(namespace)?.get(host)
    }

    /// Takes over the objects that are about a host. What they say as before stays the same.
    fn settle(&mut self, key: (String, String), objects: BTreeMap<Order, Arc<Object>>, settings: &Settings<'_>, changes: &mut Changes) {
        let before = self.of_host(&key).cloned().unwrap_or_default();
        let new = OfHost::build(objects, &before, &self.root, settings);
        if new == *before {
            return;
        }
        let (namespace, host) = key;
        if new.findings != before.findings {
            changes.findings.insert(Subject::DestinationRules(namespace.clone(), host.clone()));
        }
        if (&new.local, &new.root_local, &new.exported) != (&before.local, &before.root_local, &before.exported) {
            changes.destination_rules.insert((namespace.clone(), host.clone()));
        }
        if is_wildcard(&host) {
            self.list_wildcard(&namespace, &host, !new.objects.is_empty());
        }
        match new.objects.is_empty() {
            true => self.by_host.remove(&namespace, &host),
            false => self.by_host.insert(namespace, host, Arc::new(new)),
        }
    }

    fn list_wildcard(&mut self, namespace: &str, host: &str, is_there: bool) {
        let mut hosts = self.wildcards.get(namespace).cloned().unwrap_or_default();
        match (hosts.binary_search_by(|known| by_specificity(known, host)), is_there) {
            (Ok(position), false) => drop(Arc::make_mut(&mut hosts).remove(position)),
            (Err(position), true) => Arc::make_mut(&mut hosts).insert(position, host.to_owned()),
            _ => {}
        }
        put(&mut self.wildcards, namespace.to_owned(), (!hosts.is_empty()).then_some(hosts));
    }

    /// What of them has no effect.
    pub fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.by_host.all().flat_map(|(_, of_host)| of_host.findings.iter())
    }

    /// The namespaces and hosts of those of which something is to be said.
    pub(crate) fn with_findings(&self) -> impl Iterator<Item = (&String, &String)> {
        let all = self.by_host.iter().flat_map(|(namespace, hosts)| hosts.iter().map(move |(host, own)| (namespace, host, own)));
        all.filter(|(_, _, own)| !own.findings.is_empty()).map(|(namespace, host, _)| (namespace, host))
    }

    /// What of those of a namespace for one host has no effect.
    pub(crate) fn findings_of(&self, namespace: &str, host: &str) -> Arc<[Diagnostic]> {
        self.of_host(&(namespace.to_owned(), host.to_owned())).map(|of_host| of_host.findings.clone()).unwrap_or_default()
    }

    /// All of them, as they were merged for the proxies of one namespace or another: one may come several times.
    pub fn all(&self) -> impl Iterator<Item = &Arc<DestinationRule>> {
        self.by_host.all().flat_map(|(_, of_host)| [&of_host.local, &of_host.root_local, &of_host.exported]).flatten()
    }

    /// The rules of a namespace for the most specific host that covers a service's.
    fn covering(&self, namespace: &str, host: &str, which: fn(&OfHost) -> &[Arc<DestinationRule>]) -> Option<&[Arc<DestinationRule>]> {
        let of_namespace = self.by_host.get(namespace)?;
        let of = |host: &str| of_namespace.get(host).map(|of_host| which(of_host)).filter(|rules| !rules.is_empty());
        let wildcards = || self.wildcards.get(namespace).into_iter().flat_map(|hosts| hosts.iter());
        of(host).or_else(|| wildcards().filter(|known| is_subset(host, known)).find_map(|known| of(known)))
    }

    /// The rule that a proxy follows for a service: of the proxy's namespace, else the service's, else the root
    /// namespace's. The first that has any for the host decides; nothing is inherited between them.
    pub fn find(&self, proxy: &Proxy, host: &str, service_namespace: &str) -> Option<&Arc<DestinationRule>> {
        let own = match proxy.namespace == self.root {
            true => self.covering(&self.root, host, |rules| &rules.root_local),
            false => self.covering(&proxy.namespace, host, |rules| &rules.local),
        };
        if let Some(rules) = own {
            return choose(rules.iter(), proxy);
        }
        let exported = |namespace: &str| {
            let rules = self.covering(namespace, host, |rules| &rules.exported)?;
            let visible: Vec<_> = rules.iter().filter(|rule| rule.visibility.allows(&proxy.namespace)).collect();
            (!visible.is_empty()).then(|| choose(visible.into_iter(), proxy))
        };
        exported(service_namespace).or_else(|| exported(&self.root)).flatten()
    }
}

/// The first rule for just this workload, else the last for all.
fn choose<'r>(rules: impl Iterator<Item = &'r Arc<DestinationRule>> + Clone, proxy: &Proxy) -> Option<&'r Arc<DestinationRule>> {
    let for_this = |rule: &&Arc<DestinationRule>| {
        rule.namespace == proxy.namespace && rule.selector.as_ref().is_some_and(|selector| selects(selector, &proxy.labels))
    };
    rules.clone().find(for_this).or_else(|| rules.filter(|rule| rule.selector.is_none()).last())
}

/// Rules while they are merged.
#[derive(Default)]
struct Merged {
    local: Vec<DestinationRule>,
    root_local: Vec<DestinationRule>,
    exported: Vec<DestinationRule>,
    findings: Vec<Diagnostic>,
}

impl Merged {
    fn add(&mut self, rule: &DestinationRule, root: &str) {
        // One that is exported to others alone does not even count at home.
        let is_local = rule.visibility.allows(&rule.namespace);
        let same = if is_local { &self.local } else { &self.exported };
        self.findings.extend(same.iter().filter(|known| known.is_one_with(rule)).flat_map(|known| outdone(known, rule)));
        if is_local {
            merge_into(&mut self.local, rule);
        }
        if !rule.visibility.is_private_to(&rule.namespace) {
            merge_into(&mut self.exported, rule);
        } else if rule.namespace == root {
            merge_into(&mut self.root_local, rule);
        }
    }
}

impl OfHost {
    fn build(objects: BTreeMap<Order, Arc<Object>>, before: &Self, root: &str, settings: &Settings<'_>) -> Self {
        let mut merged = Merged::default();
        for object in objects.values() {
            if let Some(written) = written(object) {
                merged.add(&DestinationRule::read(object, written, settings.mesh, settings.domain), root);
            }
        }
        let mut known: Vec<Arc<DestinationRule>> =
            [&before.local, &before.root_local, &before.exported].into_iter().flatten().cloned().collect();
        let mut shared = |rules: Vec<DestinationRule>| rules.into_iter().map(|rule| share(rule, &mut known)).collect();
        Self {
            local: shared(merged.local),
            root_local: shared(merged.root_local),
            exported: shared(merged.exported),
            findings: merged.findings.into(),
            objects,
        }
    }
}

/// The one of those known that says the same, or a new one.
fn share(rule: DestinationRule, known: &mut Vec<Arc<DestinationRule>>) -> Arc<DestinationRule> {
    if let Some(same) = known.iter().find(|known| ***known == rule) {
        return same.clone();
    }
    let new = Arc::new(rule);
    known.push(new.clone());
    new
}

/// Adds a rule to those of its host: to an older one that the same namespaces may see, or beside it.
fn merge_into(rules: &mut Vec<DestinationRule>, new: &DestinationRule) {
    let mut separate = true;
    for known in rules.iter_mut() {
        if known.selector != new.selector || !new.visibility.covers(&known.visibility) {
            continue;
        }
        separate &= known.visibility != new.visibility;
        for (subset, origin) in &new.subsets {
            if known.subset(&subset.name).is_none() {
                known.subsets.push((subset.clone(), origin.clone()));
            }
        }
        if known.policy.is_none() {
            known.policy.clone_from(&new.policy);
        }
        known.objects.extend(new.objects.iter().cloned());
    }
    if separate {
        rules.push(new.clone());
    }
}

/// What of a rule has no effect beside an older one for the same host and proxies.
fn outdone(known: &DestinationRule, new: &DestinationRule) -> Vec<Diagnostic> {
    let warning = |origin: &Origin, message: String| origin.object.diagnostic(Severity::Warning, origin.path.clone(), message);
    let older = known.objects.first().map_or("", |object| object.meta.name.as_str());
    let is_taken = |(subset, _): &&(Subset, Origin)| known.subset(&subset.name).is_some();
    let subsets = new.subsets.iter().filter(is_taken).map(|(subset, origin)| {
        let message = format!("{older}, which is for the same host, defines the subset {} already: this one has no effect", subset.name);
        warning(origin, message)
    });
    let policy = new.objects.first().filter(|_| known.policy.is_some() && new.policy.is_some()).map(|object| {
        let origin = Origin::new(object, FieldPath::default().key("spec").key("trafficPolicy"));
        warning(&origin, format!("{older}, which is for the same host, has a trafficPolicy already: this one has no effect"))
    });
    subsets.chain(policy).collect()
}
