//! Which requests a rule of `http` is for.
//!
//! `uri`, `scheme`, `method`, `authority`, `headers`, `withoutHeaders`, `queryParams`, `ignoreUriCase`, `name`; the blocks of
//! a list are alternatives, the conditions of a block count together. Conditions on where a request comes from are in
//! [`sources`](super::sources).

use super::checked;
use super::table::{Group, get};

checked!(of_the_request_line, of_headers, of_parameters);

fn of_the_request_line() -> Group {
    Group::new()
        .rules(
            "uri.test",
            "
- {match: [{uri: {exact: /exact}}], route: [@a]}
- {match: [{uri: {prefix: /pre}}], route: [@b]}
- {match: [{uri: {regex: '/r/[0-9]+'}}], route: [@c]}
- {match: [{uri: {prefix: ''}, headers: {x-all: {exact: y}}}], route: [@a]}
",
            [
                get("/exact").reaches("a"),
                get("/exact?x=1").reaches("a"),
                get("/exact/").finds_no_route(),
                get("/Exact").finds_no_route(),
                get("/pre").reaches("b"),
                get("/prefix/more").reaches("b"),
                get("/r/12").reaches("c"),
                get("/r/12?x=y").reaches("c"),
                get("/r/12x").finds_no_route(),
                get("/x/r/12").finds_no_route(),
                get("/any").with("x-all", "y").reaches("a"),
            ],
        )
        .rules(
            "case.test",
            "
- {match: [{uri: {exact: /Exact}, ignoreUriCase: true}], route: [@a]}
- {match: [{uri: {prefix: /Pre}, ignoreUriCase: true}], route: [@b]}
- {match: [{uri: {regex: '/Regex'}, ignoreUriCase: true}], route: [@c]}
",
            [
                get("/eXACT").reaches("a"),
                get("/pREfix").reaches("b"),
                get("/Regex").reaches("c"),
                get("/regex").finds_no_route(),
            ],
        )
        .rules(
            "scheme.test",
            "
- {match: [{scheme: {exact: https}}], route: [@a]}
- {match: [{scheme: {prefix: HT}}], route: [@a]}
- {match: [{scheme: {regex: 'htt.'}}], route: [@b]}
",
            [
                get("/").reaches("b"),
                // A gateway knows better than a client; a sidecar believes it.
                get("/").with("x-forwarded-proto", "https").at_gateway().reaches("b"),
                get("/").with("x-forwarded-proto", "https").at_sidecar().reaches("a"),
            ],
        )
        .rules(
            "method.test",
            "
- {match: [{method: {exact: POST}}], route: [@a]}
- {match: [{method: {prefix: P}}], route: [@b]}
- {match: [{method: {regex: 'DELETE|HEAD'}}], route: [@c]}
- {match: [{method: {exact: get}}], route: [@a]}
",
            [
                get("/").method("POST").reaches("a"),
                get("/").method("PUT").reaches("b"),
                get("/").method("DELETE").reaches("c"),
                get("/").finds_no_route(),
            ],
        )
        .rules(
            // The choice of the virtual host passes over port and case, this condition does not.
            "authority.test",
            "
- {match: [{authority: {exact: 'authority.test:8080'}}], route: [@a]}
- {match: [{authority: {prefix: AUTH}}], route: [@b]}
- {match: [{authority: {regex: 'authority[.]test'}}], route: [@c]}
",
            [
                get("/").host("authority.test:8080").reaches("a"),
                get("/").host("AUTHORITY.test").reaches("b"),
                get("/").reaches("c"),
                get("/").host("authority.test:81").finds_no_route(),
                get("/").host("Authority.test").finds_no_route(),
            ],
        )
        .rules(
            "blocks.test",
            "
- {name: either, match: [{name: path, uri: {exact: /1}}, {uri: {exact: /2}, method: {exact: POST}, headers: {x-a: {exact: y}}}], route: [@a]}
- {name: rest, match: [{uri: {exact: /2}}], route: [@b]}
- {name: first, match: [{uri: {prefix: /order}}], route: [@b]}
- {match: [{uri: {exact: /order/more}}], route: [@c]}
- {match: [{uri: {prefix: /}, method: {exact: PUT}}], route: [@c]}
",
            [
                get("/1").reaches("a").by_route("either.path"),
                get("/2").method("POST").with("x-a", "y").reaches("a").by_route("either"),
                get("/2").method("POST").reaches("b").by_route("rest"),
                get("/2").with("x-a", "y").reaches("b"),
                get("/order/more").reaches("b").by_route("first"),
                get("/").method("PUT").reaches("c"),
                get("/").finds_no_route(),
            ],
        )
        .rules(
            // What follows a rule for everything is never reached.
            "last.test",
            "
- {match: [{uri: {prefix: /}}], route: [@a]}
- {match: [{uri: {exact: /late}}], route: [@b]}
",
            [get("/late").reaches("a")],
        )
}

