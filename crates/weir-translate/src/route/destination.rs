//! Rules that forward requests: to which clusters, and what they change on the way.

use std::sync::Arc;

use weir_api::resources::Duration;
use weir_api::resources::http_policy::HttpRewrite;
use weir_api::resources::virtual_service::{Destination, HttpRoute, HttpRouteDestination, PortSelector};
use weir_model::Service;
use weir_xds::core::RuntimeFractionalPercent;
use weir_xds::matcher::RegexMatchAndSubstitute;
use weir_xds::route::route_action::{ClusterSpecifier, HashPolicy, HostRewriteSpecifier, RequestMirrorPolicy};
use weir_xds::route::weighted_cluster::{ClusterWeight, cluster_weight};
use weir_xds::route::{Route, RouteAction, WeightedCluster};
use weir_xds::types::FractionalPercent;
use weir_xds::values::duration;

use super::headers::HeaderChanges;
use super::{RouteInput, condition, filters, hash, retry};
use crate::names;
use crate::proxy_headers;

/// The number of the port that a destination asks for; 0, which no port has, if its service has none of that name.
pub(crate) fn port_number(destination: &Destination, service: Option<&Service>) -> Option<u32> {
    let PortSelector { number, name } = destination.port.as_ref()?;
    if name.is_empty() {
        return Some(*number);
    }
    let named = service.and_then(|service| service.ports.iter().find(|port| port.name == *name));
    Some(named.map_or(0, |port| port.number.into()))
}

/// The cluster of a destination: at the port that it names, else the only port of its service, else the port that
/// the request came to.
pub(crate) fn cluster(destination: &Destination, service: Option<&Arc<Service>>, listener_port: u16) -> String {
    let only = service.and_then(|service| match service.ports.as_slice() {
        [only] => Some(u32::from(only.number)),
        _ => None,
    });
    let port = port_number(destination, service.map(|service| &**service)).or(only).unwrap_or(u32::from(listener_port));
    let hostname = service.and_then(|service| service.alias_of.as_deref()).unwrap_or(&destination.host);
    names::outbound(port, &destination.subset, hostname)
}

