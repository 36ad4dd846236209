//! What is found in documents as they stand together, as tables: documents, and the codes that are said of which of them, at which line.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use weir_analysis::analyze::{Finding, Input, analyze};
use weir_api::resources::MeshConfig;
use weir_api::{Source, documents};

fn findings(text: &str, mesh: &str) -> Vec<Finding> {
    let (documents, unreadable) = documents(&Source::new("x.yaml", text));
    let (mesh, written, said) = MeshConfig::parse_as_written(&Source::new("mesh.yaml", mesh));
    assert!(said.iter().all(|diagnostic| diagnostic.severity != weir_api::Severity::Error), "{said:?}");
    analyze(&Input {
        documents: &documents,
        unreadable: &unreadable,
        mesh: &Arc::new(mesh),
        written: if written.is_null() { &Value::Null } else { &written },
        networks: None,
        now: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
        has_standard_gateway: true,
        alpha_annotations: false,
    })
}

/// `CODE Kind namespace/name:line` for each finding.
fn said(text: &str, mesh: &str) -> Vec<String> {
    let line = |finding: &Finding| {
        let printed = finding.printed();
        let line = printed.reference.rsplit(':').next().unwrap_or_default().to_owned();
        format!("{} {}:{line}", printed.code, printed.origin)
    };
    findings(text, mesh).iter().map(line).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(said(text, ""), expected, "{text}");
}

/// A document of Istio's networking API.
fn istio(kind: &str, name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    let group = match kind {
        "AuthorizationPolicy" | "RequestAuthentication" => "security",
        "Telemetry" => "telemetry",
        _ => "networking",
    };
    format!("---\napiVersion: {group}.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{spec}\n")
}

/// A document of Kubernetes', with labels.
fn kubernetes(kind: &str, name: &str, labels: &str, spec: &str) -> String {
    let version = if kind == "Deployment" { "apps/v1" } else { "v1" };
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    format!("---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}\n{spec}\n")
}

fn service(name: &str, selector: &str, ports: &str) -> String {
    kubernetes("Service", name, "", &format!("spec: {{selector: {{{selector}}}, ports: [{ports}]}}"))
}

fn pod(name: &str, labels: &str) -> String {
    kubernetes("Pod", name, labels, "spec: {containers: [{name: c, image: x}, {name: istio-proxy, image: proxy}]}")
}

const HTTP: &str = "{name: http, port: 80}";

#[test]
fn destinations_are_looked_up_where_the_rule_is() {
    let to = |host: &str| istio("VirtualService", "v", &format!("  hosts: [x.test]\n  http:\n  - route:\n    - destination: {{{host}}}"));
    let here = service("a", "", HTTP) + &service("other/b", "", HTTP) + &service("two", "", &format!("{HTTP}, {{name: tcp, port: 90}}"));
    let entry =
        istio("ServiceEntry", "other/e", "  hosts: ['*.wild.test', own.test]\n  exportTo: [other]\n  resolution: NONE\n  ports: []");
    let ports = service("a", "", HTTP);
    for (host, code) in [
        ("host: a", None),
        ("host: b", Some("IST0101")),
        ("host: b.other.svc.cluster.local", None),
        ("host: x.wild.test", Some("IST0101")),
        ("host: own.test", Some("IST0101")),
        ("host: two", Some("IST0112")),
        ("host: two, port: {number: 90}", None),
        ("host: two, port: {number: 91}", Some("IST0101")),
        ("host: a, subset: v1", Some("WEIR0007")),
    ] {
        let text = to(host) + &here + &entry;
        let found: Vec<String> = said(&text, "").into_iter().filter(|line| line.contains("VirtualService")).collect();
        let expected: Vec<String> = code.iter().map(|code| format!("{code} VirtualService default/v:9")).collect();
        assert_eq!(found, expected, "{host}");
    }
    check(&to("host: a"), &["WEIR0007 VirtualService default/v:9"]);
    let rule = istio("DestinationRule", "d", "  host: a\n  subsets: [{name: v2, labels: {version: v2}}]") + &pod("p", "version: v2");
    check(&(to("host: a, subset: v1") + &ports + &rule), &["IST0101 VirtualService default/v:9"]);
}

