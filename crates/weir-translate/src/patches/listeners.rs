//! A listener: first the routes that stand in it, then itself, its own filters, its chains with theirs. What a patch adds is not
//! patched by others.

use weir_api::resources::envoy_filter::{ApplyTo, EnvoyConfigObjectMatch, PatchOperation};
use weir_xds::Any;
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::hcm::http_connection_manager::RouteSpecifier;
use weir_xds::listener::{Filter, FilterChain, Listener, ListenerFilter};

use super::edit::edit;
use super::filters::{self, Configured};
use super::matching::{self, At};
use super::work::Work;
use super::{http_filters, routes, sockets};

const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// Patches a listener; none if it is removed.
pub(super) fn patch(work: &Work<'_>, mut listener: Listener) -> Option<Listener> {
    let at = At::of(&listener);
    let chains = listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain);
    chains.flat_map(|chain| &mut chain.filters).for_each(|filter| patch_routes(work, filter));
    for patch in work.of(ApplyTo::Listener).filter(|patch| matching::listener(&patch.matched, &at)) {
        if patch.operation == PatchOperation::Remove {
            work.done(patch);
            return None;
        }
        if let (Some(lists), Some(value)) = (patch.merges(), patch.value()) {
            work.merge(patch, &mut listener, &value, lists);
            work.done(patch);
        }
    }
    patch_listener_filters(work, &at, &mut listener.listener_filters);
    let chains = std::mem::take(&mut listener.filter_chains);
    listener.filter_chains = chains.into_iter().filter_map(|chain| patch_chain(work, &at, chain)).collect();
    listener.default_filter_chain = listener.default_filter_chain.and_then(|chain| patch_chain(work, &at, chain));
    for patch in work.of(ApplyTo::FilterChain).filter(|patch| patch.operation == PatchOperation::Add) {
        if matching::within_listener(&patch.matched, &at) {
            listener.filter_chains.extend(patch.value::<FilterChain>());
            work.done(patch);
        }
    }
    Some(listener)
}

/// The routes that stand in a connection manager.
fn patch_routes(work: &Work<'_>, filter: &mut Filter) {
    let kinds = [ApplyTo::RouteConfiguration, ApplyTo::VirtualHost, ApplyTo::HttpRoute];
    if kinds.iter().all(|kind| work.of(*kind).next().is_none()) {
        return;
    }
    change_manager(filter, |manager| {
        if let Some(RouteSpecifier::RouteConfig(config)) = &mut manager.route_specifier {
            *config = routes::patch(work, std::mem::take(config), &[]);
        }
    });
}

/// Changes a connection manager. One that cannot be read, or stays as it is, keeps its bytes.
fn change_manager(filter: &mut Filter, change: impl FnOnce(&mut HttpConnectionManager)) {
    let Some(config) = filter.typed_config() else { return };
    let Ok(known) = config.unpack::<HttpConnectionManager>() else { return };
    let mut changed = known.clone();
    change(&mut changed);
    if changed != known {
        *config = Any::pack(&changed);
    }
}

fn patch_listener_filters(work: &Work<'_>, at: &At, filters: &mut Vec<ListenerFilter>) {
    for patch in work.of(ApplyTo::ListenerFilter).filter(|patch| matching::within_listener(&patch.matched, at)) {
        let name = matching::listener_filter(&patch.matched);
        let is_it = |filter: &ListenerFilter| Some(filter.name.as_str()) == name;
        if let Some(lists) = patch.merges() {
            for filter in filters.iter_mut().filter(|filter| name.is_none() || is_it(filter)) {
                filters::merge(work, patch, filter, lists);
            }
            continue;
        }
        let is_anchor: Option<&dyn Fn(&ListenerFilter) -> bool> = if name.is_some() { Some(&is_it) } else { None };
        if edit(filters, patch.operation, is_anchor, patch.value()) {
            work.done(patch);
        }
    }
    filters.iter().for_each(|filter| filters::discover(work, ApplyTo::ListenerFilter, filter));
}

/// Patches a filter chain; none if it is removed.
fn patch_chain(work: &Work<'_>, at: &At, mut chain: FilterChain) -> Option<FilterChain> {
    for patch in work.of(ApplyTo::FilterChain).filter(|patch| matching::within_listener(&patch.matched, at)) {
        if !matching::chain(&patch.matched, at, &chain) {
            continue;
        }
        if patch.operation == PatchOperation::Remove {
            work.done(patch);
            return None;
        }
        if let (Some(lists), Some(mut value)) = (patch.merges(), patch.value::<FilterChain>()) {
            if let Some(socket) = value.transport_socket.take() {
                sockets::merge(work, patch, &mut chain.transport_socket, socket);
            }
            work.merge(patch, &mut chain, &value, lists);
            work.done(patch);
        }
    }
    patch_network_filters(work, at, &mut chain);
    Some(chain)
}

/// The filters of a chain: those that are put in and taken out first, then merges, and within connection managers.
fn patch_network_filters(work: &Work<'_>, at: &At, chain: &mut FilterChain) {
    let conditions = FilterChain { filters: vec![], ..chain.clone() };
    let is_here = |matched: &EnvoyConfigObjectMatch| matching::within_listener(matched, at) && matching::chain(matched, at, &conditions);
    let patches: Vec<_> = work.of(ApplyTo::NetworkFilter).filter(|patch| is_here(&patch.matched)).collect();
    for patch in &patches {
        let name = matching::network_filter(&patch.matched);
        let is_it = |filter: &Filter| Some(filter.name.as_str()) == name;
        let is_anchor: Option<&dyn Fn(&Filter) -> bool> = if name.is_some() { Some(&is_it) } else { None };
        if edit(&mut chain.filters, patch.operation, is_anchor, patch.value()) {
            work.done(patch);
        }
    }
    for filter in &mut chain.filters {
        for patch in &patches {
            let is_it = matching::network_filter(&patch.matched).is_none_or(|name| name == filter.name);
            if let Some(lists) = patch.merges().filter(|_| is_it) {
                filters::merge(work, patch, filter, lists);
            }
        }
        filters::discover(work, ApplyTo::NetworkFilter, filter);
        if filter.name == CONNECTION_MANAGER && work.of(ApplyTo::HttpFilter).next().is_some() {
            let is_of_it = |matched: &EnvoyConfigObjectMatch| {
                is_here(matched) && matching::network_filter(matched).is_none_or(|name| name == CONNECTION_MANAGER)
            };
            change_manager(filter, |manager| http_filters::patch(work, &mut manager.http_filters, &is_of_it));
        }
    }
}
