//! From a mesh and one of its proxies to the xDS resources that the proxy gets: a pure function.
//!
//! A module for each type of resource: [`listener`], [`virtual_host`] and [`route`], [`cluster`], [`endpoints`],
//! [`secrets`]. What they make is what Istio makes of the same resources, names included; the differences are
//! decisions, which `docs/` explains. Each route says in its metadata which rule it was made of, and where that stands.

mod authz;
pub mod class;
mod cluster;
mod connection_settings;
mod context;
mod destinations;
mod endpoints;
mod ingress;
mod listener;
mod locality;
mod members;
mod name_table;
mod names;
mod patches;
mod proxy_headers;
mod route;
mod secret_names;
mod secrets;
mod tokens;
pub mod unsupported;
mod virtual_host;

use std::sync::Arc;

use weir_api::Diagnostic;
use weir_model::{GatewayServer, MergedGateway, MeshSnapshot, Proxy, ProxyKind};
use weir_xds::cluster::Cluster;
use weir_xds::core::TypedExtensionConfig;
use weir_xds::endpoint::ClusterLoadAssignment;
use weir_xds::listener::Listener;
use weir_xds::names::NameTable;
use weir_xds::route::RouteConfiguration;
use weir_xds::tls::Secret;

pub use class::{Class, ClassKey, Encoded, Labels, Update, Work, encode_own};
use context::Context;
pub use patches::{Change, OwnPatches, PatchValue, patch_values};
pub use secret_names::is_of_files;
pub use secret_names::secret_of;
use secrets::CertificateNames;
pub use secrets::certificate_of;
pub use tokens::{TokenRule, token_rules};
use virtual_host::lists::Messages;
use virtual_host::misdirected::Connections;
use virtual_host::sidecar::Maker;

/// What a proxy gets.
#[derive(Debug, Default)]
pub struct Translation {
    /// Where it accepts.
    pub listeners: Vec<Listener>,
    /// What becomes of requests, by the names that listeners ask for.
    pub routes: Vec<RouteConfiguration>,
    /// Where it may send to.
    pub clusters: Vec<Cluster>,
    /// The instances of clusters that do not name them themselves.
    pub endpoints: Vec<ClusterLoadAssignment>,
    /// The certificates that listeners ask for.
    pub secrets: Vec<Secret>,
    /// The configurations of filters that listeners ask for.
    pub extensions: Vec<TypedExtensionConfig>,
    /// What has no effect, or not the expected one.
    pub findings: Vec<Diagnostic>,
}

/// Translates a mesh for one of its proxies.
pub fn translate(mesh: &MeshSnapshot, proxy: &Proxy) -> Translation {
    translated(Context::new(mesh, proxy))
}

/// The same for a proxy that answers its workload's questions of DNS: services have the addresses there that they are given.
pub fn translate_answering_dns(mesh: &MeshSnapshot, proxy: &Proxy) -> Translation {
    translated(Context::new(mesh, proxy).answering_dns(true))
}

/// The same for one that also exchanges metadata with others, as Weir's own proxies do.
pub fn translate_exchanging_metadata(mesh: &MeshSnapshot, proxy: &Proxy) -> Translation {
    translated(Context::new(mesh, proxy).answering_dns(true).exchanging_metadata(true))
}

fn translated(mut context: Context<'_>) -> Translation {
    let mut translation = unpatched(&mut context);
    patches::apply(&context, &mut translation, &[patches::Side::Shared, patches::Side::Own]);
    translation.findings = context.into_findings();
    translation
}

/// The names of a mesh that one of its proxies may answer to questions of DNS.
pub fn name_table(mesh: &MeshSnapshot, proxy: &Proxy) -> NameTable {
    name_table::table(&Context::new(mesh, proxy).answering_dns(true))
}

/// What EnvoyFilters change for one of a mesh's proxies, resource by resource.
pub fn patched(mesh: &MeshSnapshot, proxy: &Proxy) -> Vec<Change> {
    let mut context = Context::new(mesh, proxy);
    let translation = unpatched(&mut context);
    patches::changes(&context, translation)
}

