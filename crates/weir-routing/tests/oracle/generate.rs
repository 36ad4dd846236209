//! Random configurations and requests, of so few words that they meet often.

use http::header::{CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use weir_routing::RequestHead;
use weir_xds::core::RuntimeFractionalPercent;
use weir_xds::matcher::string_matcher::MatchPattern;
use weir_xds::matcher::{RegexMatcher, StringMatcher};
use weir_xds::route::header_matcher::HeaderMatchSpecifier;
use weir_xds::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use weir_xds::route::route::Action;
use weir_xds::route::route_match::{GrpcRouteMatchOptions, PathSpecifier};
use weir_xds::route::{
    CookieMatcher, DirectResponseAction, HeaderMatcher, QueryParameterMatcher, Route, RouteConfiguration, RouteMatch, VirtualHost,
};
use weir_xds::types::FractionalPercent;

const DOMAINS: [&str; 12] =
    ["a.test", "b.test", "x.a.test", "*.test", "*.a.test", "*-y.test", "a.*", "a.te*", "*", "[::1]", "A.TEST.org", "x-y.test"];
const PATHS: [&str; 10] = ["/", "/a", "/A", "/a/b", "/ab", "/a/", "/a/b/c", "/b", "/api/v1/users", "/%2F"];
const EXPRESSIONS: [&str; 8] = ["/a.*", "/[ab]+", ".*", "/a|/ab", "[a-z]?1?", "(x|y)+", "x?", "1|2"];
const NAMES: [&str; 4] = ["x", "end-user", "y", "x-forwarded-proto"];
/// What a prefix or suffix may be: not empty.
const PARTS: [&str; 4] = ["1", "2", "jas", "x"];
const VALUES: [&str; 8] = ["", "https", "1", "2", "12", "jason", "Jason", "x"];

/// A request that owns its parts.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: &'static str,
    scheme: &'static str,
    authority: String,
    path: String,
    headers: HeaderMap,
    random: u64,
}

impl Request {
    pub(crate) fn head(&self) -> RequestHead<'_> {
        let Self { method, scheme, authority, path, headers, random } = self;
        RequestHead { method, scheme, authority, path, headers, random: *random }
    }
}

