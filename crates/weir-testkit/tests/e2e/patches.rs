//! EnvoyFilters, by what clients see: in force while they are there, and a bad one harms nothing but its own port.

use weir_testkit::{Client, DataPlane, ECHO, Layout, Mesh, Peer, Protocol, tcp_greeting, until};

use crate::support::{HOST, ROUTES, all_to, over_each_data_plane, until_from};

over_each_data_plane!(
    patches_are_in_force_while_they_are_there,
    a_patch_that_proxies_refuse_closes_its_port_alone,
    the_configuration_of_a_filter_may_come_by_itself,
);

const FILTER: &str = "patches.yaml";

/// An EnvoyFilter of the root namespace.
fn filter(patches: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: patches, namespace: istio-system}}
spec:
  configPatches:
{patches}"
    )
}

const MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// A filter before the router that adds a header to requests.
fn mutation(context: &str, value: &str) -> String {
    format!(
        "  - applyTo: HTTP_FILTER
    match: {{context: {context}, listener: {{filterChain: {{filter: {{name: {MANAGER}, subFilter: {{name: envoy.filters.http.router}}}}}}}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: added
        typed_config:
          '@type': type.googleapis.com/udpa.type.v1.TypedStruct
          type_url: type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
          value: {{mutations: {{request_mutations: [{{append: {{header: {{key: x-added, value: {value}}}}}}}]}}}}
"
    )
}

/// Routes, a virtual host and a route of the gateway.
const OF_ROUTES: &str = "  - applyTo: VIRTUAL_HOST
    match: {context: GATEWAY, routeConfiguration: {vhost: {domainName: shop.test}}}
    patch: {operation: MERGE, value: {response_headers_to_add: [{header: {key: x-host, value: 'shop'}}]}}
  - applyTo: HTTP_ROUTE
    match: {context: GATEWAY, routeConfiguration: {vhost: {domainName: shop.test}}}
    patch: {operation: INSERT_FIRST, value: {match: {path: /own}, direct_response: {status: 202, body: {inline_string: own}}}}
";

/// The headers `x-added` of requests as they reach the instance.
async fn added(client: &mut Client) -> Vec<String> {
    match client.get("/", &[(ECHO, "1")]).await {
        Ok(answer) => answer.seen().map(|seen| seen.values("x-added")).unwrap_or_default(),
        Err(_) => vec![],
    }
}

async fn patches_are_in_force_while_they_are_there(plane: DataPlane) {
    let (layout, one) = (Layout::new(), Peer::http("a").await);
    let service = layout.service("shop", &[&one], Protocol::Http);
    let both = filter(&(mutation("GATEWAY", "gateway") + &mutation("SIDECAR_OUTBOUND", "sidecar") + OF_ROUTES));
    let mesh = Mesh::start(plane, layout, &[("shop.yaml", &service), (ROUTES, &all_to("a")), (FILTER, &both)]).await;
    let (mut outside, mut inside) = (mesh.outside(HOST), mesh.inside("shop"));
    until_from(&mut outside, "a").await;
    until_from(&mut inside, "a").await;
    assert_eq!(added(&mut outside).await, ["gateway"]);
    assert_eq!(added(&mut inside).await, ["sidecar"]);
    let own = outside.get("/own", &[]).await.unwrap();
    assert_eq!((own.status, own.body.as_str(), own.values("x-host")), (202, "own", vec!["shop".to_owned()]));
    assert_eq!(inside.get("/own", &[]).await.unwrap().values("x-host"), Vec::<String>::new());
    mesh.write(FILTER, &filter(&mutation("GATEWAY", "other")));
    until("the other is in force", async || added(&mut outside).await == ["other"]).await;
    until("the sidecar's is gone", async || added(&mut inside).await.is_empty()).await;
    assert!(outside.get("/own", &[]).await.unwrap().is_from("a"));
    mesh.write(FILTER, "");
    until("nothing is added", async || added(&mut outside).await.is_empty()).await;
}

async fn a_patch_that_proxies_refuse_closes_its_port_alone(plane: DataPlane) {
    let (layout, one, two) = (Layout::new(), Peer::http("a").await, Peer::tcp("b").await);
    let services = layout.service("shop", &[&one], Protocol::Http) + "---\n" + &layout.service("line", &[&two], Protocol::Tcp);
    // Behind the router no filter may be.
    let bad = filter(&mutation("SIDECAR_OUTBOUND", "bad").replace("INSERT_BEFORE", "ADD"));
    let mesh = Mesh::start(plane, layout, &[("services.yaml", &services), (ROUTES, &all_to("a")), (FILTER, &bad)]).await;
    let (mut outside, mut inside) = (mesh.outside(HOST), mesh.inside("shop"));
    until_from(&mut outside, "a").await;
    until("the other port takes connections", async || tcp_greeting(mesh.tcp()).await == "b").await;
    assert!(inside.get("/", &[]).await.is_err());
    mesh.write(FILTER, &filter(&mutation("SIDECAR_OUTBOUND", "good")));
    until("the port is open", async || added(&mut inside).await == ["good"]).await;
}

/// A filter that asks for its configuration, and the configuration.
fn discovered(value: &str) -> String {
    let mutation = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";
    format!(
        "  - applyTo: EXTENSION_CONFIG
    match: {{context: GATEWAY}}
    patch:
      operation: ADD
      value:
        name: added
        typed_config:
          '@type': {mutation}
          mutations: {{request_mutations: [{{append: {{header: {{key: x-added, value: {value}}}}}}}]}}
  - applyTo: HTTP_FILTER
    match: {{context: GATEWAY, listener: {{filterChain: {{filter: {{name: {MANAGER}, subFilter: {{name: envoy.filters.http.router}}}}}}}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: added
        config_discovery:
          config_source: {{ads: {{}}, initial_fetch_timeout: 0s, resource_api_version: V3}}
          type_urls: [{mutation}]
"
    )
}

async fn the_configuration_of_a_filter_may_come_by_itself(plane: DataPlane) {
    let (layout, one) = (Layout::new(), Peer::http("a").await);
    let service = layout.service("shop", &[&one], Protocol::Http);
    let files = [("shop.yaml", &*service), (ROUTES, &all_to("a")), (FILTER, &filter(&discovered("first")))];
    let mesh = Mesh::start(plane, layout, &files).await;
    let mut outside = mesh.outside(HOST);
    until_from(&mut outside, "a").await;
    assert_eq!(added(&mut outside).await, ["first"]);
    mesh.write(FILTER, &filter(&discovered("second")));
    until("the other is in force", async || added(&mut outside).await == ["second"]).await;
    mesh.write(FILTER, "");
    until("nothing is added", async || added(&mut outside).await.is_empty()).await;
}
