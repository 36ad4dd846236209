//! Lists of routes, in whatever form they are made: as messages, or encoded and kept.

use std::sync::Arc;

use weir_model::{Service, VirtualService};
use weir_xds::route::Route;

use crate::context::Context;
use crate::route::{self, RouteInput};

/// Makes lists of routes.
pub(crate) trait RouteLists {
    /// A list.
    type List: Clone;

    /// The routes of a rule at a port; none if it has none there.
    fn of_rule(&mut self, input: &RouteInput<'_>, rule: &Arc<VirtualService>) -> Option<Self::List>;

    /// The route of a service's port that no rule is about.
    fn of_service(&mut self, context: &Context<'_>, service: &Arc<Service>, port: u16) -> Self::List;

    /// Each route as a list of its own.
    fn split(list: &Self::List) -> Vec<Self::List>;

    /// Several lists as one, in which the routes that every request matches are behind all others.
    fn join(lists: &[&Self::List]) -> Self::List;
}

/// Makes messages.
pub(crate) struct Messages;

impl RouteLists for Messages {
    type List = Vec<Route>;

    fn of_rule(&mut self, input: &RouteInput<'_>, rule: &Arc<VirtualService>) -> Option<Vec<Route>> {
        let routes = route::of_virtual_service(input, rule);
        (!routes.is_empty()).then_some(routes)
    }

    fn of_service(&mut self, context: &Context<'_>, service: &Arc<Service>, port: u16) -> Vec<Route> {
        vec![route::of_service(context, service, port)]
    }

    fn split(list: &Vec<Route>) -> Vec<Vec<Route>> {
        list.iter().map(|route| vec![route.clone()]).collect()
    }

    fn join(lists: &[&Vec<Route>]) -> Vec<Route> {
        let mut routes: Vec<Route> = lists.iter().copied().flatten().cloned().collect();
        route::catch_alls_last(&mut routes);
        routes
    }
}
