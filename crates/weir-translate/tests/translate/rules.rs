//! What becomes of a VirtualService's rules.

use crate::support::{gateway, mesh, routes};

const GATEWAY: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1, labels: {version: v1}}, {address: 10.0.0.2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop.test
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
";

fn translated(http: &str) -> String {
    let rule = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: shop}}\nspec:\n  hosts: ['shop.test']\n  gateways: [gw]\n  http:\n{http}"
    );
    routes(&mesh(&[("mesh.yaml", GATEWAY), ("rule.yaml", &rule)]), &gateway())
}

#[test]
fn matches() {
    insta::assert_snapshot!(translated(
        "  - match:
    - {uri: {exact: /a}, method: {exact: GET}}
    - {uri: {prefix: /b/}, headers: {x-k: {regex: 'v.*'}}, withoutHeaders: {x-no: {}}}
    - {uri: {regex: '/c/[0-9]+'}, queryParams: {q: {exact: '1'}}, ignoreUriCase: true}
    - {authority: {prefix: shop}, scheme: {exact: https}}
    route: [{destination: {host: shop.test, subset: v1}}]
  - route: [{destination: {host: shop.test, subset: v2}}]
"
    ));
}

#[test]
fn weights_and_header_operations() {
    insta::assert_snapshot!(translated(
        "  - headers: {request: {set: {x-a: '1'}, remove: [x-b]}, response: {add: {x-c: '3'}}}
    route:
    - {destination: {host: shop.test, subset: v1}, weight: 75, headers: {response: {set: {x-v: v1}}}}
    - {destination: {host: shop.test, subset: v2}, weight: 25}
"
    ));
}

#[test]
fn redirects_rewrites_and_answers() {
    insta::assert_snapshot!(translated(
        "  - {match: [{uri: {prefix: /old}}], redirect: {uri: /new, authority: other.test, redirectCode: 302}}
  - {match: [{uri: {prefix: /teapot}}], directResponse: {status: 418, body: {string: short}}}
  - {match: [{uri: {prefix: /r/}}], rewrite: {uri: /}, timeout: 2s, retries: {attempts: 3, perTryTimeout: 1s, retryOn: '5xx,reset'}, route: [{destination: {host: shop.test}}]}
"
    ));
}

#[test]
fn a_destination_that_nothing_defines() {
    insta::assert_snapshot!(translated("  - route: [{destination: {host: nowhere.test, subset: v9}}]\n"));
}
