//! EnvoyFilters: each operation on each kind of object, before and after; whom they are for; and that nothing else changes.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use weir_api::{Severity, Source, parse};
use weir_model::{MeshSnapshot, Proxy};
use weir_translate::{Class, ClassKey, Labels, Translation, translate, unsupported};
use weir_xds::lines::differences;

use crate::support::{findings, gateway, json_of, mesh, sidecar};

/// A small mesh: a gateway with a port of HTTP, a service, and a workload with an inbound listener.
pub(crate) const MESH: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: default}
spec:
  hosts: [a.test]
  addresses: [10.1.0.1]
  ports: [{number: 80, name: http, protocol: HTTP}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints: [{address: 10.2.0.1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: default}
spec:
  host: a.test
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*.test']}
  - {port: {number: 8081, name: other, protocol: HTTP}, hosts: ['*.test']}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: default}
spec:
  hosts: [a.test]
  gateways: [g, mesh]
  http:
  - {name: first, match: [{uri: {prefix: /first}}], route: [{destination: {host: a.test, subset: v1}}]}
  - {name: moved, match: [{uri: {prefix: /moved}}], redirect: {uri: /}}
  - {name: rest, route: [{destination: {host: a.test}}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: s, namespace: default}
spec:
  workloadSelector: {labels: {app: web}}
  ingress: [{port: {number: 9090, name: http, protocol: HTTP}, bind: 127.0.0.1, defaultEndpoint: 127.0.0.1:9091}]
  egress: [{hosts: ['./*']}]
";

/// An EnvoyFilter in the root namespace, with one patch.
pub(crate) fn filter(patch: &str) -> String {
    named("f", "istio-system", "", &[patch])
}

pub(crate) fn named(name: &str, namespace: &str, spec: &str, patches: &[&str]) -> String {
    let patches: String = patches.iter().map(|patch| format!("  - {patch}\n")).collect();
    format!(
        "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{spec}  \
         configPatches:\n{patches}"
    )
}

pub(crate) fn with(filters: &[&str]) -> MeshSnapshot {
    let files: Vec<(String, &str)> = filters.iter().enumerate().map(|(index, text)| (format!("{index}.yaml"), *text)).collect();
    let files: Vec<(&str, &str)> =
        [("mesh.yaml", MESH)].into_iter().chain(files.iter().map(|(name, text)| (name.as_str(), *text))).collect();
    mesh(&files)
}

pub(crate) fn web() -> Proxy {
    sidecar("10.0.0.1", &[("app", "web")])
}

pub(crate) fn client() -> Proxy {
    sidecar("10.0.0.2", &[("app", "client")])
}

/// All that a proxy gets.
fn all(made: &Translation) -> Value {
    let listeners: Vec<Value> = made.listeners.iter().map(json_of).collect();
    let routes: Vec<Value> = made.routes.iter().map(json_of).collect();
    let clusters: Vec<Value> = made.clusters.iter().map(json_of).collect();
    let extensions: Vec<Value> = made.extensions.iter().map(json_of).collect();
    json!({"listeners": listeners, "routes": routes, "clusters": clusters, "extensions": extensions})
}

/// What is written shorter in goldens.
const SHORT: [(&str, &str); 3] = [
    ("filter_chains[0].filters[envoy.filters.network.http_connection_manager].typed_config", "…manager"),
    ("type.googleapis.com/", ""),
    ("envoy.extensions.filters.", ""),
];

/// What a patch changes of what a proxy gets, and what is said of it.
pub(crate) fn changes(proxy: &Proxy, filters: &[&str]) -> String {
    let (plain, mesh) = (with(&[]), with(filters));
    let (before, made) = (translate(&plain, proxy), translate(&mesh, proxy));
    let changed = differences("", &all(&before), &all(&made));
    let mut text: String = changed.iter().map(|line| format!("{line}\n")).collect();
    for (long, short) in SHORT {
        text = text.replace(long, short);
    }
    let of_objects: Vec<Arc<weir_api::Object>> = mesh.envoy_filters.iter().map(|filter| filter.object.clone()).collect();
    let said = unsupported::findings(&of_objects).iter().map(ToString::to_string).chain(findings(&made)).collect::<Vec<_>>();
    said.iter().filter(|said| said.contains("EnvoyFilter")).for_each(|said| text += &format!("! {said}\n"));
    text
}

/// A golden with what each patch does, each with how it is written.
fn golden(proxy: &Proxy, patches: &[&str]) -> String {
    patches.iter().map(|patch| format!("{patch}\n{}\n", changes(proxy, &[&filter(patch)]))).collect()
}

#[test]
fn clusters() {
    let of = "applyTo: CLUSTER, match: {context: GATEWAY, cluster: {name: 'outbound|80||a.test'}}";
    let new = "{name: new, connect_timeout: 1s, type: STATIC}";
    insta::assert_snapshot!(golden(
        &gateway(),
        &[
            &format!(
                "{{{of}, patch: {{operation: MERGE, value: {{connect_timeout: 1s, circuit_breakers: {{thresholds: [{{max_retries: 1}}]}}}}}}}}"
            ),
            &format!(
                "{{{of}, patch: {{operation: MERGE_AND_REPLACE_LIST, value: {{circuit_breakers: {{thresholds: [{{max_retries: 1}}]}}}}}}}}"
            ),
            &format!(
                "{{{of}, patch: {{operation: MERGE, value: {{connect_timeout: 1s, transport_socket: {{name: envoy.transport_sockets.tls, \
                 typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, sni: x}}}}}}}}}}"
            ),
            &format!("{{{of}, patch: {{operation: REMOVE}}}}"),
            &format!("{{{of}, patch: {{operation: REPLACE, value: {new}}}}}"),
            &format!("{{applyTo: CLUSTER, patch: {{operation: ADD, value: {new}}}}}"),
            &format!("{{applyTo: CLUSTER, patch: {{operation: INSERT_FIRST, value: {new}}}}}"),
            "{applyTo: CLUSTER, patch: {operation: ADD, value: {name: BlackHoleCluster}}}",
            "{applyTo: CLUSTER, match: {cluster: {service: a.test, portNumber: 80, subset: v1}}, patch: {operation: REMOVE}}",
            "{applyTo: CLUSTER, match: {cluster: {service: b.test}}, patch: {operation: REMOVE}}",
        ],
    ));
}

#[test]
fn listeners_and_their_filters() {
    let here = "match: {listener: {portNumber: 8080}}";
    let of = "applyTo: LISTENER_FILTER, match: {listener: {portNumber: 8080}}";
    let new = "{name: envoy.filters.listener.tls_inspector, typed_config: \
               {'@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}";
    insta::assert_snapshot!(golden(
        &gateway(),
        &[
            &format!("{{applyTo: LISTENER, {here}, patch: {{operation: MERGE, value: {{per_connection_buffer_limit_bytes: 5}}}}}}"),
            &format!("{{applyTo: LISTENER, {here}, patch: {{operation: REMOVE}}}}"),
            &format!("{{applyTo: LISTENER, {here}, patch: {{operation: REPLACE, value: {{name: x}}}}}}"),
            "{applyTo: LISTENER, match: {context: GATEWAY}, patch: {operation: ADD, value: {name: new, address: {pipe: {path: /x}}}}}",
            "{applyTo: LISTENER, patch: {operation: ADD, value: {address: {pipe: {path: /x}}}}}",
            &format!("{{{of}, patch: {{operation: ADD, value: {new}}}}}"),
            &format!("{{{of}, patch: {{operation: INSERT_FIRST, value: {new}}}}}"),
            &format!("{{{of}, patch: {{operation: INSERT_BEFORE, value: {new}}}}}"),
            &format!("{{{of}, patch: {{operation: INSERT_AFTER, value: {new}}}}}"),
            &format!("{{{of}, patch: {{operation: REMOVE}}}}"),
            "{applyTo: LISTENER_FILTER, match: {listener: {listenerFilter: no.such}}, patch: {operation: REMOVE}}",
            &format!("{{applyTo: FILTER_CHAIN, {here}, patch: {{operation: MERGE, value: {{transport_socket_connect_timeout: 1s}}}}}}"),
            &format!("{{applyTo: FILTER_CHAIN, {here}, patch: {{operation: REMOVE}}}}"),
            &format!("{{applyTo: FILTER_CHAIN, {here}, patch: {{operation: ADD, value: {{name: more, filters: []}}}}}}"),
            "{applyTo: FILTER_CHAIN, match: {listener: {filterChain: {sni: x.test}}}, patch: {operation: REMOVE}}",
        ],
    ));
}

pub(crate) const MANAGER: &str = "envoy.filters.network.http_connection_manager";

#[test]
fn network_filters() {
    let of = format!("applyTo: NETWORK_FILTER, match: {{listener: {{portNumber: 8080, filterChain: {{filter: {{name: {MANAGER}}}}}}}}}");
    let any = "applyTo: NETWORK_FILTER, match: {listener: {portNumber: 8080}}";
    let new = "{name: envoy.filters.network.connection_limit, typed_config: {'@type': \
               type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit, max_connections: 1}}";
    let merged = "{typed_config: {'@type': \
                  type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
                  normalize_path: false, stream_idle_timeout: 3s, upgrade_configs: [{upgrade_type: x}]}}";
    insta::assert_snapshot!(golden(
        &gateway(),
        &[
            &format!("{{{of}, patch: {{operation: INSERT_BEFORE, value: {new}}}}}"),
            &format!("{{{of}, patch: {{operation: INSERT_AFTER, value: {new}}}}}"),
            &format!("{{{of}, patch: {{operation: REPLACE, value: {new}}}}}"),
            &format!("{{{of}, patch: {{operation: REMOVE}}}}"),
            &format!("{{{of}, patch: {{operation: MERGE, value: {merged}}}}}"),
            &format!("{{{of}, patch: {{operation: MERGE_AND_REPLACE_LIST, value: {merged}}}}}"),
            &format!("{{{of}, patch: {{operation: MERGE, value: {new}}}}}"),
            &format!("{{{any}, patch: {{operation: ADD, value: {new}}}}}"),
            &format!("{{{any}, patch: {{operation: INSERT_FIRST, value: {new}}}}}"),
            &format!("{{{any}, patch: {{operation: REMOVE}}}}"),
        ],
    ));
}

