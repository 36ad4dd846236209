//! What a rule of `http` does with a request: `route` with its weights, `rewrite`, `directResponse`; and what becomes of
//! requests to destinations that are not there.

use super::checked;
use super::table::{Group, get};

checked!(of_routes, of_rewrites, of_answers);

fn of_routes() -> Group {
    const ABC: &str = "
host: echo
subsets:
- {name: a, labels: {version: a}}
- {name: empty, labels: {version: none}}
";
    Group::new()
        .resource("DestinationRule default/more", ABC)
        .resource(
            "ServiceEntry default/ports",
            "
hosts: [ports.test]
resolution: STATIC
ports: [{number: $one, name: main, protocol: HTTP}, {number: $two, name: second, protocol: HTTP}]
endpoints: [<b>]
",
        )
        .resource(
            "ServiceEntry default/single",
            "
hosts: [single.test]
resolution: STATIC
ports: [{number: $one, name: main, protocol: HTTP}]
endpoints: [<c>]
",
        )
        .rules(
            // Weights are relative; one without any beside others that have one gets nothing, and one alone gets all.
            "weights.test",
            "
- match: [{uri: {exact: /relative}}]
  route:
  - {destination: {host: echo, subset: a}, weight: 3}
  - {destination: {host: echo, subset: b}, weight: 1}
- match: [{uri: {exact: /none}}]
  route:
  - {destination: {host: echo, subset: a}, weight: 7}
  - {destination: {host: echo, subset: b}, weight: 0}
  - {destination: {host: echo, subset: c}}
- match: [{uri: {exact: /alone}}]
  route:
  - {destination: {host: echo, subset: c}, weight: 7}
",
            [get("/relative").shares(&[("a", 3), ("b", 1)]), get("/none").shares(&[("a", 7)]), get("/alone").reaches("c")],
        )
        .rules(
            "destinations.test",
            "
- {match: [{uri: {exact: /only}}], route: [{destination: {host: single.test}}]}
- {match: [{uri: {exact: /named}}], route: [{destination: {host: ports.test, port: {number: $one}}}]}
- {match: [{uri: {exact: /several}}], route: [{destination: {host: ports.test}}]}
- {match: [{uri: {exact: /service}}], route: [{destination: {host: nowhere.default.svc.cluster.local}}]}
- {match: [{uri: {exact: /port}}], route: [{destination: {host: single.test, port: {number: 1234}}}]}
- {match: [{uri: {exact: /subset}}], route: [{destination: {host: echo, subset: v9}}]}
- {match: [{uri: {exact: /empty}}], route: [{destination: {host: echo, subset: empty}}]}
",
            [
                // Without a port the only one of the service is meant, else the listener's. A sidecar has only the ports of its
                // egress listeners.
                get("/only").at_gateway().reaches("c"),
                get("/named").at_gateway().reaches("b"),
                get("/named").at_sidecar().fails(503, "outbound|$one||ports.test"),
                get("/several").at_gateway().fails(503, "outbound|$gateway||ports.test"),
                get("/several").at_sidecar().fails(503, "outbound|$http||ports.test"),
                get("/service").at_sidecar().fails(503, "outbound|$http||nowhere.default.svc.cluster.local"),
                get("/port").fails(503, "outbound|1234||single.test"),
                get("/subset").fails(503, "outbound|$http|v9|echo.default.svc.cluster.local"),
                get("/empty").fails(503, "outbound|$http|empty|echo.default.svc.cluster.local"),
            ],
        )
}

fn of_rewrites() -> Group {
    Group::new()
        .rules(
            "rewrite.test",
            r"
- {match: [{uri: {prefix: /api}}], rewrite: {uri: /}, route: [@a]}
- {match: [{uri: {prefix: /old/}}], rewrite: {uri: /new/}, route: [@a]}
- {match: [{uri: {prefix: /Cased}, ignoreUriCase: true}], rewrite: {uri: /new}, route: [@a]}
- {match: [{uri: {exact: /exact}}], rewrite: {uri: /whole}, route: [@a]}
- {match: [{uri: {regex: '/regex/.*'}}], rewrite: {uri: /whole}, route: [@a]}
- {match: [{uri: {prefix: /each}}], rewrite: {uriRegexRewrite: {match: '/([a-z])[0-9]', rewrite: '/\1'}}, route: [@a]}
- {match: [{uri: {prefix: /host}}], rewrite: {authority: new.test}, route: [@a]}
- {match: [{uri: {prefix: /both}}], rewrite: {uri: /new, authority: 'new.test:81'}, route: [@a]}
- {rewrite: {uri: /none}, route: [@a]}
",
            [
                get("/api/users").reaches("a").sees(":path", &["//users"]).sees("x-envoy-original-path", &["/api/users"]),
                get("/apiusers?x=1").reaches("a").sees(":path", &["/users?x=1"]),
                get("/old/x?x=1").reaches("a").sees(":path", &["/new/x?x=1"]),
                get("/cASED/x").reaches("a").sees(":path", &["/new/x"]),
                get("/exact?x=1").reaches("a").sees(":path", &["/whole?x=1"]),
                get("/regex/12?x=1").reaches("a").sees(":path", &["/whole?x=1"]),
                get("/each/a1/b2?x=/c3").reaches("a").sees(":path", &["/each/a/b?x=/c3"]),
                get("/host").reaches("a").sees(":path", &["/host"]).sees("host", &["new.test"]),
                get("/both").reaches("a").sees(":path", &["/new"]).sees("host", &["new.test:81"]),
                get("/any").reaches("a").sees(":path", &["/noneany"]),
            ],
        )
        .rules(
            "kept.test",
            "
- route: [@a]
",
            [
                get("/kept/?x=1&y=%20").reaches("a").sees(":path", &["/kept/?x=1&y=%20"]).sees(":method", &["GET"]),
                get("/").method("POST").host("KEPT.test:81").reaches("a").sees(":method", &["POST"]).sees("host", &["KEPT.test:81"]),
            ],
        )
}

fn of_answers() -> Group {
    Group::new().rules(
        "answers.test",
        "
- {match: [{uri: {exact: /empty}}], directResponse: {status: 204}}
- {match: [{uri: {exact: /text}}], directResponse: {status: 418, body: {string: short and stout}}, headers: {response: {set: {x-a: '1', content-type: text/html}}}}
- {match: [{uri: {exact: /bytes}}], directResponse: {status: 503, body: {bytes: aGVsbG8=}}}
- {match: [{uri: {prefix: /made}}], directResponse: {status: 201}}
- {match: [{uri: {exact: /elsewhere}}], directResponse: {status: 201}, headers: {response: {set: {location: /mine}}}}
- {directResponse: {status: 404}}
",
        [
            get("/empty").answers(204, ""),
            get("/text").answers(418, "short and stout").gets("x-a", &["1"]).gets("content-type", &["text/html"]),
            get("/bytes").answers(503, "hello").gets("content-type", &["text/plain"]),
            get("/made/it?x=1").answers(201, "").gets("location", &["http://answers.test/made/it?x=1"]),
            get("/elsewhere").answers(201, "").gets("location", &["/mine"]),
            get("/other").answers(404, ""),
        ],
    )
}
