//! A small mesh that changes: objects of all kinds come, become others, and go.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use fastrand::Rng;
use weir_api::{Object, Severity, Source, parse};
use weir_registry::Catalog;

const NAMESPACES: [&str; 2] = ["one", "two"];
/// So many services each namespace may have, of each sort.
const SERVICES: usize = 3;

/// The objects by what they are called, in that order: it is theirs in a catalog as well.
#[derive(Default)]
pub struct Mesh {
    objects: BTreeMap<String, Arc<Object>>,
    /// Counts the changes.
    changes: usize,
}

impl Mesh {
    /// A mesh with about half of all objects that there may be.
    pub fn new(rng: &mut Rng) -> Self {
        let mut mesh = Self::default();
        for _ in 0..60 {
            mesh.change(rng);
        }
        mesh
    }

    /// Changes an object; says what was done.
    pub fn change(&mut self, rng: &mut Rng) -> String {
        self.changes += 1;
        let (name, text) = any_object(rng, self.changes);
        if self.objects.contains_key(&name) && rng.u8(..3) == 0 {
            self.objects.remove(&name);
            return format!("remove {name}");
        }
        let parsed = parse(&Source::new(name.clone(), text.clone()));
        let errors: Vec<_> = parsed.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).collect();
        assert!(errors.is_empty() && parsed.objects.len() == 1, "{errors:?} in\n{text}");
        self.objects.insert(name, parsed.objects[0].clone());
        format!("set\n{text}")
    }

    /// All objects as they are now.
    pub fn catalog(&self) -> Arc<Catalog> {
        catalog(self.objects.values().cloned().collect())
    }
}

/// The one place where a catalog is made.
fn catalog(objects: Vec<Arc<Object>>) -> Arc<Catalog> {
    Arc::new(Catalog::of(objects))
}

/// Some object, as it may be written; how many changes there were makes it another one than before.
fn any_object(rng: &mut Rng, change: usize) -> (String, String) {
    let namespace = NAMESPACES[rng.usize(..NAMESPACES.len())];
    let i = rng.usize(..SERVICES);
    let kinds = [
        service,
        service,
        slice,
        slice,
        slice,
        pod,
        service_entry,
        service_entry,
        workload_entry,
        workload_entry,
        workload_group,
        virtual_service,
        virtual_service,
        virtual_service,
        gateway_rule,
        tcp_rule,
        delegate,
        destination_rule,
        destination_rule,
        destination_rule,
        gateway,
        sidecar,
        envoy_filter,
        authorization_policy,
        authorization_policy,
    ];
    let (kind, spec) = kinds[rng.usize(..kinds.len())](rng, namespace, i);
    let (name, namespace, extra) = match kind {
        "Gateway" => ("gw".to_owned(), "istio-system", String::new()),
        // Half of them are for all of the namespace.
        "Sidecar" => (format!("x{}", i % 2), namespace, String::new()),
        "EndpointSlice" => (format!("s{i}"), namespace, format!(", labels: {{kubernetes.io/service-name: s{i}}}")),
        "Pod" => (format!("s{i}-pod"), namespace, format!(", labels: {{app: s{i}, version: v{}}}", rng.u8(1..3))),
        "VirtualService" if spec.contains("gateways: [istio-system/gw]") => (format!("edge{i}"), namespace, String::new()),
        "VirtualService" if !spec.contains("hosts:") => (format!("delegate{i}"), namespace, String::new()),
        _ => (format!("s{i}"), namespace, String::new()),
    };
    let api = match kind {
        "Service" | "Pod" => "v1",
        "EndpointSlice" => "discovery.k8s.io/v1",
        "EnvoyFilter" => "networking.istio.io/v1alpha3",
        "AuthorizationPolicy" => "security.istio.io/v1",
        _ => "networking.istio.io/v1",
    };
    let body = if kind == "EndpointSlice" { spec } else { format!("spec:\n{spec}") };
    let text = format!(
        "apiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}{extra}, annotations: {{change: '{change}'}}}}\n{body}"
    );
    (format!("{kind} {namespace}/{name}"), text)
}

type Made = (&'static str, String);

fn version(rng: &mut Rng) -> String {
    format!("v{}", rng.u8(1..3))
}

/// An address: few, so that they meet, and among them those of the proxies.
fn address(rng: &mut Rng) -> String {
    format!("10.0.{}.{}", rng.u8(..2), rng.u8(1..6))
}

fn export(rng: &mut Rng) -> &'static str {
    ["", "", "", "  exportTo: ['.']\n", "  exportTo: ['two']\n", "  exportTo: ['*']\n"][rng.usize(..6)]
}

