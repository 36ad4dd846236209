//! The objects of which meshes are made at random: few names, many versions of each, so that they meet.

use std::sync::{Arc, OnceLock};

use weir_api::{Object, Severity, Source, parse};

pub const NAMESPACES: &[&str] = &["x", "y", "istio-system"];
pub const WORKLOADS: &[&str] = &["w1", "w2", "w3"];

/// Every version of every object.
pub fn objects() -> &'static [Arc<Object>] {
    static OBJECTS: OnceLock<Vec<Arc<Object>>> = OnceLock::new();
    OBJECTS.get_or_init(|| {
        let mut documents = vec![];
        for namespace in NAMESPACES {
            services(namespace, &mut documents);
            workloads(namespace, &mut documents);
            virtual_services(namespace, &mut documents);
            destination_rules(namespace, &mut documents);
            others(namespace, &mut documents);
        }
        for (namespace, word) in [("x", "PreferClose"), ("x", "PreferSameNode"), ("x", "''"), ("y", "PreferClose")] {
            let annotations = format!("annotations: {{networking.istio.io/traffic-distribution: {word}}}");
            documents.push(format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}, {annotations}}}\n"));
        }
        documents.iter().map(|document| read(document)).collect()
    })
}

/// The only object of a document.
fn read(document: &str) -> Arc<Object> {
    let parsed = parse(&Source::new("pool.yaml", document));
    let errors: Vec<String> = parsed.diagnostics.iter().filter(|said| said.severity == Severity::Error).map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{document}");
    parsed.objects.into_iter().next().unwrap()
}

struct Maker<'m> {
    namespace: &'m str,
    documents: &'m mut Vec<String>,
}

impl Maker<'_> {
    fn istio(&mut self, kind: &str, name: &str, spec: &str) {
        self.object("networking.istio.io/v1", kind, name, &format!("spec: {spec}"));
    }

    /// More metadata may follow the name.
    fn object(&mut self, version: &str, kind: &str, name: &str, content: &str) {
        let namespace = self.namespace;
        self.documents
            .push(format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{namespace: {namespace}, name: {name}}}\n{content}\n"));
    }
}

const OLD: &str = ", creationTimestamp: '2020-01-01T00:00:00Z'";
const NEW: &str = ", creationTimestamp: '2024-01-01T00:00:00Z'";