fn of_headers() -> Group {
    Group::new()
        .rules(
            "headers.test",
            "
- {match: [{headers: {x-e: {exact: a b}}}], route: [@a]}
- {match: [{headers: {x-p: {prefix: ab}}}], route: [@b]}
- {match: [{headers: {x-r: {regex: '[a-z]+-[0-9]+'}}}], route: [@c]}
- {match: [{headers: {x-present: {}}}], route: [@a]}
- {match: [{headers: {X-Upper: {exact: '1'}}}], route: [@b]}
- {match: [{headers: {x-star: {regex: '.*'}}}], route: [@c]}
- {match: [{headers: {x-one: {exact: '1'}, x-two: {exact: '2'}}}], route: [@a]}
- {match: [{headers: {x-empty: {exact: ''}}}], route: [@c]}
",
            [
                get("/").with("x-e", "a b").reaches("a"),
                get("/").with("X-E", "A b").finds_no_route(),
                get("/").with("x-p", "abc").reaches("b"),
                get("/").with("x-p", "xab").finds_no_route(),
                get("/").with("x-r", "abc-12").reaches("c"),
                get("/").with("x-r", "abc-12-").finds_no_route(),
                get("/").with("x-present", "").reaches("a"),
                get("/").with("x-upper", "1").reaches("b"),
                get("/").with("x-star", "").reaches("c"),
                get("/").with("x-one", "1").finds_no_route(),
                get("/").with("x-one", "1").with("x-two", "2").reaches("a"),
                get("/").with("x-empty", "").reaches("c"),
                get("/").with("x-empty", "1").finds_no_route(),
                get("/").finds_no_route(),
            ],
        )
        .rules(
            // Each value of a repeated header is tested by itself.
            "twice.test",
            "
- {match: [{headers: {x-a: {exact: '1,2'}}}], route: [@b]}
- {match: [{headers: {x-a: {exact: '1'}}}], route: [@c]}
- {match: [{headers: {x-a: {regex: '2,?.*'}}}], route: [@a]}
- {match: [{headers: {cookie: {regex: '.*b=2.*'}}}], route: [@b]}
",
            [
                get("/").with("x-a", "1").with("x-b", "z").with("x-a", "2").reaches("c"),
                get("/").with("x-a", "2").with("X-A", "1").reaches("c"),
                get("/").with("x-a", "3").with("x-a", "2").reaches("a"),
                get("/").with("x-a", "1,2").reaches("b"),
                get("/").with("x-a", "1, 2").finds_no_route(),
                get("/").with("cookie", "a=1").with("cookie", "b=2").reaches("b"),
            ],
        )
        .rules(
            "without.test",
            "
- {match: [{uri: {exact: /present}, withoutHeaders: {x-a: {}}}], route: [@a]}
- {match: [{uri: {exact: /exact}, withoutHeaders: {x-a: {exact: '1'}}}], route: [@b]}
- {match: [{uri: {exact: /regex}, withoutHeaders: {x-a: {regex: 'v.*'}}}], route: [@c]}
- {match: [{uri: {exact: /both}, headers: {x-b: {exact: '1'}}, withoutHeaders: {x-a: {prefix: p}, x-c: {}}}], route: [@a]}
",
            [
                get("/present").reaches("a"),
                get("/present").with("x-a", "").finds_no_route(),
                get("/exact").reaches("b"),
                get("/exact").with("x-a", "1").finds_no_route(),
                get("/exact").with("x-a", "11").reaches("b"),
                get("/regex").reaches("c"),
                get("/regex").with("x-a", "v2").finds_no_route(),
                get("/both").with("x-b", "1").with("x-a", "q").reaches("a"),
                get("/both").with("x-b", "1").with("x-a", "pq").finds_no_route(),
                get("/both").with("x-b", "1").with("x-c", "1").finds_no_route(),
                get("/both").finds_no_route(),
                // One value that must not be there is enough.
                get("/exact").with("x-a", "2").with("x-a", "1").finds_no_route(),
            ],
        )
}

fn of_parameters() -> Group {
    Group::new()
        .rules(
            "query.test",
            "
- {match: [{queryParams: {e: {exact: '1'}}}], route: [@a]}
- {match: [{queryParams: {p: {prefix: ab}}}], route: [@b]}
- {match: [{queryParams: {r: {regex: '[a-z]+'}}}], route: [@c]}
- {match: [{queryParams: {present: {}}}], route: [@a]}
- {match: [{queryParams: {x: {exact: '1'}, z: {exact: '2'}}}], route: [@b]}
- {match: [{queryParams: {nothing: {exact: ''}}}], route: [@c]}
",
            [
                get("/a?k=9&e=1").reaches("a"),
                get("/?e=11").finds_no_route(),
                get("/?E=1").finds_no_route(),
                get("/?p=abc").reaches("b"),
                get("/?r=abc").reaches("c"),
                get("/?r=abc1").finds_no_route(),
                get("/?present").reaches("a"),
                get("/?present=0").reaches("a"),
                get("/?z=2&x=1").reaches("b"),
                get("/?x=1").finds_no_route(),
                get("/?nothing=").reaches("c"),
                get("/?nothing").reaches("c"),
                get("/").finds_no_route(),
            ],
        )
        .rules(
            // Nothing is decoded, and of several the first counts.
            "raw.test",
            "
- {match: [{queryParams: {a: {exact: x y}}}], route: [@a]}
- {match: [{queryParams: {a: {exact: x+y}}}], route: [@b]}
- {match: [{queryParams: {a: {exact: x%20y}}}], route: [@c]}
- {match: [{queryParams: {a: {exact: '1'}}}], route: [@a]}
- {match: [{queryParams: {a: {exact: '1=2'}}}], route: [@b]}
",
            [
                get("/?a=x+y").reaches("b"),
                get("/?a=x%20y").reaches("c"),
                get("/?a=1&a=2").reaches("a"),
                get("/?a=2&a=1").finds_no_route(),
                get("/?a=1=2").reaches("b"),
                get("/?a=1;b=2").finds_no_route(),
                get("/?a=%31").finds_no_route(),
            ],
        )
}