fn service(rng: &mut Rng, _: &str, i: usize) -> Made {
    let name = ["http", "http", "tcp", "grpc", "auto"][rng.usize(..5)];
    let second = if rng.bool() { ", {port: 90, targetPort: 9090, name: tcp-second}" } else { "" };
    let port = 80 + u16::from(rng.u8(..2));
    let selector = if rng.bool() { format!("  selector: {{app: s{i}}}\n") } else { String::new() };
    ("Service", format!("  clusterIP: 10.96.0.{}\n  ports: [{{port: {port}, targetPort: 8080, name: {name}}}{second}]\n{selector}", i + 1))
}

fn slice(rng: &mut Rng, _: &str, _: usize) -> Made {
    let mut text = "addressType: IPv4\nports: [{name: http, port: 8080, protocol: TCP}]\nendpoints:\n".to_owned();
    for _ in 0..rng.u8(1..4) {
        let zone = if rng.bool() { ", zone: a" } else { "" };
        let _ = writeln!(text, "- {{addresses: [{}], conditions: {{ready: {}}}{zone}}}", address(rng), rng.u8(..4) > 0);
    }
    ("EndpointSlice", text)
}

fn pod(rng: &mut Rng, _: &str, _: usize) -> Made {
    ("Pod", format!("  containers: [{{name: app, image: app}}]\n  nodeName: n{}\n", rng.u8(..2)))
}

fn service_entry(rng: &mut Rng, namespace: &str, i: usize) -> Made {
    let host = if rng.bool() { format!("e{i}.{namespace}.test") } else { format!("e{i}.shared.test") };
    let protocol = ["HTTP", "HTTP", "TCP", "GRPC", "TLS"][rng.usize(..5)];
    let mut text = format!("  hosts: [{host}]\n  ports: [{{number: {}, name: p, protocol: {protocol}}}]\n", 80 + u16::from(rng.u8(..2)));
    text += export(rng);
    match rng.u8(..4) {
        0 => text += "  resolution: DNS\n",
        1 => {
            let _ = write!(text, "  resolution: STATIC\n  workloadSelector: {{labels: {{app: s{i}}}}}\n");
        }
        _ => {
            text += "  resolution: STATIC\n  endpoints:\n";
            for _ in 0..rng.u8(1..4) {
                let _ =
                    writeln!(text, "  - {{address: {}, labels: {{version: {}}}, weight: {}}}", address(rng), version(rng), rng.u8(1..3));
            }
        }
    }
    ("ServiceEntry", text)
}

fn workload_entry(rng: &mut Rng, _: &str, i: usize) -> Made {
    let locality = ["", "  locality: eu/a\n", "  locality: eu/b/1\n"][rng.usize(..3)];
    ("WorkloadEntry", format!("  address: {}\n  labels: {{app: s{i}, version: {}}}\n{locality}", address(rng), version(rng)))
}

fn workload_group(rng: &mut Rng, _: &str, i: usize) -> Made {
    (
        "WorkloadGroup",
        format!("  metadata: {{labels: {{app: s{i}}}}}\n  template: {{ports: {{http: {}}}}}\n", 8080 + u16::from(rng.u8(..2))),
    )
}

/// The host of some service, written in one of the ways in which it may be.
fn host(rng: &mut Rng, namespace: &str, i: usize) -> String {
    match rng.u8(..4) {
        0 => format!("e{i}.{namespace}.test"),
        1 => format!("e{i}.shared.test"),
        2 => format!("s{i}.{namespace}.svc.cluster.local"),
        _ => format!("s{i}"),
    }
}

fn destination(rng: &mut Rng, namespace: &str, i: usize) -> String {
    let subset = if rng.bool() { format!(", subset: {}", version(rng)) } else { String::new() };
    format!("{{host: {}{subset}}}", host(rng, namespace, i))
}

fn virtual_service(rng: &mut Rng, namespace: &str, i: usize) -> Made {
    let mut text = format!("  hosts: [{}]\n{}  http:\n", host(rng, namespace, i), export(rng));
    if rng.bool() {
        let matched = ["headers: {end-user: {exact: jason}}", "uri: {prefix: /a}", "sourceLabels: {version: v1}", "sourceNamespace: one"];
        let route = destination(rng, namespace, i);
        let _ = writeln!(text, "  - match: [{{{}}}]\n    route: [{{destination: {route}}}]", matched[rng.usize(..matched.len())]);
    }
    let weight = rng.u8(1..100);
    let (first, second) = (destination(rng, namespace, i), destination(rng, namespace, (i + 1) % SERVICES));
    let _ = writeln!(
        text,
        "  - route:\n    - {{destination: {first}, weight: {weight}}}\n    - {{destination: {second}, weight: {}}}",
        100 - weight
    );
    if rng.bool() {
        let _ = writeln!(text, "    timeout: {}s", rng.u8(1..9));
    }
    ("VirtualService", text)
}

