//! Rules of VirtualService for what an HTTP rule does: redirects, responses, rewrites, retries, faults, CORS.

use super::checker::Checker;
use super::values::{self, check_duration, check_percentage};
use super::{headers, re2};
use crate::resources::StringMatch;
use crate::resources::http_policy::{
    Abort, CorsPolicy, Delay, HttpBody, HttpDirectResponse, HttpFaultInjection, HttpRedirect, HttpRetry, HttpRewrite, RegexRewrite,
};
use crate::resources::virtual_service::HttpRoute;

const KIB: usize = 1024;
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"];

/// The words of `retryOn`, without the status codes.
const RETRY_ON: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

const GRPC_STATUS: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Checks a redirect, given with its rule.
pub(super) fn check_redirect(c: &mut Checker<'_>, redirect: &HttpRedirect, route: &HttpRoute) {
    let has_port = redirect.port.is_some() || redirect.derive_port.is_some();
    let prefix = redirect.prefix_rewrite.as_deref().unwrap_or_default();
    if redirect.uri.is_empty() && redirect.authority.is_empty() && redirect.scheme.is_empty() && prefix.is_empty() && !has_port {
        c.error_help("the redirect changes nothing", "add `uri`, `prefixRewrite`, `authority`, `scheme`, `port` or `derivePort`");
    }
    c.exclusive(&[("uri", !redirect.uri.is_empty()), ("prefixRewrite", !prefix.is_empty())]);
    c.exclusive(&[("port", redirect.port.is_some()), ("derivePort", redirect.derive_port.is_some())]);
    let no_prefix = |uri: &StringMatch| !matches!(uri, StringMatch::Prefix(_));
    if !prefix.is_empty() && route.r#match.iter().filter_map(|m| m.uri.as_ref()).any(no_prefix) {
        c.field("prefixRewrite", |c| c.error_help("`prefixRewrite` needs a matched prefix", "match every `uri` of the rule by `prefix`"));
    }
    c.field("redirectCode", |c| match redirect.redirect_code {
        0 | 301 | 302 | 303 | 307 | 308 => {}
        code @ 300..=399 => c.warn_help(format!("{code} is not a redirect, so the rule does nothing"), "301, 302, 303, 307 or 308"),
        code => c.error_help(format!("{code} is not the status of a redirect"), "301, 302, 303, 307 or 308"),
    });
    if !matches!(redirect.scheme.as_str(), "" | "http" | "https") {
        c.field("scheme", |c| c.error_help(format!("`{}` is not a scheme to redirect to", redirect.scheme), "`http` or `https`"));
    }
    c.some("port", &redirect.port, |c, port| {
        if *port != 0 {
            values::check_port(c, *port);
        }
    });
}

/// Checks a fixed response.
pub(super) fn check_direct_response(c: &mut Checker<'_>, response: &HttpDirectResponse) {
    c.field("status", |c| check_status(c, i64::from(response.status)));
    c.some("body", &response.body, check_body);
}

fn check_body(c: &mut Checker<'_>, body: &HttpBody) {
    c.exclusive(&[("string", body.string.is_some()), ("bytes", body.bytes.is_some())]);
    // Three bytes are four characters of base64.
    let bytes = body.bytes.as_ref().map_or(0, |bytes| bytes.trim_end_matches('=').len() * 3 / 4);
    let size = body.string.as_ref().map_or(bytes, String::len);
    if size > KIB * KIB {
        c.error_help(format!("the body has {size} bytes"), "1 MiB at most");
    } else if size > 100 * KIB {
        c.warn_help(format!("the body has {size} bytes, which every proxy must keep"), "serve what is larger than 100 KiB by a service");
    }
}

fn check_status(c: &mut Checker<'_>, status: i64) {
    if status == 600 {
        c.warn_help("600 is not a status of HTTP", "200 to 599");
    } else if !(200..600).contains(&status) {
        c.error_help(format!("{status} is not a status to answer with"), "200 to 599");
    }
}

/// Checks a rewrite.
pub(super) fn check_rewrite(c: &mut Checker<'_>, rewrite: &HttpRewrite) {
    if rewrite.uri.is_empty() && rewrite.authority.is_empty() && rewrite.uri_regex_rewrite.is_none() {
        c.error_help("the rewrite changes nothing", "add `uri`, `uriRegexRewrite` or `authority`");
    }
    c.exclusive(&[("uri", !rewrite.uri.is_empty()), ("uriRegexRewrite", rewrite.uri_regex_rewrite.is_some())]);
    c.some("uriRegexRewrite", &rewrite.uri_regex_rewrite, check_regex_rewrite);
}

