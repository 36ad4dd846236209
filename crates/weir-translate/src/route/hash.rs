//! What a request is sent by, where a DestinationRule wants a consistent hash.

use weir_api::resources::destination_rule::TrafficPolicy;
use weir_api::resources::load_balancer::ConsistentHashLb;
use weir_api::resources::virtual_service::Destination;
use weir_model::{DestinationRule, Service};
use weir_xds::route::route_action::HashPolicy;
use weir_xds::route::route_action::hash_policy::{ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter};
use weir_xds::values::duration;

/// The hash of a rule's destination. A port's own counts only if the destination names the port, which has this number.
pub(super) fn of_destination(rule: &DestinationRule, destination: &Destination, port: Option<u32>) -> Option<HashPolicy> {
    let level = |policy: Option<&TrafficPolicy>| {
        let at_port = port.and_then(|port| of_port(policy?, port));
        (at_port, policy.and_then(of_policy))
    };
    let (subset_port, subset) = level(rule.subset(&destination.subset).and_then(|subset| subset.traffic_policy.as_ref()));
    let (port, whole) = level(rule.policy.as_ref());
    subset_port.or(subset).or(port).or(whole)
}

/// The hash of a service that no VirtualService is about.
pub(super) fn of_service(rule: &DestinationRule, service: &Service, port: u16) -> Option<HashPolicy> {
    let policy = rule.policy.as_ref()?;
    debug_assert!(service.port(port.into()).is_some());
    of_port(policy, port.into()).or_else(|| of_policy(policy))
}

fn of_port(policy: &TrafficPolicy, port: u32) -> Option<HashPolicy> {
    let own = policy.port_level_settings.iter().find(|own| own.port.as_ref().is_some_and(|own| own.number == port))?;
    own.load_balancer.as_ref()?.consistent_hash.as_ref().and_then(translate)
}

fn of_policy(policy: &TrafficPolicy) -> Option<HashPolicy> {
    policy.load_balancer.as_ref()?.consistent_hash.as_ref().and_then(translate)
}

fn translate(hash: &ConsistentHashLb) -> Option<HashPolicy> {
    let header = || hash.http_header_name.clone().map(|header_name| PolicySpecifier::Header(Header { header_name, ..Default::default() }));
    let source_ip = || hash.use_source_ip.map(|source_ip| PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip }));
    let query = || hash.http_query_parameter_name.clone().map(|name| PolicySpecifier::QueryParameter(QueryParameter { name }));
    let specifier = header().or_else(|| cookie(hash)).or_else(source_ip).or_else(query)?;
    Some(HashPolicy { policy_specifier: Some(specifier), ..Default::default() })
}

fn cookie(hash: &ConsistentHashLb) -> Option<PolicySpecifier> {
    let cookie = hash.http_cookie.as_ref()?;
    let attribute = |attribute: &weir_api::resources::load_balancer::CookieAttribute| CookieAttribute {
        name: attribute.name.clone(),
        value: attribute.value.clone(),
    };
    Some(PolicySpecifier::Cookie(Cookie {
        name: cookie.name.clone(),
        path: cookie.path.clone(),
        ttl: cookie.ttl.map(|ttl| duration(ttl.to_std())),
        attributes: cookie.attributes.iter().map(attribute).collect(),
    }))
}
