//! The policies that stand in Istio's own tests give the filters that stand beside them.
//!
//! They are read from the cache of Go's modules, where `go mod download istio.io/istio@VERSION` puts them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use weir_api::resources::MeshConfig;
use weir_api::syntax::yaml;
use weir_api::{Severity, Source, parse};
use weir_model::{DEFAULT_DOMAIN, MeshSnapshot, Proxy};
use weir_translate::translate;
use weir_xds::hcm::{HttpConnectionManager, HttpFilter};
use weir_xds::json::{Names, from_value, to_value};
use weir_xds::listener::filter::ConfigType;
use weir_xds::listener::{Filter, Listener};

use crate::support::sidecar;

const MODULE: &str = "istio.io/istio@v0.0.0-20260827124520-eed52ebb66ad";
const FOLDER: &str = "pilot/pkg/security/authz/builder/testdata";

/// A workload as Istio's tests have it, and the service that decides.
const WORKLOAD: &str = "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: httpbin, namespace: foo}
spec:
  ingress:
  - {port: {number: 80, name: http, protocol: HTTP}, defaultEndpoint: '127.0.0.1:8080', captureMode: NONE}
  - {port: {number: 81, name: tcp, protocol: TCP}, defaultEndpoint: '127.0.0.1:8081', captureMode: NONE}
  egress: [{hosts: ['*/*']}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: authz, namespace: foo}
spec:
  hosts: [my-custom-ext-authz.foo.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 9000, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
";

const NOBODY: &str = "{}";
const GRPC: &str = "extensionProviders:
- name: default
  envoyExtAuthzGrpc:
    service: foo/my-custom-ext-authz.foo.svc.cluster.local
    port: 9000
    timeout: 0.002s
    failOpen: true
    statusOnError: '403'
    includeRequestBodyInCheck: {maxRequestBytes: 4096, allowPartialMessage: true}
";
const GRPC_OF_NO_NAMESPACE: &str = "extensionProviders:
- name: default
  envoyExtAuthzGrpc: {service: my-custom-ext-authz.foo.svc.cluster.local, port: 9000, failOpen: true, statusOnError: '403'}
";
const HTTP: &str = "extensionProviders:
- name: default
  envoyExtAuthzHttp:
    service: foo/my-custom-ext-authz.foo.svc.cluster.local
    port: 9000
    timeout: 10s
    failOpen: true
    statusOnError: '403'
    pathPrefix: /check
    includeRequestHeadersInCheck: [x-custom-id, x-prefix-*, '*-suffix']
    includeHeadersInCheck: [should-not-include-when-IncludeRequestHeadersInCheck-is-set]
    includeAdditionalHeadersInCheck: {x-header-1: value-1, x-header-2: value-2}
    includeRequestBodyInCheck: {maxRequestBytes: 2048, allowPartialMessage: true, packAsBytes: true}
    headersToUpstreamOnAllow: [Authorization, x-prefix-*, '*-suffix']
    headersToDownstreamOnDeny: [Set-cookie, x-prefix-*, '*-suffix']
    headersToDownstreamOnAllow: [Set-cookie, x-prefix-*, '*-suffix']
";
const INVALID: &str = "extensionProviders:
- name: default
  envoyExtAuthzHttp: {service: foo/my-custom-ext-authz, port: 999999, pathPrefix: check, statusOnError: '999'}
";

/// The policies, what holds for the mesh, and the filters.
type Case = (&'static str, &'static str, &'static [&'static str]);

