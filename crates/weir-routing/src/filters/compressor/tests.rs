#![allow(deprecated)] // The older form is what people publish.

use weir_xds::Any;
use weir_xds::core::{RuntimeFeatureFlag, TypedExtensionConfig};
use weir_xds::envoy::extensions::compression::brotli::compressor::v3::Brotli;
use weir_xds::envoy::extensions::compression::gzip::compressor::v3::Gzip;
use weir_xds::matcher::StringMatcher;
use weir_xds::matcher::string_matcher::MatchPattern;

use super::super::coding::Coding;
use super::*;

type Pairs<'p> = &'p [(&'static str, &'static str)];

fn headers(pairs: Pairs<'_>) -> Headers {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn gzip() -> Option<TypedExtensionConfig> {
    Some(TypedExtensionConfig { name: "l".into(), typed_config: Some(Any::pack(&Gzip::default())) })
}

fn brotli() -> Option<TypedExtensionConfig> {
    Some(TypedExtensionConfig { name: "l".into(), typed_config: Some(Any::pack(&Brotli::default())) })
}

fn message(response: ResponseDirectionConfig) -> Compressor {
    Compressor { compressor_library: gzip(), response_direction_config: Some(response), ..Default::default() }
}

fn compile(message: &Compressor) -> CompressorPolicy {
    CompressorPolicy::compile(message).expect("valid")
}

fn common(common_config: CommonDirectionConfig) -> ResponseDirectionConfig {
    ResponseDirectionConfig { common_config: Some(common_config), ..Default::default() }
}

fn off() -> Option<RuntimeFeatureFlag> {
    Some(RuntimeFeatureFlag { default_value: Some(false), runtime_key: "k".into() })
}

/// What becomes of an answer for a client that likes gzip best, or does not.
fn answer(policy: &CompressorPolicy, route: Option<&CompressorOverride>, status: u16, before: Pairs<'_>, likes: bool) -> (bool, Headers) {
    let mut after = headers(before);
    let head = AnswerHead { status, has_body: true, length: declared_length(&after), is_upgrade: false };
    let compressed = policy.on_answer(route, &head, &mut after, |_| likes).is_some();
    (compressed, after)
}

const VARIES: (&str, &str) = ("vary", "Accept-Encoding");
const ENCODED: (&str, &str) = ("content-encoding", "gzip");

#[test]
fn an_answer_is_compressed_for_who_likes_it_and_says_so_to_others() {
    let policy = compile(&message(ResponseDirectionConfig::default()));
    // What it had before, what it has when it is compressed, and when it is not because the client does not like it.
    let unchanged = |before: Pairs<'static>| (before, None);
    let text = ("content-type", "text/plain; charset=x");
    let cases: [(Pairs<'_>, Option<(Pairs<'_>, Pairs<'_>)>); 14] = [
        (&[], Some((&[ENCODED, VARIES], &[VARIES]))),
        (&[text], Some((&[text, ENCODED, VARIES], &[text, VARIES]))),
        (&[("content-length", "30")], Some((&[ENCODED, VARIES], &[("content-length", "30"), VARIES]))),
        (&[("vary", "Origin")], Some((&[("vary", "Origin, Accept-Encoding"), ENCODED], &[("vary", "Origin, Accept-Encoding")]))),
        (&[("vary", "a,Accept-Encoding ")], Some((&[("vary", "a,Accept-Encoding "), ENCODED], &[("vary", "a,Accept-Encoding ")]))),
        (&[("etag", "\"x\"")], Some((&[ENCODED, VARIES], &[("etag", "\"x\""), VARIES]))),
        (&[("etag", "W/\"x\"")], Some((&[("etag", "W/\"x\""), ENCODED, VARIES], &[("etag", "W/\"x\""), VARIES]))),
        (
            &[("cache-control", "no-store")],
            Some((&[("cache-control", "no-store"), ENCODED, VARIES], &[("cache-control", "no-store"), VARIES])),
        ),
        unchanged(&[("content-length", "29")]),
        unchanged(&[("content-type", "image/png")]),
        unchanged(&[("content-encoding", "br")]),
        unchanged(&[("content-encoding", "identity")]),
        unchanged(&[("cache-control", "max-age=1, No-Transform")]),
        unchanged(&[("transfer-encoding", "gzip, chunked")]),
    ];
    for (before, expected) in cases {
        let same = (before, before);
        let (liked, other) = expected.unwrap_or(same);
        let sorted = |headers: Headers| {
            let mut lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name:?}: {value:?}")).collect();
            lines.sort();
            lines
        };
        let (compressed, after) = answer(&policy, None, 200, before, true);
        assert_eq!((compressed, sorted(after)), (expected.is_some(), sorted(headers(liked))), "{before:?}");
        let (compressed, after) = answer(&policy, None, 200, before, false);
        assert_eq!((compressed, sorted(after)), (false, sorted(headers(other))), "{before:?}");
    }
}