#[test]
fn http_filters() {
    let at = |filter: &str| {
        format!(
            "applyTo: HTTP_FILTER, match: {{listener: {{portNumber: 8080, filterChain: {{filter: {{name: {MANAGER}, subFilter: {{name: \
             {filter}}}}}}}}}}}"
        )
    };
    let (router, cors) = (at("envoy.filters.http.router"), at("envoy.filters.http.cors"));
    let any = "applyTo: HTTP_FILTER, match: {listener: {portNumber: 8080}}";
    let new =
        "{name: b, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 1}}";
    let merged =
        "{name: r, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, start_child_span: true}}";
    insta::assert_snapshot!(golden(
        &gateway(),
        &[
            &format!("{{{router}, patch: {{operation: INSERT_BEFORE, value: {new}}}}}"),
            &format!("{{{cors}, patch: {{operation: INSERT_AFTER, value: {new}}}}}"),
            &format!("{{{cors}, patch: {{operation: INSERT_FIRST, value: {new}}}}}"),
            &format!("{{{cors}, patch: {{operation: REPLACE, value: {new}}}}}"),
            &format!("{{{cors}, patch: {{operation: REMOVE}}}}"),
            &format!("{{{router}, patch: {{operation: MERGE, value: {merged}}}}}"),
            &format!("{{{router}, patch: {{operation: MERGE_AND_REPLACE_LIST, value: {merged}}}}}"),
            &format!("{{{cors}, patch: {{operation: MERGE, value: {merged}}}}}"),
            &format!("{{{any}, patch: {{operation: ADD, value: {new}}}}}"),
            &format!("{{{any}, patch: {{operation: INSERT_BEFORE, value: {new}}}}}"),
            &format!("{{{any}, patch: {{operation: MERGE, value: {merged}}}}}"),
            &format!("{{{}, patch: {{operation: INSERT_BEFORE, value: {new}}}}}", at("no.such")),
        ],
    ));
}

