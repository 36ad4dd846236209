//! Stories of requests, as goldens: each step that a person would ask about.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it is wrong")]

use std::fmt::Write as _;
use std::sync::Arc;

use weir_analysis::explain::{Answer, Call, Explainer, Protocol, UNKNOWN_ADDRESS};
use weir_api::resources::MeshConfig;
use weir_api::{Severity, Source, parse};
use weir_model::{DEFAULT_DOMAIN, Interception, MeshSnapshot, Proxy, ProxyKind};
use weir_translate::{patched, translate};

const MESH: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1, labels: {version: v1}}, {address: 10.0.0.2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: queue}
spec:
  hosts: [queue.test]
  addresses: [10.1.0.1]
  resolution: STATIC
  ports: [{number: 6379, name: tcp, protocol: TCP}]
  endpoints: [{address: 10.0.0.3}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: near-and-far}
spec:
  hosts: [near-and-far.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 10.0.0.4, labels: {place: near}}
  - {address: 10.0.0.5, labels: {place: far}}
  - {address: 10.0.0.6, labels: {place: far}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: near-and-far}
spec:
  host: near-and-far.test
  trafficPolicy:
    outlierDetection: {}
    loadBalancer: {localityLbSetting: {failoverPriority: [place=near]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop.test
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}, {name: none, labels: {version: v3}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.test]
  http:
  - name: jason
    match: [{headers: {end-user: {exact: jason}}, uri: {prefix: /cart}}]
    rewrite: {uri: /basket, authority: basket.test}
    headers: {request: {set: {x-user: jason}, remove: [cookie]}}
    timeout: 5s
    retries: {attempts: 3, perTryTimeout: 2s}
    route: [{destination: {host: shop.test, subset: v2}}]
  - name: gone
    match: [{uri: {exact: /old}, queryParams: {x: {regex: '[0-9]+'}}, method: {exact: GET}}]
    redirect: {uri: /new, redirectCode: 308}
  - name: closed
    match: [{uri: {prefix: /closed}, withoutHeaders: {x-key: {}}}]
    directResponse: {status: 403, body: {string: no}}
  - name: empty
    match: [{uri: {prefix: /empty}}]
    route: [{destination: {host: shop.test, subset: none}}]
  - name: missing
    match: [{uri: {prefix: /missing}}]
    route: [{destination: {host: shop.test, subset: v9}}]
  - name: split
    match: [{uri: {prefix: /split}}]
    mirror: {host: shop.test, subset: v2}
    route: [{destination: {host: shop.test, subset: v1}, weight: 3}, {destination: {host: shop.test, subset: v2}, weight: 1}]
";

fn explain(calls: &[Call]) -> Vec<Answer> {
    let parsed = parse(&Source::new("mesh.yaml", MESH));
    let errors: Vec<_> = parsed.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let mesh = MeshSnapshot::new(&parsed.objects, Arc::new(MeshConfig::default()), DEFAULT_DOMAIN);
    let proxy = sidecar();
    let translation = translate(&mesh, &proxy);
    let explainer = Explainer::new(&translation);
    calls.iter().map(|call| explainer.explain(call)).collect()
}

/// The proxy that is asked.
fn sidecar() -> Proxy {
    Proxy {
        id: "sidecar~10.9.9.9~test.default~default.svc.cluster.local".to_owned(),
        kind: ProxyKind::Sidecar,
        name: "test".to_owned(),
        namespace: "default".to_owned(),
        labels: Default::default(),
        addresses: vec!["10.9.9.9".to_owned()],
        locality: String::new(),
        interception: Interception::Redirect,
    }
}

/// A request to the shop.
fn get(path: &str, headers: &[(&str, &str)]) -> Call {
    Call {
        direction: Default::default(),
        address: [192, 0, 2, 1].into(),
        port: 80,
        protocol: Protocol::Http,
        tls: Default::default(),
        alpn: None,
        sni: None,
        source: None,
        principal: None,
        host: Some("shop.test".to_owned()),
        method: None,
        path: Some(path.to_owned()),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect(),
    }
}

/// The steps, one a line, and the end.
fn story(call: Call) -> String {
    let answer = explain(&[call]).remove(0);
    let mut text = String::new();
    for step in &answer.steps {
        let place = step.source.as_ref().map(|place| format!(" ({}:{})", place.file, place.line)).unwrap_or_default();
        writeln!(text, "{} -- {}{place}", step.what, step.why).unwrap();
    }
    writeln!(text, "=> {:?} {:?}", answer.cluster, answer.error).unwrap();
    text
}

#[test]
fn a_rule_with_all_that_it_changes() {
    insta::assert_snapshot!(story(get("/cart/1?x=y", &[("end-user", "jason")])));
}

#[test]
fn rules_that_do_not_match_say_why() {
    insta::assert_snapshot!(story(get("/nowhere", &[("end-user", "jane")])));
}

#[test]
fn a_path_is_seen_as_the_proxy_sees_it() {
    insta::assert_snapshot!(story(get("/cart/../old?x=12", &[])));
}

#[test]
fn an_answer_of_the_proxy_s_own() {
    insta::assert_snapshot!(story(get("/closed", &[])));
}

#[test]
fn shares_and_copies() {
    insta::assert_snapshot!(story(get("/split", &[])));
}

#[test]
fn clusters_without_instances_and_clusters_that_are_not_there() {
    insta::assert_snapshot!(story(get("/empty", &[])) + "\n" + &story(get("/missing", &[])));
}

#[test]
fn bytes_go_by_address() {
    let call = Call { address: [10, 1, 0, 1].into(), port: 6379, protocol: Protocol::Tcp, host: None, ..get("/", &[]) };
    insta::assert_snapshot!(story(call));
}

#[test]
fn an_unknown_host_passes_through() {
    insta::assert_snapshot!(story(Call { host: Some("other.test".to_owned()), ..get("/", &[]) }));
}

#[test]
fn instances_that_only_take_over_are_told_apart() {
    insta::assert_snapshot!(story(Call { host: Some("near-and-far.test".to_owned()), ..get("/", &[]) }));
}

#[test]
fn a_gateway_at_an_address_of_its_own_is_found_by_its_port() {
    let text = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*'], bind: 127.0.0.1}]
";
    let parsed = parse(&Source::new("gateway.yaml", text));
    let mesh = MeshSnapshot::new(&parsed.objects, Arc::new(MeshConfig::default()), DEFAULT_DOMAIN);
    let proxy = Proxy {
        kind: ProxyKind::Router,
        labels: [("istio".to_owned(), "ingressgateway".to_owned())].into(),
        addresses: vec![],
        ..sidecar()
    };
    let translation = translate(&mesh, &proxy);
    let ask = |address| Explainer::new(&translation).explain(&Call { address, port: 8080, ..get("/", &[]) });
    assert_eq!(ask(UNKNOWN_ADDRESS).listener.as_deref(), Some("127.0.0.1_8080"));
    assert_eq!(ask([127, 0, 0, 1].into()).listener.as_deref(), Some("127.0.0.1_8080"));
    assert_eq!(ask([10, 0, 0, 1].into()).listener, None);
}

/// Each at the place of the patch, with the lines before and after.
#[test]
fn what_envoy_filters_changed_is_told_where_a_call_meets_it() {
    let filters = "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: f, namespace: istio-system}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {cluster: {service: shop.test, subset: v1}}
    patch: {operation: MERGE, value: {connect_timeout: 3s}}
  - applyTo: VIRTUAL_HOST
    match: {context: SIDECAR_OUTBOUND}
    patch: {operation: MERGE, value: {response_headers_to_remove: [x]}}
  - applyTo: CLUSTER
    match: {cluster: {service: queue.test}}
    patch: {operation: MERGE, value: {connect_timeout: 3s}}
";
    let objects: Vec<_> = [("mesh.yaml", MESH), ("filters.yaml", filters)]
        .into_iter()
        .flat_map(|(name, text)| parse(&Source::new(name, text)).objects)
        .collect();
    let mesh = MeshSnapshot::new(&objects, Arc::new(MeshConfig::default()), DEFAULT_DOMAIN);
    let (translation, changes) = (translate(&mesh, &sidecar()), patched(&mesh, &sidecar()));
    let answer = Explainer::new(&translation).with_changes(&changes).explain(&get("/split", &[]));
    let told: Vec<String> = answer
        .steps
        .iter()
        .filter(|step| step.what.contains("changed by"))
        .map(|step| format!("{}: {} ({:?})", step.what, step.why, step.source.as_ref().map(|place| place.line)))
        .collect();
    assert_eq!(
        told,
        [
            "route configuration changed by EnvoyFilter istio-system/f: \
             + virtual_hosts[near-and-far.test:80].response_headers_to_remove[0] = \"x\"; \
             + virtual_hosts[shop.test:80].response_headers_to_remove[0] = \"x\"; \
             + virtual_hosts[allow_any].response_headers_to_remove[0] = \"x\" (Some(9))",
            "cluster changed by EnvoyFilter istio-system/f: - connect_timeout = \"10s\"; + connect_timeout = \"3s\" (Some(6))",
        ]
    );
}

/// By rule, file and line; what is let in goes on.
#[test]
fn who_refuses_a_call_is_told() {
    let text = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: istio-system}
spec:
  action: DENY
  rules:
  - to: [{operation: {paths: [/admin*]}}]
  - from: [{source: {remoteIpBlocks: [198.51.100.0/24]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow, namespace: istio-system}
spec:
  rules:
  - to: [{operation: {methods: [GET]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: tried, namespace: istio-system, annotations: {istio.io/dry-run: 'true'}}
spec:
  action: DENY
  rules:
  - to: [{operation: {paths: [/new]}}]
";
    let parsed = parse(&Source::new("a.yaml", text));
    let mesh = MeshSnapshot::new(&parsed.objects, Arc::new(MeshConfig::default()), DEFAULT_DOMAIN);
    let proxy = Proxy {
        kind: ProxyKind::Router,
        namespace: "istio-system".to_owned(),
        labels: [("istio".to_owned(), "ingressgateway".to_owned())].into(),
        addresses: vec![],
        ..sidecar()
    };
    let translation = translate(&mesh, &proxy);
    let explainer = Explainer::new(&translation).with_policies(&mesh.authorization_policies);
    let told = |call: Call| {
        let answer = explainer.explain(&Call { address: UNKNOWN_ADDRESS, port: 8080, ..call });
        let is_told = |why: &str| why.contains("AuthorizationPolicy");
        let steps = answer.steps.iter().filter(|step| is_told(&step.why));
        let lines = steps.map(|step| format!("{}: {} ({:?})", step.what, step.why, step.source.as_ref().map(|place| place.line)));
        (lines.collect::<Vec<_>>().join("; "), answer.error.map(|error| format!("{error:?}")))
    };
    let refused = |line: &str| (format!("403, `RBAC: access denied`: {line}"), Some("AccessDenied".to_owned()));
    let (rules, allow) = ("of AuthorizationPolicy istio-system/deny denies it", "AuthorizationPolicy istio-system/allow");
    let from = |source: [u8; 4]| Call { source: Some(source.into()), ..get("/", &[]) };
    let cases = [
        (get("/admin/x", &[]), refused(&format!("rule 0 {rules} (Some(14))"))),
        (from([198, 51, 100, 7]), refused(&format!("rule 1 {rules} (Some(15))"))),
        (from([192, 0, 3, 7]), (format!("is let in: rule 0 of {allow} allows it (Some(22))"), Some("NoRoute".to_owned()))),
        (Call { method: Some("POST".to_owned()), ..get("/", &[]) }, refused(&format!("no policy allows it: none of {allow} (Some(20))"))),
    ];
    for (call, expected) in cases {
        let what = format!("{call:?}");
        assert_eq!(told(call), expected, "{what}");
    }
    let (story, _) = told(get("/new", &[]));
    assert!(
        story.starts_with("would be refused: rule 0 of AuthorizationPolicy istio-system/tried, which is only tried (Some(30))"),
        "{story}"
    );
}