fn check_regex_rewrite(c: &mut Checker<'_>, rewrite: &RegexRewrite) {
    if rewrite.r#match.is_empty() || rewrite.rewrite.is_empty() {
        return c.error_help("the substitution needs both sides", "add `match` and `rewrite`");
    }
    let groups = match re2::compile(&rewrite.r#match) {
        Ok(regex) => regex.captures_len() - 1,
        Err(wrong) => return c.field("match", |c| c.error_help(wrong, re2::SYNTAX)),
    };
    let mut letters = rewrite.rewrite.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            continue;
        }
        match letters.next() {
            Some('\\') => {}
            Some(digit) if digit.is_ascii_digit() => {
                let group = digit as usize - '0' as usize;
                if group > groups {
                    let message = format!("`\\{group}` refers to a group that `match` does not have");
                    c.field("rewrite", |c| c.error_help(message, format!("`match` has {groups}")));
                }
            }
            _ => c.field("rewrite", |c| c.error_help("a `\\` must be followed by a digit", "a `\\` of its own is written `\\\\`")),
        }
    }
}

/// Checks retries.
pub(super) fn check_retries(c: &mut Checker<'_>, retries: &HttpRetry) {
    values::check_not_negative(c, "attempts", retries.attempts);
    let says_how = retries.per_try_timeout.is_some() || !retries.retry_on.is_empty() || retries.retry_remote_localities.is_some();
    if retries.attempts == 0 && says_how {
        c.error_help(
            "there are no retries (`attempts` is 0), but it says how they are to be",
            "give `attempts` a number, or leave the rest away",
        );
    }
    c.some("perTryTimeout", &retries.per_try_timeout, check_duration);
    c.some("backoff", &retries.backoff, check_duration);
    if !retries.retry_on.is_empty() {
        c.field("retryOn", |c| retries.retry_on.split(',').for_each(|word| check_retry_on(c, word)));
    }
}

fn check_retry_on(c: &mut Checker<'_>, word: &str) {
    let known = |word: &str| RETRY_ON.contains(&word) || word.parse().is_ok_and(is_http_status);
    if known(word) {
        return;
    }
    let message = format!("`{word}` is nothing that can be retried");
    let help = match word.trim() {
        trimmed if known(trimmed) => "leave the spaces away".to_owned(),
        _ => format!("a status code, or one of {}", RETRY_ON.join(", ")),
    };
    c.error_help(message, help);
}

fn is_http_status(code: u16) -> bool {
    matches!(code, 100..=103 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 421..=426 | 428 | 429 | 431 | 451 | 500..=508 | 510 | 511)
}

/// Checks faults.
pub(super) fn check_fault(c: &mut Checker<'_>, fault: &HttpFaultInjection) {
    if fault.delay.is_none() && fault.abort.is_none() {
        c.error_help("the fault does nothing", "add `delay` or `abort`");
    }
    c.some("delay", &fault.delay, check_delay);
    c.some("abort", &fault.abort, check_abort);
}

fn check_delay(c: &mut Checker<'_>, delay: &Delay) {
    c.some("percentage", &delay.percentage, check_percentage);
    if delay.percent != 0 {
        values::check_percent(c, "percent", delay.percent);
        let help = format!("write `percentage: {{value: {}}}`", delay.percent);
        c.field("percent", |c| c.warn_help("`percent` is deprecated", help));
    } else if delay.percentage.is_none() {
        c.warn_help("without `percentage`, no request is delayed", "add `percentage: {value: 100}` to delay all");
    }
    c.exclusive(&[("fixedDelay", delay.fixed_delay.is_some()), ("exponentialDelay", delay.exponential_delay.is_some())]);
    c.some("fixedDelay", &delay.fixed_delay, check_duration);
    c.some("exponentialDelay", &delay.exponential_delay, |c, _| c.error_help("`exponentialDelay` is not carried out", "use `fixedDelay`"));
    if delay.fixed_delay.is_none() && delay.exponential_delay.is_none() {
        c.warn_help("the delay has no length", "add `fixedDelay`");
    }
}

