//! Lists of routes, encoded.

use std::collections::HashMap;
use std::sync::Arc;

use weir_api::resources::virtual_service::Destination;
use weir_model::{DestinationRule, Service, VirtualService};
use weir_xds::Message;
use weir_xds::route::Route;

use super::routes::{fields, put_field};
use super::same::{same, same_services};
use crate::context::Context;
use crate::route::{self, RouteInput, condition};
use crate::virtual_host::lists::RouteLists;

/// The number of `VirtualHost.routes`.
const ROUTES: u8 = 3;

/// Routes as they stand in a virtual host; those that every request matches are behind all others.
#[derive(Clone)]
pub(super) struct List {
    bytes: Arc<[u8]>,
    /// Where those begin.
    catch_alls: usize,
}

/// What was made of rules and services.
#[derive(Default)]
pub(super) struct Lists {
    /// By the rule's address.
    of_rules: HashMap<usize, Vec<OfRule>>,
    /// By host name and port.
    of_services: HashMap<(Arc<str>, u16), OfService>,
    /// Which refresh this is: what it does not ask for is let go.
    round: u64,
    made: usize,
    asked_for: usize,
}

/// The routes of a rule, and what they were made of.
struct OfRule {
    /// Holds its address.
    rule: Arc<VirtualService>,
    port: u16,
    gateway: String,
    is_tls: bool,
    destinations: Vec<Known>,
    routes: Option<List>,
    round: u64,
}

/// What a destination was found to be.
struct Known {
    /// Among the services of the port.
    here: Option<Arc<Service>>,
    /// Among all that the class knows.
    anywhere: Option<Arc<Service>>,
    rule: Option<Arc<DestinationRule>>,
}

/// The route of a service, and what it was made of besides its name.
struct OfService {
    rule: Option<Arc<DestinationRule>>,
    routes: List,
    round: u64,
}

impl Lists {
    /// A refresh begins.
    pub fn begin(&mut self) {
        self.round += 1;
        (self.made, self.asked_for) = (0, 0);
    }

    /// A refresh is over: what it did not ask for is let go. How many lists it made.
    pub fn end(&mut self) -> usize {
        let round = self.round;
        self.of_rules.retain(|_, kept| {
            kept.retain(|kept| kept.round == round);
            !kept.is_empty()
        });
        self.of_services.retain(|_, kept| kept.round == round);
        self.made
    }
}

impl Lists {
    /// Puts another version of a rule in the place of the last one, where nothing else has changed: its lists by their ports. None
    /// if more may change than they.
    pub fn replace(&mut self, context: &Context<'_>, old: &Arc<VirtualService>, new: &Arc<VirtualService>) -> Option<HashMap<u16, List>> {
        let Some(kept) = self.of_rules.get(&Arc::as_ptr(old).addr()) else { return Some(HashMap::new()) };
        let now = kept.iter().filter(|kept| kept.round == self.round);
        let made: Vec<OfRule> = now.map(|kept| kept.again(context, new)).collect::<Option<_>>()?;
        let by_port = made.iter().filter_map(|made| Some((made.port, made.routes.clone()?))).collect();
        self.made += made.len();
        self.of_rules.remove(&Arc::as_ptr(old).addr());
        self.of_rules.insert(Arc::as_ptr(new).addr(), made);
        Some(by_port)
    }

    /// How often lists were asked for since [`begin`](Self::begin), whether they were made or kept.
    pub fn asked_for(&self) -> usize {
        self.asked_for
    }

    /// How many lists were made since [`begin`](Self::begin).
    pub fn made(&self) -> usize {
        self.made
    }
}

impl RouteLists for Lists {
    type List = List;

    fn of_rule(&mut self, input: &RouteInput<'_>, rule: &Arc<VirtualService>) -> Option<List> {
        self.asked_for += 1;
        let destinations: Vec<Known> = destinations(rule).map(|destination| Known::find(input, destination)).collect();
        let round = self.round;
        let all = self.of_rules.entry(Arc::as_ptr(rule).addr()).or_default();
        let position = all.iter().position(|kept| kept.is_for(input));
        let kept = position.and_then(|position| all.get_mut(position));
        if let Some(kept) = kept.filter(|kept| kept.is_of(&destinations)) {
            kept.round = round;
            return kept.routes.clone();
        }
        self.made += 1;
        let new = OfRule::new(input, rule, destinations, round);
        let routes = new.routes.clone();
        position.into_iter().for_each(|position| drop(all.swap_remove(position)));
        all.push(new);
        routes
    }

