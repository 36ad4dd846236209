//! What a Gateway's servers make of the hosts of VirtualServices: `hosts` with namespaces, `httpsRedirect`, one port of several.

use super::checked;
use super::table::Door::Gateway;
use super::table::{Call, Group, get};

checked!(of_hosts);

fn at(port: &'static str, host: &'static str) -> Call {
    get("/").at(Gateway(port)).host(host)
}

fn of_hosts() -> Group {
    let rule = |group: Group, what: &str, hosts: &str, gateway: &str, instance: &str| {
        let spec = format!("hosts: [{hosts}]\ngateways: [{gateway}]\nhttp: [{{route: [@{instance}]}}]");
        group.resource(&format!("VirtualService {what}"), &spec)
    };
    let group = Group::new()
        .resource(
            "Gateway default/named",
            "
selector: {istio: ingressgateway}
servers:
- {port: {number: $named, name: http, protocol: HTTP}, hosts: [far/ns.test, ./dot.test, '*/any.test', 'far/*.wide.test']}
",
        )
        .resource(
            "Gateway default/cut",
            "
selector: {istio: ingressgateway}
servers:
- {port: {number: $cut, name: http, protocol: HTTP}, hosts: [1.foo.test, '*.bar.test']}
",
        )
        .resource(
            "Gateway default/several",
            "
selector: {istio: ingressgateway}
servers:
- {port: {number: $several, name: http, protocol: HTTP}, hosts: [b.test, '*.a.test']}
",
        )
        .resource(
            "Gateway far/near",
            "
selector: {istio: ingressgateway}
servers:
- {port: {number: $near, name: http, protocol: HTTP}, hosts: ['./*']}
",
        )
        .resource(
            "Gateway default/redirect",
            "
selector: {istio: ingressgateway}
servers:
- {port: {number: $redirect, name: http, protocol: HTTP}, hosts: [https.test, other-https.test], tls: {httpsRedirect: true}}
- {port: {number: $redirect, name: plain, protocol: HTTP}, hosts: [plain.test]}
",
        )
        .resource(
            "Gateway default/other-proxy",
            "
selector: {istio: egressgateway}
servers:
- {port: {number: $redirect, name: http, protocol: HTTP}, hosts: ['*']}
",
        )
        .resource(
            "Gateway default/shared-one",
            "
selector: {istio: ingressgateway}
servers:
- {port: {number: $shared, name: http, protocol: HTTP}, hosts: ['*.one.test', 'both.test']}
",
        )
        .resource(
            "Gateway default/shared-two",
            "
selector: {istio: ingressgateway}
servers:
- {port: {number: $shared, name: http, protocol: HTTP}, hosts: ['*.two.test', 'both.test']}
",
        );
    let group = rule(group, "default/ns", "ns.test", "named", "b");
    let group = rule(group, "far/ns", "ns.test", "default/named", "a");
    let group = rule(group, "far/dot", "dot.test", "default/named", "b");
    let group = rule(group, "default/any", "any.test", "named", "c");
    let group = rule(group, "far/wide", "x.wide.test, y.narrow.test", "default/named", "c");
    let group = rule(group, "default/foo", "'*.foo.test'", "cut", "a");
    let group = rule(group, "default/bar", "x.bar.test, bar.test", "cut", "b");
    let group = rule(group, "default/z-all", "'*'", "cut", "c");
    let group = rule(group, "default/several", "'*'", "several", "a");
    let group = rule(group, "far/near", "near.test", "near", "b");
    let group = rule(group, "default/near", "near.test, from-default.test", "far/near", "a");
    let group = rule(group, "default/https", "https.test", "redirect", "a");
    let group = rule(group, "default/plain", "plain.test", "redirect", "b");
    let group = rule(group, "default/other-proxy", "outside.test", "other-proxy", "b");
    let group = rule(group, "default/one", "x.one.test, x.two.test", "shared-one", "a");
    let group = rule(group, "default/two", "x.two.test", "shared-two", "b");
    let group = rule(group, "default/both", "both.test", "shared-two", "c");
    group
        .case(
            "a server says whose rules it takes",
            [
                at("named", "ns.test").reaches("a"),
                at("named", "dot.test").finds_no_host(),
                at("named", "any.test").reaches("c"),
                at("named", "x.wide.test").reaches("c"),
                at("named", "y.narrow.test").finds_no_host(),
            ],
        )
        .case(
            "hosts are cut down to what the server has",
            [
                at("cut", "1.foo.test").reaches("a"),
                at("cut", "2.foo.test").finds_no_host(),
                at("cut", "x.bar.test").reaches("b"),
                at("cut", "y.bar.test").reaches("c"),
                at("cut", "bar.test").finds_no_host(),
                at("cut", "other.test").finds_no_host(),
            ],
        )
        .case(
            "a rule for all hosts has those of the server",
            [
                at("several", "b.test").reaches("a"),
                at("several", "x.y.a.test").reaches("a"),
                at("several", "a.test").finds_no_host(),
                at("several", "c.test").finds_no_host(),
            ],
        )
        .case(
            "a Gateway takes the rules that name it with its namespace, as far as its servers take that namespace",
            [at("near", "near.test").reaches("b"), at("near", "from-default.test").finds_no_host()],
        )
        .case(
            "a server that asks for https sends clients there, also where it has no rule",
            [
                at("redirect", "https.test").redirects_to_https("https://https.test/"),
                at("redirect", "https.test:81").with("x-forwarded-proto", "https").redirects_to_https("https://https.test:81/"),
                at("redirect", "other-https.test").redirects_to_https("https://other-https.test/"),
                at("redirect", "plain.test").reaches("b"),
                at("redirect", "unknown.test").finds_no_host(),
                at("redirect", "outside.test").finds_no_host(),
            ],
        )
        .case(
            "Gateways share a port, and each has its own rules",
            [at("shared", "x.one.test").reaches("a"), at("shared", "x.two.test").reaches("b"), at("shared", "both.test").reaches("c")],
        )
}
