//! What one proxy is told, as Envoy's messages in JSON.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};
use weir_ads::{Event, Resource, ResourceSet, Server, ServerStream};
use weir_xds::resource::ResourceType;
use weir_xds::{Any, cluster::Cluster, hcm::HttpConnectionManager, json as xds_json, listener, route::RouteConfiguration};

/// What the access log's lines say.
const LOG_LINE: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER%\n";

/// What a [`LoneProxy`](crate::LoneProxy) is told.
#[derive(Debug, Clone, Default)]
pub struct Xds {
    /// The HTTP filters before the router: see [`filter`].
    pub filters: Vec<Value>,
    /// More fields of a `RouteConfiguration`, whose only virtual host takes all hosts.
    pub table: Value,
    /// More fields of that virtual host.
    pub virtual_host: Value,
    /// Its routes.
    pub routes: Vec<Value>,
    /// The clusters: see [`cluster`].
    pub clusters: Vec<Value>,
    /// More fields of the connection manager.
    pub manager: Value,
}

/// A message of a type of Envoy's extensions, such as `filters.http.buffer.v3.Buffer`, as it is packed into others.
///
/// # Panics
/// If the fields are not those of a message.
pub fn packed(kind: &str, mut fields: Value) -> Value {
    fields["@type"] = json!(format!("type.googleapis.com/envoy.extensions.{kind}"));
    fields
}

/// An HTTP filter with a name and a [`packed`] configuration.
pub fn filter(name: &str, config: Value) -> Value {
    json!({"name": name, "typedConfig": config})
}

/// A cluster of one instance that speaks HTTP/1.1.
pub fn cluster(name: &str, instance: SocketAddr) -> Value {
    let address = json!({"socketAddress": {"address": instance.ip().to_string(), "portValue": instance.port()}});
    let assignment = json!({"clusterName": name, "endpoints": [{"lbEndpoints": [{"endpoint": {"address": address}}]}]});
    json!({"name": name, "type": "STATIC", "loadAssignment": assignment})
}

/// A cluster of one instance that speaks HTTP/2.
pub fn http2_cluster(name: &str, instance: SocketAddr) -> Value {
    let options = packed("upstreams.http.v3.HttpProtocolOptions", json!({"explicitHttpConfig": {"http2ProtocolOptions": {}}}));
    let mut cluster = cluster(name, instance);
    cluster["typedExtensionProtocolOptions"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options});
    cluster
}

impl Xds {
    /// The resources of a proxy that listens at this port of this machine.
    pub(crate) fn resources(&self, port: u16, log: &Path) -> ResourceSet {
        let mut set = ResourceSet::default();
        for cluster in &self.clusters {
            let cluster: Cluster = xds_json::from_value(cluster.clone()).expect("a test's cluster is one");
            set.insert(ResourceType::Cluster, cluster.name.as_str(), Resource::new(&cluster));
        }
        set.insert(ResourceType::Route, "routes", Resource::new(&self.routes()));
        set.insert(ResourceType::Listener, "listener", Resource::new(&self.listener(port, log)));
        set
    }

    fn routes(&self) -> RouteConfiguration {
        let host = with(json!({"name": "all", "domains": ["*"], "routes": self.routes}), &self.virtual_host);
        let table = with(json!({"name": "routes", "virtualHosts": [host]}), &self.table);
        xds_json::from_value(table).expect("a test's routes are some")
    }

    fn listener(&self, port: u16, log: &Path) -> listener::Listener {
        let router = filter("envoy.filters.http.router", packed("filters.http.router.v3.Router", json!({})));
        let format = json!({"textFormatSource": {"inlineString": LOG_LINE}});
        let log = packed("access_loggers.file.v3.FileAccessLog", json!({"path": log, "logFormat": format}));
        let manager = json!({
            "statPrefix": "test",
            "rds": {"routeConfigName": "routes", "configSource": {"ads": {}, "resourceApiVersion": "V3"}},
            "httpFilters": self.filters.iter().cloned().chain([router]).collect::<Vec<_>>(),
            "accessLog": [{"name": "envoy.access_loggers.file", "typedConfig": log}],
            // Trailers of HTTP/1.1 pass as those of HTTP/2 do.
            "httpProtocolOptions": {"enableTrailers": true},
        });
        let manager: HttpConnectionManager = xds_json::from_value(with(manager, &self.manager)).expect("a test's filters are some");
        let config = listener::filter::ConfigType::TypedConfig(Any::pack(&manager));
        let filter = listener::Filter { name: "http".to_owned(), config_type: Some(config) };
        let address = json!({"socketAddress": {"address": "127.0.0.1", "portValue": port}});
        listener::Listener {
            name: "listener".to_owned(),
            address: Some(xds_json::from_value(address).expect("this is an address")),
            filter_chains: vec![listener::FilterChain { filters: vec![filter], ..Default::default() }],
            ..Default::default()
        }
    }
}

fn with(mut fields: Value, more: &Value) -> Value {
    if let (Some(fields), Some(more)) = (fields.as_object_mut(), more.as_object()) {
        fields.extend(more.clone());
    }
    fields
}

/// Hands resources out over one stream, until the proxy goes away; what it refuses is noted.
pub(crate) async fn serve(mut stream: ServerStream, resources: Arc<ResourceSet>, refused: Arc<Mutex<Vec<String>>>) {
    let mut server = Server::new(stream.protocol);
    server.set(resources);
    loop {
        while let Some(response) = server.next(Instant::now()) {
            if stream.responses.send(response).await.is_err() {
                return;
            }
        }
        let Some(request) = stream.requests.recv().await else { return };
        if let Event::Refused(_, why) = server.receive(&request) {
            refused.lock().expect("nobody panics here").push(why);
        }
    }
}