#[test]
fn gateways_serve_the_hosts_of_their_rules() {
    let rule = |gateway: &str| {
        istio("VirtualService", "v", &format!("  hosts: [a.test]\n  gateways: [{gateway}]\n  http: [{{redirect: {{uri: /}}}}]"))
    };
    let gateway = |hosts: &str| {
        let server = format!(
            "  selector: {{istio: ingressgateway}}\n  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [{hosts}]}}]"
        );
        istio("Gateway", "g", &server)
    };
    check(&(rule("g") + &gateway("'*.test'")), &[]);
    check(&(rule("g") + &gateway("b.test")), &["IST0132 VirtualService default/v:7"]);
    check(&(rule("g") + &gateway("other/a.test")), &["IST0132 VirtualService default/v:7"]);
    check(&(rule("g") + &gateway("./a.test")), &[]);
    check(&rule("g"), &["IST0101 VirtualService default/v:7", "IST0132 VirtualService default/v:7"]);
    check(&rule("x~istio-autogenerated-k8s-gateway~y"), &["IST0106 VirtualService default/v:7", "IST0165 VirtualService default/v:7"]);
}

#[test]
fn gateways_are_beside_each_other_and_before_pods() {
    let gateway = |name: &str, selector: &str, port: u16, tls: &str| {
        let server = format!(
            "  selector: {{{selector}}}\n  servers:\n  - {{port: {{number: {port}, name: x, protocol: HTTPS}}, hosts: [a.test], tls: {{{tls}}}}}"
        );
        istio("Gateway", name, &server)
    };
    let passing = "mode: PASSTHROUGH";
    check(&gateway("g", "app: none", 443, passing), &["IST0101 Gateway default/g:6"]);
    check(&gateway("g", "istio: ingressgateway", 444, passing), &["IST0162 Gateway default/g:8"]);
    let (one, other) = (gateway("a", "istio: ingressgateway", 443, passing), gateway("b", "app: istio-ingressgateway", 443, passing));
    check(&(one + &other), &["IST0145 Gateway default/a:8", "IST0145 Gateway default/b:16"]);
    let credential = "mode: SIMPLE, credentialName: c";
    check(&gateway("g", "istio: ingressgateway", 443, credential), &["IST0101 Gateway default/g:8"]);
    let secret = kubernetes("Secret", "istio-system/c", "", "stringData: {tls.crt: x, tls.key: y}");
    check(&(gateway("g", "istio: ingressgateway", 443, credential) + &secret), &["IST0161 Gateway default/g:8"]);
}

#[test]
fn virtual_services_share_no_host_of_the_mesh() {
    let rule = |name: &str, host: &str, export: &str| {
        istio("VirtualService", name, &format!("  hosts: [{host}]\n  exportTo: [{export}]\n  http: [{{redirect: {{uri: /}}}}]"))
    };
    let conflict =
        |one: &str, other: &str| said(&(one.to_owned() + other), "").into_iter().filter(|line| line.starts_with("IST0109")).count();
    let public = rule("a", "x.test", "'*'");
    assert_eq!(conflict(&public, &rule("b", "x.test", "'*'")), 2);
    assert_eq!(conflict(&public, &rule("b", "y.test", "'*'")), 0);
    assert_eq!(conflict(&public, &rule("b", "'*.test'", "'*'")), 0, "the narrower host wins");
    assert_eq!(conflict(&public, &rule("other/b", "x.test", ".")), 2);
    assert_eq!(conflict(&public, &rule("other/b", "'*.test'", ".")), 2);
    assert_eq!(conflict(&rule("a", "x.test", "."), &rule("other/b", "x.test", ".")), 0);
}

#[test]
fn what_a_rule_for_the_mesh_splits_is_not_split_at_a_gateway() {
    let split = istio("VirtualService", "s", "  hosts: [a]\n  http: [{route: [{destination: {host: a, subset: v1}}]}]");
    let rule = istio("VirtualService", "v", "  hosts: [a.test]\n  gateways: [g]\n  http:\n  - route: [{destination: {host: a}}]");
    let found = said(&(split + &rule + &service("a", "", HTTP)), "");
    assert!(found.contains(&"IST0140 VirtualService default/v:16".to_owned()), "{found:?}");
}

