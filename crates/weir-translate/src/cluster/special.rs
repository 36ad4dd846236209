//! Clusters that no service stands behind.

use std::net::IpAddr;
use std::time::Duration;

use weir_api::resources::mesh_config::InboundMode;
use weir_model::Interception;
use weir_xds::Any;
use weir_xds::cluster::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use weir_xds::cluster::{CircuitBreakers, Cluster};
use weir_xds::core::{
    Address, BindConfig, ExtraSourceAddress, HttpProtocolOptions as Common, SocketAddress, socket_address::PortSpecifier,
};
use weir_xds::endpoint::{ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier};
use weir_xds::upstream_http::HttpProtocolOptions;
use weir_xds::upstream_http::http_protocol_options::UpstreamProtocolOptions;
use weir_xds::values::{UNIX, address as address_of, duration};

use super::pool::{self, Pool};
use crate::context::Context;
use crate::ingress::{Captured, Ingress, LOOPBACK};
use crate::names;
use crate::proxy_headers;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection to an unknown destination is kept without requests.
const PASSTHROUGH_IDLE: Duration = Duration::from_secs(300);
/// Where a sidecar's connections to its own workload come from: the kernel's redirection lets these through.
const INBOUND_SOURCE: &str = "127.0.0.6";
const INBOUND_SOURCE_IPV6: &str = "::6";

fn named(name: &str, kind: DiscoveryType) -> Cluster {
    Cluster {
        name: name.to_owned(),
        alt_stat_name: format!("{name};"),
        connect_timeout: Some(duration(CONNECT_TIMEOUT)),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
        ..Default::default()
    }
}

/// The cluster that has no instances.
pub(super) fn black_hole() -> Cluster {
    named(names::BLACK_HOLE, DiscoveryType::Static)
}

/// The cluster that sends to where the client connected to, in the protocol that the client speaks.
pub(super) fn passthrough(context: &Context<'_>) -> Cluster {
    original_destination(context, names::PASSTHROUGH)
}

/// The same for what comes to the workload at ports that no service knows.
pub(super) fn inbound_passthrough(context: &Context<'_>) -> Cluster {
    let mut cluster = original_destination(context, names::INBOUND_PASSTHROUGH);
    cluster.alt_stat_name = format!("{};", names::PASSTHROUGH);
    cluster.upstream_bind_config = Some(inbound_source(context));
    cluster
}

fn inbound_source(context: &Context<'_>) -> BindConfig {
    let source = |address: &str| {
        let port_specifier = Some(PortSpecifier::PortValue(0));
        Some(SocketAddress { address: address.to_owned(), port_specifier, ..Default::default() })
    };
    let ipv6 = context.proxy.has_ipv6().then(|| ExtraSourceAddress { address: source(INBOUND_SOURCE_IPV6), ..Default::default() });
    BindConfig { source_address: source(INBOUND_SOURCE), extra_source_addresses: ipv6.into_iter().collect(), ..Default::default() }
}

/// The cluster of a port of the workload that services declare: where clients went, or at this machine's own address if the mesh
/// says so.
pub(super) fn captured(context: &Context<'_>, port: &Captured<'_>) -> Cluster {
    let name = names::inbound(port.port);
    let mut cluster = match context.mesh.config.inbound_traffic_policy.mode {
        InboundMode::Passthrough => Cluster {
            lb_policy: LbPolicy::ClusterProvided.into(),
            upstream_bind_config: Some(inbound_source(context)),
            ..named(&name, DiscoveryType::OriginalDst)
        },
        InboundMode::Localhost => at(&name, address_of(LOOPBACK, port.port)),
    };
    let (mesh, sidecar) = (&context.mesh.config, context.scope.sidecar.as_ref());
    let settings = sidecar.and_then(|sidecar| sidecar.spec.inbound_connection_pool.as_ref());
    let protocol = port.protocol;
    pool::apply(&mut cluster, &Pool { mesh, settings, budget: None, protocol, follows_client: true, upgrades: false });
    cluster
}

fn original_destination(context: &Context<'_>, name: &str) -> Cluster {
    let options = HttpProtocolOptions {
        common_http_protocol_options: Some(Common { idle_timeout: Some(duration(PASSTHROUGH_IDLE)), ..Default::default() }),
        upstream_protocol_options: Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(pool::as_client(
            proxy_headers::http1(&context.mesh.config),
            Default::default(),
        ))),
        ..Default::default()
    };
    Cluster {
        lb_policy: LbPolicy::ClusterProvided.into(),
        circuit_breakers: Some(CircuitBreakers { thresholds: vec![pool::unlimited()], ..Default::default() }),
        typed_extension_protocol_options: [(pool::HTTP_OPTIONS.to_owned(), Any::pack(&options))].into(),
        ..named(name, DiscoveryType::OriginalDst)
    }
}

/// The cluster of an ingress listener: where the workload itself accepts.
pub(super) fn inbound(context: &Context<'_>, ingress: &Ingress<'_>) -> Option<Cluster> {
    let name = names::inbound(ingress.port);
    let Some(address) = destination(context, ingress) else {
        context.warn(
            &ingress.origin,
            format!("defaultEndpoint {:?} is not understood: requests get no answer", ingress.spec.default_endpoint),
        );
        return None;
    };
    let sidecar = context.scope.sidecar.as_ref().map(|sidecar| &sidecar.spec);
    let settings = ingress.spec.connection_pool.as_ref().or(sidecar.and_then(|sidecar| sidecar.inbound_connection_pool.as_ref()));
    let mut cluster = at(&name, address);
    let protocol = ingress.spec.port.as_ref().and_then(weir_api::resources::sidecar::SidecarPort::protocol);
    let mesh = &context.mesh.config;
    pool::apply(&mut cluster, &Pool { mesh, settings, budget: None, protocol, follows_client: true, upgrades: false });
    Some(cluster)
}

/// The cluster of one address.
fn at(name: &str, address: Address) -> Cluster {
    let host = weir_xds::endpoint::Endpoint { address: Some(address), ..Default::default() };
    let endpoint = LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(host)), ..Default::default() };
    let assignment = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..Default::default() }],
        ..Default::default()
    };
    Cluster { load_assignment: Some(assignment), ..named(name, DiscoveryType::Static) }
}

/// Where `defaultEndpoint` points; without it, the same port of this machine.
fn destination(context: &Context<'_>, ingress: &Ingress<'_>) -> Option<Address> {
    let written = &ingress.spec.default_endpoint;
    if written.is_empty() {
        let address = if context.proxy.interception == Interception::None { LOOPBACK } else { context.proxy.address() };
        return Some(address_of(address, ingress.port));
    }
    if written.starts_with(UNIX) {
        return Some(address_of(written, 0));
    }
    let (host, port) = written.rsplit_once(':')?;
    let host: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    // All addresses stands for the workload's own.
    let host = if host.is_unspecified() { context.proxy.address().to_owned() } else { host.to_string() };
    Some(address_of(&host, port.parse().ok()?))
}
