//! What is taken from heads, and what is refused.

use weir_http1::header::COOKIE;
use weir_xds::matcher::{RegexMatchAndSubstitute, RegexMatcher};

use super::*;

/// A value to write under a key of the filter's own namespace.
fn pair(key: &str) -> KeyValuePair {
    KeyValuePair { key: key.into(), ..KeyValuePair::default() }
}

fn fixed(key: &str, value: &str) -> KeyValuePair {
    KeyValuePair { value: value.into(), ..pair(key) }
}

fn rewrite(regex: &str, substitution: &str) -> Option<RegexMatchAndSubstitute> {
    let pattern = Some(RegexMatcher { regex: regex.into(), ..RegexMatcher::default() });
    Some(RegexMatchAndSubstitute { pattern, substitution: substitution.into() })
}

fn of_header(header: &str, present: Option<KeyValuePair>, missing: Option<KeyValuePair>) -> XdsRule {
    XdsRule { header: header.into(), on_header_present: present, on_header_missing: missing, ..XdsRule::default() }
}

fn of_cookie(cookie: &str, present: Option<KeyValuePair>, missing: Option<KeyValuePair>) -> XdsRule {
    XdsRule { cookie: cookie.into(), ..of_header("", present, missing) }
}

fn policy(request_rules: Vec<XdsRule>) -> Result<TakingPolicy, CompileError> {
    let response_rules = request_rules.clone();
    TakingPolicy::compile(&Config { request_rules, response_rules, stat_prefix: "s".into() })
}

fn headers() -> Headers {
    let long = "x".repeat(LONGEST + 1);
    let pairs = [
        ("x-user", "ann"),
        ("x-twice", "a"),
        ("x-twice", "b"),
        ("x-empty", ""),
        ("x-number", " 1.5 "),
        ("x-coded", "YW5u"),
        ("x-coded-number", "NDI"),
        ("x-long", &long),
    ];
    let field = |(name, value): (&str, &str)| (name.parse().expect("a name"), value.parse().expect("a value"));
    let cookies = HeaderValue::from_static("session=s1; none=");
    pairs.into_iter().map(field).chain([(COOKIE, cookies)]).collect()
}

/// What is written by a rule, as `namespace key value`, one a line.
fn written(all: &DynamicMetadata) -> String {
    let mut lines = vec![];
    for (namespace, fields) in all {
        let namespace = if namespace == OWN_NAMESPACE { "own" } else { namespace };
        for (key, value) in &fields.fields {
            lines.push(format!("{namespace} {key} {}", weir_xds::values::json(value.kind.as_ref().expect("a value"))));
        }
    }
    lines.join("\n")
}

fn taken(rules: Vec<XdsRule>) -> (String, Vec<HeaderName>) {
    let headers = headers();
    let head = RequestHead { method: "GET", scheme: "http", authority: "a.test", path: "/v1/x?y", headers: &headers, random: 0 };
    let mut all = DynamicMetadata::new();
    let removed = policy(rules).expect("valid").on_request(&head, &mut all);
    (written(&all), removed)
}

