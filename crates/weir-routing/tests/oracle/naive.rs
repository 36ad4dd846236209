//! Route matching as Envoy documents it, by a walk over the configuration, in order, with nothing prepared
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto>).

use std::cell::RefCell;
use std::collections::HashMap;

use regex::bytes::Regex;
use weir_routing::{Decision, RequestHead};
use weir_xds::matcher::StringMatcher;
use weir_xds::matcher::string_matcher::MatchPattern;
use weir_xds::route::header_matcher::HeaderMatchSpecifier;
use weir_xds::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use weir_xds::route::route_match::PathSpecifier;
use weir_xds::route::{CookieMatcher, HeaderMatcher, QueryParameterMatcher, RouteConfiguration, RouteMatch};

/// Where a request goes.
pub(crate) fn decide(config: &RouteConfiguration, head: &RequestHead<'_>) -> Decision {
    let host = match config.vhost_header.as_str() {
        "" => find_host(config, head.authority),
        name => match head.headers.get(name) {
            Some(value) => find_host(config, value.to_str().unwrap()),
            None => only_host(config),
        },
    };
    let Some(host) = host else { return Decision::NoVirtualHost };
    let virtual_host = &config.virtual_hosts[host];
    let came_by = head.headers.get("x-forwarded-proto").map_or(head.scheme, |told| told.to_str().unwrap());
    if virtual_host.require_tls != 0 && came_by != "https" {
        return Decision::TlsRequired(host);
    }
    let mut path = head.path.split('?').next().unwrap();
    if config.ignore_path_parameters_in_path_matching {
        path = path.split(';').next().unwrap();
    }
    let found = virtual_host.routes.iter().position(|route| matches(route.r#match.as_ref().unwrap(), path, head));
    found.map_or(Decision::NoRoute(host), |route| Decision::Route { host, route })
}

/// The virtual host of `*`, where nothing else is a domain.
fn only_host(config: &RouteConfiguration) -> Option<usize> {
    let domains =
        config.virtual_hosts.iter().enumerate().flat_map(|(number, host)| host.domains.iter().map(move |domain| (number, domain)));
    match domains.collect::<Vec<_>>().as_slice() {
        [(number, domain)] if *domain == "*" => Some(*number),
        _ => None,
    }
}

/// Exact, then the longest `*suffix`, then the longest `prefix*`, then `*`.
fn find_host(config: &RouteConfiguration, authority: &str) -> Option<usize> {
    let mut authority = authority.to_ascii_lowercase();
    if config.ignore_port_in_host_matching
        && let Some((host, port)) = authority.rsplit_once(':')
        && !port.ends_with(']')
    {
        authority = host.to_owned();
    }
    let mut best: Option<((u8, usize), usize)> = None;
    for (number, host) in config.virtual_hosts.iter().enumerate() {
        for domain in &host.domains {
            let domain = domain.to_ascii_lowercase();
            let rank = match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
                (Some(""), _) => Some((0, 0)),
                (Some(suffix), _) => (authority.len() > suffix.len() && authority.ends_with(suffix)).then_some((2, suffix.len())),
                (_, Some(prefix)) => (authority.len() > prefix.len() && authority.starts_with(prefix)).then_some((1, prefix.len())),
                _ => (authority == domain).then_some((3, 0)),
            };
            if let Some(rank) = rank
                && best.is_none_or(|(known, _)| rank > known)
            {
                best = Some((rank, number));
            }
        }
    }
    best.map(|(_, number)| number)
}

fn matches(wanted: &RouteMatch, path_only: &str, head: &RequestHead<'_>) -> bool {
    path(wanted, path_only)
        && wanted.headers.iter().all(|matcher| header(matcher, head))
        && wanted.query_parameters.iter().all(|matcher| parameter(matcher, head))
        && wanted.cookies.iter().all(|matcher| cookie(matcher, head))
        && (wanted.grpc.is_none() || head.headers.get("content-type").is_some_and(|kind| is_grpc(kind.to_str().unwrap())))
        && wanted.runtime_fraction.as_ref().is_none_or(|share| head.random / 10_000 < u64::from(share.default_value.unwrap().numerator))
}

fn path(wanted: &RouteMatch, path: &str) -> bool {
    let fold = |text: &str| if wanted.case_sensitive == Some(false) { text.to_ascii_lowercase() } else { text.to_owned() };
    match wanted.path_specifier.as_ref().unwrap() {
        PathSpecifier::Path(exact) => fold(path) == fold(exact),
        PathSpecifier::Prefix(prefix) => fold(path).starts_with(&fold(prefix)),
        PathSpecifier::PathSeparatedPrefix(prefix) => {
            fold(path).strip_prefix(&fold(prefix)).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        PathSpecifier::SafeRegex(regex) => whole(&regex.regex, path.as_bytes()),
        other => panic!("not generated: {other:?}"),
    }
}

fn header(matcher: &HeaderMatcher, head: &RequestHead<'_>) -> bool {
    let values: Vec<&[u8]> = match matcher.name.as_str() {
        ":method" => vec![head.method.as_bytes()],
        ":scheme" => vec![head.scheme.as_bytes()],
        ":authority" => vec![head.authority.as_bytes()],
        name => head.headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect(),
    };
    match matcher.header_match_specifier.as_ref().unwrap() {
        HeaderMatchSpecifier::PresentMatch(present) => {
            let is_there = !values.is_empty() || matcher.treat_missing_header_as_empty;
            (is_there == *present) != matcher.invert_match
        }
        HeaderMatchSpecifier::StringMatch(wanted) => match values.as_slice() {
            [] if !matcher.treat_missing_header_as_empty => false,
            [] => text(wanted, b"") != matcher.invert_match,
            some => some.iter().any(|value| text(wanted, value)) != matcher.invert_match,
        },
        other => panic!("not generated: {other:?}"),
    }
}

fn parameter(matcher: &QueryParameterMatcher, head: &RequestHead<'_>) -> bool {
    let query = head.path.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter(|pair| !pair.is_empty() || head.path.contains('?'));
    let value =
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).find(|(name, _)| *name == matcher.name).map(|(_, value)| value);
    match matcher.query_parameter_match_specifier.as_ref().unwrap() {
        QueryParameterMatchSpecifier::PresentMatch(present) => value.is_some() == *present,
        QueryParameterMatchSpecifier::StringMatch(wanted) => value.is_some_and(|value| text(wanted, value.as_bytes())),
    }
}

fn is_grpc(kind: &str) -> bool {
    kind == "application/grpc" || kind.starts_with("application/grpc+")
}

fn cookie(matcher: &CookieMatcher, head: &RequestHead<'_>) -> bool {
    let all = head.headers.get("cookie").map_or("", |value| value.to_str().unwrap());
    let value = all.split("; ").filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == matcher.name).map(|(_, value)| value);
    value.is_some_and(|value| text(matcher.string_match.as_ref().unwrap(), value.as_bytes())) != matcher.invert_match
}

fn text(wanted: &StringMatcher, value: &[u8]) -> bool {
    let fold = |bytes: &[u8]| if wanted.ignore_case { bytes.to_ascii_lowercase() } else { bytes.to_vec() };
    let value_folded = fold(value);
    match wanted.match_pattern.as_ref().unwrap() {
        MatchPattern::Exact(exact) => value_folded == fold(exact.as_bytes()),
        MatchPattern::Prefix(prefix) => value_folded.starts_with(&fold(prefix.as_bytes())),
        MatchPattern::Suffix(suffix) => value_folded.ends_with(&fold(suffix.as_bytes())),
        MatchPattern::SafeRegex(regex) => whole(&regex.regex, value),
        other => panic!("not generated: {other:?}"),
    }
}

/// RE2's full match: the match from the first byte must end at the last. An expression is compiled once.
fn whole(pattern: &str, text: &[u8]) -> bool {
    thread_local!(static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default());
    let compile = || Regex::new(&format!("\\A(?:{pattern})\\z")).unwrap();
    COMPILED.with_borrow_mut(|compiled| compiled.entry(pattern.to_owned()).or_insert_with(compile).is_match(text))
}
