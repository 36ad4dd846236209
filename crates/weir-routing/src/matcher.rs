//! A route's conditions, all of which must hold.

use weir_xds::route::RouteMatch;
use weir_xds::route::route_match::TlsContextMatchOptions;
use weir_xds::values::millionths;

use crate::condition::{CookieCondition, HeaderCondition, QueryCondition};
use crate::dynamic_metadata::DynamicMetadata;
use crate::error::CompileError;
use crate::metadata_match::MetadataMatch;
use crate::path::PathCondition;
use crate::request::RequestHead;

/// A compiled `RouteMatch`.
#[derive(Debug, Clone)]
pub struct RouteMatcher {
    /// On the path.
    pub path: PathCondition,
    /// On headers, the method, the scheme and the authority.
    pub headers: Box<[HeaderCondition]>,
    /// On query parameters.
    pub query: Box<[QueryCondition]>,
    /// On cookies, which are only read where a route has such conditions.
    pub cookies: Box<[CookieCondition]>,
    /// Whether it must be a gRPC call.
    pub grpc: bool,
    /// How many of a million requests it takes, by chance; `None` for all.
    pub millionths: Option<u32>,
    /// On what filters have learnt of the request, such as the claims of its token.
    pub metadata: Box<[MetadataMatch]>,
    /// Set where the route asks for something that a request of ours never has: it never matches.
    pub impossible: bool,
}