impl RouteInput<'_> {
    fn cluster(&self, destination: Option<&Destination>) -> String {
        match destination {
            Some(destination) => cluster(destination, (self.service)(&destination.host).as_ref(), self.port),
            None => names::BLACK_HOLE.to_owned(),
        }
    }

    fn hash(&self, destination: Option<&Destination>) -> Option<HashPolicy> {
        let destination = destination?;
        let service = self.context.scope.service(&destination.host)?;
        hash::of_destination(self.context.destination_rule(service)?, destination, port_number(destination, Some(service)))
    }

    /// The action of a rule that forwards. Changes of headers that belong to its only destination are added to
    /// the route's own.
    pub(super) fn forward(&self, rule: &HttpRoute, route: &mut Route, authority: Option<String>) -> RouteAction {
        let mut action = with_timeout(rule.timeout);
        let rewritten = rule.rewrite.as_ref().and_then(|rewrite| rewrite_into(rewrite, &mut action));
        action.host_rewrite_specifier = rewritten.or(authority).map(HostRewriteSpecifier::HostRewriteLiteral);
        action.request_mirror_policies = self.mirrors(rule);
        let has_hash = match rule.route.as_slice() {
            [only] => self.to_one(only, route, &mut action),
            several => {
                self.to_several(several, &mut action);
                false
            }
        };
        action.append_x_forwarded_host = rule.rewrite.is_some() && proxy_headers::appends_host(&self.context.mesh.config);
        let retries = rule.retries.as_ref().or(self.context.mesh.config.default_http_retry_policy.as_ref());
        action.retry_policy = retry::translate(retries, has_hash);
        action
    }

    /// Says whether there is a hash.
    fn to_one(&self, only: &HttpRouteDestination, route: &mut Route, action: &mut RouteAction) -> bool {
        let changes = HeaderChanges::new(only.headers.as_ref());
        route.request_headers_to_add.extend(changes.request_add);
        route.request_headers_to_remove.extend(changes.request_remove);
        route.response_headers_to_add.extend(changes.response_add);
        route.response_headers_to_remove.extend(changes.response_remove);
        if action.host_rewrite_specifier.is_none() {
            action.host_rewrite_specifier = changes.authority.map(HostRewriteSpecifier::HostRewriteLiteral);
        }
        action.cluster_specifier = Some(ClusterSpecifier::Cluster(self.cluster(only.destination.as_ref())));
        action.hash_policy = self.hash(only.destination.as_ref()).into_iter().collect();
        !action.hash_policy.is_empty()
    }

    fn to_several(&self, several: &[HttpRouteDestination], action: &mut RouteAction) {
        let mut clusters = vec![];
        for destination in several {
            // One without a weight beside others gets nothing.
            let Some(weight) = u32::try_from(destination.weight).ok().filter(|weight| *weight > 0) else { continue };
            clusters.push(self.weighted(destination, weight));
            action.hash_policy.extend(self.hash(destination.destination.as_ref()));
        }
        // Envoy refuses a whole route configuration for one list without any cluster.
        if clusters.is_empty() {
            action.cluster_specifier = Some(ClusterSpecifier::Cluster(names::BLACK_HOLE.to_owned()));
            return;
        }
        action.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(WeightedCluster { clusters, ..Default::default() }));
    }

    fn weighted(&self, destination: &HttpRouteDestination, weight: u32) -> ClusterWeight {
        let changes = HeaderChanges::new(destination.headers.as_ref());
        ClusterWeight {
            name: self.cluster(destination.destination.as_ref()),
            weight: Some(weight),
            request_headers_to_add: changes.request_add,
            request_headers_to_remove: changes.request_remove,
            response_headers_to_add: changes.response_add,
            response_headers_to_remove: changes.response_remove,
            host_rewrite_specifier: changes.authority.map(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
            ..Default::default()
        }
    }

    fn mirrors(&self, rule: &HttpRoute) -> Vec<RequestMirrorPolicy> {
        let whole = rule.mirror_percent.map(filters::whole_percent);
        let single_share = rule.mirror_percentage.as_ref().map(filters::percent).or(whole);
        let single = rule.mirror.as_ref().map(|destination| (destination, single_share));
        let several = rule.mirrors.iter().filter_map(|mirror| {
            let share = mirror.percentage.as_ref().map(filters::percent);
            mirror.destination.as_ref().map(|destination| (destination, share))
        });
        single.into_iter().chain(several).filter_map(|(destination, share)| self.mirror(destination, share)).collect()
    }

    /// All requests are mirrored unless a share is named; none of them, if that is zero.
    fn mirror(&self, destination: &Destination, share: Option<FractionalPercent>) -> Option<RequestMirrorPolicy> {
        let share = share.unwrap_or_else(|| filters::whole_percent(100));
        (share.numerator > 0).then(|| RequestMirrorPolicy {
            cluster: self.cluster(Some(destination)),
            runtime_fraction: Some(RuntimeFractionalPercent { default_value: Some(share), ..Default::default() }),
            trace_sampled: Some(false),
            disable_shadow_host_suffix_append: true,
            ..Default::default()
        })
    }
}

/// An action with its timeout: none unless one is set. It bounds what a gRPC client may ask for.
#[expect(deprecated, reason = "Istio keeps to max_grpc_timeout: what replaces it behaves otherwise")]
pub(super) fn with_timeout(timeout: Option<Duration>) -> RouteAction {
    let timeout = duration(timeout.unwrap_or_default().to_std());
    RouteAction { timeout: Some(timeout), max_grpc_timeout: Some(timeout), ..Default::default() }
}

/// Adds a rewrite of the path to an action; returns what the host is set to.
fn rewrite_into(rewrite: &HttpRewrite, action: &mut RouteAction) -> Option<String> {
    if let Some(regex) = &rewrite.uri_regex_rewrite {
        action.regex_rewrite =
            Some(RegexMatchAndSubstitute { pattern: Some(condition::regex(&regex.r#match)), substitution: regex.rewrite.clone() });
    } else {
        action.prefix_rewrite.clone_from(&rewrite.uri);
    }
    (!rewrite.authority.is_empty()).then(|| rewrite.authority.clone())
}