#[test]
fn what_is_there_or_missing_is_written() {
    let number = |pair| KeyValuePair { r#type: ValueType::Number as i32, ..pair };
    let coded = |pair| KeyValuePair { encode: ValueEncode::Base64 as i32, ..pair };
    let rewritten = |regex, substitution| KeyValuePair { regex_value_rewrite: rewrite(regex, substitution), ..pair("k") };
    let namespaced = KeyValuePair { metadata_namespace: "ns".into(), ..pair("k") };
    let missing = || Some(fixed("m", "none"));
    let cases = [
        (of_header("x-user", Some(pair("k")), missing()), r#"own k "ann""#),
        (of_header("X-User", Some(namespaced), None), r#"ns k "ann""#),
        (of_header("x-user", Some(fixed("k", "yes")), None), r#"own k "yes""#),
        (of_header("x-user", None, missing()), ""),
        (of_header("x-none", Some(pair("k")), missing()), r#"own m "none""#),
        (of_header("x-twice", Some(pair("k")), None), r#"own k "a,b""#),
        // It is there, and comes to nothing.
        (of_header("x-empty", Some(pair("k")), missing()), ""),
        (of_header("x-long", Some(pair("k")), missing()), ""),
        (of_header("x-number", Some(number(pair("k"))), None), "own k 1.5"),
        (of_header("x-user", Some(number(pair("k"))), None), ""),
        (of_header("x-coded", Some(coded(pair("k"))), None), r#"own k "ann""#),
        (of_header("x-coded-number", Some(number(coded(pair("k")))), None), "own k 42"),
        (of_header("x-number", Some(coded(pair("k"))), None), ""),
        (of_header(":path", Some(rewritten("^/(v[0-9]+)/.*$", "\\1")), None), r#"own k "v1""#),
        (of_header("x-user", Some(rewritten(".", "")), None), ""),
        (of_header(":method", Some(pair("k")), None), r#"own k "GET""#),
        (of_header("host", Some(pair("k")), None), r#"own k "a.test""#),
        (of_header(":status", Some(pair("k")), missing()), r#"own m "none""#),
        (of_cookie("session", Some(pair("k")), missing()), r#"own k "s1""#),
        (of_cookie("none", Some(pair("k")), missing()), r#"own m "none""#),
        (of_cookie("other", Some(pair("k")), missing()), r#"own m "none""#),
    ];
    for (rule, expected) in cases {
        assert_eq!(taken(vec![rule.clone()]), (expected.to_owned(), vec![]), "{rule:?}");
    }
}

#[test]
fn a_removed_header_is_missing_for_later_rules() {
    let remove = |name: &str| XdsRule { remove: true, ..of_header(name, Some(pair("k")), None) };
    let later = of_header("x-user", Some(fixed("k", "still there")), Some(fixed("later", "gone")));
    let (written, removed) = taken(vec![remove("x-user"), later, remove("x-none")]);
    assert_eq!((written.as_str(), removed), ("own k \"ann\"\nown later \"gone\"", vec![HeaderName::from_static("x-user")]));
}

#[test]
fn answers_have_a_status() {
    let mut all = DynamicMetadata::new();
    let rules = vec![of_header(":status", Some(pair("status")), None), of_header(":path", None, Some(fixed("path", "none")))];
    policy(rules).expect("valid").on_answer(404, &headers(), &mut all);
    assert_eq!(written(&all), "own path \"none\"\nown status \"404\"");
}

#[test]
fn what_envoy_refuses_is_refused() {
    let ok = || Some(pair("k"));
    let both = KeyValuePair { regex_value_rewrite: rewrite("a", "b"), ..fixed("k", "v") };
    let packed = KeyValuePair { r#type: ValueType::ProtobufValue as i32, ..pair("k") };
    let cases = [
        (of_header("", ok(), None), "header"),
        (of_header("a b", ok(), None), "header"),
        (XdsRule { cookie: "b".into(), ..of_header("a", ok(), None) }, "cookie"),
        (of_header("a", None, None), "on_header_present"),
        (of_header("a", None, ok()), "on_header_missing.value"),
        (of_header("a", Some(both), None), "on_header_present.regex_value_rewrite"),
        (of_header("a", Some(pair("")), None), "on_header_present.key"),
        (of_header("a", Some(packed), None), "on_header_present.type"),
        (XdsRule { remove: true, ..of_cookie("a", ok(), None) }, "remove"),
        (XdsRule { remove: true, ..of_header(":path", ok(), None) }, "remove"),
    ];
    for (rule, path) in cases {
        let error = policy(vec![rule.clone()]).expect_err(path);
        assert_eq!(error.path, format!("request_rules[0].{path}"), "{rule:?}");
    }
    assert!(RoutePolicy::compile(&Config::default()).is_err() && TakingPolicy::compile(&Config::default()).is_ok());
}