#[test]
fn claims_take_a_request_authentication() {
    let rule = istio(
        "VirtualService",
        "v",
        "  hosts: [a.test]\n  gateways: [g]\n  http:\n  - match: [{headers: {'@request.auth.claims.sub': {exact: x}}}]\n    redirect: {uri: /}",
    );
    let server = "  selector: {istio: ingressgateway}\n  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.test]}]";
    let gateway = istio("Gateway", "g", server);
    check(&format!("{rule}{gateway}"), &["IST0149 VirtualService default/v:9"]);
    let authentication = istio("RequestAuthentication", "istio-system/r", "  jwtRules: [{issuer: x, jwksUri: 'https://x.test/'}]");
    check(&format!("{rule}{gateway}{authentication}"), &[]);
    let istiod =
        kubernetes("Deployment", "istio-system/istiod", "app: istiod", "spec: {template: {spec: {containers: [{name: discovery}]}}}");
    check(&(authentication + &istiod), &["IST0175 Deployment istio-system/istiod:11"]);
}

/// As the gateway is given it: what that refuses is none of its Secrets.
#[test]
fn a_credential_is_looked_up_as_it_is_written_for_the_gateway() {
    let gateway = |credential: &str| {
        let servers =
            "  selector: {istio: ingressgateway}\n  servers:\n  - {port: {number: 443, name: x, protocol: HTTPS}, hosts: [a.test], tls: ";
        istio("Gateway", "g", &format!("{servers}{{mode: SIMPLE, credentialName: '{credential}'}}}}"))
    };
    let secret = kubernetes("Secret", "istio-system/c", "", "stringData: {tls.crt: x, tls.key: y}");
    for good in ["c", "kubernetes://c", "istio-system/c", "kubernetes://istio-system/c"] {
        // It is found, and looked into.
        check(&(gateway(good) + &secret), &["IST0161 Gateway default/g:8"]);
    }
    for bad in ["d", "kubernetes://d", "other/c", "file://c"] {
        check(&(gateway(bad) + &secret), &["IST0101 Gateway default/g:8"]);
    }
}

#[test]
fn a_destination_rule_for_all_hosts_of_an_ending_is_for_those_that_are_known() {
    let rule = |name: &str, host: &str| istio("DestinationRule", name, &format!("  host: '{host}'"));
    let own = istio("ServiceEntry", "other/e", "  hosts: [own.test]\n  exportTo: [.]\n  resolution: NONE\n  ports: []");
    for host in ["*.local", "*.default.svc.cluster.local", "*"] {
        check(&(rule("d", host) + &service("a", "", HTTP)), &[]);
    }
    check(&(rule("d", "*.else.local") + &service("a", "", HTTP)), &["IST0174 DestinationRule default/d:6"]);
    check(&(rule("other/d", "*.test") + &own), &[]);
    check(&(rule("d", "*.test") + &own), &["IST0174 DestinationRule default/d:6"]);
}