#[test]
fn what_has_no_body_or_changes_protocols_stays_as_it_is() {
    let policy = compile(&message(ResponseDirectionConfig::default()));
    for (has_body, is_upgrade, varies) in [(false, false, true), (true, true, false)] {
        let mut after = Headers::new();
        let head = AnswerHead { status: 200, has_body, length: None, is_upgrade };
        assert!(policy.on_answer(None, &head, &mut after, |_| true).is_none());
        assert_eq!(after, headers(if varies { &[VARIES] } else { &[] }));
    }
}

#[test]
fn the_configuration_says_which_answers_are_compressed() {
    let listed = |kinds: &[&str]| CommonDirectionConfig {
        content_type: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        ..Default::default()
    };
    let matching = |pattern| {
        let matcher = StringMatcher { match_pattern: Some(pattern), ..Default::default() };
        CommonDirectionConfig { content_type_matcher: vec![matcher], ..listed(&["text/plain"]) }
    };
    let tagged = |disable_on_etag_header, weaken_etag_on_compress| ResponseDirectionConfig {
        disable_on_etag_header,
        weaken_etag_on_compress,
        ..Default::default()
    };
    let spared = || ResponseDirectionConfig { uncompressible_response_codes: vec![206], ..Default::default() };
    let least = |least| common(CommonDirectionConfig { min_content_length: Some(least), ..Default::default() });
    let strong = ("etag", "\"x\"");
    let cases: [(ResponseDirectionConfig, u16, Pairs<'_>, bool); 17] = [
        (common(CommonDirectionConfig { enabled: off(), ..Default::default() }), 200, &[], false),
        (common(listed(&["Image/png"])), 200, &[("content-type", "image/PNG")], true),
        (common(listed(&["image/png"])), 200, &[("content-type", "text/plain")], false),
        (common(listed(&["image/png"])), 200, &[], true),
        (common(matching(MatchPattern::Prefix("image/".into()))), 200, &[("content-type", "image/png;a=b")], true),
        (common(matching(MatchPattern::Prefix("image/".into()))), 200, &[("content-type", "text/plain")], false),
        (common(matching(MatchPattern::Exact("a/b".into()))), 200, &[("content-type", "a/b ; c")], true),
        (least(1000), 200, &[("content-length", "999")], false),
        (least(1000), 200, &[("content-length", "1000")], true),
        (least(0), 200, &[("content-length", "29")], false),
        (tagged(true, false), 200, &[strong], false),
        (tagged(true, false), 200, &[("etag", "W/1")], false),
        (tagged(true, true), 200, &[strong], true),
        (tagged(false, true), 200, &[strong], true),
        (tagged(true, false), 200, &[], true),
        (spared(), 206, &[], false),
        (spared(), 200, &[], true),
    ];
    for (config, status, before, compressed) in cases {
        assert_eq!(answer(&compile(&message(config.clone())), None, status, before, true).0, compressed, "{config:?} {before:?}");
    }
    let (_, after) = answer(&compile(&message(tagged(false, true))), None, 200, &[strong], true);
    assert_eq!(after[ETAG], "W/\"x\"");
}

#[test]
fn the_older_form_counts_where_the_newer_says_nothing() {
    let old = Compressor {
        compressor_library: gzip(),
        content_length: Some(5),
        content_type: vec!["a/b".into()],
        disable_on_etag_header: true,
        remove_accept_encoding_header: true,
        ..Default::default()
    };
    let policy = compile(&old);
    assert!(answer(&policy, None, 200, &[("content-type", "a/b"), ("content-length", "5")], true).0);
    assert!(!answer(&policy, None, 200, &[("etag", "W/1")], true).0);
    assert!(!answer(&compile(&Compressor { runtime_enabled: off(), ..old.clone() }), None, 200, &[], true).0);
    let newer = Compressor { response_direction_config: Some(ResponseDirectionConfig::default()), ..old };
    assert!(!answer(&compile(&newer), None, 200, &[("content-type", "a/b")], true).0);
}

#[test]
fn a_route_changes_it() {
    let route = |overrides| CompressorOverride::compile(&CompressorPerRoute { r#override: Some(overrides) }).expect("valid");
    let changed = |response_direction_config, compressor_library| {
        route(Override::Overrides(CompressorOverrides { response_direction_config, compressor_library }))
    };
    let disabled = compile(&message(common(CommonDirectionConfig { enabled: off(), ..Default::default() })));
    let enabled = compile(&message(ResponseDirectionConfig { remove_accept_encoding_header: true, ..Default::default() }));
    let on = changed(Some(ResponseDirectionOverrides::default()), None);
    assert!(answer(&disabled, Some(&on), 200, &[], true).0);
    assert!(!answer(&disabled, Some(&changed(None, None)), 200, &[], true).0);
    assert!(!answer(&enabled, Some(&route(Override::Disabled(true))), 200, &[], true).0);
    let by_brotli = changed(None, brotli());
    assert_eq!(answer(&enabled, Some(&by_brotli), 200, &[], true).1[CONTENT_ENCODING], "br");
    let shows = changed(Some(ResponseDirectionOverrides { remove_accept_encoding_header: Some(false) }), None);
    for (route, kept) in [(None, false), (Some(&on), false), (Some(&shows), true), (Some(&route(Override::Disabled(true))), true)] {
        let mut request = headers(&[("accept-encoding", "gzip")]);
        assert!(enabled.on_request(route, true, &mut request).is_none());
        assert_eq!(request.contains_key(ACCEPT_ENCODING), kept, "{route:?}");
    }
}

#[test]
fn requests_are_compressed_where_that_is_asked_for() {
    let off = RequestDirectionConfig { common_config: Some(CommonDirectionConfig { enabled: off(), ..Default::default() }) };
    let cases: [(Option<RequestDirectionConfig>, bool, Pairs<'_>, bool); 8] = [
        (None, true, &[], false),
        (Some(off), true, &[], false),
        (Some(RequestDirectionConfig::default()), true, &[], true),
        (Some(RequestDirectionConfig::default()), false, &[], false),
        (Some(RequestDirectionConfig::default()), true, &[("content-length", "29")], false),
        (Some(RequestDirectionConfig::default()), true, &[("content-length", "30")], true),
        (Some(RequestDirectionConfig::default()), true, &[("content-type", "image/png")], false),
        (Some(RequestDirectionConfig::default()), true, &[("content-encoding", "br")], false),
    ];
    for (config, has_body, before, compressed) in cases {
        let policy = compile(&Compressor { request_direction_config: config.clone(), ..message(ResponseDirectionConfig::default()) });
        let mut request = headers(before);
        assert_eq!(policy.on_request(None, has_body, &mut request).is_some(), compressed, "{config:?} {before:?}");
        let expected = if compressed { headers(&[ENCODED]) } else { headers(before) };
        assert_eq!(request, expected, "{before:?}");
    }
}

#[test]
fn clients_are_told_where_that_is_asked_for() {
    let config = || ResponseDirectionConfig {
        status_header_enabled: true,
        disable_on_etag_header: true,
        uncompressible_response_codes: vec![206],
        ..Default::default()
    };
    let policy = compile(&message(config()));
    let cases: [(u16, Pairs<'_>, bool, &str); 11] = [
        (200, &[("content-length", "40")], true, "gzip;Compressed;OriginalLength=40"),
        (200, &[], true, "gzip;Compressed;OriginalLength="),
        (200, &[("content-length", "2")], true, "gzip;ContentLengthTooSmall"),
        (200, &[("content-type", "image/png")], true, "gzip;ContentTypeNotAllowed"),
        (200, &[("etag", "W/1")], true, "gzip;EtagNotAllowed"),
        (206, &[], true, "gzip;StatusCodeNotAllowed"),
        (200, &[("x-envoy-compression-status", "br;x")], true, "br;x,gzip;Compressed;OriginalLength="),
        (200, &[], false, ""),
        (200, &[("content-length", "2")], false, "gzip;ContentLengthTooSmall"),
        (200, &[("cache-control", "no-transform"), ("content-type", "image/png")], true, ""),
        (200, &[("content-encoding", "br"), ("etag", "W/1")], true, ""),
    ];
    for (status, before, likes, told) in cases {
        let (_, after) = answer(&policy, None, status, before, likes);
        assert_eq!(after.get(&STATUS).map_or("", |told| told.to_str().expect("ASCII")), told, "{before:?}");
    }
}

#[test]
fn an_offer_is_for_content_of_its_types() {
    let policy = compile(&Compressor { choose_first: true, ..message(ResponseDirectionConfig::default()) });
    assert_eq!(policy.offer(None, &Headers::new()), Some(Offer { coding: Coding::Gzip, first: true }));
    assert_eq!(policy.offer(None, &headers(&[("content-type", "image/png")])), None);
}

#[test]
fn what_envoy_refuses_is_refused() {
    let codes = |codes: &[u32]| ResponseDirectionConfig { uncompressible_response_codes: codes.to_vec(), ..Default::default() };
    let no_default = CommonDirectionConfig { enabled: Some(RuntimeFeatureFlag::default()), ..Default::default() };
    let cases = [
        (Compressor::default(), "compressor_library"),
        (message(codes(&[199])), "response_direction_config.uncompressible_response_codes[0]"),
        (message(codes(&[206, 206])), "response_direction_config.uncompressible_response_codes[1]"),
        (message(common(no_default)), "response_direction_config.common_config.enabled.default_value"),
    ];
    for (message, field) in cases {
        assert_eq!(CompressorPolicy::compile(&message).expect_err(field).path, field);
    }
    let per_route = |r#override| CompressorOverride::compile(&CompressorPerRoute { r#override }).is_err();
    assert!(per_route(None) && per_route(Some(Override::Disabled(false))));
}
