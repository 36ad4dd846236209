//! The listener for what the kernel redirects to a sidecar: a port of the workload has its chains by where a connection was going to,
//! and what nobody declares passes as it comes, as far as the policy takes it.
//!
//! Facts: `buildInboundListeners` and `buildInboundPassthroughChains` in pilot/pkg/networking/core/listener_inbound.go of Istio.

use weir_api::resources::protocol::Protocol;
use weir_model::MutualTls;
use weir_xds::core::TrafficDirection;
use weir_xds::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use weir_xds::envoy::extensions::filters::listener::original_src::v3::OriginalSrc;
use weir_xds::listener::listener_filter_chain_match_predicate::{MatchSet, Rule};
use weir_xds::listener::{FilterChain, FilterChainMatch, Listener, ListenerFilter, ListenerFilterChainMatchPredicate};
use weir_xds::types::Int32Range;
use weir_xds::values::duration;

use super::chain::{Chain, RAW_BUFFER};
use super::ingress::{http_filter, is_opened, tcp_filters};
use super::mutual_tls::{self, Chains, Filters, TLS};
use super::{ANY_ADDRESS, access_log, everywhere, http_inspector, is_transparent, listener_filter, tcp, tls_inspector};
use crate::context::Context;
use crate::ingress::{self, Captured};
use crate::names;

const NAME: &str = "virtualInbound";
/// What marks connections to the workload in another's name, so that they, and the answers, are known: see `weir-capture`.
const MARK: u32 = 1337;

/// The listener.
pub(super) fn listener(context: &Context<'_>) -> Listener {
    let mesh = &context.mesh.config;
    let own_port = u16::try_from(mesh.proxy_inbound_listen_port).unwrap_or_default();
    let taken = context.mesh.peer_authentications.of_namespace(&context.proxy.namespace).of_workload(&context.proxy.labels);
    let captured = ingress::captured(context);
    let undeclared = taken.ports().filter(|(port, _)| captured.iter().all(|known| known.port != *port));
    let passed = undeclared.flat_map(|(port, mode)| passthrough(context, mode).into_iter().map(move |chain| to_port(chain, port)));
    let declared = captured.iter().flat_map(|port| of_port(context, port, taken.at(port.port)));
    let rest = passthrough(context, taken.elsewhere());
    let filter_chains = std::iter::once(black_hole(own_port)).chain(rest).chain(passed).chain(declared).collect();
    // What is declared need not be found out, and who waits for the other side's first word would wait for ever.
    let known = captured.iter().filter(|port| port.protocol.is_some()).map(|port| port.port);
    let plain = captured.iter().filter(|port| port.protocol.is_some() && taken.at(port.port) == MutualTls::Disable).map(|port| port.port);
    let unless = |filter: ListenerFilter, ports: Vec<u16>| ListenerFilter { filter_disabled: Some(at_ports(&ports)), ..filter };
    let ports = |more: Vec<u16>| std::iter::once(own_port).chain(more).collect::<Vec<u16>>();
    let transparent = is_transparent(context);
    // The workload is to see who calls it.
    let original_source = || listener_filter("envoy.filters.listener.original_src", &OriginalSrc { mark: MARK, ..Default::default() });
    let listener_filters = std::iter::once(listener_filter("envoy.filters.listener.original_dst", &OriginalDst {}))
        .chain(transparent.map(|_| original_source()))
        .chain([unless(tls_inspector(), ports(plain.collect())), unless(http_inspector(), ports(known.collect()))]);
    Listener {
        name: NAME.to_owned(),
        transparent,
        listener_filters: listener_filters.collect(),
        listener_filters_timeout: Some(duration(mesh.protocol_detection_timeout.to_std())),
        continue_on_listener_filters_timeout: true,
        max_connections_to_accept_per_socket_event: Some(1),
        access_log: access_log::of_listener(mesh),
        filter_chains,
        ..everywhere(context, own_port, TrafficDirection::Inbound)
    }
}

/// What connects to the listener itself would go round for ever.
fn black_hole(port: u16) -> FilterChain {
    let chain = Chain { filters: vec![tcp::to_black_hole()], ..Default::default() };
    to_port(FilterChain { name: format!("{NAME}-blackhole"), ..chain.build() }, port)
}

/// The chains of a port that is declared.
fn of_port(context: &Context<'_>, port: &Captured<'_>, mode: MutualTls) -> Vec<FilterChain> {
    if port.ingress.as_ref().is_some_and(|ingress| !is_opened(context, ingress, mode)) {
        return vec![black_hole(port.port)];
    }
    let name = names::listener(ANY_ADDRESS, port.port);
    let (cluster, prefix) = (names::inbound(port.port), format!("inbound_{name};"));
    let http = || http_filter(context, (port.port, port.protocol), &cluster, &prefix);
    let bytes = || tcp_filters(context, &cluster);
    let chains = chains(context, mode, port.protocol, &Filters { http: &http, bytes: &bytes });
    chains.into_iter().map(|chain| to_port(FilterChain { name: name.clone(), ..chain.build() }, port.port)).collect()
}

/// The chains for what nobody declares.
fn passthrough(context: &Context<'_>, mode: MutualTls) -> Vec<FilterChain> {
    let cluster = names::INBOUND_PASSTHROUGH;
    let http = || http_filter(context, (0, None), cluster, &format!("{cluster};"));
    let bytes = || tcp_filters(context, cluster);
    let named = |chain: Chain| {
        let is_http = chain.filters.iter().any(|filter| filter.name == super::http::MANAGER);
        FilterChain { name: if is_http { format!("{NAME}-catchall-http") } else { NAME.to_owned() }, ..chain.build() }
    };
    chains(context, mode, None, &Filters { http: &http, bytes: &bytes }).into_iter().map(named).collect()
}

/// The chains of one port among others: here no chain is for all that is left, so that the last is written as what there may be.
fn chains(context: &Context<'_>, mode: MutualTls, protocol: Option<Protocol>, filters: &Filters<'_>) -> Vec<Chain> {
    let Chains { mut by_condition, rest } = mutual_tls::chains(context, mode, protocol, filters);
    if rest.is_some() {
        let begins = |transport_protocol| Chain { transport_protocol, filters: (filters.bytes)(), ..Default::default() };
        by_condition.extend([begins(RAW_BUFFER), begins(TLS)]);
    }
    by_condition
}

fn to_port(mut chain: FilterChain, port: u16) -> FilterChain {
    chain.filter_chain_match.get_or_insert_with(FilterChainMatch::default).destination_port = Some(port.into());
    chain
}

/// Connections to one of these ports.
fn at_ports(ports: &[u16]) -> ListenerFilterChainMatchPredicate {
    let rule = |port: &u16| {
        let range = Int32Range { start: i32::from(*port), end: i32::from(*port) + 1 };
        ListenerFilterChainMatchPredicate { rule: Some(Rule::DestinationPortRange(range)) }
    };
    match ports {
        [only] => rule(only),
        several => {
            let rules = several.iter().map(rule).collect();
            ListenerFilterChainMatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules })) }
        }
    }
}