fn services(namespace: &str, documents: &mut Vec<String>) {
    let mut make = Maker { namespace, documents };
    const PORT: &str = "ports: [{number: 80, name: http, protocol: HTTP}]";
    for (name, hosts) in [("e1", "[a.test]"), ("e2", "[b.test, a.test]"), ("e3", "['*.test']"), ("e3", "[web.x.svc.cluster.local]")] {
        for more in [
            "resolution: STATIC, endpoints: [{address: 10.0.0.1, labels: {version: v1}}, {address: 10.0.0.2}]",
            "resolution: STATIC, endpoints: [{address: 10.0.0.1, locality: eu/a}], exportTo: ['.']",
            "resolution: STATIC, workloadSelector: {labels: {app: a}}, addresses: [10.1.0.1]",
            "resolution: STATIC, location: MESH_INTERNAL, workloadSelector: {labels: {app: b, version: v1}}, exportTo: [y]",
            "resolution: STATIC, workloadSelector: {labels: {}}",
            "resolution: NONE",
            // What a.test of x would be given, if nobody had it.
            "resolution: STATIC, addresses: [240.240.152.20]",
        ] {
            make.istio("ServiceEntry", name, &format!("{{hosts: {hosts}, {PORT}, {more}}}"));
        }
        if !hosts.contains('*') {
            make.istio("ServiceEntry", &format!("{name}{OLD}"), &format!("{{hosts: {hosts}, {PORT}, resolution: DNS}}"));
        }
    }
    // Of a host that nobody else defines.
    for ports in ["[{number: 80, name: http, protocol: HTTP}]", "[{number: 80, name: http}, {number: 90, name: tcp, protocol: TCP}]", "[]"]
    {
        for more in ["resolution: STATIC, endpoints: [{address: 10.0.0.6}]", "resolution: NONE", "resolution: NONE, exportTo: ['.']"] {
            make.istio("ServiceEntry", "e4", &format!("{{hosts: [only-{namespace}.test], ports: {ports}, {more}}}"));
        }
    }
    for name in ["web", "api"] {
        for (more, spec) in [
            ("", "{clusterIP: 10.2.0.1, selector: {app: a}"),
            (NEW, "{clusterIP: 10.2.0.1, selector: {app: b}"),
            ("", "{clusterIP: None, selector: {app: a, version: v1}"),
            (", annotations: {networking.istio.io/exportTo: '.'}", "{clusterIP: 10.2.0.2"),
            (", labels: {istio.io/persistent-session: s}", "{clusterIP: 10.2.0.1, internalTrafficPolicy: Local"),
            ("", "{clusterIP: 10.2.0.1, trafficDistribution: PreferClose"),
            ("", "{type: ExternalName, externalName: a.test"),
            ("", "{type: ExternalName, externalName: web.x.svc.cluster.local"),
        ] {
            make.object("v1", "Service", &format!("{name}{more}"), &format!("spec: {spec}, ports: [{{port: 80, name: http}}]}}"));
        }
        let label = format!(", labels: {{kubernetes.io/service-name: {name}}}");
        for (slice, content) in [
            ("s1", "[{addresses: [10.0.0.1], conditions: {ready: true}}, {addresses: [10.0.0.3], conditions: {ready: false}}]"),
            ("s1", "[{addresses: [10.0.0.1], conditions: {ready: false}}]"),
            ("s1", "[{addresses: [10.0.0.2], targetRef: {kind: Pod, name: p1}, conditions: {ready: true}}]"),
            ("s2", "[{addresses: [10.0.0.2], targetRef: {kind: Pod, name: p1, namespace: x}}, {addresses: [10.0.0.4]}]"),
            ("s2", "[{addresses: [10.0.0.1], conditions: {ready: false, serving: true, terminating: true}}]"),
        ] {
            let ports = "ports: [{name: http, port: 8080}]";
            make.object(
                "discovery.k8s.io/v1",
                "EndpointSlice",
                &format!("{slice}{label}"),
                &format!("addressType: IPv4\n{ports}\nendpoints: {content}"),
            );
        }
        let subsets = "[{addresses: [{ip: 10.0.0.5}], notReadyAddresses: [{ip: 10.0.0.1}], ports: [{name: http, port: 8080}]}]";
        make.object("v1", "Endpoints", name, &format!("subsets: {subsets}"));
    }
}

fn workloads(namespace: &str, documents: &mut Vec<String>) {
    let mut make = Maker { namespace, documents };
    for name in WORKLOADS {
        for (more, spec) in [
            ("", "{address: 10.0.0.1, labels: {app: a}}"),
            ("", "{address: 10.0.0.2, labels: {app: b, version: v1}, locality: eu/a/1, ports: {http: 8000}}"),
            (", annotations: {istio.io/autoRegistrationGroup: g}", "{address: 10.0.0.1, labels: {app: a, version: v1}, weight: 2}"),
            (", labels: {app: a}, annotations: {sidecar.istio.io/inject: 'false'}", "{address: 10.0.0.3, network: n1}"),
        ] {
            make.istio("WorkloadEntry", &format!("{name}{more}"), spec);
        }
    }
    for (labels, ip) in [("{app: a}", "10.0.0.1"), ("{app: b, version: v1, topology.istio.io/locality: eu.b}", "10.0.0.2")] {
        for ready in ["True", "False"] {
            let status = format!("status: {{podIP: {ip}, conditions: [{{type: Ready, status: '{ready}'}}]}}");
            make.object("v1", "Pod", &format!("p1, labels: {labels}"), &format!("spec: {{nodeName: n}}\n{status}"));
        }
    }
    make.object("v1", "Pod", "p2, labels: {app: a}", "status: {podIP: 10.0.0.1}");
    make.object("v1", "Pod", "p2, labels: {app: a}", "spec: {subdomain: web}\nstatus: {podIP: 10.0.0.1}");
    for labels in ["{}", "{topology.kubernetes.io/region: eu}", "{topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: a}"] {
        make.object("v1", "Node", &format!("n, labels: {labels}"), "");
    }
    for spec in [
        "{metadata: {labels: {app: a}}, template: {}, probe: {httpGet: {port: 80}}}",
        "{metadata: {labels: {app: b}}, template: {}, probe: {tcpSocket: {port: 80}}}",
        "{metadata: {labels: {app: a}}, template: {}}",
    ] {
        make.istio("WorkloadGroup", "g", spec);
    }
}