fn one_of<const N: usize>(words: [&'static str; N]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words.to_vec())
}

/// A request.
pub(crate) fn request() -> impl Strategy<Value = Request> {
    let authorities = [
        "a.test",
        "A.Test",
        "b.test",
        "x.a.test",
        "z.x.a.test",
        "q-y.test",
        "a.org",
        "a.ten",
        "c",
        "[::1]",
        "test",
        "x-y.test",
        "a.test:x",
    ];
    let query = prop_oneof![
        2 => Just(String::new()),
        3 => prop::collection::vec((one_of(["q", "r", "Q"]), one_of(["", "=", "=1", "=2", "=12", "=x"])), 0..3)
            .prop_map(|pairs| format!("?{}", pairs.iter().map(|(name, value)| format!("{name}{value}")).collect::<Vec<_>>().join("&"))),
    ];
    let headers = prop::collection::vec((one_of(NAMES), one_of(VALUES)), 0..4);
    let method = one_of(["GET", "POST", "get"]);
    let authority = (one_of(authorities), one_of(["", ":80", ":8080"])).prop_map(|(host, port)| format!("{host}{port}"));
    let cookies = prop::collection::vec((one_of(["c", "d"]), one_of(VALUES)), 0..3);
    let grpc = one_of(["", "application/grpc", "application/grpc+proto", "application/json"]);
    let path = (one_of(PATHS), one_of(["", ";v=1", ";"]), query).prop_map(|(path, parameters, query)| format!("{path}{parameters}{query}"));
    let head = (method, one_of(["http", "https"]), authority, path, headers);
    (head, cookies, grpc, 0..1_000_000_u64).prop_map(|((method, scheme, authority, path, pairs), cookies, kind, random)| {
        let mut headers = HeaderMap::new();
        if !cookies.is_empty() {
            let text = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
            headers.insert(COOKIE, HeaderValue::from_str(&text).unwrap());
        }
        if !kind.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Request { method, scheme, authority, path, headers, random }
    })
}

/// A route configuration: no domain stands in two of its virtual hosts.
pub(crate) fn configuration() -> impl Strategy<Value = RouteConfiguration> {
    let owners = prop::collection::vec(0_usize..4, DOMAINS.len());
    let routes = prop::collection::vec(prop::collection::vec(route(), 0..24), 3);
    let flags = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    (owners, routes, flags, prop::collection::vec(prop::bool::weighted(0.1), 3)).prop_map(|(owners, routes, flags, tls)| {
        let (ignore_port, ignore_parameters, by_header) = flags;
        let host = |(number, routes): (usize, Vec<Route>)| VirtualHost {
            name: format!("host-{number}"),
            // The fourth owner is nobody.
            domains: DOMAINS.iter().zip(&owners).filter(|(_, owner)| **owner == number).map(|(domain, _)| (*domain).to_owned()).collect(),
            routes,
            require_tls: if tls[number] { 2 } else { 0 },
            ..Default::default()
        };
        RouteConfiguration {
            name: "random".to_owned(),
            virtual_hosts: routes.into_iter().enumerate().map(host).collect(),
            ignore_port_in_host_matching: ignore_port,
            ignore_path_parameters_in_path_matching: ignore_parameters,
            vhost_header: if by_header { "x-host".to_owned() } else { String::new() },
            ..Default::default()
        }
    })
}

fn route() -> impl Strategy<Value = Route> {
    let headers = prop::collection::vec(header(), 0..3);
    let query = prop::collection::vec(parameter(), 0..2);
    let cookies = prop_oneof![4 => Just(vec![]), 1 => prop::collection::vec(cookie(), 1..3)];
    let grpc = prop::bool::weighted(0.1).prop_map(|grpc| grpc.then_some(GrpcRouteMatchOptions {}));
    let share = prop::option::weighted(0.1, 0..=100_u32).prop_map(|share| {
        share.map(|numerator| RuntimeFractionalPercent {
            default_value: Some(FractionalPercent { numerator, denominator: 0 }),
            runtime_key: String::new(),
        })
    });
    let matched = (path(), prop::option::of(any::<bool>()), headers, query, cookies, grpc, share);
    let matched = matched.prop_map(|(path, case_sensitive, headers, query_parameters, cookies, grpc, runtime_fraction)| RouteMatch {
        path_specifier: Some(path),
        case_sensitive,
        headers,
        query_parameters,
        cookies,
        grpc,
        runtime_fraction,
        ..Default::default()
    });
    matched.prop_map(|matched| Route {
        r#match: Some(matched),
        action: Some(Action::DirectResponse(DirectResponseAction { status: 200, ..Default::default() })),
        ..Default::default()
    })
}

fn path() -> impl Strategy<Value = PathSpecifier> {
    prop_oneof![
        one_of(PATHS).prop_map(|path| PathSpecifier::Path(path.to_owned())),
        one_of(PATHS).prop_map(|path| PathSpecifier::Prefix(path.to_owned())),
        one_of(["/a", "/a/b", "/A", "/api"]).prop_map(|path| PathSpecifier::PathSeparatedPrefix(path.to_owned())),
        expression().prop_map(PathSpecifier::SafeRegex),
    ]
}

fn expression() -> impl Strategy<Value = RegexMatcher> {
    one_of(EXPRESSIONS).prop_map(|regex| RegexMatcher { regex: regex.to_owned(), ..Default::default() })
}

fn text() -> impl Strategy<Value = StringMatcher> {
    let pattern = prop_oneof![
        4 => one_of(VALUES).prop_map(|text| MatchPattern::Exact(text.to_owned())),
        1 => one_of(PARTS).prop_map(|text| MatchPattern::Prefix(text.to_owned())),
        1 => one_of(PARTS).prop_map(|text| MatchPattern::Suffix(text.to_owned())),
        1 => expression().prop_map(MatchPattern::SafeRegex),
    ];
    (pattern, prop::bool::weighted(0.2)).prop_map(|(pattern, ignore_case)| {
        // An expression says itself whether case matters.
        let ignore_case = ignore_case && !matches!(pattern, MatchPattern::SafeRegex(_));
        StringMatcher { match_pattern: Some(pattern), ignore_case }
    })
}

fn header() -> impl Strategy<Value = HeaderMatcher> {
    let specifier = prop_oneof![
        1 => any::<bool>().prop_map(HeaderMatchSpecifier::PresentMatch),
        5 => text().prop_map(HeaderMatchSpecifier::StringMatch),
    ];
    let named = (one_of(NAMES), specifier, prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    let named = named.prop_map(|(name, specifier, invert_match, treat_missing_header_as_empty)| HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        invert_match,
        treat_missing_header_as_empty,
    });
    let pseudo = one_of([":method GET", ":method POST", ":scheme https", ":authority a.test", ":authority a.test:80"]).prop_map(|pair| {
        let (name, value) = pair.split_once(' ').unwrap();
        let exact = StringMatcher { match_pattern: Some(MatchPattern::Exact(value.to_owned())), ignore_case: false };
        HeaderMatcher {
            name: name.to_owned(),
            header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(exact)),
            ..Default::default()
        }
    });
    prop_oneof![3 => named, 1 => pseudo]
}

fn cookie() -> impl Strategy<Value = CookieMatcher> {
    (one_of(["c", "d"]), text(), prop::bool::weighted(0.2)).prop_map(|(name, text, invert_match)| CookieMatcher {
        name: name.to_owned(),
        string_match: Some(text),
        invert_match,
    })
}

fn parameter() -> impl Strategy<Value = QueryParameterMatcher> {
    let specifier = prop_oneof![
        any::<bool>().prop_map(QueryParameterMatchSpecifier::PresentMatch),
        text().prop_map(QueryParameterMatchSpecifier::StringMatch),
    ];
    (one_of(["q", "r"]), specifier)
        .prop_map(|(name, specifier)| QueryParameterMatcher { name: name.to_owned(), query_parameter_match_specifier: Some(specifier) })
}
