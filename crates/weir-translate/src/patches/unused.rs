//! Patches that found nothing to change.

use std::cmp::Reverse;
use std::sync::Arc;

use weir_api::Diagnostic;
use weir_api::resources::envoy_filter::{ApplyTo, PatchOperation};
use weir_model::ProxyKind;
use weir_xds::resource::ResourceType;

use super::matching;
use super::selected::{Selected, belongs_to};
use super::work::Patch;

/// So many names of what is there are told.
const TOLD: usize = 5;

/// What is to be said of patches that did nothing to a proxy. One that is for all sidecars may well concern a few of them: of
/// such nothing is said. `known` are all resources by their kinds and names.
pub(crate) fn findings<'n>(
    selected: &Selected,
    used: &[Arc<Patch>],
    known: impl Iterator<Item = (ResourceType, &'n str)>,
) -> Vec<Diagnostic> {
    let kind = selected.proxy.kind;
    let is_meant = |patch: &&Arc<Patch>| {
        (patch.names_workloads || kind == ProxyKind::Router)
            && belongs_to(patch, kind, selected.side)
            && !used.iter().any(|used| Arc::ptr_eq(used, patch))
    };
    let unused: Vec<&Arc<Patch>> = selected.patches.iter().filter(is_meant).collect();
    if unused.is_empty() {
        return vec![];
    }
    let known: Vec<(ResourceType, &str)> = known.collect();
    unused.into_iter().map(|patch| patch.warning(message(patch, kind, &known))).collect()
}

/// What is to be said of patches for all sidecars that do nothing to one, on either side of it.
pub(super) fn of_sidecar(sides: &[&Selected], used: &[Arc<Patch>], known: &[(ResourceType, &str)]) -> Vec<Diagnostic> {
    let mut unused: Vec<&Arc<Patch>> = vec![];
    for patch in sides.iter().flat_map(|selected| &selected.patches) {
        let is_it = |other: &Arc<Patch>| Arc::ptr_eq(other, patch);
        if !patch.names_workloads && !used.iter().any(is_it) && !unused.iter().any(|other| is_it(other)) {
            unused.push(patch);
        }
    }
    unused.into_iter().map(|patch| patch.info(message(patch, ProxyKind::Sidecar, known))).collect()
}

fn message(patch: &Patch, kind: ProxyKind, known: &[(ResourceType, &str)]) -> String {
    let of = match kind {
        ProxyKind::Router => "gateway",
        ProxyKind::Sidecar => "sidecar",
    };
    if patch.apply_to == ApplyTo::ExtensionConfig {
        return format!("it is of no use: no filter of a {of} that it is for asks for it (`config_discovery`)");
    }
    let words = wanted(patch);
    let wanted = if words.is_empty() { String::new() } else { format!(" with {}", words.join(", ")) };
    let what = match patch.operation {
        PatchOperation::Remove => "there is nothing to remove",
        _ => "it changes nothing",
    };
    let there = there(patch.apply_to, &words, known);
    let there = if there.is_empty() { String::new() } else { format!("; there are {there}") };
    format!("{what}: no {}{wanted} is found at a {of} that it is for{there}", patch.apply_to.name())
}

/// What a patch looks for.
fn wanted(patch: &Patch) -> Vec<String> {
    let mut wanted = vec![];
    let mut say = |what: &str, value: &str| {
        if !value.is_empty() && value != "0" {
            wanted.push(format!("{what} `{value}`"));
        }
    };
    if let Some(listener) = &patch.matched.listener {
        say("listener", &listener.name);
        say("port", &listener.port_number.to_string());
        let chain = listener.filter_chain.as_ref();
        say("filter chain", chain.map_or("", |chain| &chain.name));
        say("SNI", chain.map_or("", |chain| &chain.sni));
        say("filter", matching::network_filter(&patch.matched).unwrap_or_default());
        say("subFilter", matching::http_filter(&patch.matched).unwrap_or_default());
        say("listenerFilter", &listener.listener_filter);
    }
    if let Some(routes) = &patch.matched.route_configuration {
        say("route configuration", &routes.name);
        say("port", &routes.port_number.to_string());
        say("port name", &routes.port_name);
        say("Gateway", &routes.gateway);
        let host = routes.vhost.as_ref();
        say("virtual host", host.map_or("", |host| &host.name));
        say("domain", host.map_or("", |host| &host.domain_name));
        say("route", host.and_then(|host| host.route.as_ref()).map_or("", |route| &route.name));
    }
    if let Some(cluster) = &patch.matched.cluster {
        say("name", &cluster.name);
        say("service", &cluster.service);
        say("subset", &cluster.subset);
        say("port", &cluster.port_number.to_string());
    }
    wanted
}

/// Some of the resources that are, or hold, objects of a kind: those first whose names are the most like what is looked for.
fn there(apply_to: ApplyTo, wanted: &[String], known: &[(ResourceType, &str)]) -> String {
    let kind = match apply_to {
        ApplyTo::Cluster => ResourceType::Cluster,
        ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute => ResourceType::Route,
        ApplyTo::ExtensionConfig | ApplyTo::Bootstrap | ApplyTo::Invalid => return String::new(),
        ApplyTo::Listener | ApplyTo::FilterChain | ApplyTo::NetworkFilter | ApplyTo::HttpFilter | ApplyTo::ListenerFilter => {
            ResourceType::Listener
        }
    };
    let mut names: Vec<&str> = known.iter().filter(|(known, _)| *known == kind).map(|(_, name)| *name).collect();
    names.sort_unstable();
    names.dedup();
    let wanted = wanted.join(" ");
    names.sort_by_cached_key(|name| Reverse(likeness(name, &wanted)));
    let rest = names.len().saturating_sub(TOLD);
    names.truncate(TOLD);
    let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    if names.is_empty() { String::new() } else { format!("{}s {}{rest}", kind.name(), names.join(", ")) }
}

/// How many pairs of neighbouring characters of a name stand in a text, too.
fn likeness(name: &str, text: &str) -> usize {
    name.as_bytes().windows(2).filter(|pair| text.as_bytes().windows(2).any(|other| other == *pair)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_are_told_first() {
        let names: Vec<String> =
            (0..9).map(|i| format!("outbound|80||other{i}.test")).chain(["outbound|80||reviews.test".to_owned()]).collect();
        let known: Vec<(ResourceType, &str)> = names.iter().map(|name| (ResourceType::Cluster, name.as_str())).collect();
        let told = there(ApplyTo::Cluster, &["service `review.tset`".to_owned()], &known);
        assert!(told.starts_with("clusters outbound|80||reviews.test, ") && told.ends_with(" and 5 more"), "{told}");
    }
}
