//! Which virtual hosts are made of which rule, where virtual hosts are resources of their own: a rule that changes, and nothing
//! else, is then all that is looked at.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use weir_api::{Diagnostic, Kind};
use weir_model::{Scope, VirtualService, changes};

use super::Encoded;
use super::lists::{List, Lists};
use super::routes::{self, Frame};
use crate::context::Context;
use crate::destinations;
use crate::virtual_host::{Host, Hosts};

/// What is made of each rule of a sidecar.
#[derive(Default)]
pub(super) struct Rules {
    /// Where each stands among those of the only listener; none if there are several listeners, or its port is its own.
    places: Option<HashMap<changes::Name, usize>>,
    made_of: HashMap<changes::Name, Vec<Made>>,
    /// Those that stand in resources beside what others are made of.
    shared: HashSet<changes::Name>,
}

/// A virtual host, made of one rule.
struct Made {
    /// The port of the rule's list of routes.
    port: u16,
    resource: Resource,
    frame: Frame,
}

enum Resource {
    /// The virtual host.
    Own(Arc<str>),
    /// A route configuration that has no other.
    Configuration(Arc<str>),
}

impl Made {
    fn encode(&self, routes: &List) -> Arc<Encoded> {
        match &self.resource {
            Resource::Own(name) => self.frame.encode(name.clone(), routes),
            Resource::Configuration(name) => self.frame.encode_alone(name, routes),
        }
    }
}

fn name(rule: &VirtualService) -> changes::Name {
    (rule.namespace.clone(), rule.name.clone())
}

impl Rules {
    /// Those of a scope, of which nothing is made yet.
    pub fn of(scope: &Scope) -> Self {
        let places = match scope.egress.as_slice() {
            [only] if only.port().is_none() => {
                Some(only.virtual_services.iter().enumerate().map(|(place, rule)| (name(rule), place)).collect())
            }
            _ => None,
        };
        Self { places, ..Self::default() }
    }

    /// The resources of a route configuration: its virtual hosts, and what stays in it.
    pub fn divide(&mut self, configuration: &str, port: u16, mut hosts: Hosts<List>) -> Vec<Arc<Encoded>> {
        let (wildcards, named): (Vec<_>, Vec<_>) = std::mem::take(&mut hosts.named).into_iter().partition(Host::is_wildcard);
        self.shared.extend(wildcards.iter().filter_map(|host| host.rule.as_deref()).map(name));
        let mut made = vec![];
        for host in named {
            let resource = Resource::Own(routes::name_of(configuration, &host));
            made.push(self.make(port, resource, host));
        }
        made.push(routes::encode_rest(configuration, Hosts { named: wildcards, ..hosts }));
        made
    }

    /// The route configuration of one service.
    pub fn whole(&mut self, configuration: &str, port: u16, mut hosts: Hosts<List>) -> Arc<Encoded> {
        match hosts.named.pop() {
            Some(only) if hosts.named.is_empty() && hosts.rest.is_empty() => {
                self.make(port, Resource::Configuration(configuration.into()), only)
            }
            last => {
                hosts.named.extend(last);
                self.shared.extend(hosts.named.iter().filter_map(|host| host.rule.as_deref()).map(name));
                routes::encode(configuration, hosts)
            }
        }
    }

    fn make(&mut self, port: u16, resource: Resource, host: Host<List>) -> Arc<Encoded> {
        let rule = host.rule.as_deref().map(name);
        let (frame, routes) = Frame::of(host);
        let made = Made { port, resource, frame };
        let encoded = made.encode(&routes);
        if let Some(rule) = rule {
            self.made_of.entry(rule).or_default().push(made);
        }
        encoded
    }

    /// What is made of rules that say something else than in the scope before, of which all else is the same. None if more may
    /// change than that.
    pub fn refresh(
        &self,
        context: &Context<'_>,
        before: &Scope,
        changed: impl Iterator<Item = changes::Name>,
        told: &[Diagnostic],
        lists: &mut Lists,
    ) -> Option<Vec<Arc<Encoded>>> {
        let places = self.places.as_ref().filter(|_| context.scope.has_other_rules_only(before))?;
        let (old, new) = (before.egress.first()?, context.scope.egress.first()?);
        let mut made = vec![];
        for (rule, place) in changed.filter_map(|rule| Some((rule.clone(), *places.get(&rule)?))) {
            let (old, new) = (old.virtual_services.get(place)?, new.virtual_services.get(place)?);
            if Arc::ptr_eq(old, new) {
                continue;
            }
            if self.shared.contains(&rule) || !is_for_http(old) || !is_for_http(new) || says_anything(context, new, told) {
                return None;
            }
            let by_port = lists.replace(context, old, new)?;
            for host in self.made_of.get(&rule).into_iter().flatten() {
                made.push(host.encode(by_port.get(&host.port)?));
            }
        }
        Some(made)
    }
}

fn is_for_http(rule: &VirtualService) -> bool {
    rule.tls.is_empty() && rule.tcp.is_empty()
}

/// Whether anything is said of a rule, or was.
fn says_anything(context: &Context<'_>, rule: &VirtualService, told: &[Diagnostic]) -> bool {
    let is_its = |finding: &Diagnostic| {
        let object = finding.object.as_ref();
        object.is_none_or(|of| (&*of.kind, &of.namespace, &of.name) == (Kind::VirtualService.name(), &rule.namespace, &rule.name))
    };
    told.iter().any(is_its) || !context.listen(|| destinations::of_rule(context, rule)).1.is_empty()
}