fn gateway_rule(rng: &mut Rng, namespace: &str, i: usize) -> Made {
    let route = if rng.bool() {
        format!("  - route: [{{destination: {}}}]\n", destination(rng, namespace, i))
    } else {
        format!("  - match: [{{uri: {{prefix: /d}}}}]\n    delegate: {{name: delegate{i}, namespace: {namespace}}}\n")
    };
    ("VirtualService", format!("  hosts: [edge{}.test]\n  gateways: [istio-system/gw]\n  http:\n{route}", rng.u8(..2)))
}

fn tcp_rule(rng: &mut Rng, namespace: &str, i: usize) -> Made {
    let route = destination(rng, namespace, i);
    ("VirtualService", format!("  hosts: [{}]\n  tcp: [{{route: [{{destination: {route}}}]}}]\n", host(rng, namespace, i)))
}

fn delegate(rng: &mut Rng, namespace: &str, i: usize) -> Made {
    ("VirtualService", format!("  http: [{{route: [{{destination: {}}}]}}]\n", destination(rng, namespace, i)))
}

fn destination_rule(rng: &mut Rng, namespace: &str, i: usize) -> Made {
    let mut text = format!("  host: {}\n", host(rng, namespace, i));
    // A rule for some workloads holds in its own namespace only.
    text += if rng.u8(..4) == 0 { "  workloadSelector: {matchLabels: {app: s0}}\n" } else { export(rng) };
    if rng.bool() {
        text += "  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]\n";
    }
    if rng.bool() {
        let balancer = ["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"][rng.usize(..3)];
        let _ = writeln!(
            text,
            "  trafficPolicy: {{loadBalancer: {{simple: {balancer}}}, connectionPool: {{tcp: {{maxConnections: {}}}}}}}",
            rng.u8(1..9)
        );
    }
    ("DestinationRule", text)
}

fn gateway(rng: &mut Rng, _: &str, _: usize) -> Made {
    let mut text = "  selector: {istio: ingressgateway}\n  servers:\n".to_owned();
    let host = ["'*'", "edge0.test", "one/*", "'*.test'"][rng.usize(..4)];
    let _ = writeln!(text, "  - {{port: {{number: {}, name: http, protocol: HTTP}}, hosts: [{host}]}}", 8080 + u16::from(rng.u8(..2)));
    if rng.bool() {
        text += "  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']}\n";
    }
    ("Gateway", text)
}

fn sidecar(rng: &mut Rng, _: &str, i: usize) -> Made {
    let selector = if i % 2 == 1 { "  workloadSelector: {labels: {app: s0}}\n" } else { "" };
    let hosts = ["'*/*'", "./*", "one/*, 'two/s1.two.svc.cluster.local'", "'~/*'", "'*/*.test'"][rng.usize(..5)];
    let policy = if rng.bool() { "  outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n" } else { "" };
    ("Sidecar", format!("{selector}  egress: [{{hosts: [{hosts}]}}]\n{policy}"))
}

fn envoy_filter(rng: &mut Rng, _: &str, _: usize) -> Made {
    let selector = ["", "  workloadSelector: {labels: {app: s0}}\n", "  workloadSelector: {labels: {version: v1}}\n"][rng.usize(..3)];
    let patch = [
        "applyTo: CLUSTER, match: {cluster: {portNumber: 80}}, patch: {operation: MERGE, value: {connect_timeout: 3s}}",
        "applyTo: CLUSTER, patch: {operation: ADD, value: {name: more, connect_timeout: 1s}}",
        "applyTo: HTTP_ROUTE, patch: {operation: INSERT_FIRST, value: {match: {path: /own}, direct_response: {status: 202}}}",
        "applyTo: VIRTUAL_HOST, match: {routeConfiguration: {portNumber: 80}}, patch: {operation: MERGE, value: {response_headers_to_remove: [x]}}",
        "applyTo: LISTENER, match: {listener: {portNumber: 81}}, patch: {operation: REMOVE}",
    ][rng.usize(..5)];
    ("EnvoyFilter", format!("{selector}  priority: {}\n  configPatches: [{{{patch}}}]\n", rng.u8(..3)))
}

fn authorization_policy(rng: &mut Rng, _: &str, _: usize) -> Made {
    let selector = ["", "  selector: {matchLabels: {app: s0}}\n", "  selector: {matchLabels: {version: v1}}\n"][rng.usize(..3)];
    let action = ["ALLOW", "DENY", "AUDIT", "CUSTOM\n  provider: {name: asked}"][rng.usize(..4)];
    let operation = ["methods: [POST]", "ports: ['8080']", "paths: [/no*]"][rng.usize(..3)];
    ("AuthorizationPolicy", format!("{selector}  action: {action}\n  rules: [{{to: [{{operation: {{{operation}, hosts: ['a*']}}}}]}}]\n"))
}
