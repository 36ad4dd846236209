//! Lists of routes, encoded.

use std::collections::HashMap;
use std::sync::Arc;

use weir_api::resources::virtual_service::Destination;
use weir_model::{DestinationRule, Service, VirtualService};
use weir_xds::Message;
use weir_xds::route::Route;

use super::routes::put_field;
use super::same::{same, same_services};
use crate::context::Context;
use crate::route::{self, RouteInput};
use crate::virtual_host::lists::RouteLists;

/// The number of `VirtualHost.routes`.
const ROUTES: u8 = 3;

/// What was made of rules and services.
#[derive(Default)]
pub(super) struct Lists {
    /// By the rule's address and the port.
    of_rules: HashMap<(usize, u16), OfRule>,
    /// By host name and port.
    of_services: HashMap<(Arc<str>, u16), OfService>,
    /// Which refresh this is: what it does not ask for is let go.
    round: u64,
    made: usize,
}

/// The routes of a rule, and what they were made of.
struct OfRule {
    /// Holds its address.
    _rule: Arc<VirtualService>,
    destinations: Vec<Known>,
    routes: Option<Arc<[u8]>>,
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
    routes: Arc<[u8]>,
    round: u64,
}

impl Lists {
    /// A refresh begins.
    pub fn begin(&mut self) {
        self.round += 1;
        self.made = 0;
    }

    /// A refresh is over: what it did not ask for is let go. How many lists it made.
    pub fn end(&mut self) -> usize {
        let round = self.round;
        self.of_rules.retain(|_, kept| kept.round == round);
        self.of_services.retain(|_, kept| kept.round == round);
        self.made
    }
}

impl RouteLists for Lists {
    type List = Arc<[u8]>;

    fn of_rule(&mut self, input: &RouteInput<'_>, rule: &Arc<VirtualService>) -> Option<Arc<[u8]>> {
        let destinations: Vec<Known> = destinations(rule).map(|destination| Known::find(input, destination)).collect();
        let key = (Arc::as_ptr(rule).addr(), input.port);
        let round = self.round;
        let is_same = |kept: &&mut OfRule| {
            kept.destinations.len() == destinations.len() && kept.destinations.iter().zip(&destinations).all(|(a, b)| a.is(b))
        };
        if let Some(kept) = self.of_rules.get_mut(&key).filter(is_same) {
            kept.round = round;
            return kept.routes.clone();
        }
        self.made += 1;
        let routes = route::of_virtual_service(input, rule);
        let routes = (!routes.is_empty()).then(|| encode(&routes));
        self.of_rules.insert(key, OfRule { _rule: rule.clone(), destinations, routes: routes.clone(), round });
        routes
    }

    fn of_service(&mut self, context: &Context<'_>, service: &Arc<Service>, port: u16) -> Arc<[u8]> {
        let rule = context.destination_rule(service);
        let key = (service.hostname.clone(), port);
        let round = self.round;
        if let Some(kept) = self.of_services.get_mut(&key).filter(|kept| same(kept.rule.as_ref(), rule)) {
            kept.round = round;
            return kept.routes.clone();
        }
        self.made += 1;
        let routes = encode(&[route::of_service(context, service, port)]);
        self.of_services.insert(key, OfService { rule: rule.cloned(), routes: routes.clone(), round });
        routes
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

/// Routes as they stand in a virtual host.
fn encode(routes: &[Route]) -> Arc<[u8]> {
    let mut buffer = vec![];
    routes.iter().for_each(|route| put_field(&mut buffer, ROUTES, &route.encode_to_vec()));
    buffer.into()
}