#[test]
fn route_configurations_and_virtual_hosts() {
    let of = |of: &str| format!("match: {{context: GATEWAY, routeConfiguration: {{{of}}}}}");
    let header = "{response_headers_to_add: [{header: {key: x, value: '1'}}]}";
    let (a, new) = (of("vhost: {name: 'a.test:8080'}"), "{name: new, domains: [new.test]}");
    insta::assert_snapshot!(golden(
        &gateway(),
        &[
            &format!("{{applyTo: ROUTE_CONFIGURATION, {}, patch: {{operation: MERGE, value: {header}}}}}", of("portNumber: 8080")),
            &format!("{{applyTo: ROUTE_CONFIGURATION, {}, patch: {{operation: REMOVE}}}}", of("portNumber: 8080")),
            &format!("{{applyTo: VIRTUAL_HOST, {a}, patch: {{operation: MERGE, value: {header}}}}}"),
            &format!("{{applyTo: VIRTUAL_HOST, {a}, patch: {{operation: MERGE_AND_REPLACE_LIST, value: {{domains: [b.test]}}}}}}"),
            &format!("{{applyTo: VIRTUAL_HOST, {a}, patch: {{operation: REPLACE, value: {new}}}}}"),
            &format!("{{applyTo: VIRTUAL_HOST, {a}, patch: {{operation: REMOVE}}}}"),
            &format!("{{applyTo: VIRTUAL_HOST, {}, patch: {{operation: REMOVE}}}}", of("vhost: {domainName: a.test}")),
            &format!("{{applyTo: VIRTUAL_HOST, {}, patch: {{operation: ADD, value: {new}}}}}", of("name: http.8080")),
            &format!("{{applyTo: VIRTUAL_HOST, {}, patch: {{operation: INSERT_FIRST, value: {new}}}}}", of("name: http.8080")),
            &format!("{{applyTo: VIRTUAL_HOST, {}, patch: {{operation: REMOVE}}}}", of("vhost: {name: 'a.test:80'}")),
        ],
    ));
}

