//! Rules that no traffic reaches, because an earlier rule of the same VirtualService takes it all.

use std::collections::BTreeMap;

use super::checker::Checker;
use crate::diagnostic::Topic;
use crate::resources::StringMatch;
use crate::resources::virtual_service::{HttpMatchRequest, HttpRoute};

/// What is right where a rule takes all.
const LAST: &str = "put the rule that matches everything last";

/// Warns of HTTP rules, and of single conditions of them, that are never reached.
pub(super) fn check_http(c: &mut Checker<'_>, routes: &[HttpRoute]) {
    c.field("http", |c| {
        for (index, route) in routes.iter().enumerate() {
            c.item(index, |c| check_http_rule(c, route, &routes[..index]));
        }
    });
}

fn check_http_rule(c: &mut Checker<'_>, route: &HttpRoute, earlier: &[HttpRoute]) {
    let taker = |m: &HttpMatchRequest| earlier.iter().position(|route| takes(route, m));
    if let Some(taker) = taker(&HttpMatchRequest::default()) {
        let message = format!("the rule is never used: {} takes all requests", name(earlier, taker));
        return c.warn_of(Topic::UnreachableRule, message, Some(LAST));
    }
    let takers: Vec<Option<usize>> = route.r#match.iter().map(taker).collect();
    if !takers.is_empty() && takers.iter().all(Option::is_some) {
        let how: Vec<Topic> = route.r#match.iter().map(|m| how_taken(earlier.iter().flat_map(|route| &route.r#match), m)).collect();
        let message = format!("the rule is never used: earlier ones take all that it matches, the first is {}", first(earlier, &takers));
        c.warn_of(topic_of_rule(route, earlier, &how), message, None);
        if !is_repeated(route, earlier) {
            return;
        }
    }
    c.field("match", |c| {
        for (index, taker) in takers.iter().enumerate() {
            let (own, before) = (&route.r#match[index], &route.r#match[..index]);
            let within = before.iter().position(|m| covers(m, own));
            c.item(index, |c| match (taker, within) {
                (Some(taker), _) => {
                    let topic = how_taken(earlier.iter().flat_map(|route| &route.r#match), own);
                    c.warn_of(topic, format!("the condition is never used: {} takes all that it matches", name(earlier, *taker)), None);
                }
                (None, Some(within)) => {
                    c.warn_of(
                        how_taken(before.iter(), own),
                        format!("the condition is not needed: `match[{within}]` matches the same"),
                        None,
                    );
                }
                (None, None) => {}
            });
        }
    });
}

/// Whether each condition of a rule stands in an earlier one as it is.
fn is_repeated(route: &HttpRoute, earlier: &[HttpRoute]) -> bool {
    let stands = |m: &HttpMatchRequest| earlier.iter().flat_map(|route| &route.r#match).any(|other| same(other, m));
    route.r#match.iter().all(stands)
}

/// Istio calls conditions ineffective that stand there twice, or whose prefix begins with an earlier one.
fn how_taken<'m>(mut earlier: impl Iterator<Item = &'m HttpMatchRequest>, m: &HttpMatchRequest) -> Topic {
    let is_prefix = |m: &HttpMatchRequest| matches!(m.uri, Some(StringMatch::Prefix(_)));
    let is_known = |other: &HttpMatchRequest| covers(other, m) && (same(other, m) || (is_prefix(other) && is_prefix(m)));
    if earlier.any(is_known) { Topic::IneffectiveMatch } else { Topic::NeedlessCondition }
}

/// A rule whose conditions are taken by wider prefixes is, to Istio, one with ineffective conditions, and no more.
fn topic_of_rule(route: &HttpRoute, earlier: &[HttpRoute], how: &[Topic]) -> Topic {
    let is_ineffective = how.iter().all(|topic| *topic == Topic::IneffectiveMatch) && !is_repeated(route, earlier);
    if is_ineffective { Topic::IneffectiveMatch } else { Topic::UnreachableRule }
}

/// Whether two conditions match the same requests, whatever their names.
fn same(a: &HttpMatchRequest, b: &HttpMatchRequest) -> bool {
    covers(a, b) && covers(b, a)
}

fn first(earlier: &[HttpRoute], takers: &[Option<usize>]) -> String {
    takers.iter().flatten().min().map_or_else(String::new, |taker| name(earlier, *taker))
}

fn name(routes: &[HttpRoute], index: usize) -> String {
    match routes.get(index) {
        Some(route) if !route.name.is_empty() => format!("`http[{index}]` ({})", route.name),
        _ => format!("`http[{index}]`"),
    }
}

/// Whether a rule applies to every request that a condition matches.
fn takes(route: &HttpRoute, m: &HttpMatchRequest) -> bool {
    route.matches_all() || route.r#match.iter().any(|earlier| covers(earlier, m))
}

/// Whether every request that `b` matches is matched by `a`, too.
fn covers(a: &HttpMatchRequest, b: &HttpMatchRequest) -> bool {
    uri_covers(a, b)
        && option_covers(a.scheme.as_ref(), b.scheme.as_ref())
        && option_covers(a.method.as_ref(), b.method.as_ref())
        && option_covers(a.authority.as_ref(), b.authority.as_ref())
        && map_covers(&a.headers, &b.headers, str::eq_ignore_ascii_case)
        && map_covers(&a.query_params, &b.query_params, |x, y| x == y)
        && a.without_headers.iter().all(|(name, text)| b.without_headers.get(name) == Some(text))
        && (a.port == 0 || a.port == b.port)
        && a.source_labels.iter().all(|(name, value)| b.source_labels.get(name) == Some(value))
        && (a.source_namespace.is_empty() || a.source_namespace == b.source_namespace)
        && (a.gateways.is_empty() || (!b.gateways.is_empty() && b.gateways.iter().all(|gateway| a.gateways.contains(gateway))))
}

fn uri_covers(a: &HttpMatchRequest, b: &HttpMatchRequest) -> bool {
    match &a.uri {
        None => true,
        // Every path begins so.
        Some(StringMatch::Prefix(prefix)) if prefix.is_empty() || prefix == "/" => true,
        Some(StringMatch::Regex(regex)) if regex == ".*" => true,
        Some(uri) => (a.ignore_uri_case || !b.ignore_uri_case) && b.uri.as_ref().is_some_and(|other| text_covers(uri, other)),
    }
}

fn option_covers(a: Option<&StringMatch>, b: Option<&StringMatch>) -> bool {
    match (a, b) {
        (None | Some(StringMatch::Present), _) => true,
        (Some(a), Some(b)) => text_covers(a, b),
        (Some(_), None) => false,
    }
}

/// Whether for each entry of `a` there is one of `b` that asks for as much.
fn map_covers(a: &BTreeMap<String, StringMatch>, b: &BTreeMap<String, StringMatch>, same: impl Fn(&str, &str) -> bool) -> bool {
    a.iter().all(|(name, text)| b.iter().any(|(other, narrower)| same(name, other) && text_covers(text, narrower)))
}

fn text_covers(a: &StringMatch, b: &StringMatch) -> bool {
    match (a, b) {
        (StringMatch::Present, _) => true,
        (StringMatch::Prefix(prefix), StringMatch::Exact(text) | StringMatch::Prefix(text)) => text.starts_with(prefix.as_str()),
        _ => a == b,
    }
}

/// Warns of TLS or TCP rules of which an earlier one has the same conditions.
pub(super) fn check_same<R, M: PartialEq>(c: &mut Checker<'_>, key: &'static str, routes: &[R], conditions: impl Fn(&R) -> &[M]) {
    c.field(key, |c| {
        for (index, route) in routes.iter().enumerate() {
            let earlier = &routes[..index];
            let all = earlier.iter().position(|route| conditions(route).is_empty());
            let taker = |m: &M| earlier.iter().position(|route| conditions(route).contains(m));
            let own = conditions(route);
            let takers: Vec<Option<usize>> = own.iter().map(taker).collect();
            c.item(index, |c| {
                if let Some(all) = all {
                    let message = format!("the rule is never used: `{key}[{all}]` takes all connections");
                    return c.warn_of(Topic::UnreachableRule, message, Some(LAST));
                }
                if !own.is_empty() && takers.iter().all(Option::is_some) {
                    c.warn_of(Topic::UnreachableRule, "the rule is never used: earlier ones have the same conditions", None);
                }
                c.field("match", |c| {
                    for (index, taker) in takers.iter().enumerate() {
                        if let Some(taker) = taker {
                            let message = format!("the condition is never used: `{key}[{taker}]` has the same");
                            c.item(index, |c| c.warn_of(Topic::IneffectiveMatch, message, None));
                        }
                    }
                });
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::testing::check_within;

    fn condition(yaml: &str) -> HttpMatchRequest {
        serde_json::from_str(yaml).expect(yaml)
    }

    #[test]
    fn conditions_cover_narrower_ones() {
        for (a, b, covered) in [
            (r#"{}"#, r#"{"uri": {"exact": "/"}}"#, true),
            (r#"{"uri": {"prefix": "/"}}"#, r#"{}"#, true),
            (r#"{"uri": {"prefix": "/a"}}"#, r#"{"uri": {"prefix": "/ab"}}"#, true),
            (r#"{"uri": {"prefix": "/a"}}"#, r#"{"uri": {"exact": "/a"}, "method": {"exact": "GET"}}"#, true),
            (r#"{"uri": {"prefix": "/a"}, "method": {"exact": "GET"}}"#, r#"{"uri": {"prefix": "/a"}}"#, false),
            (r#"{"uri": {"exact": "/a"}}"#, r#"{"uri": {"prefix": "/a"}}"#, false),
            (r#"{"uri": {"prefix": "/a"}}"#, r#"{"uri": {"prefix": "/a"}, "ignoreUriCase": true}"#, false),
            (r#"{"uri": {"regex": "/a.*"}}"#, r#"{"uri": {"regex": "/a.*"}}"#, true),
            (r#"{"uri": {"regex": "/a.*"}}"#, r#"{"uri": {"prefix": "/a"}}"#, false),
            (r#"{"headers": {"A": {}}}"#, r#"{"headers": {"a": {"exact": "1"}}}"#, true),
            (r#"{"headers": {"a": {"exact": "1"}}}"#, r#"{"headers": {"a": {}}}"#, false),
            (r#"{"queryParams": {"A": {}}}"#, r#"{"queryParams": {"a": {}}}"#, false),
            (r#"{"withoutHeaders": {"a": {}}}"#, r#"{}"#, false),
            (r#"{"port": 80}"#, r#"{}"#, false),
            (r#"{"gateways": ["a", "b"]}"#, r#"{"gateways": ["a"]}"#, true),
            (r#"{"gateways": ["a"]}"#, r#"{}"#, false),
            (r#"{"sourceLabels": {"a": "b"}}"#, r#"{"sourceLabels": {"a": "b", "c": "d"}}"#, true),
        ] {
            assert_eq!(covers(&condition(a), &condition(b)), covered, "{a} {b}");
        }
    }

    #[test]
    fn rules_that_no_traffic_reaches_are_told() {
        let to = "route: [{destination: {host: b}}]";
        let spec = format!("hosts: [a]\nhttp:\n- {{match: [{{uri: {{prefix: /a}}}}, {{port: 80}}], {to}}}\n- {{…{to}}}\n- {{{to}}}");
        check_within(
            "VirtualService",
            &spec,
            "http",
            &[
                ("match: [{uri: {exact: /b}}], ", &[]),
                ("match: [{uri: {exact: /ab}}], ", &["warning: [1]"]),
                ("match: [{uri: {exact: /ab}}, {uri: {exact: /b}}], ", &["warning: [1].match[0]"]),
                ("match: [{uri: {prefix: /b}}, {uri: {exact: /bc}}], ", &["warning: [1].match[1]"]),
                ("", &["warning: [2]"]),
            ],
        );
        let tcp = format!("hosts: [a]\ntcp:\n- {{match: [{{port: 1}}, {{port: 2}}], {to}}}\n- {{…{to}}}");
        check_within(
            "VirtualService",
            &tcp,
            "tcp",
            &[
                ("match: [{port: 3}], ", &[]),
                ("match: [{port: 1}, {port: 3}], ", &["warning: [1].match[0]"]),
                ("match: [{port: 2}, {port: 1}], ", &["warning: [1]", "warning: [1].match[0]", "warning: [1].match[1]"]),
                ("", &[]),
            ],
        );
    }
}