#[test]
fn destination_rules_are_for_something_and_verify_it() {
    let rule = |spec: &str| istio("DestinationRule", "d", &format!("  host: a\n{spec}"));
    check(&rule(""), &["IST0174 DestinationRule default/d:6"]);
    let entry = istio(
        "ServiceEntry",
        "e",
        "  hosts: [b.test]\n  resolution: STATIC\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  endpoints: [{address: 1.1.1.1, labels: {version: v1}}]",
    );
    let subset = |version: &str| {
        istio("DestinationRule", "d", &format!("  host: b.test\n  subsets:\n  - {{name: s, labels: {{version: {version}}}}}")) + &entry
    };
    check(&subset("v1"), &[]);
    check(&subset("v2"), &["IST0173 DestinationRule default/d:8"]);
    let tls = |settings: &str| rule(&format!("  trafficPolicy:\n    tls: {{{settings}}}")) + &service("a", "", HTTP);
    check(&tls("mode: SIMPLE"), &["IST0128 DestinationRule default/d:8"]);
    check(&tls("mode: SIMPLE, caCertificates: system"), &[]);
    check(&tls("mode: ISTIO_MUTUAL"), &[]);
    let port = rule("  trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]}") + &service("a", "", HTTP);
    check(&port, &["IST0129 DestinationRule default/d:7"]);
    let instance = |kind: &str, spec: &str| {
        let rule = istio("DestinationRule", "d", "  host: a\n  subsets: [{name: s, labels: {version: v1}}]") + &service("a", "", HTTP);
        said(&(rule + &if kind == "Deployment" { kubernetes(kind, "i", "", spec) } else { istio(kind, "i", spec) }), "")
    };
    assert_eq!(instance("WorkloadEntry", "  address: 10.0.0.1\n  labels: {version: v1}"), Vec::<String>::new());
    assert_eq!(instance("Deployment", "spec: {template: {metadata: {labels: {version: v1}}}}"), Vec::<String>::new());
}

#[test]
fn ports_tell_their_protocol() {
    check(&service("a", "", "{name: web, port: 8080}"), &["IST0118 Service default/a:5"]);
    check(&service("a", "", "{name: web, port: 8080, appProtocol: http}"), &[]);
    check(&kubernetes("Service", "a", "istio: pilot", "spec: {ports: [{name: web, port: 8080}]}"), &[]);
    check(&kubernetes("Service", "kube-system/a", "", "spec: {ports: [{name: web, port: 8080}]}"), &[]);
    let external =
        |port: &str| kubernetes("Service", "a", "", &format!("spec: {{type: ExternalName, externalName: x.test, ports: [{port}]}}"));
    check(&external("{name: tcp, port: 80}"), &["IST0150 Service default/a:5"]);
    check(&external(HTTP), &[]);
}

#[test]
fn services_of_a_deployment_agree() {
    let deployment = kubernetes(
        "Deployment",
        "d",
        "",
        "spec: {template: {metadata: {labels: {app: a, sidecar.istio.io/inject: 'true'}}, spec: {containers: []}}}",
    );
    let both = |one: &str, other: &str| said(&format!("{deployment}{}{}", service("a", "app: a", one), service("b", "app: a", other)), "");
    assert_eq!(both("{name: http, port: 80}", "{name: udp, port: 80, protocol: UDP}"), ["IST0116 Deployment default/d:4"]);
    assert_eq!(both("{name: http, port: 80, targetPort: 1}", "{name: http, port: 90, targetPort: 1}"), ["IST0137 Deployment default/d:4"]);
    assert_eq!(both("{name: http, port: 80}", "{name: http, port: 90}"), Vec::<String>::new());
}

#[test]
fn nobody_else_runs_as_the_sidecars_user() {
    let pod = |container: &str| {
        kubernetes("Pod", "p", "", &format!("spec:\n  containers:\n  - {{name: {container}, securityContext: {{runAsUser: 1337}}}}"))
    };
    check(&pod("app"), &["IST0144 Pod default/p:7"]);
    check(&pod("istio-proxy"), &[]);
    check(&kubernetes("Pod", "p", "", "spec: {securityContext: {runAsUser: 1337}, containers: []}"), &["IST0144 Pod default/p:5"]);
}

#[test]
fn sidecars_select_each_their_own() {
    let sidecar = |name: &str, selector: &str| istio("Sidecar", name, &format!("  egress: [{{hosts: ['./*']}}]\n{selector}"));
    let of = |app: &str| format!("  workloadSelector: {{labels: {{app: {app}}}}}");
    check(&(sidecar("a", &of("x")) + &pod("p", "app: x")), &[]);
    check(&(sidecar("a", &of("x")) + &pod("other/p", "app: x")), &["IST0101 Sidecar default/a:7"]);
    check(&(sidecar("a", "") + &sidecar("b", "")), &["IST0111 Sidecar default/a:5", "IST0111 Sidecar default/b:12"]);
    let conflict = sidecar("a", &of("x")) + &sidecar("b", &of("x")) + &pod("p", "app: x") + &pod("q", "app: x");
    check(&conflict, &["IST0110 Sidecar default/a:7", "IST0110 Sidecar default/b:14"]);
    let ambient = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {istio.io/dataplane-mode: ambient}}\n";
    check(&(sidecar("a", "") + ambient), &["IST0167 Sidecar default/a:5"]);
}

