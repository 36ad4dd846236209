//! Listeners: where a proxy accepts, and what becomes of its connections.

mod access_log;
mod captured;
pub(crate) mod chain;
mod egress;
mod gateway;
mod headers;
pub(crate) mod http;
mod ingress;
mod mutual_tls;
mod peer_metadata;
mod tcp;
pub(crate) mod tls;

pub(crate) use egress::{address_of, listeners as outbound};
pub(crate) use gateway::listeners as of_gateway;
pub(crate) use ingress::listeners as inbound;

use std::time::Duration;

use weir_model::Interception;
use weir_xds::core::TrafficDirection;
use weir_xds::envoy::extensions::filters::listener::{http_inspector, tls_inspector};
use weir_xds::listener::{AdditionalAddress, FilterChain, Listener, ListenerFilter, listener_filter::ConfigType};
use weir_xds::values::{self, duration};
use weir_xds::{Any, Message, Name};

use crate::context::Context;
use crate::names;
use chain::Chain;

/// Stands for all addresses.
pub(crate) const ANY_ADDRESS: &str = "0.0.0.0";
/// The same of IPv6.
const ANY_IPV6: &str = "::";
/// How long a client may take for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes that the TLS inspector reads at first, as Istio sets it.
const INSPECTED_BYTES: u32 = 512;

/// A listener at an address, without anything in it.
fn at(address: &str, port: u16, direction: TrafficDirection) -> Listener {
    Listener {
        name: names::listener(address, port),
        address: Some(values::address(address, port)),
        traffic_direction: direction.into(),
        ..Default::default()
    }
}

/// A listener at all addresses that a sidecar's workload may have or call.
fn everywhere(context: &Context<'_>, port: u16, direction: TrafficDirection) -> Listener {
    let is_captured = context.proxy.interception.is_captured();
    let ipv6 = (is_captured && context.proxy.has_ipv6()).then(|| additional(ANY_IPV6, port));
    Listener { additional_addresses: ipv6.into_iter().collect(), ..at(ANY_ADDRESS, port, direction) }
}

/// Another address of a listener.
fn additional(address: &str, port: u16) -> AdditionalAddress {
    AdditionalAddress { address: Some(values::address(address, port)), ..Default::default() }
}

/// Whether what the kernel hands over comes as it was sent; nothing where it does not.
fn is_transparent(context: &Context<'_>) -> Option<bool> {
    (context.proxy.interception == Interception::Tproxy).then_some(true)
}

/// The inspectors that the conditions of chains need.
fn inspectors(chains: &[Chain]) -> Vec<ListenerFilter> {
    let needs_tls = chains.iter().any(Chain::needs_tls_inspector);
    let needs_http = chains.iter().any(|chain| !chain.application_protocols.is_empty() && chain.transport_protocol == chain::RAW_BUFFER);
    needs_tls.then(tls_inspector).into_iter().chain(needs_http.then(http_inspector)).collect()
}

fn tls_inspector() -> ListenerFilter {
    let inspector = tls_inspector::v3::TlsInspector { initial_read_buffer_size: Some(INSPECTED_BYTES), ..Default::default() };
    listener_filter("envoy.filters.listener.tls_inspector", &inspector)
}

fn http_inspector() -> ListenerFilter {
    listener_filter("envoy.filters.listener.http_inspector", &http_inspector::v3::HttpInspector {})
}

fn listener_filter<M: Message + Name>(name: &str, config: &M) -> ListenerFilter {
    ListenerFilter { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(Any::pack(config))), ..Default::default() }
}

/// A chain that gives up clients which begin no TLS.
fn build(chain: Chain) -> FilterChain {
    FilterChain { transport_socket_connect_timeout: Some(duration(HANDSHAKE_TIMEOUT)), ..chain.build() }
}
