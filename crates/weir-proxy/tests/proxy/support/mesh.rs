//! The xDS resources of a proxy with one listener, and a server that hands them out.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::watch;
use weir_ads::{Manifest, Resource, ResourceSet, Server, ServerStream};
use weir_xds::resource::{ResourceType, virtual_host_name};
use weir_xds::tls::Secret;
use weir_xds::{Any, cluster::Cluster, hcm::HttpConnectionManager, json, listener, route::RouteConfiguration, tcp_proxy::TcpProxy};

use super::Upstream;

/// What the access log's lines say.
const LOG_LINE: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n";

/// A cluster of these instances, with more fields.
pub(crate) fn cluster(name: &str, instances: &[&Upstream], more: Value) -> Value {
    let endpoints = instances.iter().map(|instance| {
        let address = instance.address();
        json!({"endpoint": {"address": {"socketAddress": {"address": address.ip().to_string(), "portValue": address.port()}}}})
    });
    let assignment = json!({"clusterName": name, "endpoints": [{"lbEndpoints": endpoints.collect::<Vec<_>>()}]});
    let mut cluster = json!({"name": name, "type": "STATIC", "loadAssignment": assignment});
    cluster.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    cluster
}

/// One virtual host, for every host, with these routes.
pub(crate) fn routes(routes: Value) -> Value {
    json!({"name": "routes", "virtualHosts": [{"name": "all", "domains": ["*"], "routes": routes}]})
}

/// A route for every path, to a cluster.
pub(crate) fn to(cluster: &str) -> Value {
    json!({"match": {"prefix": "/"}, "route": {"cluster": cluster}})
}

/// What a proxy is told.
#[derive(Clone)]
pub(crate) struct Told {
    /// More fields of the connection manager.
    pub(crate) manager: Value,
    /// More fields of the filter chain.
    pub(crate) chain: Value,
    /// More fields of the listener.
    pub(crate) listener: Value,
    pub(crate) routes: Value,
    pub(crate) clusters: Vec<Value>,
    pub(crate) secrets: Vec<Value>,
}

impl Default for Told {
    fn default() -> Self {
        Self { manager: json!({}), chain: json!({}), listener: json!({}), routes: routes(json!([])), clusters: vec![], secrets: vec![] }
    }
}

/// The resources of a proxy.
pub(super) fn resources(told: &Told, log: &Path) -> ResourceSet {
    let Told { manager, chain, listener: more, routes, clusters, secrets } = told;
    let mut set = ResourceSet::default();
    for secret in secrets {
        let secret: Secret = json::from_value(secret.clone()).unwrap();
        set.insert(ResourceType::Secret, secret.name.as_str(), Resource::new(&secret));
    }
    for cluster in clusters {
        let cluster: Cluster = json::from_value(cluster.clone()).unwrap();
        set.insert(ResourceType::Cluster, cluster.name.as_str(), Resource::new(&cluster));
    }
    put_routes(&mut set, json::from_value(routes.clone()).unwrap());
    set.insert(ResourceType::Listener, "listener", Resource::new(&with_fields(listener(manager, chain, log), more)));
    set
}

/// Puts a route configuration. If it says that virtual hosts come apart from it, all do but the last.
fn put_routes(set: &mut ResourceSet, mut routes: RouteConfiguration) {
    let name = routes.name.clone();
    let apart = if routes.vhds.is_some() { routes.virtual_hosts.len().saturating_sub(1) } else { 0 };
    let hosts: Vec<_> = routes.virtual_hosts.drain(..apart).collect();
    let mut manifest = Manifest::default();
    let mut put = |kind, name: &str, resource: Resource| {
        manifest.add(name, &resource.version.to_string());
        set.insert(kind, name, resource);
    };
    put(ResourceType::Route, &name, Resource::new(&routes));
    hosts.iter().for_each(|host| put(ResourceType::VirtualHost, &virtual_host_name(&name, &host.name), Resource::new(host)));
    if routes.vhds.is_some() {
        set.insert(ResourceType::VirtualHost, Manifest::name_of(&name), Resource::packed(manifest.pack(&name)));
    }
}