#[test]
fn telemetries_make_sense() {
    let telemetry = |name: &str, spec: &str| istio("Telemetry", name, spec);
    let of =
        |text: &str, mesh: &str| -> Vec<String> { said(text, mesh).into_iter().filter(|line| !line.starts_with("WEIR0002")).collect() };
    let logging = telemetry("a", "  accessLogging:\n  - {disabled: false}");
    assert_eq!(of(&logging, ""), ["IST0157 Telemetry default/a:7"]);
    assert_eq!(of(&logging, "defaultProviders: {accessLogging: [envoy]}"), Vec::<String>::new());
    let tracing = telemetry("a", "  tracing: [{providers: [{name: l}]}]");
    assert_eq!(of(&tracing, "extensionProviders: [{name: l, lightstep: {}}]"), ["IST0002 Telemetry default/a:6"]);
    let two = telemetry("a", "  metrics: []") + &telemetry("b", "  metrics: []");
    assert_eq!(of(&two, ""), ["IST0160 Telemetry default/a:5", "IST0160 Telemetry default/b:11"]);
    let selecting = "  selector: {matchLabels: {app: x}}";
    let two = telemetry("a", selecting) + &telemetry("b", selecting) + &pod("p", "app: x");
    assert_eq!(of(&two, ""), ["IST0159 Telemetry default/a:6", "IST0159 Telemetry default/b:12"]);
    assert_eq!(of(&telemetry("a", selecting), ""), ["IST0101 Telemetry default/a:6"]);
}

#[test]
fn policies_are_for_workloads_and_name_namespaces() {
    let policy = |name: &str, spec: &str| istio("AuthorizationPolicy", name, spec);
    let selecting = "  selector: {matchLabels: {app: x}}";
    check(&(policy("a", selecting) + &pod("p", "app: x")), &[]);
    check(&(policy("a", selecting) + &pod("other/p", "app: x")), &["IST0127 AuthorizationPolicy default/a:6"]);
    check(&(policy("istio-system/a", selecting) + &pod("other/p", "app: x")), &[]);
    check(&policy("istio-system/a", "  {}"), &[]);
    let naming = |names: &str| policy("istio-system/a", &format!("  rules: [{{from: [{{source: {{namespaces: [{names}]}}}}]}}]"));
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: here, labels: {istio-injection: disabled}}\n";
    check(&(naming("here, 'he*', '*re', '*'") + namespace), &[]);
    check(&(naming("'there*'") + namespace), &["IST0101 AuthorizationPolicy istio-system/a:6"]);
    // Who analyses one file has not left out all namespaces by mistake.
    check(&naming("there"), &["WEIR0007 AuthorizationPolicy istio-system/a:6"]);
    let gateway = pod("p", "app: x, gateway.networking.k8s.io/gateway-name: g");
    check(&(policy("a", selecting) + &gateway), &["IST0166 AuthorizationPolicy default/a:6"]);
}

#[test]
fn annotations_are_known_and_in_their_place() {
    let annotated = |kind: &str, annotation: &str| {
        said(&format!("apiVersion: v1\nkind: {kind}\nmetadata:\n  name: a\n  annotations:\n    {annotation}\n"), "")
    };
    assert_eq!(annotated("Pod", "sidecar.istio.io/logLevel: debug"), Vec::<String>::new());
    assert_eq!(annotated("Pod", "sidecar.istio.io/logLevle: debug"), ["IST0108 Pod default/a:6"]);
    assert_eq!(annotated("Service", "sidecar.istio.io/logLevel: debug"), ["IST0107 Service default/a:6"]);
    assert_eq!(annotated("Pod", "status.sidecar.istio.io/port: x"), ["IST0125 Pod default/a:6"]);
    assert_eq!(annotated("Pod", "sidecar.istio.io/inject: 'true'"), ["IST0135 Pod default/a:6"]);
    assert_eq!(annotated("Pod", "example.com/what: ever"), Vec::<String>::new());
    let suppressed = "galley.istio.io/analyze-suppress: IST0108\n    sidecar.istio.io/logLevle: debug";
    assert_eq!(annotated("Pod", suppressed), Vec::<String>::new());
}