/// The first condition of a route that a request does not satisfy.
#[derive(Debug, Clone, Copy)]
pub enum Mismatch<'m> {
    /// The path is another.
    Path(&'m PathCondition),
    /// A header, the method, the scheme or the authority is another.
    Header(&'m HeaderCondition),
    /// A query parameter is another.
    Query(&'m QueryCondition),
    /// A cookie is another.
    Cookie(&'m CookieCondition),
    /// It is no gRPC call.
    Grpc,
    /// Chance decided against it: the route takes so many of a million requests.
    Chance(u32),
    /// What filters have learnt of the request is something else.
    Metadata(&'m MetadataMatch),
    /// It asks for what no request has.
    Impossible,
}

impl RouteMatcher {
    /// Compiles Envoy's route match.
    ///
    /// # Errors
    /// If a condition is not valid or of a kind that is not carried out.
    pub fn compile(route_match: &RouteMatch) -> Result<Self, CompileError> {
        let RouteMatch {
            path_specifier,
            case_sensitive,
            headers,
            query_parameters,
            cookies,
            grpc,
            runtime_fraction,
            tls_context,
            dynamic_metadata,
            filter_state,
        } = route_match;
        // There is no runtime that could override the default.
        let fraction = runtime_fraction.as_ref().map(|fraction| fraction.default_value.as_ref().map_or(0, millionths));
        // No filter of ours leaves state behind, and what is not there satisfies no condition on it.
        let impossible = !filter_state.is_empty() || needs_certificate(tls_context.as_ref());
        Ok(Self {
            path: PathCondition::compile(path_specifier.as_ref(), *case_sensitive)?,
            headers: each("headers", headers, HeaderCondition::compile)?,
            query: each("query_parameters", query_parameters, QueryCondition::compile)?,
            cookies: each("cookies", cookies, CookieCondition::compile)?,
            grpc: grpc.is_some(),
            millionths: fraction,
            metadata: each("dynamic_metadata", dynamic_metadata, MetadataMatch::compile)?,
            impossible,
        })
    }

    /// Whether a request satisfies all conditions; `path` is the part of its path that routes are matched by, which whoever tries
    /// several routes cuts off once, and `known` what filters have learnt of it.
    pub fn matches(&self, path: &str, head: &RequestHead<'_>, known: &DynamicMetadata) -> bool {
        let Self { path: path_condition, headers, query, cookies, grpc, millionths, metadata, impossible } = self;
        path_condition.holds(path)
            && headers.iter().all(|header| header.holds(head))
            && query.iter().all(|parameter| parameter.holds(head))
            && cookies.iter().all(|cookie| cookie.holds(head))
            && (!grpc || head.is_grpc())
            && millionths.is_none_or(|share| takes(share, head))
            && metadata.iter().all(|condition| condition.holds(known))
            && !impossible
    }

    /// Whether a request satisfies all conditions, and else the first that it does not.
    ///
    /// # Errors
    /// That condition.
    pub fn check(&self, path: &str, head: &RequestHead<'_>, known: &DynamicMetadata) -> Result<(), Mismatch<'_>> {
        let Self { path: path_condition, headers, query, cookies, grpc, millionths, metadata, impossible } = self;
        let path = (!path_condition.holds(path)).then_some(Mismatch::Path(path_condition));
        let header = || headers.iter().find(|header| !header.holds(head)).map(Mismatch::Header);
        let parameter = || query.iter().find(|parameter| !parameter.holds(head)).map(Mismatch::Query);
        let cookie = || cookies.iter().find(|cookie| !cookie.holds(head)).map(Mismatch::Cookie);
        let grpc = || (*grpc && !head.is_grpc()).then_some(Mismatch::Grpc);
        let chance = || millionths.filter(|share| !takes(*share, head)).map(Mismatch::Chance);
        let learnt = || metadata.iter().find(|condition| !condition.holds(known)).map(Mismatch::Metadata);
        let never = || impossible.then_some(Mismatch::Impossible);
        let first = path.or_else(header).or_else(parameter).or_else(cookie).or_else(grpc).or_else(chance).or_else(learnt).or_else(never);
        first.map_or(Ok(()), Err)
    }
}

/// Whether a route that takes so many of a million requests takes this one.
fn takes(millionths: u32, head: &RequestHead<'_>) -> bool {
    head.random % 1_000_000 < u64::from(millionths)
}

fn each<T, C>(list: &str, matchers: &[T], compile: impl Fn(&T) -> Result<C, CompileError>) -> Result<Box<[C]>, CompileError> {
    let compiled = matchers.iter().enumerate().map(|(i, matcher)| compile(matcher).map_err(|error| error.within(&format!("{list}[{i}]"))));
    compiled.collect()
}

/// Whether the client must have shown a certificate, which no client can here.
fn needs_certificate(options: Option<&TlsContextMatchOptions>) -> bool {
    let Some(TlsContextMatchOptions { presented, validated }) = options else { return false };
    *presented == Some(true) || *validated == Some(true)
}

#[cfg(test)]
mod tests {
    use weir_http1::{HeaderName, HeaderValue, Headers};
    use weir_xds::core::RuntimeFractionalPercent;
    use weir_xds::matcher::string_matcher::MatchPattern;
    use weir_xds::matcher::{FilterStateMatcher, MetadataMatcher, StringMatcher};
    use weir_xds::route::CookieMatcher;
    use weir_xds::route::route_match::{GrpcRouteMatchOptions, PathSpecifier};
    use weir_xds::types::FractionalPercent;

    use super::*;

    fn of_all() -> RouteMatch {
        RouteMatch { path_specifier: Some(PathSpecifier::Prefix("/".into())), ..Default::default() }
    }

    fn matches(route_match: &RouteMatch, header: Option<(&'static str, &'static str)>, random: u64) -> bool {
        let headers: Headers =
            header.into_iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
        let head = RequestHead { method: "GET", scheme: "http", authority: "a", path: "/", headers: &headers, random };
        let matcher = RouteMatcher::compile(route_match).expect("valid");
        let known = DynamicMetadata::new();
        let matched = matcher.matches("/", &head, &known);
        assert_eq!(matcher.check("/", &head, &known).is_ok(), matched, "check and matches differ: {route_match:?}");
        matched
    }

    fn cookie(name: &str, invert_match: bool) -> RouteMatch {
        let exact = StringMatcher { match_pattern: Some(MatchPattern::Exact("v1".into())), ignore_case: false };
        let cookies = vec![CookieMatcher { name: name.into(), string_match: Some(exact), invert_match }];
        RouteMatch { cookies, ..of_all() }
    }

    #[test]
    fn a_route_for_a_cookie_takes_only_who_has_it() {
        let cases = [
            (None, false, false),
            (Some("c=v1"), false, true),
            (Some("c=\"v1\""), false, true),
            (Some("d=v1; c=v2"), false, false),
            (Some("d=v1; c=v1"), false, true),
            (Some("C=v1"), false, false),
            (None, true, true),
            (Some("c=v1"), true, false),
            (Some("c=v2"), true, true),
        ];
        for (value, invert, expected) in cases {
            assert_eq!(matches(&cookie("c", invert), value.map(|value| ("cookie", value)), 0), expected, "{value:?}, inverted: {invert}");
        }
        assert!(RouteMatcher::compile(&cookie("", false)).is_err());
        let nothing = CookieMatcher { name: "c".into(), ..Default::default() };
        assert!(RouteMatcher::compile(&RouteMatch { cookies: vec![nothing], ..of_all() }).is_err());
    }

    #[test]
    fn a_header_that_counts_as_empty_is_there() {
        use weir_xds::route::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
        let present = |present, treat_missing_header_as_empty, invert_match| {
            let header_match_specifier = Some(HeaderMatchSpecifier::PresentMatch(present));
            let header = HeaderMatcher { name: "x-a".into(), header_match_specifier, invert_match, treat_missing_header_as_empty };
            matches(&RouteMatch { headers: vec![header], ..of_all() }, None, 0)
        };
        let cases = [
            ((true, false, false), false),
            ((false, false, false), true),
            ((true, true, false), true),
            ((false, true, false), false),
            ((false, true, true), true),
        ];
        for ((is_present, empty, invert), expected) in cases {
            assert_eq!(present(is_present, empty, invert), expected, "{is_present} {empty} {invert}");
        }
    }

    /// As Envoy reads it; an empty text in the newer form is an empty text.
    #[test]
    #[allow(deprecated)] // Older control planes still send the old forms.
    fn an_empty_text_in_the_old_form_is_any() {
        use weir_xds::route::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
        let old = |invert_match, treat_missing_header_as_empty, header| {
            let header_match_specifier = Some(HeaderMatchSpecifier::ExactMatch(String::new()));
            let matcher = HeaderMatcher { name: "x-a".into(), header_match_specifier, invert_match, treat_missing_header_as_empty };
            matches(&RouteMatch { headers: vec![matcher], ..of_all() }, header, 0)
        };
        for (header, expected) in [
            (None, [false, false, true, false]),
            (Some(("x-a", "")), [true, false, true, false]),
            (Some(("x-a", "b")), [true, false, true, false]),
        ] {
            let found = [old(false, false, header), old(true, false, header), old(false, true, header), old(true, true, header)];
            assert_eq!(found, expected, "{header:?}");
        }
    }

    #[test]
    fn a_route_for_grpc_takes_only_grpc() {
        let grpc = RouteMatch { grpc: Some(GrpcRouteMatchOptions {}), ..of_all() };
        assert!(matches(&grpc, Some(("content-type", "application/grpc")), 0));
        assert!(!matches(&grpc, Some(("content-type", "application/json")), 0) && !matches(&grpc, None, 0));
    }

    #[test]
    fn a_route_for_a_share_takes_that_share_by_chance() {
        let share = |numerator| RouteMatch {
            runtime_fraction: Some(RuntimeFractionalPercent {
                default_value: Some(FractionalPercent { numerator, denominator: 0 }),
                runtime_key: "some.key".into(),
            }),
            ..of_all()
        };
        let taken = |numerator| (0..100).filter(|part| matches(&share(numerator), None, part * 10_000)).count();
        assert_eq!((taken(0), taken(25), taken(100)), (0, 25, 100));
        // A fraction without a value is none.
        assert!(!matches(&RouteMatch { runtime_fraction: Some(RuntimeFractionalPercent::default()), ..of_all() }, None, 0));
    }

    #[test]
    fn what_no_request_has_matches_nobody() {
        assert!(!matches(&RouteMatch { filter_state: vec![FilterStateMatcher::default()], ..of_all() }, None, 0));
        let tls = |presented, validated| {
            matches(&RouteMatch { tls_context: Some(TlsContextMatchOptions { presented, validated }), ..of_all() }, None, 0)
        };
        assert!(tls(None, None) && tls(Some(false), Some(false)) && !tls(Some(true), None) && !tls(None, Some(true)));
        assert!(RouteMatcher::compile(&RouteMatch { dynamic_metadata: vec![MetadataMatcher::default()], ..of_all() }).is_err());
    }
}
