//! What a request must be like for a rule: one block of `match`.
//!
//! Facts: `TranslateRouteMatch` in pilot/pkg/networking/core/route/route.go of Istio.

use weir_api::resources::StringMatch;
use weir_api::resources::virtual_service::{HttpMatchRequest, jwt_claim};
use weir_xds::matcher::{
    ListMatcher, MetadataMatcher, OrMatcher, RegexMatcher, StringMatcher, ValueMatcher, list_matcher, metadata_matcher, string_matcher,
    value_matcher,
};
use weir_xds::route::header_matcher::HeaderMatchSpecifier;
use weir_xds::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use weir_xds::route::route_match::PathSpecifier;
use weir_xds::route::{HeaderMatcher, QueryParameterMatcher, RouteMatch};

/// The filter that checks tokens.
pub(crate) const TOKEN_FILTER: &str = "envoy.filters.http.jwt_authn";
/// Under which name the filter that checks tokens leaves their claims.
pub(crate) const TOKEN_PAYLOAD: &str = "payload";

/// What matches every request.
pub(crate) fn everything() -> RouteMatch {
    RouteMatch { path_specifier: Some(PathSpecifier::Prefix("/".to_owned())), ..Default::default() }
}

/// The condition that a block of `match` stands for.
pub(crate) fn translate(block: &HttpMatchRequest) -> RouteMatch {
    let mut condition = everything();
    condition.case_sensitive = Some(!block.ignore_uri_case);
    if let Some(uri) = &block.uri {
        condition.path_specifier = Some(path(uri, block.by_segments));
    }
    let wanted = block.headers.iter().map(|(name, value)| (name, value, false));
    let unwanted = block.without_headers.iter().map(|(name, value)| (name, value, true));
    for (name, value, invert) in wanted.chain(unwanted) {
        match jwt_claim(name) {
            Some(claim) => condition.dynamic_metadata.push(claim_matcher(&claim, value, invert)),
            None => condition.headers.push(if invert { without_header(name, value) } else { header(name, value) }),
        }
    }
    condition.headers.sort_by(|a, b| a.name.cmp(&b.name));
    let pseudo = [(":method", &block.method), (":authority", &block.authority), (":scheme", &block.scheme)];
    condition.headers.extend(pseudo.into_iter().filter_map(|(name, value)| value.as_ref().map(|value| header(name, value))));
    condition.query_parameters = block.query_params.iter().map(|(name, value)| query_parameter(name, value)).collect();
    condition
}

/// Whether a condition lets every request through: what comes after it is never reached.
pub(crate) fn is_catch_all(condition: &RouteMatch) -> bool {
    let any_path = match &condition.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => prefix == "/",
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex == ".*",
        _ => false,
    };
    any_path && condition.headers.is_empty() && condition.query_parameters.is_empty() && condition.dynamic_metadata.is_empty()
}

fn path(uri: &StringMatch, by_segments: bool) -> PathSpecifier {
    match uri {
        StringMatch::Prefix(prefix) if by_segments => below(prefix),
        StringMatch::Present => PathSpecifier::Prefix("/".to_owned()),
        StringMatch::Exact(path) => PathSpecifier::Path(path.clone()),
        StringMatch::Prefix(prefix) => PathSpecifier::Prefix(prefix.clone()),
        StringMatch::Regex(pattern) => PathSpecifier::SafeRegex(regex(pattern)),
    }
}

/// A path and all that are below it.
fn below(path: &str) -> PathSpecifier {
    match path.trim_end_matches('/') {
        "" => PathSpecifier::Prefix("/".to_owned()),
        // Envoy refuses it as a prefix, and no request has it.
        path if !path.starts_with('/') || path.contains(['?', '#']) => PathSpecifier::Path(path.to_owned()),
        path => PathSpecifier::PathSeparatedPrefix(path.to_owned()),
    }
}

pub(super) fn regex(pattern: &str) -> RegexMatcher {
    RegexMatcher { regex: pattern.to_owned(), ..Default::default() }
}

/// A value to compare with; none where any will do. `*` is no regular expression but stands for any value.
pub(super) fn text(value: &StringMatch) -> Option<StringMatcher> {
    use string_matcher::MatchPattern;
    let pattern = match value {
        StringMatch::Present => return None,
        StringMatch::Regex(pattern) if pattern == "*" => return None,
        StringMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        StringMatch::Prefix(prefix) => MatchPattern::Prefix(prefix.clone()),
        StringMatch::Regex(pattern) => MatchPattern::SafeRegex(regex(pattern)),
    };
    Some(StringMatcher { match_pattern: Some(pattern), ..Default::default() })
}

fn header(name: &str, value: &StringMatch) -> HeaderMatcher {
    let specifier = text(value).map_or(HeaderMatchSpecifier::PresentMatch(true), HeaderMatchSpecifier::StringMatch);
    HeaderMatcher { name: name.to_owned(), header_match_specifier: Some(specifier), ..Default::default() }
}

/// A header that must not have a value; one that is missing counts as empty.
fn without_header(name: &str, value: &StringMatch) -> HeaderMatcher {
    let compares = text(value).is_some();
    HeaderMatcher { invert_match: true, treat_missing_header_as_empty: compares, ..header(name, value) }
}

fn query_parameter(name: &str, value: &StringMatch) -> QueryParameterMatcher {
    let specifier = text(value).map_or(QueryParameterMatchSpecifier::PresentMatch(true), QueryParameterMatchSpecifier::StringMatch);
    QueryParameterMatcher { name: name.to_owned(), query_parameter_match_specifier: Some(specifier) }
}

/// A claim of the request's token: its value, or, of a list, one of its values.
fn claim_matcher(claim: &[&str], value: &StringMatch, invert: bool) -> MetadataMatcher {
    let segment = |key: &str| metadata_matcher::PathSegment { segment: Some(metadata_matcher::path_segment::Segment::Key(key.to_owned())) };
    let value = text(value).map_or(value_matcher::MatchPattern::PresentMatch(true), value_matcher::MatchPattern::StringMatch);
    let value = ValueMatcher { match_pattern: Some(value) };
    let list = ListMatcher { match_pattern: Some(list_matcher::MatchPattern::OneOf(Box::new(value.clone()))) };
    let list = ValueMatcher { match_pattern: Some(value_matcher::MatchPattern::ListMatch(Box::new(list))) };
    let either = OrMatcher { value_matchers: vec![list, value] };
    MetadataMatcher {
        filter: TOKEN_FILTER.to_owned(),
        path: [TOKEN_PAYLOAD].iter().chain(claim).map(|key| segment(key)).collect(),
        value: Some(ValueMatcher { match_pattern: Some(value_matcher::MatchPattern::OrMatch(either)) }),
        invert,
    }
}