#[test]
fn service_entries_have_addresses_and_one_protocol() {
    let entry = |name: &str, more: &str, protocol: &str| {
        istio(
            "ServiceEntry",
            name,
            &format!("  hosts: [a.test]\n  resolution: DNS\n{more}\n  ports:\n  - {{number: 90, name: x, protocol: {protocol}}}"),
        )
    };
    check(&entry("a", "", "TCP"), &["IST0134 ServiceEntry default/a:10"]);
    check(&entry("a", "  addresses: [240.0.0.1]", "TCP"), &[]);
    check(&entry("a", "", "TLS"), &[]);
    let mesh = "defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true', ISTIO_META_DNS_AUTO_ALLOCATE: 'true'}}";
    assert_eq!(said(&entry("a", "", "TCP"), mesh), Vec::<String>::new());
    let conflict = entry("a", "", "HTTP") + &entry("b", "", "TLS");
    check(&conflict, &["IST0177 ServiceEntry default/a:10", "IST0177 ServiceEntry default/b:20"]);
    check(&(entry("a", "  exportTo: [.]", "HTTP") + &entry("other/b", "  exportTo: [.]", "TLS")), &[]);
}

#[test]
fn patches_do_not_depend_on_chance() {
    let filter = |applies_to: &str, operation: &str, more: &str| {
        let spec =
            format!("  {more}\n  configPatches:\n  - applyTo: {applies_to}\n    patch: {{operation: {operation}, value: {{name: x}}}}");
        let found = said(&istio("EnvoyFilter", "e", &spec), "");
        found.into_iter().filter(|line| line.starts_with("IST015")).collect::<Vec<_>>()
    };
    for (applies_to, operation, more, expected) in [
        ("HTTP_FILTER", "INSERT_BEFORE", "", "IST0151 EnvoyFilter default/e:9"),
        ("HTTP_FILTER", "INSERT_BEFORE", "priority: 1", ""),
        ("HTTP_FILTER", "INSERT_FIRST", "", ""),
        ("CLUSTER", "REPLACE", "", "IST0152 EnvoyFilter default/e:9"),
        ("HTTP_ROUTE", "ADD", "", "IST0153 EnvoyFilter default/e:9"),
        ("HTTP_ROUTE", "REMOVE", "", "IST0154 EnvoyFilter default/e:9"),
    ] {
        let expected: Vec<&str> = Some(expected).filter(|expected| !expected.is_empty()).into_iter().collect();
        assert_eq!(filter(applies_to, operation, more), expected, "{applies_to} {operation} {more}");
    }
}

