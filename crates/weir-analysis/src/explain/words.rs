//! Conditions and changes in words.

use weir_http1::HeaderName;
use weir_routing::RequestHead;
use weir_routing::condition::{CookieCondition, HeaderCondition, HeaderTest, QueryCondition, Subject};
use weir_routing::filters::jwt_authn::NAMESPACE;
use weir_routing::header_changes::{Action, HeaderChanges, Target};
use weir_routing::matcher::{Mismatch, RouteMatcher};
use weir_routing::metadata_match::{MetadataMatch, ValueMatch};
use weir_routing::path::{PathCondition, PathMatch};
use weir_routing::text_match::TextMatch;

/// What all of a rule's conditions ask for: they hold.
pub(super) fn all_of(matcher: &RouteMatcher) -> String {
    let RouteMatcher { path: of_path, headers, query: parameters, cookies, grpc, millionths, metadata, impossible: _ } = matcher;
    let any_path = matches!(&of_path.path, PathMatch::Prefix(prefix) if &**prefix == "/");
    let path = (!any_path).then(|| path(of_path));
    let headers = headers.iter().map(|condition| format!("{} {}", subject(&condition.subject), header(condition)));
    let parameters = parameters.iter().map(|condition| format!("query parameter {} {}", condition.name, query(condition)));
    let cookies = cookies.iter().map(cookie);
    let grpc = grpc.then(|| "it is a gRPC call".to_owned());
    let chance = millionths.map(|millionths| format!("chance gives it {}", percent(millionths)));
    let learnt = metadata.iter().map(learnt);
    let all: Vec<String> =
        path.into_iter().chain(headers).chain(parameters).chain(cookies).chain(grpc).chain(chance).chain(learnt).collect();
    if all.is_empty() { "matches every request".to_owned() } else { all.join(", and ") }
}

/// Why a rule does not match.
pub(super) fn why_not(mismatch: Mismatch<'_>, head: &RequestHead<'_>) -> String {
    match mismatch {
        Mismatch::Path(condition) => format!("not so: {}; it is {}", path(condition), head.path_only()),
        Mismatch::Header(condition) => {
            format!("not so: {} {}; {}", subject(&condition.subject), header(condition), found(value(&condition.subject, head)))
        }
        Mismatch::Query(condition) => {
            let value = head.query_parameter(&condition.name).map(str::to_owned);
            format!("not so: query parameter {} {}; {}", condition.name, query(condition), found(value))
        }
        Mismatch::Cookie(condition) => {
            let value = head.cookie(&condition.name).map(|value| String::from_utf8_lossy(value).into_owned());
            format!("not so: {}; {}", cookie(condition), found(value))
        }
        Mismatch::Grpc => "not so: it is a gRPC call".to_owned(),
        Mismatch::Chance(millionths) => format!("it takes {}, by chance", percent(millionths)),
        Mismatch::Metadata(condition) => format!("not so: {}", learnt(condition)),
        Mismatch::Impossible => "it asks for a client's certificate, or for what filters leave behind as state".to_owned(),
    }
}

fn found(value: Option<String>) -> String {
    value.map_or_else(|| "it is not there".to_owned(), |value| format!("it is `{value}`"))
}

fn value(subject: &Subject, head: &RequestHead<'_>) -> Option<String> {
    Some(match subject {
        Subject::Method => head.method.to_owned(),
        Subject::Authority => head.authority.to_owned(),
        Subject::Path => head.path.to_owned(),
        Subject::Scheme => head.scheme.to_owned(),
        // A request has none.
        Subject::Status => String::new(),
        Subject::Header(name) => {
            let values: Vec<_> = head.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            if values.is_empty() {
                return None;
            }
            values.join("`, `")
        }
    })
}

/// What filters must have learnt: mostly a claim of the token.
fn learnt(condition: &MetadataMatch) -> String {
    let MetadataMatch { namespace, path, value, invert } = condition;
    let what = match &**path {
        [payload, claim @ ..] if **namespace == *NAMESPACE && **payload == *"payload" => format!("claim {}", claim.join(".")),
        path => format!("metadata {namespace} {}", path.join(".")),
    };
    format!("{what} {}{}", if *invert { "is not one that " } else { "" }, value_test(value))
}

fn value_test(test: &ValueMatch) -> String {
    match test {
        ValueMatch::Null => "is null".to_owned(),
        ValueMatch::Number(number) => format!("is {number}"),
        ValueMatch::Range(start, end) => format!("is a number from {start} to below {end}"),
        ValueMatch::Text(test) => text(test),
        ValueMatch::Flag(flag) => format!("is {flag}"),
        ValueMatch::Present(true) => "is there".to_owned(),
        ValueMatch::Present(false) => "is not there".to_owned(),
        ValueMatch::OneOf(test) => format!("is a list with one that {}", value_test(test)),
        // As conditions on claims are written.
        ValueMatch::Any(tests) => match &**tests {
            [ValueMatch::OneOf(_), one] => format!("{}, or, of a list, one does", value_test(one)),
            tests => tests.iter().map(value_test).collect::<Vec<_>>().join(" or "),
        },
    }
}

