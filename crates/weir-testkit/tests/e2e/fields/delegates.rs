//! `delegate`: rules that another VirtualService has, and how both are merged.

use super::checked;
use super::table::{Group, get};

checked!(of_one_root, of_a_root_with_an_empty_prefix, of_roots_and_leaves_that_conflict, of_each_condition, of_what_is_inherited);

fn of_one_root() -> Group {
    Group::new()
        .resource(
            "VirtualService default/sub-a",
            "
http:
- {match: [{uri: {exact: /a/exact}}], rewrite: {uri: /rewritten}, route: [@a]}
- {match: [{headers: {x-sub: {exact: '1'}}}], route: [@b]}
",
        )
        .resource(
            "VirtualService far/sub-b",
            "
http:
- {name: leaf, route: [@c]}
",
        )
        .resource(
            "VirtualService far/private",
            "
exportTo: ['.']
http:
- {route: [@c]}
",
        )
        .rules(
            "root.test",
            "
- {match: [{uri: {prefix: /a}}], delegate: {name: sub-a}}
- {name: root, match: [{uri: {prefix: /b}}], delegate: {name: sub-b, namespace: far}}
- {match: [{uri: {prefix: /missing}}], delegate: {name: not-there}}
- {match: [{uri: {prefix: /private}}], delegate: {name: private, namespace: far}}
- {directResponse: {status: 200, body: {string: root}}}
",
            [
                get("/a/exact").reaches("a").sees(":path", &["/rewritten"]),
                get("/a/other").answers(200, "root"),
                get("/a/other").with("x-sub", "1").reaches("b"),
                get("/b/any").reaches("c").by_route("root-leaf"),
                get("/z").with("x-sub", "1").answers(200, "root"),
                get("/missing").answers(200, "root"),
                get("/private").answers(200, "root"),
            ],
        )
}

fn of_a_root_with_an_empty_prefix() -> Group {
    Group::new()
        .resource(
            "VirtualService default/sub",
            "
http:
- {match: [{uri: {prefix: /a}}], route: [@a]}
- {match: [{headers: {x-sub: {}}}], route: [@b]}
",
        )
        .rules(
            "empty.test",
            "
- {match: [{uri: {prefix: ''}, method: {exact: GET}}], delegate: {name: sub}}
- {directResponse: {status: 200, body: {string: root}}}
",
            [get("/a").answers(200, "root"), get("/a").with("x-sub", "1").reaches("b")],
        )
}

fn of_roots_and_leaves_that_conflict() -> Group {
    Group::new()
        .resource(
            "VirtualService default/sub",
            "
http:
- {match: [{uri: {prefix: /other}}], directResponse: {status: 200, body: {string: never}}}
- {match: [{headers: {x-k: {exact: '2'}}}], directResponse: {status: 200, body: {string: header}}}
- {match: [{uri: {prefix: /b/deeper}, method: {exact: POST}}, {uri: {prefix: /a/deeper}}], directResponse: {status: 200, body: {string: one of two}}}
- {match: [{uri: {regex: '/[ab]/regex'}}], directResponse: {status: 200, body: {string: regex}}}
- {match: [{port: $gateway, queryParams: {q: {exact: '1'}}}], directResponse: {status: 200, body: {string: at the gateway}}}
- {match: [{sourceLabels: {app: client}, queryParams: {q: {exact: '1'}}}], directResponse: {status: 200, body: {string: from the client}}}
- {directResponse: {status: 200, body: {string: sub}}}
",
        )
        .rules(
            "root.test",
            "
- match: [{uri: {prefix: /a}, headers: {x-k: {exact: '1'}}}, {uri: {prefix: /b}, method: {exact: GET}}]
  delegate: {name: sub}
- {directResponse: {status: 200, body: {string: root}}}
",
            [
                get("/other").with("x-k", "1").answers(200, "root"),
                get("/a/x").with("x-k", "2").answers(200, "root"),
                get("/b/x").with("x-k", "2").answers(200, "header"),
                // A block that does not fit takes its whole rule with it.
                get("/a/deeper").with("x-k", "1").answers(200, "sub"),
                get("/b/deeper").method("POST").answers(200, "root"),
                get("/b/regex").answers(200, "sub"),
                get("/a/x").with("x-k", "1").answers(200, "sub"),
                get("/b/x?q=1").at_gateway().answers(200, "at the gateway"),
                get("/b/x?q=1").at_sidecar().answers(200, "from the client"),
                get("/c").answers(200, "root"),
            ],
        )
}