fn check_abort(c: &mut Checker<'_>, abort: &Abort) {
    c.some("percentage", &abort.percentage, check_percentage);
    if abort.percentage.is_none() {
        c.warn_help("without `percentage`, no request is aborted", "add `percentage: {value: 100}` to abort all");
    }
    let kinds = [
        ("httpStatus", abort.http_status.is_some()),
        ("grpcStatus", abort.grpc_status.is_some()),
        ("http2Error", abort.http2_error.is_some()),
    ];
    c.exclusive(&kinds);
    if !kinds.iter().any(|(_, given)| *given) {
        c.warn_help("the abort has no status", "add `httpStatus` or `grpcStatus`");
    }
    c.some("httpStatus", &abort.http_status, |c, status| check_status(c, i64::from(*status)));
    c.some("grpcStatus", &abort.grpc_status, |c, status| {
        if !GRPC_STATUS.contains(&status.as_str()) {
            c.error_help(format!("`{status}` is not a status of gRPC"), format!("one of {}", GRPC_STATUS.join(", ")));
        }
    });
    c.some("http2Error", &abort.http2_error, |c, _| c.error_help("`http2Error` is not carried out", "use `httpStatus` or `grpcStatus`"));
}

/// Checks CORS.
pub(super) fn check_cors(c: &mut Checker<'_>, policy: &CorsPolicy) {
    if !policy.allow_origin.is_empty() {
        c.field("allowOrigin", |c| c.warn_help("`allowOrigin` is deprecated", "write `allowOrigins: [{exact: …}]`"));
    }
    c.each("allowOrigins", &policy.allow_origins, |c, origin| match origin {
        StringMatch::Regex(regex) => c.field("regex", |c| values::check_regex(c, regex)),
        StringMatch::Exact(text) | StringMatch::Prefix(text) if !text.is_empty() => {}
        _ => c.error_help("the origin is empty", "write `exact`, `prefix` or `regex` with a text"),
    });
    c.each("allowMethods", &policy.allow_methods, |c, method| {
        if !METHODS.contains(&method.as_str()) {
            c.error_help(format!("`{method}` is not a method"), format!("one of {}", METHODS.join(", ")));
        }
    });
    for (key, names) in [("allowHeaders", &policy.allow_headers), ("exposeHeaders", &policy.expose_headers)] {
        c.each(key, names, |c, name| {
            if name != "*" {
                headers::check_plain_name(c, name);
            }
        });
    }
    c.some("maxAge", &policy.max_age, |c, age| {
        check_duration(c, age);
        if age.as_nanos() % 1_000_000_000 != 0 {
            c.error_help(format!("{age} is too fine"), "whole seconds only");
        }
    });
}

#[cfg(test)]
mod tests {
    use crate::validate::testing::{check_table, check_within};

    fn check(field: &str, table: &[(&str, &[&str])]) {
        let action = if matches!(field, "redirect" | "directResponse") { "" } else { "route: [{destination: {host: b}}], " };
        check_within("VirtualService", &format!("hosts: [a]\nhttp:\n- {{{action}{field}: {{…}}}}"), &format!("http[0].{field}"), table);
    }

    #[test]
    fn redirects() {
        check(
            "redirect",
            &[
                ("uri: /b, authority: c, redirectCode: 308, port: 8443", &[]),
                ("scheme: https", &[]),
                ("derivePort: FROM_REQUEST_PORT", &[]),
                ("prefixRewrite: /b", &[]),
                ("", &["error: "]),
                ("uri: /b, prefixRewrite: /c", &["error: "]),
                ("uri: /b, port: 80, derivePort: FROM_PROTOCOL_DEFAULT", &["error: "]),
                ("uri: /b, redirectCode: 200", &["error: .redirectCode"]),
                ("uri: /b, redirectCode: 304", &["warning: .redirectCode"]),
                ("scheme: ftp", &["error: .scheme"]),
                ("port: 70000", &["error: .port"]),
            ],
        );
        let spec = "hosts: [a]\nhttp: [{match: [{uri: {exact: /a}}], redirect: {prefixRewrite: /b}}]";
        check_table("VirtualService", &[(spec, &["error: http[0].redirect.prefixRewrite"])]);
    }

    #[test]
    fn responses() {
        check(
            "directResponse",
            &[
                ("status: 503, body: {string: busy}", &[]),
                ("status: 200, body: {bytes: aGFsbG8=}", &[]),
                ("status: 600", &["warning: .status"]),
                ("status: 199", &["error: .status"]),
                ("body: {string: a}", &["error: .status"]),
                ("status: 200, body: {string: a, bytes: YQ==}", &["error: .body"]),
            ],
        );
        let body = "a".repeat(1024 * 1024 + 1);
        check(
            "directResponse",
            &[
                (&format!("status: 200, body: {{string: {body}}}"), &["error: .body"]),
                (&format!("status: 200, body: {{string: {}}}", &body[..200_000]), &["warning: .body"]),
            ],
        );
    }