    fn of_service(&mut self, context: &Context<'_>, service: &Arc<Service>, port: u16) -> List {
        self.asked_for += 1;
        let rule = context.destination_rule(service);
        let key = (service.hostname.clone(), port);
        let round = self.round;
        if let Some(kept) = self.of_services.get_mut(&key).filter(|kept| same(kept.rule.as_ref(), rule)) {
            kept.round = round;
            return kept.routes.clone();
        }
        self.made += 1;
        let routes = List::of(&[route::of_service(context, service, port)]);
        self.of_services.insert(key, OfService { rule: rule.cloned(), routes: routes.clone(), round });
        routes
    }

    fn split(list: &List) -> Vec<List> {
        let alone = |field: &[u8], is_catch_all| List { bytes: field.into(), catch_alls: if is_catch_all { 0 } else { field.len() } };
        let (first, last) = list.parts();
        fields(first).map(|field| alone(field, false)).chain(fields(last).map(|field| alone(field, true))).collect()
    }

    fn join(lists: &[&List]) -> List {
        if let [only] = lists {
            return (*only).clone();
        }
        let mut bytes = vec![];
        lists.iter().for_each(|list| bytes.extend_from_slice(list.parts().0));
        let catch_alls = bytes.len();
        lists.iter().for_each(|list| bytes.extend_from_slice(list.parts().1));
        List { bytes: bytes.into(), catch_alls }
    }
}

impl OfRule {
    fn new(input: &RouteInput<'_>, rule: &Arc<VirtualService>, destinations: Vec<Known>, round: u64) -> Self {
        let routes = route::of_virtual_service(input, rule);
        let routes = (!routes.is_empty()).then(|| List::of(&routes));
        let (port, gateway, is_tls) = (input.port, input.gateway.to_owned(), input.is_tls);
        Self { rule: rule.clone(), port, gateway, is_tls, destinations, routes, round }
    }

    /// Whether its routes would be made for the same.
    fn is_for(&self, input: &RouteInput<'_>) -> bool {
        (self.port, self.is_tls, &*self.gateway) == (input.port, input.is_tls, input.gateway)
    }

    /// The same for another version of the rule, that leads to no other hosts. None if it leads to others, or has routes where
    /// the last version had none, or the other way round: then more changes than they.
    fn again(&self, context: &Context<'_>, rule: &Arc<VirtualService>) -> Option<Self> {
        let hosts = destinations(&self.rule).map(|destination| destination.host.as_str());
        let here: HashMap<&str, &Known> = hosts.zip(&self.destinations).collect();
        if !destinations(rule).all(|destination| here.contains_key(destination.host.as_str())) {
            return None;
        }
        let find = |host: &str| here.get(host)?.here.clone();
        let input = RouteInput { context, port: self.port, gateway: &self.gateway, is_tls: self.is_tls, service: &find };
        let known = destinations(rule).map(|destination| Known::find(&input, destination)).collect();
        let new = Self::new(&input, rule, known, self.round);
        (new.routes.is_some() == self.routes.is_some()).then_some(new)
    }

    /// Whether its routes would be made of the same.
    fn is_of(&self, destinations: &[Known]) -> bool {
        self.destinations.len() == destinations.len() && self.destinations.iter().zip(destinations).all(|(a, b)| a.is(b))
    }
}

impl List {
    fn of(routes: &[Route]) -> Self {
        let is_catch_all = |route: &&Route| route.r#match.as_ref().is_some_and(condition::is_catch_all);
        let (last, first): (Vec<&Route>, Vec<&Route>) = routes.iter().partition(is_catch_all);
        let mut bytes = vec![];
        first.iter().for_each(|route| put_field(&mut bytes, ROUTES, &route.encode_to_vec()));
        let catch_alls = bytes.len();
        last.iter().for_each(|route| put_field(&mut bytes, ROUTES, &route.encode_to_vec()));
        Self { bytes: bytes.into(), catch_alls }
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at_checked(self.catch_alls).unwrap_or((&self.bytes, &[]))
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Known {
    fn find(input: &RouteInput<'_>, destination: &Destination) -> Self {
        let anywhere = input.context.scope.service(&destination.host);
        Self {
            here: (input.service)(&destination.host),
            rule: anywhere.and_then(|service| input.context.destination_rule(service)).cloned(),
            anywhere: anywhere.cloned(),
        }
    }

    fn is(&self, other: &Self) -> bool {
        same_services(self.here.as_ref(), other.here.as_ref())
            && same_services(self.anywhere.as_ref(), other.anywhere.as_ref())
            && same(self.rule.as_ref(), other.rule.as_ref())
    }
}

/// All destinations of a rule's routes.
fn destinations(rule: &VirtualService) -> impl Iterator<Item = &Destination> {
    rule.http.iter().flat_map(|rule| {
        let routes = rule.spec.route.iter().filter_map(|route| route.destination.as_ref());
        let mirrors = rule.spec.mirrors.iter().filter_map(|mirror| mirror.destination.as_ref());
        routes.chain(&rule.spec.mirror).chain(mirrors)
    })
}
