//! A route configuration: first itself, then its virtual hosts as they are, each with its routes, then those that are added.
//! Within a host likewise. So what is added to one that is taken away goes with it.

use std::collections::HashSet;
use std::sync::Arc;

use weir_api::resources::envoy_filter::{ApplyTo, EnvoyConfigObjectMatch, PatchOperation};
use weir_xds::route::{Route, RouteConfiguration, VirtualHost};

use super::edit::edit;
use super::matching;
use super::work::{Patch, Work};

/// Patches a route configuration. `ports` are those of a gateway's own services, each with the port that it is served at.
pub(super) fn patch(work: &Work<'_>, mut config: RouteConfiguration, ports: &[(u16, u16)]) -> RouteConfiguration {
    let name = config.name.clone();
    let is_here = |matched: &EnvoyConfigObjectMatch| matching::route_configuration(matched, work.context, &name, ports);
    for patch in work.of(ApplyTo::RouteConfiguration).filter(|patch| is_here(&patch.matched)) {
        if let (Some(lists), Some(value)) = (patch.merges(), patch.value()) {
            work.merge(patch, &mut config, &value, lists);
            work.done(patch);
        }
    }
    let mut removed = HashSet::new();
    for host in &mut config.virtual_hosts {
        if !patch_host(work, host, &is_here) {
            removed.insert(host.name.clone());
        }
    }
    for patch in work.of(ApplyTo::VirtualHost).filter(|patch| patch.operation == PatchOperation::Add && is_here(&patch.matched)) {
        config.virtual_hosts.extend(patch.value::<VirtualHost>());
        work.done(patch);
    }
    // One that is added under the name of one that is removed is gone too.
    config.virtual_hosts.retain(|host| !removed.contains(&host.name));
    config
}

/// Whether a patch is for the route configuration.
type IsHere<'h> = &'h dyn Fn(&EnvoyConfigObjectMatch) -> bool;

/// Patches a virtual host; false if it is removed.
fn patch_host(work: &Work<'_>, host: &mut VirtualHost, is_here: IsHere<'_>) -> bool {
    for patch in work.of(ApplyTo::VirtualHost).filter(|patch| is_here(&patch.matched)) {
        if !matching::virtual_host(&patch.matched, host) {
            continue;
        }
        match (patch.operation, patch.merges(), patch.value::<VirtualHost>()) {
            (PatchOperation::Remove, ..) => {
                work.done(patch);
                return false;
            }
            (PatchOperation::Replace, _, Some(value)) => {
                *host = value;
                work.done(patch);
            }
            (_, Some(lists), Some(value)) => {
                work.merge(patch, host, &value, lists);
                work.done(patch);
            }
            _ => {}
        }
    }
    patch_routes(work, host, is_here);
    true
}

fn patch_routes(work: &Work<'_>, host: &mut VirtualHost, is_here: IsHere<'_>) {
    let is_in_host = |patch: &&Arc<Patch>| is_here(&patch.matched) && matching::virtual_host(&patch.matched, host);
    let patches: Vec<&Arc<Patch>> = work.of(ApplyTo::HttpRoute).filter(is_in_host).collect();
    host.routes.retain_mut(|route| {
        for patch in &patches {
            if !matching::route(&patch.matched, route) {
                continue;
            }
            if patch.operation == PatchOperation::Remove {
                work.done(patch);
                return false;
            }
            if let (Some(lists), Some(value)) = (patch.merges(), patch.value()) {
                work.merge(patch, route, &value, lists);
                work.done(patch);
            }
        }
        true
    });
    for patch in patches.iter().filter(|patch| patch.operation != PatchOperation::Remove && patch.merges().is_none()) {
        let is_it = |route: &Route| matching::route(&patch.matched, route);
        let names_routes = matching::names_routes(&patch.matched);
        let is_anchor: Option<&dyn Fn(&Route) -> bool> = if names_routes { Some(&is_it) } else { None };
        // Unlike among filters, nothing comes first where what is named is not there.
        let is_missing = patch.operation == PatchOperation::InsertFirst && names_routes && !host.routes.iter().any(is_it);
        if !is_missing && edit(&mut host.routes, patch.operation, is_anchor, patch.value()) {
            work.done(patch);
        }
    }
}