fn subject(subject: &Subject) -> String {
    match subject {
        Subject::Method => "the method".to_owned(),
        Subject::Authority => "the host".to_owned(),
        Subject::Path => "the path with its query".to_owned(),
        Subject::Scheme => "the scheme".to_owned(),
        Subject::Status => "the status".to_owned(),
        Subject::Header(name) => format!("header {name}"),
    }
}

fn path(condition: &PathCondition) -> String {
    let text = match &condition.path {
        PathMatch::Exact(path) => format!("the path is {path}"),
        PathMatch::Prefix(prefix) => format!("the path begins with {prefix}"),
        PathMatch::SegmentPrefix(prefix) => format!("the path is {prefix} or below it"),
        PathMatch::Regex(regex) => format!("the path matches {}", inner(regex.as_str())),
    };
    if condition.ignore_case { text + " in any case" } else { text }
}

/// An expression as a person wrote it.
fn inner(regex: &str) -> &str {
    regex.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$")).unwrap_or(regex)
}

fn header(condition: &HeaderCondition) -> String {
    match (&condition.test, condition.invert) {
        (HeaderTest::Present(present), invert) if *present != invert => "is there".to_owned(),
        (HeaderTest::Present(_), _) => "is not there".to_owned(),
        (HeaderTest::Text(test), false) => text(test),
        (HeaderTest::Text(test), true) => format!("is not one that {}", text(test)),
        (HeaderTest::Range(start, end), invert) => {
            let not = if invert { "not " } else { "" };
            format!("is {not}a number from {start} to below {end}")
        }
    }
}

fn query(condition: &QueryCondition) -> String {
    match &condition.text {
        Some(test) => text(test),
        None if condition.absent => "is not there".to_owned(),
        None => "is there".to_owned(),
    }
}

fn cookie(condition: &CookieCondition) -> String {
    let not = if condition.invert { "is not one that " } else { "" };
    format!("cookie {} {not}{}", condition.name, text(&condition.text))
}

/// A share of all requests.
fn percent(millionths: u32) -> String {
    format!("{} % of requests", f64::from(millionths) / 10_000.0)
}

fn text(test: &TextMatch) -> String {
    let quoted = |text: &[u8]| format!("`{}`", String::from_utf8_lossy(text));
    match test {
        TextMatch::Exact(exact) => format!("is {}", quoted(exact)),
        TextMatch::Prefix(prefix) => format!("begins with {}", quoted(prefix)),
        TextMatch::Suffix(suffix) => format!("ends with {}", quoted(suffix)),
        TextMatch::Contains(part) => format!("contains {}", quoted(part)),
        TextMatch::Regex(regex) => format!("matches {}", inner(regex.as_str())),
        TextMatch::IgnoreCase(test) => text(test) + " in any case",
    }
}

/// What changes of the headers, if anything does.
pub(super) fn header_changes(changes: &HeaderChanges) -> Option<String> {
    let removed = changes.remove.iter().map(|name: &HeaderName| format!("removes {name}"));
    let written = changes.write.iter().map(|change| {
        let name = match &change.target {
            Target::Authority => "host",
            Target::Header(name) => name.as_str(),
        };
        let how = match change.action {
            Action::Append => "adds",
            Action::Set => "sets",
            Action::AddIfAbsent => "sets, where it is not there,",
            Action::SetIfPresent => "sets, where it is there,",
        };
        format!("{how} {name}")
    });
    let all: Vec<String> = removed.chain(written).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The body of an answer that the proxy gives itself.
pub(super) fn body(body: &[u8]) -> String {
    match body.len() {
        0 => "the rule answers itself, with no body".to_owned(),
        length => format!("the rule answers itself, with a body of {length} bytes"),
    }
}

/// The instances of a cluster: all of a few, the first of many.
pub(super) fn instances(addresses: &[String], others: usize, limit: usize) -> String {
    let named = addresses.iter().take(limit).map(String::as_str).collect::<Vec<_>>().join(", ");
    let first = match addresses.len() {
        0 => "has no instance: 503, and the access log says UH".to_owned(),
        1 => format!("its instance is {named}"),
        count if count <= limit => format!("its {count} instances are {named}"),
        count => format!("the first of its {count} instances are {named}"),
    };
    match others {
        0 => first,
        1 => format!("{first}; another takes over where that fails"),
        others => format!("{first}; {others} others take over where that fails"),
    }
}
