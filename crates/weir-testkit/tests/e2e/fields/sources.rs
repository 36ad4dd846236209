//! Which proxies a rule of `http` is for: `port`, `gateways`, `sourceLabels`, `sourceNamespace`.

use super::checked;
use super::table::{Group, get};

checked!(of_http_rules);

fn of_http_rules() -> Group {
    Group::new()
        .rules(
            // The port is that of the listener.
            "port.test",
            "
- {match: [{port: $gateway}], route: [@a]}
- {match: [{port: $http}], route: [@b]}
",
            [get("/").at_gateway().reaches("a"), get("/").at_sidecar().reaches("b")],
        )
        .rules(
            "gateways.test",
            "
- {match: [{gateways: [default/gw]}], route: [@a]}
- {match: [{gateways: [mesh]}], route: [@b]}
",
            [get("/").at_gateway().reaches("a"), get("/").at_sidecar().reaches("b")],
        )
        .rules(
            "labels.test",
            "
- {match: [{uri: {exact: /one}, sourceLabels: {app: client}}], route: [@a]}
- {match: [{uri: {exact: /one}, sourceLabels: {istio: ingressgateway}}], route: [@b]}
- {match: [{uri: {exact: /two}, sourceLabels: {app: client, version: v9}}], route: [@a]}
- {match: [{uri: {exact: /named}, gateways: [mesh, gw], sourceLabels: {app: other}, sourceNamespace: other}], route: [@c]}
",
            [
                get("/one").at_sidecar().reaches("a"),
                get("/one").at_gateway().reaches("b"),
                get("/two").finds_no_route(),
                // Where gateways are named they alone decide.
                get("/named").reaches("c"),
            ],
        )
        .rules(
            "namespace.test",
            "
- {match: [{sourceNamespace: default}], route: [@a]}
- {match: [{sourceNamespace: istio-system}], route: [@b]}
",
            [get("/").at_sidecar().reaches("a"), get("/").at_gateway().reaches("b")],
        )
}