/// A filter of the usual name that is told nothing.
fn filter(name: &str, kind: &str) -> Value {
    let kind = format!("type.googleapis.com/envoy.extensions.filters.http.{kind}");
    json!({"name": format!("envoy.filters.http.{name}"), "typedConfig": {"@type": kind}})
}

/// The resources of a proxy that passes bytes on, with more fields of the TCP proxy and of the listener.
pub(super) fn tcp_resources(tcp: &Value, more: &Value, clusters: &[Value], log: &Path) -> ResourceSet {
    let mut set = ResourceSet::default();
    for cluster in clusters {
        let cluster: Cluster = json::from_value(cluster.clone()).unwrap();
        set.insert(ResourceType::Cluster, cluster.name.as_str(), Resource::new(&cluster));
    }
    let mut fields = json!({"statPrefix": "test", "cluster": "a", "accessLog": [access_log(log)]});
    fields.as_object_mut().unwrap().extend(tcp.as_object().unwrap().clone());
    let proxy: TcpProxy = json::from_value(fields).unwrap();
    let listener = with_fields(with_filter(&json!({}), "tcp", Any::pack(&proxy)), more);
    set.insert(ResourceType::Listener, "listener", Resource::new(&listener));
    set
}

/// A listener with more fields.
fn with_fields(basic: listener::Listener, more: &Value) -> listener::Listener {
    let more: listener::Listener = json::from_value(more.clone()).unwrap();
    listener::Listener { name: basic.name, address: basic.address, filter_chains: basic.filter_chains, ..more }
}

fn access_log(log: &Path) -> Value {
    json!({"name": "envoy.access_loggers.file", "typedConfig": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": log,
        "logFormat": {"textFormatSource": {"inlineString": LOG_LINE}},
    }})
}

fn listener(manager: &Value, chain: &Value, log: &Path) -> listener::Listener {
    let mut fields = json!({
        "statPrefix": "test",
        "rds": {"routeConfigName": "routes", "configSource": {"ads": {}, "resourceApiVersion": "V3"}},
        "upgradeConfigs": [{"upgradeType": "websocket"}],
        "httpFilters": [filter("fault", "fault.v3.HTTPFault"), filter("cors", "cors.v3.Cors"), filter("router", "router.v3.Router")],
        "accessLog": [access_log(log)],
    });
    fields.as_object_mut().unwrap().extend(manager.as_object().unwrap().clone());
    // What is null is left out.
    fields.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let manager: HttpConnectionManager = json::from_value(fields).unwrap();
    with_filter(chain, "http", Any::pack(&manager))
}

/// A listener with one filter chain that has a network filter, if it has no other.
fn with_filter(chain: &Value, name: &str, config: Any) -> listener::Listener {
    let filter = listener::Filter { name: name.to_owned(), config_type: Some(listener::filter::ConfigType::TypedConfig(config)) };
    let mut chain: listener::FilterChain = json::from_value(chain.clone()).unwrap();
    if chain.filters.is_empty() {
        chain.filters.push(filter);
    }
    let address = json!({"socketAddress": {"address": "127.0.0.1", "portValue": 0}});
    listener::Listener {
        name: "listener".to_owned(),
        address: Some(json::from_value(address).unwrap()),
        filter_chains: vec![chain],
        ..Default::default()
    }
}

/// Hands out what is wanted, until the client goes away.
pub(super) async fn serve(mut stream: ServerStream, mut wanted: watch::Receiver<Arc<ResourceSet>>) {
    let mut server = Server::new(stream.protocol);
    server.set(wanted.borrow_and_update().clone());
    loop {
        while let Some(response) = server.next(Instant::now()) {
            if stream.responses.send(response).await.is_err() {
                return;
            }
        }
        tokio::select! {
            request = stream.requests.recv() => match request {
                Some(request) => drop(server.receive(&request)),
                None => return,
            },
            changed = wanted.changed() => match changed {
                Ok(()) => server.set(wanted.borrow_and_update().clone()),
                Err(_) => return,
            },
        }
    }
}
