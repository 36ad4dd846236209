//! `headers`: what is set, added and removed, of the rule and of its destinations, and in which order.

use super::checked;
use super::table::{Group, get};

checked!(of_requests, of_answers, of_which_there_is_one, of_several_levels);

fn of_requests() -> Group {
    Group::new()
        .rules(
            "kinds.test",
            "
- match: [{uri: {exact: /rule}}]
  headers: {request: {set: {x-set: new, x-new: new}, add: {x-add: more, x-first: one}, remove: [x-gone, X-Upper]}}
  route: [@a]
- match: [{uri: {exact: /destination}}]
  route: [{destination: {host: echo, subset: a}, headers: {request: {set: {x-set: new, x-new: new}, add: {x-add: more, x-first: one}, remove: [x-gone, X-Upper]}}}]
",
            [
                get("/rule")
                    .with("x-set", "old")
                    .with("x-set", "older")
                    .with("x-add", "old")
                    .with("x-gone", "1")
                    .with("x-upper", "1")
                    .reaches("a")
                    .sees("x-set", &["new"])
                    .sees("x-new", &["new"])
                    .sees("x-add", &["old", "more"])
                    .sees("x-first", &["one"])
                    .sees("x-gone", &[])
                    .sees("x-upper", &[]),
                get("/destination")
                    .with("x-set", "old")
                    .with("x-add", "old")
                    .with("x-gone", "1")
                    .with("x-upper", "1")
                    .reaches("a")
                    .sees("x-set", &["new"])
                    .sees("x-new", &["new"])
                    .sees("x-add", &["old", "more"])
                    .sees("x-first", &["one"])
                    .sees("x-gone", &[])
                    .sees("x-upper", &[]),
            ],
        )
        .rules(
            // The operations of an only destination are merged with the rule's: what is removed goes first, what the destination
            // sets comes last. Of several, each has its own first, then those of the rule.
            "order.test",
            "
- match: [{uri: {exact: /one}}]
  headers: {request: {set: {x-set: rule}, add: {x-add: rule, x-back: rule}, remove: [x-gone]}}
  route: [{destination: {host: echo, subset: a}, headers: {request: {set: {x-set: own, x-gone: own}, add: {x-add: own}, remove: [x-back]}}}]
- match: [{uri: {exact: /several}}]
  headers: {request: {set: {x-set: rule}, add: {x-add: rule, x-back: rule}, remove: [x-gone]}}
  route:
  - {destination: {host: echo, subset: b}, weight: 1, headers: {request: {set: {x-set: own, x-gone: own}, add: {x-add: own}, remove: [x-back]}}}
  - {destination: {host: echo, subset: b}, weight: 1, headers: {request: {set: {x-set: own, x-gone: own}, add: {x-add: own}, remove: [x-back]}}}
",
            [
                get("/one")
                    .with("x-add", "client")
                    .with("x-back", "client")
                    .with("x-gone", "client")
                    .reaches("a")
                    .sees("x-set", &["own"])
                    .sees("x-add", &["client", "rule", "own"])
                    .sees("x-back", &["rule"])
                    .sees("x-gone", &["own"]),
                get("/several")
                    .with("x-add", "client")
                    .with("x-back", "client")
                    .with("x-gone", "client")
                    .reaches("b")
                    .sees("x-set", &["rule"])
                    .sees("x-add", &["client", "own", "rule"])
                    .sees("x-back", &["rule"])
                    .sees("x-gone", &[]),
            ],
        )
        .rules(
            "values.test",
            "
- headers: {request: {set: {x-empty: '', x-nothing: '%REQ(x-absent)%', x-part: '[%REQ(x-absent)%]', x-percent: '100%%', x-copy: '%REQ(x-a)%'}}}
  route: [@a]
",
            [
                get("/")
                    .with("x-empty", "kept")
                    .with("x-nothing", "kept")
                    .with("x-a", "1")
                    .reaches("a")
                    .sees("x-empty", &["kept"])
                    .sees("x-nothing", &["kept"])
                    .sees("x-part", &["[]"])
                    .sees("x-percent", &["100%"])
                    .sees("x-copy", &["1"]),
            ],
        )
        .rules(
            // The host is set as a rewrite of the authority.
            "host.test",
            "
- {match: [{uri: {exact: /set}}], headers: {request: {set: {host: new.test}}}, route: [@a]}
- {match: [{uri: {exact: /authority}}], headers: {request: {set: {':authority': new.test}}}, route: [@a]}
- {match: [{uri: {exact: /destination}}], route: [{destination: {host: echo, subset: a}, headers: {request: {set: {host: new.test}}}}]}
",
            [
                get("/set").reaches("a").sees("host", &["new.test"]).sees("x-envoy-original-host", &["host.test"]),
                get("/authority").reaches("a").sees("host", &["new.test"]),
                get("/destination").reaches("a").sees("host", &["new.test"]),
            ],
        )
}