fn virtual_services(namespace: &str, documents: &mut Vec<String>) {
    let mut make = Maker { namespace, documents };
    let to = |host: &str| format!("route: [{{destination: {{host: {host}, port: {{number: 80}}}}}}]");
    for name in ["r1", "r2"] {
        for (more, spec) in [
            ("", format!("{{hosts: [a.test], http: [{{{}}}]}}", to("a.test"))),
            ("", format!("{{hosts: [a.test], http: [{{timeout: 1s, {}}}]}}", to("a.test"))),
            ("", format!("{{hosts: [a.test], http: [{{{}}}]}}", to("web"))),
            (OLD, format!("{{hosts: [a.test, b.test], http: [{{{}}}], exportTo: ['.']}}", to("web"))),
            (
                NEW,
                format!(
                    "{{hosts: ['*.test'], http: [{{match: [{{sourceNamespace: y}}], {}}}], exportTo: [y]}}",
                    to("web.x.svc.cluster.local")
                ),
            ),
            ("", format!("{{hosts: [c.test], gateways: [gw, mesh], http: [{{{}}}]}}", to("api"))),
            ("", format!("{{hosts: [only-x.test], http: [{{{}}}]}}", to("only-x.test"))),
            ("", "{hosts: [a.test], gateways: [x/gw], http: [{delegate: {name: d1}}, {delegate: {name: d2, namespace: x}}]}".to_owned()),
            ("", "{hosts: [web], http: [{match: [{uri: {prefix: /a}}], delegate: {name: d1, namespace: y}}]}".to_owned()),
            ("", format!("{{hosts: [b.test], tcp: [{{{}}}]}}", to("b.test"))),
        ] {
            make.istio("VirtualService", &format!("{name}{more}"), &spec);
        }
    }
    for name in ["d1", "d2", "r2"] {
        make.istio("VirtualService", name, &format!("{{http: [{{match: [{{uri: {{prefix: /a/b}}}}], {}}}]}}", to("a.test")));
        make.istio("VirtualService", name, &format!("{{http: [{{match: [{{uri: {{exact: /c}}}}], {}}}], exportTo: ['.']}}", to("web")));
    }
}

fn destination_rules(namespace: &str, documents: &mut Vec<String>) {
    let mut make = Maker { namespace, documents };
    let subset = |name: &str| format!("subsets: [{{name: {name}, labels: {{version: {name}}}}}]");
    for name in ["t1", "t2", "t3"] {
        for (more, spec) in [
            ("", format!("{{host: a.test, {}}}", subset("v1"))),
            (OLD, format!("{{host: a.test, {}, trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}}}", subset("v2"))),
            (NEW, format!("{{host: a.test, {}, trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}, exportTo: ['.']}}", subset("v1"))),
            ("", format!("{{host: '*.test', {}, exportTo: [y]}}", subset("v1"))),
            ("", format!("{{host: '*', {}}}", subset("v2"))),
            ("", format!("{{host: web, {}, workloadSelector: {{matchLabels: {{app: a}}}}}}", subset("v1"))),
            ("", format!("{{host: web, {}}}", subset("v2"))),
        ] {
            make.istio("DestinationRule", &format!("{name}{more}"), &spec);
        }
    }
}