/// Patches of EnvoyFilters for all sidecars that find nothing at this one.
pub fn unmatched(mesh: &MeshSnapshot, proxy: &Proxy) -> Vec<Diagnostic> {
    if proxy.kind != ProxyKind::Sidecar || mesh.envoy_filters.is_empty() {
        return vec![];
    }
    let mut context = Context::new(mesh, proxy);
    let translation = unpatched(&mut context);
    patches::unmatched(&context, translation)
}

/// A translation without what EnvoyFilters change.
fn unpatched(context: &mut Context<'_>) -> Translation {
    let (mesh, proxy) = (context.mesh, context.proxy);
    let mut translation = match proxy.kind {
        ProxyKind::Router => {
            let gateway = mesh.gateway(proxy);
            context.passes_by_cluster_names = gateway.passes_by_cluster_names();
            let routes = routes_of_gateway(context, &gateway);
            Translation { routes, ..of_gateway(context, &gateway) }
        }
        ProxyKind::Sidecar => of_sidecar(context),
    };
    set_connections(context, &mut translation.listeners);
    translation.clusters = cluster::special(context);
    translation.clusters.extend(cluster::own(context));
    for made in cluster::services(context).flat_map(|service| cluster::of_service(context, service)) {
        translation.clusters.push(made.cluster);
        translation.endpoints.extend(made.endpoints);
    }
    let gateway = (proxy.kind == ProxyKind::Router).then(|| mesh.gateway(proxy));
    translation.secrets = secrets::wanted(context, gateway.as_ref()).iter().filter_map(|wanted| wanted.make(context)).collect();
    translation
}

/// What only this proxy gets: what is for its own workload. All else it gets as all of its [`Class`] do.
/// `has_certificates` says whether it gets certificates of the mesh, `exchanges_metadata` whether it tells others of its workload.
pub fn own(mesh: &MeshSnapshot, proxy: &Proxy, has_certificates: bool, exchanges_metadata: bool) -> Translation {
    if proxy.kind != ProxyKind::Sidecar {
        return Translation::default();
    }
    let context = Context::new(mesh, proxy).with_certificates(has_certificates).exchanging_metadata(exchanges_metadata);
    let mut listeners = listener::inbound(&context);
    set_connections(&context, &mut listeners);
    let mut own = Translation { listeners, clusters: cluster::own(&context), ..Default::default() };
    patches::apply(&context, &mut own, &[patches::Side::Own]);
    Translation { findings: context.into_findings(), ..own }
}

fn set_connections(context: &Context<'_>, listeners: &mut [Listener]) {
    listeners.iter_mut().for_each(|listener| connection_settings::set_listener(listener, &context.connections));
}

/// What a gateway gets, but for its routes and secrets.
fn of_gateway(context: &Context<'_>, gateway: &MergedGateway) -> Translation {
    for (origin, reason) in &gateway.refused {
        context.warn(origin, reason.as_str());
    }
    destinations::of_gateway(context, gateway);
    Translation { listeners: listener::of_gateway(context, gateway), ..Default::default() }
}

fn routes_of_gateway(context: &Context<'_>, gateway: &MergedGateway) -> Vec<RouteConfiguration> {
    let connections = Connections::new(context, gateway.servers(), &mut CertificateNames::default());
    let routes = |(name, servers): (&String, &Vec<Arc<GatewayServer>>)| {
        virtual_host::with_hosts(name, virtual_host::gateway::hosts(context, &mut Messages, &connections, servers))
    };
    gateway.routes.iter().map(routes).collect()
}

fn of_sidecar(context: &Context<'_>) -> Translation {
    destinations::of_sidecar(context);
    let outbound = listener::outbound(context);
    let mut lists = Messages;
    let mut maker = Maker::new(context, &mut lists);
    let routes = outbound.routes.iter().filter_map(|(name, route)| Some(virtual_host::with_hosts(name, maker.hosts(route)?)));
    Translation {
        routes: routes.collect(),
        listeners: outbound.listeners.into_iter().chain(listener::inbound(context)).collect(),
        ..Default::default()
    }
}
