//! The listeners of a sidecar for what is sent to its workload: one for each ingress listener of its Sidecar that is
//! bound itself, and one for what the kernel redirects.
//!
//! Facts: pilot/pkg/networking/core/listener_inbound.go of Istio. Without interception and without ingress listeners
//! nothing is opened: clients reach the workload as if there were no sidecar.

use weir_api::resources::protocol::Protocol;
use weir_model::MutualTls;
use weir_xds::core::TrafficDirection;
use weir_xds::listener::{Filter, FilterChain, Listener};
use weir_xds::route::route::Action;
use weir_xds::route::route_action::{ClusterSpecifier, MaxStreamDuration};
use weir_xds::route::{Decorator, RetryPolicy, Route, RouteAction, RouteConfiguration, VirtualHost};
use weir_xds::values::duration;

use super::chain::Chain;
use super::http::{self, Class};
use super::mutual_tls::{self, Chains, Filters};
use super::{access_log, at, captured, inspectors, tcp};
use crate::authz;
use crate::context::Context;
use crate::ingress::{self, Ingress};
use crate::names;
use crate::route::condition;

/// The listeners for what is sent to the workload.
pub(crate) fn listeners(context: &Context<'_>) -> Vec<Listener> {
    let captured = context.proxy.interception.is_captured().then(|| captured::listener(context));
    ingress::bound(context).iter().filter_map(|ingress| listener(context, ingress)).chain(captured).collect()
}

/// Whether a listener takes anything. TLS of its own counts where the mesh has none there, and there it is not carried out yet: what
/// was to be encrypted is not taken as plaintext.
pub(super) fn is_opened(context: &Context<'_>, ingress: &Ingress<'_>, taken: MutualTls) -> bool {
    if ingress.spec.tls.is_none() {
        return true;
    }
    let what = match taken {
        MutualTls::Disable => "is not carried out yet: the listener takes nothing",
        MutualTls::Permissive => {
            "counts only where a PeerAuthentication says DISABLE: the listener takes mutual TLS of the mesh, and plaintext"
        }
        MutualTls::Strict => "counts only where a PeerAuthentication says DISABLE: the listener takes mutual TLS of the mesh alone",
    };
    context.warn(&ingress.origin, format!("tls of an ingress listener {what}"));
    taken != MutualTls::Disable
}

fn listener(context: &Context<'_>, ingress: &Ingress<'_>) -> Option<Listener> {
    let taken = context.mesh.peer_authentications.of_namespace(&context.proxy.namespace).at(&context.proxy.labels, ingress.port);
    if !is_opened(context, ingress, taken) {
        return None;
    }
    let address = if ingress.spec.bind.is_empty() { context.proxy.address() } else { &ingress.spec.bind };
    let name = names::listener(address, ingress.port);
    let protocol = ingress.spec.port.as_ref().and_then(weir_api::resources::sidecar::SidecarPort::protocol);
    let (cluster, stat_prefix) = (names::inbound(ingress.port), format!("inbound_{name};"));
    let (http, bytes) = (|| http_filter(context, (ingress.port, protocol), &cluster, &stat_prefix), || tcp_filters(context, &cluster));
    let Chains { by_condition: chains, rest } = mutual_tls::chains(context, taken, protocol, &Filters { http: &http, bytes: &bytes });
    let named = |chain: Chain| FilterChain { name: name.clone(), ..chain.build() };
    Some(Listener {
        listener_filters: inspectors(&chains),
        listener_filters_timeout: Some(duration(context.mesh.config.protocol_detection_timeout.to_std())),
        continue_on_listener_filters_timeout: true,
        max_connections_to_accept_per_socket_event: Some(1),
        access_log: access_log::of_listener(&context.mesh.config),
        filter_chains: chains.into_iter().map(named).collect(),
        default_filter_chain: rest.map(named),
        ..at(address, ingress.port, TrafficDirection::Inbound)
    })
}

/// What bytes pass that come to the workload.
pub(super) fn tcp_filters(context: &Context<'_>, cluster: &str) -> Vec<Filter> {
    let mut filters = authz::of_connections(context);
    filters.push(tcp::to_cluster(context, cluster));
    filters
}

/// What requests pass that come to the workload at a port, of which nothing may be known.
pub(super) fn http_filter(context: &Context<'_>, at: (u16, Option<Protocol>), cluster: &str, stat_prefix: &str) -> Filter {
    let (port, protocol) = at;
    let host = VirtualHost {
        name: format!("inbound|http|{port}"),
        domains: vec!["*".to_owned()],
        routes: vec![route(context, at, cluster)],
        ..Default::default()
    };
    let name = cluster.to_owned();
    let routes = RouteConfiguration { name, virtual_hosts: vec![host], validate_clusters: Some(false), ..Default::default() };
    http::with_routes(context, Class::Inbound.speaking(protocol), stat_prefix, routes)
}

/// Everything goes to the workload. A request that was not sent yet when its connection ended is sent again, but for
/// gRPC, whose clients do so themselves.
fn route(context: &Context<'_>, (port, protocol): (u16, Option<Protocol>), cluster: &str) -> Route {
    let is_grpc = matches!(protocol, Some(Protocol::Grpc | Protocol::GrpcWeb));
    let retries = RetryPolicy { retry_on: "reset-before-request".to_owned(), num_retries: Some(2), ..Default::default() };
    let unlimited = duration(std::time::Duration::ZERO);
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        timeout: Some(unlimited),
        max_stream_duration: Some(MaxStreamDuration {
            max_stream_duration: Some(unlimited),
            grpc_timeout_header_max: Some(unlimited),
            ..Default::default()
        }),
        retry_policy: (!is_grpc).then_some(retries),
        ..Default::default()
    };
    let owner = context.mesh.instances_of(context.proxy).into_iter().find(|(_, endpoint)| endpoint.port == port);
    let host = owner.map(|(service, _)| service.hostname.to_string()).unwrap_or_default();
    Route {
        name: "default".to_owned(),
        r#match: Some(condition::everything()),
        decorator: Some(Decorator { operation: format!("{host}:{port}/*"), ..Default::default() }),
        action: Some(Action::Route(action)),
        ..Default::default()
    }
}