fn ingresses(make: &mut Maker<'_>) {
    let path =
        |path: &str, port: &str| format!("{{path: {path}, pathType: Prefix, backend: {{service: {{name: web, port: {{{port}}}}}}}}}");
    let (number, name) = (path("/a", "number: 80"), path("/a/b", "name: http"));
    for (class, tls, rules) in [
        ("istio", "", format!("{{host: a.test, http: {{paths: [{number}, {name}]}}}}")),
        (
            "istio",
            "tls: [{hosts: [a.test], secretName: s1}], ",
            format!("{{http: {{paths: [{name}]}}}}, {{host: '*.test', http: {{paths: [{number}]}}}}"),
        ),
        ("other", "", format!("{{host: a.test, http: {{paths: [{number}]}}}}")),
    ] {
        let body = format!("spec: {{ingressClassName: {class}, {tls}rules: [{rules}]}}");
        for name in ["i1", "i2", &format!("i2{OLD}")] {
            make.object("networking.k8s.io/v1", "Ingress", name, &body);
        }
    }
}

fn others(namespace: &str, documents: &mut Vec<String>) {
    let mut make = Maker { namespace, documents };
    for (more, port) in [("", 80), (OLD, 80), ("", 8080)] {
        let server = format!("{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ['*']}}");
        make.istio("Gateway", &format!("gw{more}"), &format!("{{selector: {{istio: ingressgateway}}, servers: [{server}]}}"));
    }
    ingresses(&mut make);
    for (name, spec) in [
        ("default", "{egress: [{hosts: ['./*', 'istio-system/*']}]}"),
        ("default", "{egress: [{hosts: ['*/a.test', '~y/*']}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"),
        (
            "mine",
            "{workloadSelector: {labels: {app: a}}, egress: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*/*']}, {hosts: ['x/*']}]}",
        ),
    ] {
        make.istio("Sidecar", name, spec);
    }
    let patch = |patch: &str| format!("spec: {{configPatches: [{{{patch}}}]}}");
    let merge = |of: &str, value: &str| format!("applyTo: {of}, patch: {{operation: MERGE, value: {value}}}");
    for body in [
        patch(&merge("CLUSTER", "{connect_timeout: 1s}")),
        patch(&merge("VIRTUAL_HOST", "{response_headers_to_remove: [x]}"))
            .replace("spec: {", "spec: {workloadSelector: {labels: {app: a}}, "),
        patch("applyTo: CLUSTER, match: {cluster: {service: a.test}}, patch: {operation: REMOVE}")
            .replace("spec: {", "spec: {priority: -1, "),
        patch("applyTo: LISTENER, match: {context: GATEWAY, listener: {portNumber: 80}}, patch: {operation: REMOVE}"),
        patch(&merge("HTTP_ROUTE, match: {context: SIDECAR_OUTBOUND, routeConfiguration: {portNumber: 80}}", "{name: patched}"))
            .replace("spec: {", "spec: {workloadSelector: {labels: {version: v1}}, "),
    ] {
        make.object("networking.istio.io/v1alpha3", "EnvoyFilter", "f1", &body);
        make.object("networking.istio.io/v1alpha3", "EnvoyFilter", "f2", &body);
    }
    for spec in [
        "{jwtRules: [{issuer: 'https://a.test'}]}",
        "{selector: {matchLabels: {app: a}}, jwtRules: [{issuer: a, jwksUri: 'https://a.test/keys'}]}",
        "{selector: {matchLabels: {version: v1}}}",
    ] {
        for name in ["t1", "t2"] {
            make.object("security.istio.io/v1", "RequestAuthentication", name, &format!("spec: {spec}"));
        }
    }
    for spec in ["{}", "{selector: {matchLabels: {app: a}}}", "{action: DENY, rules: [{}]}"] {
        make.object("security.istio.io/v1", "AuthorizationPolicy", "p1", &format!("spec: {spec}"));
        make.object("security.istio.io/v1", "AuthorizationPolicy", "p2", &format!("spec: {spec}"));
    }
    for data in ["YQ==", "Yg=="] {
        make.object("v1", "Secret", "cert", &format!("data: {{tls.key: {data}}}"));
    }
}