    #[test]
    fn rewrites() {
        check(
            "rewrite",
            &[
                ("uri: /b, authority: c", &[]),
                ("uriRegexRewrite: {match: '^/a/(.*)$', rewrite: '/b/\\1\\\\'}", &[]),
                ("", &["error: "]),
                ("uri: /b, uriRegexRewrite: {match: a, rewrite: b}", &["error: "]),
                ("uriRegexRewrite: {match: '(', rewrite: b}", &["error: .uriRegexRewrite.match"]),
                ("uriRegexRewrite: {match: a}", &["error: .uriRegexRewrite"]),
                ("uriRegexRewrite: {match: (a), rewrite: '\\2'}", &["error: .uriRegexRewrite.rewrite"]),
                ("uriRegexRewrite: {match: (a), rewrite: '\\a'}", &["error: .uriRegexRewrite.rewrite"]),
            ],
        );
    }

    #[test]
    fn retries() {
        check(
            "retries",
            &[
                ("attempts: 3, perTryTimeout: 2s, retryOn: '5xx,connect-failure,503', backoff: 25ms", &[]),
                ("attempts: 0", &[]),
                ("attempts: -1", &["error: .attempts"]),
                ("attempts: 0, retryOn: 5xx", &["error: "]),
                ("attempts: 3, perTryTimeout: 0s", &["error: .perTryTimeout"]),
                ("attempts: 3, backoff: 1us", &["error: .backoff"]),
                ("attempts: 3, retryOn: '5xx, reset'", &["error: .retryOn"]),
                ("attempts: 3, retryOn: '600'", &["error: .retryOn"]),
            ],
        );
    }

    #[test]
    fn faults() {
        check(
            "fault",
            &[
                ("delay: {fixedDelay: 5s, percentage: {value: 0.1}}, abort: {httpStatus: 400, percentage: {value: 100}}", &[]),
                ("", &["error: "]),
                ("delay: {fixedDelay: 5s}", &["warning: .delay"]),
                ("delay: {percentage: {value: 5}}", &["warning: .delay"]),
                ("delay: {fixedDelay: 0s, percentage: {value: 5}}", &["error: .delay.fixedDelay"]),
                ("delay: {fixedDelay: 5s, percent: 5}", &["warning: .delay.percent"]),
                ("delay: {fixedDelay: 5s, percent: 101}", &["error: .delay.percent", "warning: .delay.percent"]),
                ("delay: {exponentialDelay: 5s, percentage: {value: 5}}", &["error: .delay.exponentialDelay"]),
                ("abort: {httpStatus: 100, percentage: {value: 5}}", &["error: .abort.httpStatus"]),
                ("abort: {httpStatus: 500}", &["warning: .abort"]),
                ("abort: {percentage: {value: -5}, grpcStatus: UNAVAILABLE}", &["error: .abort.percentage.value"]),
                ("abort: {percentage: {value: 5}, grpcStatus: BUSY}", &["error: .abort.grpcStatus"]),
                ("abort: {percentage: {value: 5}, http2Error: X}", &["error: .abort.http2Error"]),
                ("abort: {percentage: {value: 5}, httpStatus: 500, grpcStatus: OK}", &["error: .abort"]),
                ("abort: {percentage: {value: 5}}", &["warning: .abort"]),
            ],
        );
    }

    #[test]
    fn cors() {
        check(
            "corsPolicy",
            &[
                ("allowOrigins: [{exact: 'https://a'}, {regex: '.*'}], allowMethods: [GET], allowHeaders: [x-a, '*'], maxAge: 24h", &[]),
                ("unmatchedPreflights: IGNORE", &[]),
                ("allowOrigin: ['*']", &["warning: .allowOrigin"]),
                ("allowOrigins: [{exact: ''}]", &["error: .allowOrigins[0]"]),
                ("allowOrigins: [{regex: '('}]", &["error: .allowOrigins[0].regex"]),
                ("allowMethods: [get]", &["error: .allowMethods[0]"]),
                ("exposeHeaders: ['a:b']", &["error: .exposeHeaders[0]"]),
                ("maxAge: 1500ms", &["error: .maxAge"]),
                ("maxAge: 0s", &["error: .maxAge"]),
            ],
        );
    }
}
