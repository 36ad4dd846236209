//! Rules of VirtualService for one HTTP rule.

use std::collections::BTreeMap;

use super::checker::Checker;
use super::headers::{self, check_headers};
use super::http_action::{check_cors, check_direct_response, check_fault, check_redirect, check_retries, check_rewrite};
use super::rule::{check_source, check_weights};
use super::{hosts, preflight, values};
use crate::resources::StringMatch;
use crate::resources::virtual_service::{HttpMatchRequest, HttpRoute, HttpRouteDestination, jwt_claim};

/// Checks a rule; `of_delegate` tells that its VirtualService is only there for others.
pub(super) fn check(c: &mut Checker<'_>, route: &HttpRoute, of_delegate: bool) {
    check_one_action(c, route, of_delegate);
    c.each("match", &route.r#match, check_match);
    c.some("headers", &route.headers, check_headers);
    c.some("corsPolicy", &route.cors_policy, check_cors);
    preflight::check(c, route);
    c.some("fault", &route.fault, check_fault);
    check_mirrors(c, route);
    c.some("redirect", &route.redirect, |c, redirect| check_redirect(c, redirect, route));
    c.some("directResponse", &route.direct_response, check_direct_response);
    c.some("retries", &route.retries, check_retries);
    c.some("rewrite", &route.rewrite, check_rewrite);
    c.some("delegate", &route.delegate, |c, delegate| {
        c.field("name", |c| hosts::check_label(c, &delegate.name, "the name of a VirtualService"));
        if !delegate.namespace.is_empty() {
            c.field("namespace", |c| hosts::check_label(c, &delegate.namespace, "a namespace"));
        }
    });
    check_one_authority(c, route);
    check_destinations(c, &route.route);
    c.some("timeout", &route.timeout, values::check_duration);
    check_times(c, route);
}

/// A rule does one thing only, and it does one.
fn check_one_action(c: &mut Checker<'_>, route: &HttpRoute, of_delegate: bool) {
    if route.delegate.is_some() && of_delegate {
        let help = "delegation has one level only: move the rule to the VirtualService that delegates";
        c.field("delegate", |c| c.error_help("a rule that is delegated to cannot delegate", help));
    }
    let forwards = !route.route.is_empty();
    if route.delegate.is_some() {
        c.exclusive(&[("delegate", true), ("route", forwards), ("redirect", route.redirect.is_some())]);
        return;
    }
    let action = match (&route.redirect, &route.direct_response) {
        (Some(_), _) => "redirect",
        (None, Some(_)) => "directResponse",
        (None, None) if forwards => return,
        (None, None) => {
            return c.error_help("the rule does nothing", "add `route`, `redirect`, `directResponse` or `delegate`");
        }
    };
    let others = [("route", forwards), ("fault", route.fault.is_some()), ("rewrite", route.rewrite.is_some())];
    for (other, _) in others.into_iter().filter(|(_, given)| *given) {
        c.exclusive(&[(action, true), (other, true)]);
    }
    c.exclusive(&[("redirect", route.redirect.is_some()), ("directResponse", route.direct_response.is_some())]);
}

fn check_match(c: &mut Checker<'_>, m: &HttpMatchRequest) {
    // An empty prefix of the path matches all paths; other texts are compared by a matcher that refuses it.
    c.some("uri", &m.uri, |c, text| {
        values::check_string_match(c, text, true);
        if let StringMatch::Exact(path) | StringMatch::Prefix(path) = text
            && !path.is_empty()
            && !path.starts_with('/')
        {
            c.warn_help(format!("no path begins as `{path}` does"), format!("write `/{path}`"));
        }
    });
    for (key, text) in [("scheme", &m.scheme), ("method", &m.method), ("authority", &m.authority)] {
        c.some(key, text, |c, text| values::check_string_match(c, text, false));
    }
    if let Some(StringMatch::Exact(method)) = &m.method
        && method.bytes().any(|byte| byte.is_ascii_lowercase())
    {
        let help = format!("write `{}`", method.to_uppercase());
        c.field("method", |c| c.warn_help(format!("methods are in capitals, so `{method}` matches none"), help));
    }
    c.entries("headers", &m.headers, |c, name, text| {
        check_match_name(c, name, text);
        values::check_string_match(c, text, false);
    });
    c.entries("withoutHeaders", &m.without_headers, |c, name, text| {
        check_match_name(c, name, text);
        // Here `*` is no expression: it asks whether the header is there.
        if !matches!(text, StringMatch::Regex(regex) if regex == "*") {
            values::check_string_match(c, text, false);
        }
    });
    c.entries("queryParams", &m.query_params, |c, _, text| values::check_string_match(c, text, false));
    if m.ignore_uri_case && matches!(m.uri, None | Some(StringMatch::Regex(_))) {
        let message = "`ignoreUriCase` has no effect without an exact path or a prefix";
        c.field("ignoreUriCase", |c| c.warn_help(message, "begin a regex with `(?i)`"));
    }
    check_source(c, m.port, &m.source_labels, &m.gateways, &m.source_namespace);
    let by_source = !m.source_labels.is_empty() || !m.source_namespace.is_empty();
    if by_source && !m.gateways.is_empty() {
        let message = "with `gateways`, the condition ignores `sourceLabels` and `sourceNamespace`";
        c.field("gateways", |c| c.warn_help(message, "keep the one or the others"));
    }
}

fn check_match_name(c: &mut Checker<'_>, name: &str, text: &StringMatch) {
    match jwt_claim(name) {
        None => headers::check_name(c, name),
        // Envoy would refuse all routes of the port.
        Some(_) if *text == StringMatch::Present => {
            c.error_help("the condition is empty: a claim has a value", "write `exact`, `prefix` or `regex` below it");
        }
        Some(_) => {}
    }
}

fn check_mirrors(c: &mut Checker<'_>, route: &HttpRoute) {
    c.exclusive(&[("mirror", route.mirror.is_some()), ("mirrors", !route.mirrors.is_empty())]);
    c.some("mirror", &route.mirror, values::check_destination);
    c.each("mirrors", &route.mirrors, |c, mirror| {
        match &mirror.destination {
            Some(destination) => c.field("destination", |c| values::check_destination(c, destination)),
            None => c.error_help("the destination is missing", "add `destination` with a `host`"),
        }
        c.some("percentage", &mirror.percentage, values::check_percentage);
    });
    c.some("mirrorPercent", &route.mirror_percent, |c, percent| {
        if *percent > 100 {
            c.error_help(format!("{percent} is not a share in percent"), "0 to 100");
        }
        c.warn_help("`mirrorPercent` is deprecated", format!("write `mirrorPercentage: {{value: {percent}}}`"));
    });
    c.some("mirrorPercentage", &route.mirror_percentage, values::check_percentage);
    if route.mirror.is_none() && route.mirror_percentage.is_some() {
        let help = "add `mirror`; each of `mirrors` has a `percentage` of its own";
        c.field("mirrorPercentage", |c| c.warn_help("`mirrorPercentage` has no effect without `mirror`", help));
    }
}

/// The request's host is set in one place only.
fn check_one_authority(c: &mut Checker<'_>, route: &HttpRoute) {
    let rewritten = route.rewrite.as_ref().is_some_and(|rewrite| !rewrite.authority.is_empty());
    let request = route.headers.as_ref().and_then(|headers| headers.request.as_ref());
    let names = |headers: &BTreeMap<String, String>| headers.keys().filter(|name| headers::is_authority(name)).count();
    let set = request.map_or(0, |request| names(&request.set) + names(&request.add));
    if set + usize::from(rewritten) > 1 {
        c.error_help("the host of the request is set more than once", "keep one of `rewrite.authority` and the header `host`");
    }
}

fn check_destinations(c: &mut Checker<'_>, destinations: &[HttpRouteDestination]) {
    c.each("route", destinations, |c, route| {
        match &route.destination {
            Some(destination) => c.field("destination", |c| values::check_destination(c, destination)),
            None => c.error_help("the destination is missing", "add `destination` with a `host`"),
        }
        c.some("headers", &route.headers, check_headers);
    });
    check_weights(c, destinations.iter().map(|route| route.weight));
    for (index, route) in destinations.iter().enumerate() {
        let same = |other: &&HttpRouteDestination| (&other.destination, &other.headers) == (&route.destination, &route.headers);
        if route.destination.is_some() && destinations.iter().take(index).any(|other| same(&other)) {
            let message = "the destination stands here twice: its weights add up";
            c.field("route", |c| c.item(index, |c| c.warn_help(message, "name it once, with the sum")));
        }
    }
}

/// A try that may last longer than all tries together never ends by itself.
fn check_times(c: &mut Checker<'_>, route: &HttpRoute) {
    let per_try = route.retries.as_ref().and_then(|retries| retries.per_try_timeout);
    if let (Some(timeout), Some(per_try)) = (route.timeout, per_try)
        && per_try > timeout
    {
        let message = format!("each try may last {per_try}, but all together only {timeout}");
        c.field("retries", |c| c.field("perTryTimeout", |c| c.warn_help(message, "`timeout` spans all tries")));
    }
}

#[cfg(test)]
mod tests {
    use crate::validate::testing::check_within;

    fn check(rule: &str, path: &str, table: &[(&str, &[&str])]) {
        check_within("VirtualService", &format!("hosts: [a]\nhttp:\n- {{{rule}}}"), &format!("http[0]{path}"), table);
    }

    #[test]
    fn a_rule_does_one_thing() {
        check(
            "…",
            "",
            &[
                ("route: [{destination: {host: b}}]", &[]),
                ("redirect: {uri: /b}", &[]),
                ("directResponse: {status: 200}", &[]),
                ("delegate: {name: b, namespace: c}", &[]),
                ("name: a", &["error: "]),
                ("match: [{uri: {prefix: /}}]", &["error: "]),
                ("route: [{destination: {host: b}}], redirect: {uri: /b}", &["error: "]),
                ("route: [{destination: {host: b}}], delegate: {name: b}", &["error: "]),
                ("redirect: {uri: /b}, fault: {abort: {httpStatus: 500, percentage: {value: 1}}}", &["error: "]),
                ("redirect: {uri: /b}, directResponse: {status: 200}", &["error: "]),
                ("directResponse: {status: 200}, rewrite: {uri: /b}", &["error: "]),
                ("delegate: {name: b_c, namespace: ''}", &["error: .delegate.name"]),
            ],
        );
    }

    #[test]
    fn a_destination_stands_there_once() {
        check(
            "route: […]",
            ".route",
            &[
                ("{destination: {host: b}, weight: 1}, {destination: {host: c}, weight: 1}", &[]),
                ("{destination: {host: b}, weight: 1}, {destination: {host: b}, weight: 1, headers: {request: {remove: [x]}}}", &[]),
                ("{destination: {host: b}, weight: 1}, {destination: {host: b}, weight: 1}", &["warning: [1]"]),
            ],
        );
    }

    #[test]
    fn conditions_make_sense() {
        check(
            "match: [{…}], route: [{destination: {host: b}}]",
            ".match[0]",
            &[
                ("uri: {prefix: ''}", &[]),
                ("uri: {exact: a}", &["warning: .uri"]),
                ("uri: {regex: '*'}", &["error: .uri.regex"]),
                ("uri: {regex: ''}", &["error: .uri.regex"]),
                ("scheme: {prefix: ''}", &["error: .scheme.prefix"]),
                ("method: {exact: get}", &["warning: .method"]),
                ("headers: {x: {exact: ''}}", &[]),
                ("headers: {x: {}}", &[]),
                ("headers: {x: null}", &["error: .headers.x"]),
                ("headers: {x: {prefix: ''}}", &["error: .headers.x.prefix"]),
                ("headers: {':authority': {exact: a}}", &[]),
                ("headers: {'': {exact: a}}", &["error: .headers[\"\"]"]),
                ("withoutHeaders: {x: {regex: '*'}}", &[]),
                ("queryParams: {x: {regex: '('}}", &["error: .queryParams.x.regex"]),
                ("ignoreUriCase: true", &["warning: .ignoreUriCase"]),
                ("port: 65536", &["error: .port"]),
                ("sourceLabels: {a: 'b c'}", &["error: .sourceLabels.a"]),
                ("sourceNamespace: a_b", &["error: .sourceNamespace"]),
                ("sourceNamespace: a, gateways: [mesh]", &["warning: .gateways"]),
            ],
        );
    }

    #[test]
    fn destinations_are_possible() {
        check(
            "…",
            "",
            &[
                ("route: [{}]", &["error: .route[0]"]),
                ("route: [{destination: {}}]", &["error: .route[0].destination.host"]),
                ("route: [{destination: {host: '*'}}]", &["error: .route[0].destination.host"]),
                ("route: [{destination: {host: b, subset: c_d}}]", &["error: .route[0].destination.subset"]),
                ("route: [{destination: {host: b, port: {number: 0}}}]", &["error: .route[0].destination.port.number"]),
                ("route: [{destination: {host: b}, weight: 0}]", &[]),
                ("route: [{destination: {host: b}, weight: 50}, {destination: {host: c}, weight: 70}]", &[]),
                ("route: [{destination: {host: b}}, {destination: {host: c}}]", &["error: .route"]),
                (
                    "route: [{destination: {host: b}, headers: {request: {set: {':path': /}}}}]",
                    &["error: .route[0].headers.request.set[\":path\"]"],
                ),
            ],
        );
    }

    #[test]
    fn what_goes_along_makes_sense() {
        check(
            "route: [{destination: {host: b}}], …",
            "",
            &[
                ("mirror: {host: c}, mirrorPercentage: {value: 0.5}", &[]),
                ("mirror: {host: c}, mirrors: [{destination: {host: d}}]", &["error: "]),
                ("mirrors: [{percentage: {value: 101}}]", &["error: .mirrors[0]", "error: .mirrors[0].percentage.value"]),
                ("mirror: {host: c}, mirrorPercent: 5", &["warning: .mirrorPercent"]),
                ("mirror: {host: c}, mirrorPercent: 101", &["error: .mirrorPercent", "warning: .mirrorPercent"]),
                ("mirrorPercentage: {value: 5}", &["warning: .mirrorPercentage"]),
                ("timeout: 0s", &["error: .timeout"]),
                ("timeout: 1s, retries: {attempts: 2, perTryTimeout: 2s}", &["warning: .retries.perTryTimeout"]),
                ("rewrite: {authority: c}, headers: {request: {set: {host: d}}}", &["error: "]),
                ("headers: {response: {remove: ['']}}", &["error: .headers.response.remove[0]"]),
            ],
        );
    }
}