#[test]
fn routes() {
    let of = |route: &str| {
        format!("applyTo: HTTP_ROUTE, match: {{routeConfiguration: {{portNumber: 8080, vhost: {{name: 'a.test:8080'{route}}}}}}}")
    };
    let (first, all) = (of(", route: {name: first}"), of(""));
    let new = "{name: new, match: {path: /new}, direct_response: {status: 202}}";
    insta::assert_snapshot!(golden(
        &gateway(),
        &[
            &format!("{{{first}, patch: {{operation: MERGE, value: {{route: {{timeout: 3s}}}}}}}}"),
            &format!("{{{first}, patch: {{operation: MERGE, value: {{direct_response: {{status: 202}}}}}}}}"),
            &format!("{{{}, patch: {{operation: MERGE, value: {{name: renamed}}}}}}", of(", route: {action: REDIRECT}")),
            &format!("{{{first}, patch: {{operation: REMOVE}}}}"),
            &format!("{{{first}, patch: {{operation: REPLACE, value: {new}}}}}"),
            &format!("{{{first}, patch: {{operation: INSERT_AFTER, value: {new}}}}}"),
            &format!("{{{}, patch: {{operation: INSERT_BEFORE, value: {new}}}}}", of(", route: {name: rest}")),
            &format!("{{{}, patch: {{operation: INSERT_FIRST, value: {new}}}}}", of(", route: {name: no-such}")),
            &format!("{{{all}, patch: {{operation: INSERT_FIRST, value: {new}}}}}"),
            &format!("{{{all}, patch: {{operation: ADD, value: {new}}}}}"),
        ],
    ));
}

#[test]
fn what_comes_to_a_workload() {
    let context = "context: SIDECAR_INBOUND";
    insta::assert_snapshot!(golden(
        &web(),
        &[
            &format!("{{applyTo: VIRTUAL_HOST, match: {{{context}}}, patch: {{operation: MERGE, value: {{name: renamed}}}}}}"),
            &format!(
                "{{applyTo: HTTP_ROUTE, match: {{{context}, routeConfiguration: {{portNumber: 9090}}}}, patch: {{operation: INSERT_FIRST, \
                 value: {{match: {{path: /own}}, direct_response: {{status: 202}}}}}}}}"
            ),
            &format!("{{applyTo: LISTENER, match: {{{context}}}, patch: {{operation: MERGE, value: {{stat_prefix: x}}}}}}"),
            &format!("{{applyTo: CLUSTER, match: {{{context}, cluster: {{portNumber: 9090}}}}, patch: {{operation: REMOVE}}}}"),
            &format!("{{applyTo: CLUSTER, match: {{{context}}}, patch: {{operation: ADD, value: {{name: new}}}}}}"),
        ],
    ));
}

