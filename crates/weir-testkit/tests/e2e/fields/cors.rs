//! `corsPolicy`: which origins may ask, and who answers their preflights.

use super::checked;
use super::table::{Call, Group, get};

checked!(of_http_rules);

/// A browser's question before a request of another origin.
fn preflight(path: &'static str, origin: &'static str, method: &'static str) -> Call {
    get(path).method("OPTIONS").with("origin", origin).with("access-control-request-method", method)
}

fn of_http_rules() -> Group {
    const OK: &str = "https://ok.test";
    const EVIL: &str = "https://evil.test";
    Group::new().rules(
        "cors.test",
        "
- match: [{uri: {exact: /all}}]
  corsPolicy:
    allowOrigins: [{exact: 'https://ok.test'}, {prefix: 'https://pre.'}, {regex: 'https://[a-z]+[.]re[.]test'}]
    allowMethods: [GET, POST]
    allowHeaders: [x-a, x-b]
    exposeHeaders: [x-c, x-d]
    maxAge: 24h
    allowCredentials: true
  route: [@a]
- match: [{uri: {exact: /ignore}}]
  corsPolicy: {allowOrigins: [{exact: 'https://ok.test'}], allowMethods: [GET], unmatchedPreflights: IGNORE}
  route: [@b]
- match: [{uri: {exact: /forward}}]
  corsPolicy: {allowOrigins: [{exact: 'https://ok.test'}], allowMethods: [GET], unmatchedPreflights: FORWARD}
  route: [@b]
- match: [{uri: {exact: /star}}]
  corsPolicy: {allowOrigins: [{exact: '*'}]}
  route: [@c]
- match: [{uri: {exact: /old}}]
  corsPolicy: {allowOrigin: ['https://ok.test']}
  route: [@c]
- match: [{uri: {exact: /redirect}}]
  corsPolicy: {allowOrigins: [{exact: 'https://ok.test'}]}
  redirect: {uri: /new}
- match: [{uri: {exact: /direct}}]
  corsPolicy: {allowOrigins: [{exact: 'https://ok.test'}]}
  directResponse: {status: 200, body: {string: direct}}
- match: [{uri: {exact: /method}, method: {exact: GET}}]
  corsPolicy: {allowOrigins: [{exact: 'https://ok.test'}]}
  route: [@a]
- match: [{uri: {exact: /missing}}]
  corsPolicy: {allowOrigins: [{exact: 'https://ok.test'}]}
  route: [{destination: {host: echo, subset: v9}}]
- match: [{uri: {exact: /none}}]
  route: [@a]
",
        [
            get("/all")
                .with("origin", OK)
                .with("x-respond", "access-control-allow-origin: of-the-application")
                .reaches("a")
                .sees("origin", &[OK])
                .gets("access-control-allow-origin", &[OK])
                .gets("access-control-allow-credentials", &["true"])
                .gets("access-control-expose-headers", &["x-c,x-d"])
                .gets("access-control-allow-methods", &[]),
            get("/all").with("origin", "https://pre.fix").reaches("a").gets("access-control-allow-origin", &["https://pre.fix"]),
            get("/all").with("origin", "https://x.re.test").reaches("a").gets("access-control-allow-origin", &["https://x.re.test"]),
            get("/all").with("origin", "https://x.re.test.evil").reaches("a").gets("access-control-allow-origin", &[]),
            get("/all").reaches("a").gets("access-control-allow-origin", &[]),
            preflight("/all", OK, "GET")
                .with("access-control-request-headers", "x-a")
                .filtered(200)
                .gets("access-control-allow-origin", &[OK])
                .gets("access-control-allow-methods", &["GET,POST"])
                .gets("access-control-allow-headers", &["x-a,x-b"])
                .gets("access-control-max-age", &["86400"])
                .gets("access-control-allow-credentials", &["true"]),
            // It is the browser that sees that the method is none of them.
            preflight("/all", OK, "DELETE").filtered(200).gets("access-control-allow-methods", &["GET,POST"]),
            preflight("/all", EVIL, "GET").reaches("a").sees(":method", &["OPTIONS"]).gets("access-control-allow-origin", &[]),
            get("/all").method("OPTIONS").with("origin", OK).reaches("a").gets("access-control-allow-origin", &[OK]),
            preflight("/ignore", OK, "GET").filtered(200).gets("access-control-allow-origin", &[OK]),
            preflight("/ignore", EVIL, "GET").filtered(200).gets("access-control-allow-origin", &[]),
            get("/ignore").with("origin", EVIL).reaches("b").gets("access-control-allow-origin", &[]),
            preflight("/forward", OK, "GET").filtered(200).gets("access-control-allow-origin", &[OK]),
            preflight("/forward", EVIL, "GET").reaches("b"),
            get("/star").with("origin", EVIL).reaches("c").gets("access-control-allow-origin", &[EVIL]),
            get("/old").with("origin", OK).reaches("c").gets("access-control-allow-origin", &[OK]),
            get("/redirect").with("origin", OK).redirects(301, "http://cors.test/new").gets("access-control-allow-origin", &[]),
            get("/direct").with("origin", OK).answers(200, "direct").gets("access-control-allow-origin", &[]),
            preflight("/method", OK, "GET").finds_no_route(),
            get("/missing")
                .with("origin", OK)
                .fails(503, "outbound|$http|v9|echo.default.svc.cluster.local")
                .gets("access-control-allow-origin", &[OK]),
            preflight("/none", OK, "GET").reaches("a"),
        ],
    )
}