fn of_which_there_is_one() -> Group {
    Group::new().rules(
        "joined.test",
        "
- match: [{uri: {exact: /joined}, headers: {referer: {exact: 'a,b'}}}]
  route: [@a]
- match: [{uri: {exact: /added}}]
  headers: {request: {add: {x-forwarded-host: more, x-several: more}}, response: {add: {etag: more, x-several: more}}}
  route: [@b]
",
        [
            get("/joined")
                .with("referer", "a")
                .with("referer", "b")
                .with("range", "a")
                .with("range", "b")
                .reaches("a")
                .sees("referer", &["a,b"])
                .sees("range", &["a", "b"]),
            get("/added")
                .with("x-forwarded-host", "a")
                .with("x-several", "a")
                .with("x-respond", "etag: a")
                .with("x-respond", "x-several: a")
                .reaches("b")
                .sees("x-forwarded-host", &["a,more"])
                .sees("x-several", &["a", "more"])
                .gets("etag", &["a,more"])
                .gets("x-several", &["a", "more"]),
        ],
    )
}

fn of_several_levels() -> Group {
    Group::new()
        .rules(
            // What is set goes before what is added, wherever each is written.
            "set-and-add.test",
            "
- headers: {request: {add: {x-a: rule}}, response: {add: {x-a: rule}}}
  route: [{destination: {host: echo, subset: a}, headers: {request: {set: {x-a: own}}, response: {set: {x-a: own}}}}]
",
            [get("/").with("x-a", "client").reaches("a").sees("x-a", &["own", "rule"]).gets("x-a", &["own", "rule"])],
        )
        .rules(
            // The authority that one of several destinations sets is what the rule's own rewrite replaces.
            "authority.test",
            "
- match: [{uri: {exact: /own}}]
  route:
  - {destination: {host: echo, subset: a}, weight: 100, headers: {request: {set: {host: own.test}}}}
  - {destination: {host: echo, subset: b}, weight: 0}
- match: [{uri: {exact: /both}}]
  rewrite: {authority: rule.test}
  route:
  - {destination: {host: echo, subset: a}, weight: 100, headers: {request: {set: {host: own.test}}}}
  - {destination: {host: echo, subset: b}, weight: 0}
",
            [
                get("/own").reaches("a").sees("host", &["own.test"]).sees("x-envoy-original-host", &[]),
                get("/both").reaches("a").sees("host", &["rule.test"]).sees("x-envoy-original-host", &["own.test"]),
            ],
        )
}

fn of_answers() -> Group {
    Group::new()
        .resource(
            "DestinationRule default/more",
            "
host: echo
subsets:
- {name: empty, labels: {version: none}}
",
        )
        .rules(
            "answer.test",
            "
- match: [{uri: {exact: /rule}}]
  headers: {response: {set: {x-set: new}, add: {x-add: more}, remove: [x-gone]}}
  route: [@a]
- match: [{uri: {exact: /one}}]
  headers: {response: {set: {x-set: rule}, add: {x-add: rule}, remove: [x-gone]}}
  route: [{destination: {host: echo, subset: a}, headers: {response: {set: {x-set: own}, add: {x-add: own}}}}]
- match: [{uri: {exact: /several}}]
  headers: {response: {set: {x-set: rule}, add: {x-add: rule}, remove: [x-gone]}}
  route:
  - {destination: {host: echo, subset: b}, weight: 1, headers: {response: {set: {x-set: own, x-gone: own}, add: {x-add: own}}}}
  - {destination: {host: echo, subset: b}, weight: 1, headers: {response: {set: {x-set: own, x-gone: own}, add: {x-add: own}}}}
",
            [
                get("/rule")
                    .with("x-respond", "x-set: old")
                    .with("x-respond", "x-add: old")
                    .with("x-respond", "x-gone: old")
                    .reaches("a")
                    .gets("x-set", &["new"])
                    .gets("x-add", &["old", "more"])
                    .gets("x-gone", &[]),
                get("/one")
                    .with("x-respond", "x-add: old")
                    .with("x-respond", "x-gone: old")
                    .reaches("a")
                    .gets("x-set", &["own"])
                    .gets("x-add", &["old", "rule", "own"])
                    .gets("x-gone", &[]),
                get("/several")
                    .with("x-respond", "x-add: old")
                    .reaches("b")
                    .gets("x-set", &["rule"])
                    .gets("x-add", &["old", "own", "rule"])
                    .gets("x-gone", &[]),
            ],
        )
        .rules(
            // The proxy's own answers have them as well, but for that to a request without a route.
            "failed.test",
            "
- match: [{uri: {exact: /subset}}]
  headers: {response: {set: {x-a: '1'}}}
  route: [{destination: {host: echo, subset: v9}}]
- match: [{uri: {exact: /empty}}]
  route: [{destination: {host: echo, subset: empty}, headers: {response: {set: {x-a: '1', x-flags: '%RESPONSE_FLAGS%'}}}}]
",
            [
                get("/subset").fails(503, "outbound|$http|v9|echo.default.svc.cluster.local").gets("x-a", &["1"]),
                get("/empty")
                    .fails(503, "outbound|$http|empty|echo.default.svc.cluster.local")
                    .gets("x-a", &["1"])
                    .gets("x-flags", &["UH"]),
                get("/none").finds_no_route().gets("x-a", &[]),
            ],
        )
}