#[test]
fn an_extension_is_a_resource_that_filters_ask_for() {
    let extension = "{applyTo: EXTENSION_CONFIG, match: {context: GATEWAY}, patch: {operation: ADD, value: {name: mine, typed_config: \
                     {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 1}}}}";
    let asking = "{applyTo: HTTP_FILTER, match: {context: GATEWAY, listener: {portNumber: 8080}}, patch: {operation: INSERT_FIRST, value: \
                  {name: mine, config_discovery: {config_source: {ads: {}}}}}}";
    insta::assert_snapshot!(
        [&[extension, asking][..], &[extension], &[asking]]
            .map(|patches| { changes(&gateway(), &[&named("f", "istio-system", "", patches)]) })
            .join("---\n")
    );
}

#[test]
fn what_the_mesh_chooses_for_each_instance_a_patch_does_not() {
    let patch = "{applyTo: CLUSTER, match: {cluster: {service: a.test}}, patch: {operation: MERGE, value: {transport_socket: {name: \
                 envoy.transport_sockets.tls, typed_config: {'@type': \
                 type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, sni: x}}}}}";
    let sockets = |mesh: &MeshSnapshot| {
        let made = translate(mesh, &client());
        made.clusters.iter().filter(|cluster| cluster.name.ends_with("a.test") && cluster.transport_socket.is_some()).count()
    };
    assert_eq!(sockets(&with(&[&filter(patch)])), 0, "nobody says that there is TLS");
    let plain = MESH.replace("  host: a.test\n", "  host: a.test\n  trafficPolicy: {tls: {mode: DISABLE}}\n");
    assert_eq!(
        sockets(&mesh(&[("mesh.yaml", &plain), ("f.yaml", &filter(patch))])),
        2,
        "a rule says that there is none, and the patch more"
    );
    let outside = MESH.replace("MESH_INTERNAL", "MESH_EXTERNAL");
    assert_eq!(sockets(&mesh(&[("mesh.yaml", &outside), ("f.yaml", &filter(patch))])), 2, "the mesh does not know it");
}

#[test]
fn what_is_refused_is_named_with_its_place_and_all_else_is_carried_out() {
    let merge = |value: &str| format!("{{applyTo: CLUSTER, match: {{cluster: {{name: x}}}}, patch: {{operation: MERGE, value: {value}}}}}");
    let patches = [
        merge("{connect_timeout: soon}"),
        merge("{no_such: 1, type: NO_SUCH}"),
        merge("{transport_socket: {typed_config: {'@type': x/no.Such}}}"),
        "{applyTo: BOOTSTRAP, patch: {operation: MERGE, value: {admin: {}}}}".to_owned(),
        "{applyTo: CLUSTER, match: {context: WAYPOINT}, patch: {operation: REMOVE}}".to_owned(),
        "{applyTo: CLUSTER, match: {proxy: {proxyVersion: '^1\\.5.*'}}, patch: {operation: REMOVE}}".to_owned(),
        "{applyTo: CLUSTER, match: {proxy: {metadata: {A: b}}}, patch: {operation: REMOVE}}".to_owned(),
        "{applyTo: CLUSTER, match: {cluster: {name: BlackHoleCluster}, proxy: {proxyVersion: '^1\\.3.*'}}, patch: {operation: REMOVE}}"
            .to_owned(),
    ];
    let patches: Vec<&str> = patches.iter().map(String::as_str).collect();
    insta::assert_snapshot!(changes(&gateway(), &[&named("f", "istio-system", "", &patches)]));
}

#[test]
fn filters_are_applied_by_priority_and_first_those_of_the_root_namespace() {
    let merge = |value: &str| {
        format!(
            "{{applyTo: VIRTUAL_HOST, match: {{context: SIDECAR_OUTBOUND, routeConfiguration: {{vhost: {{domainName: a.test}}}}}}, patch: \
             {{operation: MERGE, value: {{response_headers_to_remove: [{value}]}}}}}}"
        )
    };
    let one = |name: &str, namespace: &str, priority: i32| named(name, namespace, &format!("  priority: {priority}\n"), &[&merge(name)]);
    let filters = [
        one("own", "default", 0),
        one("root", "istio-system", 0),
        one("late", "istio-system", 9),
        one("early", "default", -9),
        one("elsewhere", "other", 0),
        named("selecting", "default", "  workloadSelector: {labels: {app: client}}\n", &[&merge("selecting")]),
        named("others", "default", "  workloadSelector: {labels: {app: web}}\n", &[&merge("others")]),
    ];
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    let made = translate(&with(&filters), &client());
    let host =
        made.routes.iter().flat_map(|routes| &routes.virtual_hosts).find(|host| host.domains.contains(&"a.test".to_owned())).unwrap();
    assert_eq!(host.response_headers_to_remove, ["early", "root", "own", "selecting", "late"]);
}