const OF_REQUESTS: &[Case] = &[
    ("allow-empty-rule-in", NOBODY, &["allow-empty-rule-out"]),
    ("allow-full-rule-in", NOBODY, &["allow-full-rule-out"]),
    ("allow-nil-rule-in", NOBODY, &["allow-nil-rule-out"]),
    ("allow-path-in", NOBODY, &["allow-path-out"]),
    ("audit-full-rule-in", NOBODY, &["audit-full-rule-out"]),
    ("custom-simple-http-in", GRPC_OF_NO_NAMESPACE, &["custom-grpc-provider-no-namespace-out1", "custom-grpc-provider-no-namespace-out2"]),
    ("custom-simple-http-in", GRPC, &["custom-grpc-provider-out1", "custom-grpc-provider-out2"]),
    ("custom-simple-http-in", HTTP, &["custom-http-provider-out1", "custom-http-provider-out2"]),
    ("custom-bad-multiple-providers-in", HTTP, &["custom-bad-multiple-providers-out1", "custom-bad-multiple-providers-out2"]),
    ("custom-simple-http-in", INVALID, &["custom-bad-out"]),
    ("deny-and-allow-in", NOBODY, &["deny-and-allow-out1", "deny-and-allow-out2"]),
    ("deny-empty-rule-in", NOBODY, &["deny-empty-rule-out"]),
    ("dry-run-allow-and-deny-in", NOBODY, &["dry-run-allow-and-deny-out1", "dry-run-allow-and-deny-out2"]),
    ("dry-run-allow-in", NOBODY, &["dry-run-allow-out"]),
    ("dry-run-mix-in", NOBODY, &["dry-run-mix-out"]),
    ("multiple-policies-in", NOBODY, &["multiple-policies-out"]),
    ("single-policy-in", NOBODY, &["single-policy-out"]),
    ("simple-policy-td-aliases-in", "{trustDomain: td1, trustDomainAliases: [cluster.local]}", &["simple-policy-td-aliases-out"]),
    (
        "simple-policy-multiple-td-aliases-in",
        "{trustDomain: td1, trustDomainAliases: [cluster.local, some-td]}",
        &["simple-policy-multiple-td-aliases-out"],
    ),
    (
        "simple-policy-principal-with-wildcard-in",
        "{trustDomain: td1, trustDomainAliases: [foobar]}",
        &["simple-policy-principal-with-wildcard-out"],
    ),
    (
        "td-aliases-source-principal-in",
        "{trustDomain: new-td, trustDomainAliases: [old-td, some-trustdomain]}",
        &["td-aliases-source-principal-out"],
    ),
    ("trust-domains-in", NOBODY, &["trust-domains-out"]),
];

const OF_CONNECTIONS: &[Case] = &[
    ("allow-both-http-tcp-in", NOBODY, &["allow-both-http-tcp-out"]),
    ("allow-only-http-in", NOBODY, &["allow-only-http-out"]),
    ("audit-both-http-tcp-in", NOBODY, &["audit-both-http-tcp-out"]),
    ("custom-both-http-tcp-in", GRPC, &["custom-both-http-tcp-out1", "custom-both-http-tcp-out2"]),
    ("custom-only-http-in", HTTP, &[]),
    ("deny-both-http-tcp-in", NOBODY, &["deny-both-http-tcp-out"]),
    ("dry-run-mix-in", NOBODY, &["dry-run-mix-out"]),
];

/// Where the module lies; none, which is said, if it is not there.
fn folder() -> Option<PathBuf> {
    let told = Command::new("go").args(["env", "GOMODCACHE"]).output().ok();
    let told = told.and_then(|output| String::from_utf8(output.stdout).ok()).map(|path| path.trim().to_owned());
    let home = || std::env::var("HOME").map(|home| format!("{home}/go/pkg/mod"));
    let cache = std::env::var("GOMODCACHE").ok().or(told.filter(|path| !path.is_empty())).or_else(|| home().ok());
    let found = cache.map(|cache| Path::new(&cache).join(MODULE).join(FOLDER)).filter(|folder| folder.is_dir());
    if found.is_none() {
        let message = format!("NOT CHECKED: Istio's own policies are not there; `go mod download {MODULE}` fetches them");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
        eprintln!("{message}");
    }
    found
}

