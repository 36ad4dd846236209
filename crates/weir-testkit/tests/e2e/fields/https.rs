//! Rules at a gateway that terminates TLS: what `https` changes.

use super::checked;
use super::table::{Group, get_securely};

checked!(at_a_gateway);

fn at_a_gateway() -> Group {
    Group::new()
        .certificate("secure.test")
        .resource(
            "Gateway default/secure",
            "
selector: {istio: ingressgateway}
servers:
- {port: {number: $secure, name: https, protocol: HTTPS}, hosts: [secure.test], tls: {mode: SIMPLE, credentialName: certificate}}
",
        )
        .resource(
            "VirtualService default/secure",
            "
hosts: [secure.test]
gateways: [secure]
http:
- {match: [{uri: {exact: /scheme}, scheme: {exact: https}}], route: [@a]}
- {match: [{uri: {exact: /port}, port: $secure, gateways: [secure]}], route: [@b]}
- {match: [{uri: {exact: /to}}], redirect: {uri: /new}}
- {match: [{uri: {exact: /http}}], redirect: {scheme: http}}
- {match: [{uri: {exact: /request}}], redirect: {derivePort: FROM_REQUEST_PORT}}
- {match: [{uri: {exact: /default}}], redirect: {scheme: http, derivePort: FROM_PROTOCOL_DEFAULT}}
- {match: [{uri: {exact: /other}}], redirect: {authority: other.test, scheme: http, port: 81}}
",
        )
        .case(
            "secure.test",
            [
                get_securely("/scheme").with("x-forwarded-proto", "http").reaches("a").sees("x-forwarded-proto", &["https"]),
                get_securely("/port").reaches("b"),
                get_securely("/to").redirects(301, "https://secure.test/new"),
                get_securely("/http").redirects(301, "http://secure.test/http"),
                get_securely("/http").host("secure.test:443").redirects(301, "http://secure.test/http"),
                get_securely("/http").host("secure.test:8443").redirects(301, "http://secure.test:8443/http"),
                get_securely("/request").redirects(301, "https://secure.test:$secure/request"),
                get_securely("/default").host("secure.test:443").redirects(301, "http://secure.test/default"),
                get_securely("/other").redirects(301, "http://other.test:81/other"),
                get_securely("/none").finds_no_route(),
            ],
        )
}