#[test]
fn a_change_makes_what_it_selects_anew_and_nothing_else() {
    let old = with(&[&filter(
        "{applyTo: CLUSTER, match: {cluster: {service: a.test}}, patch: {operation: MERGE, value: {connect_timeout: 1s}}}",
    )]);
    let parsed = |timeout: &str| {
        let text = filter(&format!(
            "{{applyTo: CLUSTER, match: {{cluster: {{service: a.test}}}}, patch: {{operation: MERGE, value: {{connect_timeout: {timeout}}}}}}}"
        ));
        let parsed = parse(&Source::new("1.yaml", text));
        assert!(parsed.diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error));
        parsed.objects[0].clone()
    };
    let mut class = Class::new(ClassKey::of(&old, &Labels::of(&old), &client()));
    class.refresh(&old, &client());
    let before = class.work();
    assert_eq!(before.patched, 2, "the cluster and its subset");
    let known = old.envoy_filters[0].object.clone();
    let next = old.update(&[weir_api::ObjectChange { old: Some(known), new: Some(parsed("2s")) }], None, &[]);
    let update = class.refresh(&next, &client());
    let mut names: Vec<&str> = update.upserts.iter().map(|made| &*made.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["outbound|80|v1|a.test", "outbound|80||a.test"]);
    let now = class.work();
    assert_eq!(
        (now.patched - before.patched, now.clusters, now.route_lists, now.listeners),
        (2, before.clusters, before.route_lists, before.listeners)
    );
    let again = class.refresh(&next.update(&[], None, &[]), &client());
    assert!(again.upserts.is_empty() && class.work().patched == now.patched);
}

#[test]
fn a_patch_changes_no_byte_of_what_it_does_not_select() {
    let plain = translate(&with(&[]), &gateway());
    let other = [
        "{applyTo: CLUSTER, match: {context: SIDECAR_OUTBOUND}, patch: {operation: REMOVE}}",
        "{applyTo: HTTP_ROUTE, match: {routeConfiguration: {vhost: {name: none}}}, patch: {operation: REMOVE}}",
        "{applyTo: HTTP_FILTER, match: {listener: {filterChain: {name: none}}}, patch: {operation: ADD, value: {name: x}}}",
        "{applyTo: NETWORK_FILTER, match: {listener: {name: none}}, patch: {operation: ADD, value: {name: x}}}",
    ];
    let made = translate(&with(&[&named("f", "istio-system", "", &other)]), &gateway());
    assert_eq!((made.listeners, made.routes, made.clusters), (plain.listeners, plain.routes, plain.clusters));
}

/// Values that fit some kinds of objects, and some that fit none.
const VALUES: [&str; 10] = [
    "{name: x}",
    "{name: x, domains: [x.test], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}",
    "{match: {prefix: /}, route: {cluster: x, timeout: 0s}}",
    "{connect_timeout: 1s, transport_socket: {name: y}, circuit_breakers: {thresholds: [{}]}}",
    "{name: x, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 1}}",
    "{typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, start_child_span: true}}",
    "{typed_config: {'@type': type.googleapis.com/udpa.type.v1.TypedStruct, type_url: a/no.Such, value: {a: [1]}}}",
    "{filter_chains: [{filters: [{name: x}]}], default_filter_chain: {}, name: ''}",
    "{transport_socket: {name: y, typed_config: {'@type': type.googleapis.com/google.protobuf.Struct, value: {a: 1}}}}",
    "{virtual_hosts: [{name: 'a.test:80'}], name: renamed}",
];
pub(crate) const KINDS: [&str; 10] = [
    "LISTENER",
    "FILTER_CHAIN",
    "NETWORK_FILTER",
    "HTTP_FILTER",
    "LISTENER_FILTER",
    "ROUTE_CONFIGURATION",
    "VIRTUAL_HOST",
    "HTTP_ROUTE",
    "CLUSTER",
    "EXTENSION_CONFIG",
];
pub(crate) const OPERATIONS: [&str; 8] =
    ["MERGE", "ADD", "REMOVE", "INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST", "REPLACE", "MERGE_AND_REPLACE_LIST"];
