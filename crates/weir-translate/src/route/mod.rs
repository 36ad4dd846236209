//! Routes of a VirtualService: one for each block of `match` of each rule, in order, as far as the rule is meant for
//! this proxy and port.
//!
//! Facts: pilot/pkg/networking/core/route/route.go of Istio.

mod answer;
pub(crate) mod condition;
pub(crate) mod destination;
pub(crate) mod filters;
mod hash;
mod headers;
mod retry;

use std::sync::Arc;

use weir_api::resources::virtual_service::{HttpMatchRequest, HttpRoute};
use weir_model::{HttpRule, Service, VirtualService};
use weir_xds::route::route::Action;
use weir_xds::route::route_action::ClusterSpecifier;
use weir_xds::route::route_match::PathSpecifier;
use weir_xds::route::{Decorator, Route};

use crate::context::{Context, metadata_of};
use headers::HeaderChanges;

/// The name of the route of a service that no VirtualService is about.
const DEFAULT: &str = "default";

/// For what routes are made.
pub(crate) struct RouteInput<'i> {
    pub context: &'i Context<'i>,
    /// The port that requests come to.
    pub port: u16,
    /// The gateway that the proxy plays: `mesh`, or `namespace/name`.
    pub gateway: &'i str,
    /// Whether requests come over TLS that ends here.
    pub is_tls: bool,
    /// Finds the service of a destination's host.
    pub service: &'i dyn Fn(&str) -> Option<Arc<Service>>,
}

/// The routes of a VirtualService. Nothing is made of what comes after a rule that every request matches.
pub(crate) fn of_virtual_service(input: &RouteInput<'_>, service: &VirtualService) -> Vec<Route> {
    let mut routes: Vec<Route> = vec![];
    for rule in &service.http {
        if rule.spec.r#match.is_empty() {
            routes.push(input.route(rule, None, &service.name));
            break;
        }
        for block in rule.spec.r#match.iter().filter(|block| input.is_meant(block)) {
            let route = input.route(rule, Some(block), &service.name);
            let is_last = route.r#match.as_ref().is_some_and(condition::is_catch_all);
            routes.push(route);
            if is_last {
                return routes;
            }
        }
    }
    routes
}

/// The route of a service's port that no VirtualService is about.
pub(crate) fn of_service(context: &Context<'_>, service: &Service, port: u16) -> Route {
    let mut action = destination::with_timeout(None);
    let cluster = crate::names::outbound(port.into(), "", &service.hostname);
    action.cluster_specifier = Some(ClusterSpecifier::Cluster(cluster));
    action.retry_policy = retry::translate(context.mesh.config.default_http_retry_policy.as_ref(), false);
    action.hash_policy = context.destination_rule(service).and_then(|rule| hash::of_service(rule, service, port)).into_iter().collect();
    Route {
        name: DEFAULT.to_owned(),
        r#match: Some(condition::everything()),
        decorator: Some(Decorator { operation: format!("{}:{port}/*", service.hostname), ..Default::default() }),
        action: Some(Action::Route(action)),
        ..Default::default()
    }
}

/// A route that sends every request to one cluster, as it is.
pub(crate) fn to_cluster(name: &str, cluster: &str) -> Route {
    let mut action = destination::with_timeout(None);
    action.cluster_specifier = Some(ClusterSpecifier::Cluster(cluster.to_owned()));
    Route { name: name.to_owned(), r#match: Some(condition::everything()), action: Some(Action::Route(action)), ..Default::default() }
}

/// Moves the routes that every request matches behind all others.
pub(crate) fn catch_alls_last(routes: &mut [Route]) {
    routes.sort_by_key(|route| route.r#match.as_ref().is_some_and(condition::is_catch_all));
}

impl RouteInput<'_> {
    /// Whether a block is meant for this proxy and port. Gateways that a block names decide alone; only without
    /// them is the source looked at.
    fn is_meant(&self, block: &HttpMatchRequest) -> bool {
        if block.port != 0 && block.port != u32::from(self.port) {
            return false;
        }
        if !block.gateways.is_empty() {
            return block.gateways.iter().any(|gateway| gateway == self.gateway);
        }
        let proxy = self.context.proxy;
        proxy.is_selected(&block.source_labels) && (block.source_namespace.is_empty() || block.source_namespace == proxy.namespace)
    }

    fn route(&self, rule: &HttpRule, block: Option<&HttpMatchRequest>, owner: &str) -> Route {
        let spec = &rule.spec;
        let changes = HeaderChanges::new(spec.headers.as_ref());
        let mut route = Route {
            name: name(spec, block),
            r#match: Some(block.map_or_else(condition::everything, condition::translate)),
            metadata: Some(metadata_of(&rule.origin, "virtual-service")),
            stat_prefix: block.map(|block| block.stat_prefix.clone()).unwrap_or_default(),
            request_headers_to_add: changes.request_add,
            request_headers_to_remove: changes.request_remove,
            response_headers_to_add: changes.response_add,
            response_headers_to_remove: changes.response_remove,
            typed_per_filter_config: filters::translate(spec),
            ..Default::default()
        };
        route.action = self.action(spec, &mut route, changes.authority);
        route.decorator = Some(Decorator { operation: self.operation(&route, owner), ..Default::default() });
        route
    }

    fn action(&self, spec: &HttpRoute, route: &mut Route, authority: Option<String>) -> Option<Action> {
        if let Some(redirect) = &spec.redirect {
            return answer::redirect(redirect, self.port, self.is_tls).map(Action::Redirect);
        }
        if let Some(response) = &spec.direct_response {
            return Some(Action::DirectResponse(answer::direct_response(response)));
        }
        Some(Action::Route(self.forward(spec, route, authority)))
    }

    /// What traces call a request of the route.
    fn operation(&self, route: &Route, owner: &str) -> String {
        let path = match route.r#match.as_ref().and_then(|condition| condition.path_specifier.as_ref()) {
            Some(PathSpecifier::Prefix(prefix)) => format!("{prefix}*"),
            Some(PathSpecifier::Path(path)) => path.clone(),
            Some(PathSpecifier::SafeRegex(regex)) => regex.regex.clone(),
            _ => "/*".to_owned(),
        };
        if let Some(Action::Route(action)) = &route.action
            && let Some(ClusterSpecifier::Cluster(cluster)) = &action.cluster_specifier
            && let [_, port, _, host] = *cluster.split('|').collect::<Vec<_>>()
        {
            return format!("{host}:{port}{path}");
        }
        format!("{owner}:{}{path}", self.port)
    }
}

fn name(spec: &HttpRoute, block: Option<&HttpMatchRequest>) -> String {
    match block {
        Some(block) if !block.name.is_empty() => format!("{}.{}", spec.name, block.name),
        _ => spec.name.clone(),
    }
}