#[test]
fn namespaces_and_pods_are_injected_as_meant() {
    let namespace =
        |name: &str, labels: &str| format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n");
    check(&namespace("a", ""), &["IST0102 Namespace a:4"]);
    check(&namespace("istio-system", ""), &[]);
    check(&namespace("a", "istio-injection: enabled, istio.io/rev: x"), &["IST0123 Namespace a:4"]);
    let plain = kubernetes("Pod", "a/p", "", "spec: {containers: [{name: c, image: x}]}");
    check(&(namespace("a", "istio-injection: enabled") + &plain), &["IST0103 Pod a/p:8"]);
    let values =
        |values: &str| kubernetes("ConfigMap", "istio-system/istio-sidecar-injector", "", &format!("data: {{values: '{values}'}}"));
    let by_default = values(r#"{"sidecarInjectorWebhook": {"enableNamespacesByDefault": true}}"#);
    check(&(namespace("a", "") + &by_default), &["IST0148 Namespace a:4"]);
    let image = values(r#"{"global": {"hub": "h", "tag": "1", "proxy": {"image": "p"}}}"#);
    let running = |image: &str| kubernetes("Pod", "a/p", "", &format!("spec: {{containers: [{{name: istio-proxy, image: '{image}'}}]}}"));
    let injected = namespace("a", "istio-injection: enabled") + &image;
    check(&(injected.clone() + &running("h/p:1")), &[]);
    check(&(injected + &running("h/p:0")), &["IST0158 Namespace a:4"]);
    let waiting = kubernetes("Deployment", "d", "", "spec: {template: {spec: {containers: [{name: istio-proxy, image: auto}]}}}");
    check(&waiting, &["IST0146 Deployment default/d:5"]);
    check(&running("auto"), &["IST0147 Pod a/p:5"]);
}

#[test]
fn webhooks_lead_somewhere_and_do_not_overlap() {
    let webhook = |kind: &str, name: &str, client: &str, selector: &str| {
        format!(
            "---\napiVersion: admissionregistration.k8s.io/v1\nkind: {kind}WebhookConfiguration\nmetadata: {{name: {name}}}\nwebhooks:\n\
             - name: x.istio.io\n  clientConfig: {{{client}}}\n  namespaceSelector: {{matchLabels: {{{selector}}}}}\n"
        )
    };
    let service = service("istio-system/istiod", "", HTTP);
    let to_service = "service: {name: istiod, namespace: istio-system}";
    let one = |name: &str, selector: &str| webhook("Mutating", name, to_service, selector);
    check(&one("a", "istio-injection: enabled"), &["IST0139 MutatingWebhookConfiguration a:7"]);
    let enabled = one("a", "istio-injection: enabled");
    check(&(enabled.clone() + &one("b", "istio-injection: disabled") + &service), &[]);
    let both = enabled + &one("b", "istio-injection: enabled") + &service;
    check(&both, &["IST0139 MutatingWebhookConfiguration a:6", "IST0139 MutatingWebhookConfiguration b:14"]);
    for (url, expected) in [
        ("url: 'https://x.test/inject'", None),
        ("url: 'https://[::1]:443/inject'", Some("IST0164 ValidatingWebhookConfiguration istio-validator:7")),
        ("url: 'x'", Some("IST0163 ValidatingWebhookConfiguration istio-validator:7")),
        ("", Some("IST0163 ValidatingWebhookConfiguration istio-validator:7")),
    ] {
        check(&webhook("Validating", "istio-validator", url, ""), &expected.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn conditions_and_old_definitions_are_told() {
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nstatus:\n  parents:\n  - conditions:\n    - {type: Accepted, status: 'True'}\n    - {type: ResolvedRefs, status: 'False', reason: x, message: y}\n";
    check(route, &["WEIR0002 HTTPRoute default/r:2", "IST0171 HTTPRoute default/r:8"]);
    let definition = |name: &str, more: &str| {
        format!("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: {name}\n{more}\n")
    };
    let version = |version: &str| {
        definition(
            "tlsroutes.gateway.networking.k8s.io",
            &format!("  annotations:\n    gateway.networking.k8s.io/bundle-version: {version}"),
        )
    };
    check(&version("v1.5.0-rc.1"), &[]);
    check(&version("v1.4.9"), &["IST0176 CustomResourceDefinition tlsroutes.gateway.networking.k8s.io:6"]);
    let gone = definition("x", "spec:\n  group: rbac.istio.io\n  names: {kind: ServiceRole}");
    check(&gone, &["IST0002 CustomResourceDefinition x:7"]);
    let sidecar =
        istio("Sidecar", "s", "  egress: [{hosts: ['./*']}]\n  outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a.test}}");
    assert!(said(&sidecar, "").iter().any(|line| line.starts_with("IST0002")));
}

#[test]
fn what_is_wrong_with_one_document_alone_has_its_code() {
    let rule = |http: &str| istio("VirtualService", "v", &format!("  hosts: [a]\n  http:\n{http}")) + &service("a", "", HTTP);
    let to = "route: [{destination: {host: a}}]";
    let matching = |condition: &str| format!("  - {{match: [{condition}], {to}}}\n");
    let prefix = |path: &str| matching(&format!("{{uri: {{prefix: {path}}}}}"));
    let exact = |path: &str| matching(&format!("{{uri: {{exact: {path}}}}}"));
    let of = |text: String| said(&text, "").iter().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    assert_eq!(of(rule(&(prefix("/a") + &prefix("/a")))), ["IST0130", "IST0131"]);
    assert_eq!(of(rule(&(prefix("/a") + &prefix("/ab")))), ["IST0131"]);
    assert_eq!(of(rule(&(prefix("/a") + &exact("/ab")))), ["IST0130"]);
    assert_eq!(of(rule(&matching("{uri: {prefix: /a}}, {uri: {exact: /ab}}"))), ["WEIR0006"]);
    assert_eq!(of(rule(&format!("  - {{{to}}}\n  - {{{to}}}"))), ["IST0130"]);
    assert_eq!(of(rule("  - {timeout: 1s}")), ["IST0106"]);
    assert_eq!(of("a: [".to_owned()), ["WEIR0001"]);
    assert_eq!(of(pod("p", "") + &pod("p", "")), ["WEIR0005"]);
}

#[test]
fn a_finding_is_printed_as_istioctl_prints_it() {
    let found = findings(&istio("DestinationRule", "d", "  host: a"), "");
    let printed: Vec<Value> = found.iter().map(|finding| serde_json::to_value(finding.printed()).unwrap()).collect();
    assert_eq!(printed.len(), 1);
    let expected = serde_json::json!({
        "code": "IST0174",
        "level": "Warning",
        "origin": "DestinationRule default/d",
        "message": "spec.host: no Service or ServiceEntry that can be seen here has the host a: the rule is for nothing",
        "reference": "x.yaml:6",
        "documentationUrl": "https://istio.io/latest/docs/reference/config/analysis/ist0174/",
    });
    assert_eq!(printed.first(), Some(&expected));
}

/// Documents of all kinds that are looked at, with each line left out, and with something else in place of what it says.
#[test]
fn nothing_that_is_written_wrongly_ends_it() {
    let text = "\
apiVersion: v1
kind: Pod
metadata:
  name: p
  labels: {app: x, gateway.networking.k8s.io/gateway-name: g, istio: ingressgateway}
  annotations:
    proxy.istio.io/config: '{image: {imageType: distroless}}'
    traffic.sidecar.istio.io/includeInboundPorts: 80
spec:
  nodeName: n
  securityContext: {runAsUser: 1337}
  containers:
  - name: istio-proxy
    image: auto
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: d
spec:
  template:
    metadata:
      labels: {app: x, sidecar.istio.io/inject: 'true'}
    spec:
      containers:
      - name: c
        securityContext: {runAsUser: 1337}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio-sidecar-injector, namespace: istio-system}
data:
  values: '{\"global\": {\"proxy\": {\"image\": 1}}}'
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata:
  name: istio-sidecar-injector
webhooks:
- name: x.istio.io
  clientConfig:
    url: https://1.1.1.1/
  namespaceSelector:
    matchExpressions:
    - {key: istio.io/rev, operator: In, values: [a, b]}
  objectSelector:
    matchLabels: {a: b}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: t}
spec:
  selector:
    matchLabels: {app: x}
  accessLogging:
  - providers:
  tracing:
  - providers:
    - name: l
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: k}
spec:
  listeners:
  - hostname: a.test
status:
  conditions:
  - {type: Accepted, status: 'False'}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: [a.test]
  gateways: [k, mesh]
  http:
  - match:
    - headers: {'@request.auth.claims.sub': {exact: x}}
    route:
    - destination: {host: a, subset: s}
    mirrors:
    - destination: {host: b}
";
    let lines: Vec<&str> = text.lines().collect();
    for other in ["", "- 1", "x: 'é'"] {
        for left_out in 0..lines.len() {
            let indented = |line: &str| format!("{}{other}", " ".repeat(line.len() - line.trim_start().len()));
            let wrong: Vec<String> =
                lines.iter().enumerate().map(|(i, line)| if i == left_out { indented(line) } else { (*line).to_owned() }).collect();
            findings(&wrong.join("\n"), "");
        }
    }
}