pub(crate) const CONTEXTS: [&str; 4] = ["ANY", "GATEWAY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND"];

/// A patch of a kind of object at one port. The other choices are taken modulo what there is.
pub(crate) fn any_patch(kind: usize, choice: usize, port: u16) -> String {
    let kind = KINDS[kind % KINDS.len()];
    let (operation, choice) = (OPERATIONS[choice % 8], choice / 8);
    let (value, choice) = (VALUES[choice % 10], choice / 10);
    let (context, choice) = (CONTEXTS[choice % 4], choice / 4);
    let filter = ["", ", filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}"][choice % 2];
    let host = ["", ", vhost: {}", ", vhost: {domainName: a.test, route: {name: first}}"][choice / 2 % 3];
    let matched = match kind {
        "CLUSTER" => format!("cluster: {{portNumber: {port}}}"),
        "ROUTE_CONFIGURATION" | "VIRTUAL_HOST" | "HTTP_ROUTE" => format!("routeConfiguration: {{portNumber: {port}{host}}}"),
        "HTTP_FILTER" if !filter.is_empty() => format!(
            "listener: {{portNumber: {port}, filterChain: {{filter: {{name: {MANAGER}, subFilter: {{name: envoy.filters.http.cors}}}}}}}}"
        ),
        "LISTENER_FILTER" => format!("listener: {{portNumber: {port}}}"),
        "EXTENSION_CONFIG" => return format!("{{applyTo: {kind}, patch: {{operation: {operation}, value: {value}}}}}"),
        _ => format!("listener: {{portNumber: {port}{filter}}}"),
    };
    format!("{{applyTo: {kind}, match: {{context: {context}, {matched}}}, patch: {{operation: {operation}, value: {value}}}}}")
}

/// Whether a document is one by its form.
pub(crate) fn parses(text: &str) -> bool {
    let parsed = parse(&Source::new("f.yaml", text));
    parsed.diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error)
}

/// The resources that are for other ports than one; those that are called otherwise were added.
fn elsewhere(made: &Translation, port: u16, known: &Translation) -> Vec<String> {
    let port = port.to_string();
    let is_here = |name: &str| name.split(['_', '.', '|', ':']).any(|part| part == port);
    let mut all: Vec<String> = vec![];
    let mut add = |name: &str, is_known: bool, text: String| all.extend((is_known && !is_here(name)).then_some(text));
    for made in &made.listeners {
        add(&made.name, known.listeners.iter().any(|known| known.name == made.name), format!("{made:?}"));
    }
    for made in &made.routes {
        add(&made.name, known.routes.iter().any(|known| known.name == made.name), format!("{made:?}"));
    }
    for made in &made.clusters {
        add(&made.name, known.clusters.iter().any(|known| known.name == made.name), format!("{made:?}"));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Nothing panics, what is for another port stays byte for byte, and a class gets what each of its members gets alone.
    #[test]
    fn any_patches_change_what_they_select_and_nothing_else(
        picks in prop::collection::vec((0..10_usize, 0..4000_usize), 1..5),
        port in prop::sample::select(vec![80_u16, 8080, 8081, 9090]),
    ) {
        let patches: Vec<String> = picks.iter().map(|(kind, choice)| any_patch(*kind, *choice, port)).collect();
        let patches: Vec<&str> = patches.iter().map(String::as_str).collect();
        let text = named("f", "istio-system", "", &patches);
        // What is refused by its form alone is not asked here.
        prop_assume!(parses(&text));
        let (plain, patched) = (with(&[]), with(&[&text]));
        for proxy in [gateway(), web(), client()] {
            let (before, after) = (translate(&plain, &proxy), translate(&patched, &proxy));
            prop_assert_eq!(elsewhere(&before, port, &before), elsewhere(&after, port, &before));
            prop_assert_eq!(crate::classes::alone(&patched, &proxy), crate::classes::by_class(&patched, &proxy));
        }
    }
}