fn of_each_condition() -> Group {
    // A leaf's rule with this condition, and one for everything behind it.
    let leaf = |group: Group, name: &str, condition: &str| {
        let spec = format!("http:\n- {{match: [{condition}], route: [@b]}}\n- {{route: [@a]}}");
        group.resource(&format!("VirtualService default/{name}"), &spec)
    };
    let group = leaf(Group::new(), "equal", "{uri: {exact: /equal}}");
    let group = leaf(group, "shorter", "{uri: {prefix: /short}}");
    let group = leaf(group, "narrow", "{uri: {prefix: /wide/narrow}}");
    let group = leaf(group, "exactly", "{uri: {exact: /wide/exact}}");
    let group = leaf(group, "cased", "{uri: {prefix: /cased/x}}");
    let group = leaf(group, "uncased", "{uri: {prefix: /uncased/x}, ignoreUriCase: true}");
    let group = leaf(group, "regex", "{uri: {prefix: /regex/1}}");
    let group = leaf(
        group,
        "others",
        "{headers: {x-b: {exact: '1'}}, withoutHeaders: {x-c: {}}, queryParams: {q: {exact: '1'}}, method: {exact: GET}}",
    );
    let group = leaf(group, "gateway", "{gateways: [gw]}");
    let group = leaf(group, "labels", "{sourceLabels: {app: client}}");
    let group = leaf(group, "namespace", "{sourceNamespace: other}");
    let group = leaf(group, "port", "{port: $http}");
    group.rules(
        "root.test",
        "
- {match: [{uri: {exact: /equal}}], delegate: {name: equal}}
- {match: [{uri: {exact: /shorter}}], delegate: {name: shorter}}
- {match: [{uri: {prefix: /wide/n}}], delegate: {name: narrow}}
- {match: [{uri: {prefix: /wide/e}}], delegate: {name: exactly}}
- {match: [{uri: {prefix: /cased}, ignoreUriCase: true}], delegate: {name: cased}}
- {match: [{uri: {prefix: /uncased}, ignoreUriCase: true}], delegate: {name: uncased}}
- {match: [{uri: {regex: '/regex/.*'}}], delegate: {name: regex}}
- {match: [{uri: {prefix: /others}, headers: {x-a: {exact: '1'}}}], delegate: {name: others}}
- {match: [{uri: {prefix: /gateways}, gateways: [gw, mesh]}], delegate: {name: gateway}}
- {match: [{uri: {prefix: /labels}, sourceLabels: {app: client}}], delegate: {name: labels}}
- {match: [{uri: {prefix: /namespace}, sourceNamespace: default}], delegate: {name: namespace}}
- {match: [{uri: {prefix: /port}}], delegate: {name: port}}
- {route: [@c]}
",
        [
            get("/equal").reaches("b"),
            get("/shorter").reaches("a"),
            get("/wide/narrow/x").reaches("b"),
            get("/wide/nor").reaches("a"),
            get("/wide/exact").reaches("b"),
            get("/wide/exact/x").reaches("a"),
            get("/cased/x").reaches("a"),
            get("/UNCASED/X").reaches("b"),
            get("/uncased/y").reaches("a"),
            get("/regex/1").reaches("a"),
            get("/others?q=1").with("x-a", "1").with("x-b", "1").reaches("b"),
            get("/others?q=1").with("x-a", "1").with("x-b", "1").with("x-c", "").reaches("a"),
            get("/others").with("x-a", "1").with("x-b", "1").reaches("a"),
            get("/others?q=1").with("x-b", "1").reaches("c"),
            get("/gateways").at_gateway().reaches("b"),
            get("/gateways").at_sidecar().reaches("a"),
            get("/labels").at_sidecar().reaches("b"),
            get("/labels").at_gateway().reaches("c"),
            get("/namespace").at_sidecar().reaches("a"),
            get("/namespace").at_gateway().reaches("c"),
            get("/port").at_sidecar().reaches("b"),
            get("/port").at_gateway().reaches("a"),
        ],
    )
}

fn of_what_is_inherited() -> Group {
    const OK: &str = "http://ok.test";
    Group::new()
        .resource(
            "VirtualService default/sub",
            "
http:
- match: [{uri: {prefix: /a/own}}]
  headers: {request: {set: {x-who: sub}, add: {x-add: sub}}, response: {set: {x-who: sub}}}
  rewrite: {uri: /sub}
  corsPolicy: {allowOrigins: [{exact: 'http://other.test'}]}
  route: [@b]
- route: [@b]
",
        )
        .rules(
            "root.test",
            "
- match: [{uri: {prefix: /a}}]
  delegate: {name: sub}
  headers: {request: {set: {x-who: root, x-root: '1'}, add: {x-add: root}}, response: {set: {x-who: root}, remove: [x-gone]}}
  corsPolicy: {allowOrigins: [{exact: 'http://ok.test'}]}
  rewrite: {uri: /root}
",
            [
                get("/a/own/x")
                    .with("origin", OK)
                    .with("x-respond", "x-gone: 1")
                    .reaches("b")
                    .sees(":path", &["/sub/x"])
                    .sees("x-who", &["sub"])
                    .sees("x-root", &[])
                    .sees("x-add", &["sub"])
                    .gets("x-who", &["sub"])
                    .gets("x-gone", &["1"])
                    .gets("access-control-allow-origin", &[]),
                get("/a/x")
                    .with("origin", OK)
                    .with("x-respond", "x-gone: 1")
                    .reaches("b")
                    .sees(":path", &["/root/x"])
                    .sees("x-who", &["root"])
                    .sees("x-root", &["1"])
                    .sees("x-add", &["root"])
                    .gets("x-who", &["root"])
                    .gets("x-gone", &[])
                    .gets("access-control-allow-origin", &[OK]),
            ],
        )
}
