//! Destinations that lead nowhere are told, each once, with its field and its place.

use weir_model::Proxy;
use weir_translate::translate;

use crate::support::{gateway, mesh, sidecar};

const SERVICES: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}
  - {port: {number: 8080, name: http-alt, protocol: HTTP}, hosts: ['*']}
  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 8080, name: http-alt, protocol: HTTP}, {number: 9000, name: tcp, protocol: TCP}]
  endpoints: [{address: 10.0.0.1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec: {host: shop.test, subsets: [{name: v1, labels: {version: v1}}]}
";

/// What is said of a VirtualService with these rules, as `path line message`.
fn said_to(proxy: &Proxy, rules: &str) -> Vec<String> {
    let rule = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: shop}}\nspec:\n  hosts: [shop.test]\n  gateways: [gw, mesh]\n{rules}"
    );
    let made = translate(&mesh(&[("services.yaml", SERVICES), ("rule.yaml", &rule)]), proxy);
    let line = |finding: &weir_api::Diagnostic| finding.place.as_ref().map_or(0, |place| place.span.line);
    let of_rule = |finding: &&weir_api::Diagnostic| finding.object.as_ref().is_some_and(|object| object.kind == "VirtualService");
    made.findings.iter().filter(of_rule).map(|finding| format!("{} {} {}", finding.path, line(finding), finding.message)).collect()
}

#[test]
fn a_destination_that_is_not_there_is_told_with_its_field_and_line() {
    for (rules, expected) in [
        ("  http:\n  - route: [{destination: {host: shop.test, subset: v1}}]\n", vec![]),
        (
            "  http:\n  - route:\n    - destination:\n        host: shop.test\n        subset: v9\n",
            vec![
                "spec.http[0].route[0].destination.subset 11 no DestinationRule that counts here defines a subset v9 of shop.test: \
                 requests that are sent there get 503",
            ],
        ),
        (
            "  http:\n  - route:\n    - destination:\n        host: nowhere.test\n        subset: v9\n",
            vec!["spec.http[0].route[0].destination.host 10 no service nowhere.test is known here: requests that are sent there get 503"],
        ),
        (
            "  http:\n  - route:\n    - destination:\n        host: shop.test\n        port:\n          number: 81\n",
            vec!["spec.http[0].route[0].destination.port 11 shop.test has no port 81 here: requests that are sent there get 503"],
        ),
        (
            "  http:\n  - route:\n    - {destination: {host: shop.test}, weight: 90}\n    - {destination: {host: a.test}, weight: 10}\n    \
             - {destination: {host: b.test}, weight: 0}\n    mirror: {host: c.test}\n",
            vec![
                "spec.http[0].route[1].destination.host 10 no service a.test is known here: requests that are sent there get 503",
                "spec.http[0].mirror.host 12 no service c.test is known here: nothing is mirrored there",
            ],
        ),
        (
            "  http:\n  - route: [{destination: {host: shop.test}}]\n    mirrors: [{destination: {host: d.test}}]\n",
            vec!["spec.http[0].mirrors[0].destination.host 9 no service d.test is known here: nothing is mirrored there"],
        ),
        (
            "  tcp:\n  - route:\n    - destination: {host: shop.test, subset: v9, port: {number: 9000}}\n",
            vec![
                "spec.tcp[0].route[0].destination.subset 9 no DestinationRule that counts here defines a subset v9 of shop.test: \
                 connections that are sent there are closed",
            ],
        ),
    ] {
        for proxy in [gateway(), sidecar("10.0.9.9", &[])] {
            assert_eq!(said_to(&proxy, rules), expected, "{} {rules}", proxy.id);
        }
    }
}

#[test]
fn it_is_told_once_however_often_the_rule_is_used() {
    // Two blocks, on two ports, by two servers.
    let rules =
        "  http:\n  - match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}]\n    route: [{destination: {host: shop.test, subset: v9}}]\n";
    for proxy in [gateway(), sidecar("10.0.9.9", &[])] {
        assert_eq!(said_to(&proxy, rules).len(), 1, "{}", proxy.id);
    }
}

#[test]
fn what_is_only_for_clients_of_other_namespaces_is_not_told() {
    let rules = "  http:\n  - match: [{sourceNamespace: other}]\n    route: [{destination: {host: nowhere.test}}]\n";
    assert_eq!(said_to(&sidecar("10.0.9.9", &[]), rules), [""; 0]);
    assert_eq!(said_to(&sidecar("10.0.9.9", &[]), &rules.replace("other", "default")).len(), 1);
}