fn read(folder: &Path, name: &str) -> Arc<Source> {
    let path = folder.join(format!("{name}.yaml"));
    Source::new(name, std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The sidecar's inbound listeners, with these policies.
fn listeners(policies: &Arc<Source>, config: &str) -> Vec<Listener> {
    let mut objects = parse(&Source::new("workload.yaml", WORKLOAD)).objects;
    let parsed = parse(policies);
    // What only a person's mistake would be is tried there all the same.
    objects.extend(parsed.objects.into_iter().chain(parsed.refused));
    let (config, said) = MeshConfig::parse(&Source::new("mesh.yaml", config));
    assert!(said.iter().all(|diagnostic| diagnostic.severity != Severity::Error), "{said:?}");
    let mesh = MeshSnapshot::new(&objects, Arc::new(config), DEFAULT_DOMAIN);
    let labels = [("app", "httpbin"), ("version", "v1")];
    translate(&mesh, &Proxy { namespace: "foo".to_owned(), ..sidecar("10.0.0.9", &labels) }).listeners
}

fn filters_of<'l>(listeners: &'l [Listener], port: &str) -> &'l [Filter] {
    let listener = listeners.iter().find(|listener| listener.name.ends_with(port)).unwrap_or_else(|| panic!("no listener {port}"));
    &listener.filter_chains[0].filters
}

fn http_filters(listeners: &[Listener]) -> Vec<HttpFilter> {
    let Some(ConfigType::TypedConfig(config)) = &filters_of(listeners, "_80")[0].config_type else { panic!("no filter") };
    let manager: HttpConnectionManager = config.unpack().unwrap_or_else(|error| panic!("{error}"));
    let is_ours = |filter: &HttpFilter| ["envoy.filters.http.rbac", "envoy.filters.http.ext_authz"].contains(&filter.name.as_str());
    manager.http_filters.into_iter().filter(is_ours).collect()
}

fn network_filters(listeners: &[Listener]) -> Vec<Filter> {
    let is_ours = |filter: &&Filter| ["envoy.filters.network.rbac", "envoy.filters.network.ext_authz"].contains(&filter.name.as_str());
    filters_of(listeners, "_81").iter().filter(is_ours).cloned().collect()
}

fn json<M: weir_xds::Message>(message: &M) -> Value {
    let mut value = to_value(message, Names::Camel).unwrap_or_else(|error| panic!("{error}"));
    value.sort_all_objects();
    value
}

fn written<M: weir_xds::Message>(source: &Arc<Source>) -> Value {
    let document = yaml::documents(source).into_iter().next().unwrap_or_else(|| panic!("{} is empty", source.path));
    let document = document.unwrap_or_else(|error| panic!("{error}"));
    let message: M = from_value(document.to_json()).unwrap_or_else(|error| panic!("{}: {error}", source.path));
    json(&message)
}

fn same(name: &str, ours: &[Value], theirs: &[Value]) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    let print = |values: &[Value]| serde_json::to_string_pretty(values).unwrap_or_default();
    Err(format!("{name}: ours\n{}\nIstio's\n{}", print(ours), print(theirs)))
}

#[test]
fn requests_meet_the_filters_that_istio_builds() {
    let Some(folder) = folder().map(|folder| folder.join("http")) else { return };
    let check = |(policies, config, filters): &Case| {
        let ours: Vec<Value> = http_filters(&listeners(&read(&folder, policies), config)).iter().map(json).collect();
        let theirs: Vec<Value> = filters.iter().map(|name| written::<HttpFilter>(&read(&folder, name))).collect();
        same(policies, &ours, &theirs)
    };
    let wrong: Vec<String> = OF_REQUESTS.iter().filter_map(|case| check(case).err()).collect();
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), OF_REQUESTS.len(), wrong.join("\n"));
}

#[test]
fn connections_meet_the_filters_that_istio_builds() {
    let Some(folder) = folder().map(|folder| folder.join("tcp")) else { return };
    let check = |(policies, config, filters): &Case| {
        let ours: Vec<Value> = network_filters(&listeners(&read(&folder, policies), config)).iter().map(json).collect();
        let theirs: Vec<Value> = filters.iter().map(|name| written::<Filter>(&read(&folder, name))).collect();
        same(policies, &ours, &theirs)
    };
    let wrong: Vec<String> = OF_CONNECTIONS.iter().filter_map(|case| check(case).err()).collect();
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), OF_CONNECTIONS.len(), wrong.join("\n"));
}
