use bytes::Bytes;
use http::StatusCode;
use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::Status;
use weir_xds::auth::attribute_context::HttpRequest;
use weir_xds::auth::check_response::HttpResponse;
use weir_xds::auth::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use weir_xds::core::{HeaderValue as XdsHeaderValue, HeaderValueOption, QueryParameter};
use weir_xds::json::from_value;
use weir_xds::types::HttpStatus;

use super::answer::{Changes, Decision};
use super::question::{Asked, Body, Party};
use super::*;
use crate::dynamic_metadata::DynamicMetadata;
use crate::request::RequestHead;

fn compile(json: serde_json::Value) -> Result<ExtAuthzPolicy, CompileError> {
    ExtAuthzPolicy::compile(&from_value::<ExtAuthz>(json).expect("a message"))
}

/// A policy with a service of HTTP, of which more is said.
fn http(service: serde_json::Value, more: serde_json::Value) -> serde_json::Value {
    let mut uri = serde_json::json!({"serverUri": {"uri": "http://a", "cluster": "a", "timeout": "1s"}});
    merge(&mut uri, service);
    let mut all = serde_json::json!({"httpService": uri});
    merge(&mut all, more);
    all
}

fn grpc(more: serde_json::Value) -> serde_json::Value {
    let mut all = serde_json::json!({"grpcService": {"envoyGrpc": {"clusterName": "a"}}, "transportApiVersion": "V3"});
    merge(&mut all, more);
    all
}

fn merge(into: &mut serde_json::Value, more: serde_json::Value) {
    if let (Some(into), serde_json::Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

#[test]
fn what_is_not_valid_or_not_carried_out_is_refused() {
    use serde_json::json;
    let exact = || json!({"patterns": [{"exact": "x"}]});
    let cases = [
        (http(json!({}), json!({})), ""),
        (grpc(json!({})), ""),
        (json!({}), "services"),
        (grpc(json!({"transportApiVersion": "V2"})), "transport_api_version"),
        (grpc(json!({"grpcService": {"googleGrpc": {"targetUri": "a", "statPrefix": "a"}}})), "grpc_service.google_grpc"),
        (http(json!({"pathPrefix": "a"}), json!({})), "http_service.path_prefix"),
        (http(json!({"pathPrefix": "/a", "pathOverride": "/b"}), json!({})), "http_service.path_override"),
        (http(json!({"serverUri": {"uri": "http://a"}}), json!({})), "http_service.server_uri.cluster"),
        (
            http(json!({"authorizationRequest": {"allowedHeaders": exact()}}), json!({"allowedHeaders": exact()})),
            "http_service.authorization_request.allowed_headers",
        ),
        (http(json!({}), json!({"withRequestBody": {}})), "with_request_body.max_request_bytes"),
        (http(json!({}), json!({"allowedHeaders": {}})), "allowed_headers.patterns"),
        (
            http(json!({}), json!({"decoderHeaderMutationRules": {"allowExpression": {"regex": "("}}})),
            "decoder_header_mutation_rules.allow_expression.regex",
        ),
        (http(json!({}), json!({"filterEnabledMetadata": {}})), "filter_enabled_metadata.filter"),
        (http(json!({}), json!({"denyAtDisable": {}})), "deny_at_disable.default_value"),
    ];
    for (config, refused) in cases {
        let found = compile(config.clone()).map_or_else(|error| error.path, |_| String::new());
        assert_eq!(found, refused, "{config}");
    }
}

#[test]
fn the_most_specific_level_says_how_somebody_is_asked() {
    use serde_json::json;
    let level = |json| ExtAuthzOverride::compile(&from_value::<ExtAuthzPerRoute>(json).expect("a message")).expect("valid");
    let disabled = |disabled: bool| level(json!({"disabled": disabled}));
    let settings = |settings: serde_json::Value| level(json!({"checkSettings": settings}));
    let policy = compile(http(json!({}), json!({"withRequestBody": {"maxRequestBytes": 5}}))).expect("valid");
    let cases = [
        (vec![], Some((Some(5), "", true))),
        (vec![disabled(true)], None),
        (vec![disabled(true), disabled(false)], Some((Some(5), "", true))),
        (vec![settings(json!({})), disabled(true)], None),
        (vec![settings(json!({"disableRequestBodyBuffering": true}))], Some((None, "", true))),
        (vec![settings(json!({"withRequestBody": {"maxRequestBytes": 7}}))], Some((Some(7), "", true))),
        (
            vec![settings(json!({"contextExtensions": {"a": "1", "b": "1"}})), settings(json!({"contextExtensions": {"b": "2"}}))],
            Some((Some(5), "a=1,b=2", true)),
        ),
        // Another service is that of the last level, and of no other.
        (vec![settings(json!({"grpcService": {"envoyGrpc": {"clusterName": "b"}}}))], Some((Some(5), "", false))),
        (vec![settings(json!({"grpcService": {"envoyGrpc": {"clusterName": "b"}}})), settings(json!({}))], Some((Some(5), "", true))),
    ];
    for (levels, expected) in cases {
        let found = policy.asking(levels.iter()).map(|asking| {
            let extensions: Vec<_> = asking.extensions.iter().map(|(key, value)| format!("{key}={value}")).collect();
            (asking.body.map(|body| body.most), extensions.join(","), matches!(asking.service, Service::Http(_)))
        });
        let found = found.as_ref().map(|(body, extensions, own)| (*body, extensions.as_str(), *own));
        assert_eq!(found, expected, "{levels:?}");
    }
    let both = json!({"checkSettings": {"disableRequestBodyBuffering": true, "withRequestBody": {"maxRequestBytes": 1}}});
    assert!(ExtAuthzOverride::compile(&from_value(both).expect("a message")).is_err());
}

/// Asks about a request.
fn ask<R>(body: Option<&Body>, ask: impl FnOnce(&Asked<'_>) -> R) -> R {
    let mut headers = headers(&[
        ("host", "a.test"),
        ("authorization", "me"),
        ("content-length", "9"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("x-envoy-auth-partial-body", "lie"),
        ("x-envoy-downstream-service-cluster", "shop"),
    ]);
    headers.append("x-bytes", HeaderValue::from_bytes(b"a\xff").expect("a value"));
    let head = RequestHead { method: "PUT", scheme: "http", authority: "a.test", path: "/p?q=1", headers: &headers, random: 7 };
    let party = |address: &str, principal| Party { address: address.parse().expect("an address"), principal };
    ask(&Asked {
        head: &head,
        protocol: "HTTP/1.1",
        source: party("[::ffff:192.0.2.1]:5", "spiffe://me"),
        destination: party("192.0.2.2:80", ""),
        certificate: Some("PEM"),
        server_name: Some("sni.test"),
        time: std::time::UNIX_EPOCH + Duration::from_millis(1_500),
        body,
        known: &DynamicMetadata::new(),
        route: None,
    })
}

/// A question as text: the request line and the headers.
fn asked_http(config: serde_json::Value, body: Option<&Body>) -> String {
    let policy = compile(config).expect("valid");
    let Service::Http(service) = &policy.service else { panic!("a service of HTTP") };
    let question = ask(body, |asked| policy.ask_http(service, asked));
    let text = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    let mut lines: Vec<String> = question.headers.iter().map(text).collect();
    lines.sort();
    format!("{} {}|{}", question.method, question.path, lines.join("|"))
}

#[test]
fn a_service_of_http_gets_what_it_needs_and_what_is_allowed() {
    use serde_json::json;
    let body = |is_partial| Body { bytes: Bytes::from_static(b"body"), is_partial, size: 9 };
    let names = |name: &str| json!({"patterns": [{"prefix": name}]});
    let needed = "authorization: me|content-length: 0|host: a.test";
    let cases = [
        (http(json!({}), json!({})), None, format!("PUT /p?q=1|{needed}")),
        (http(json!({"pathPrefix": "/check"}), json!({})), None, format!("PUT /check/p?q=1|{needed}")),
        (http(json!({"pathOverride": "/check"}), json!({})), None, format!("PUT /check|{needed}")),
        (http(json!({}), json!({"allowedHeaders": names("x-")})), None, {
            let more = "x-a: 1,2|x-bytes: a!|x-envoy-downstream-service-cluster: shop";
            format!("PUT /p?q=1|{needed}|{more}")
        }),
        (http(json!({}), json!({"allowedHeaders": names("x-a"), "encodeRawHeaders": true})), None, {
            format!("PUT /p?q=1|{needed}|x-a: 1|x-a: 2")
        }),
        (
            http(json!({"authorizationRequest": {"allowedHeaders": names("x-a")}}), json!({"disallowedHeaders": names("auth")})),
            None,
            "PUT /p?q=1|content-length: 0|host: a.test|x-a: 1,2".to_owned(),
        ),
        (http(json!({}), json!({"disallowedHeaders": names("auth")})), Some(body(true)), {
            "PUT /p?q=1|content-length: 4|host: a.test|x-envoy-auth-partial-body: true".to_owned()
        }),
        (http(json!({}), json!({"disallowedHeaders": names("auth")})), Some(body(false)), {
            "PUT /p?q=1|content-length: 4|host: a.test|x-envoy-auth-partial-body: false".to_owned()
        }),
    ];
    for (config, body, expected) in cases {
        assert_eq!(asked_http(config.clone(), body.as_ref()), expected, "{config}");
    }
}

#[test]
fn a_service_of_grpc_gets_all_attributes() {
    use serde_json::json;
    let policy = compile(grpc(json!({"includePeerCertificate": true, "includeTlsSession": true}))).expect("valid");
    let asking = policy.asking([].into_iter()).expect("somebody is asked");
    let body = Body { bytes: Bytes::from_static(b"bo\xff"), is_partial: false, size: 3 };
    let found = ask(Some(&body), |asked| policy.ask_grpc(&asking, asked)).attributes.expect("there");
    let source = found.source.expect("there");
    assert_eq!((source.principal.as_str(), source.service.as_str(), source.certificate.as_str()), ("spiffe://me", "shop", "PEM"));
    assert_eq!(source.address, Some(weir_xds::values::socket_address("192.0.2.1", 5)));
    assert_eq!(found.destination.and_then(|peer| peer.address), Some(weir_xds::values::socket_address("192.0.2.2", 80)));
    assert_eq!(found.tls_session.expect("there").sni, "sni.test");
    let request = found.request.expect("there");
    let time = request.time.expect("there");
    assert_eq!((time.seconds, time.nanos), (1, 500_000_000));
    let HttpRequest { id, method, headers, header_map, path, host, scheme, query, fragment, size, protocol, body, raw_body } =
        request.http.expect("there");
    assert_eq!((id.as_str(), method.as_str(), path.as_str(), host.as_str()), ("7", "PUT", "/p?q=1", "a.test"));
    assert_eq!((scheme.as_str(), query.as_str(), fragment.as_str(), size, protocol.as_str()), ("http", "", "", 3, "HTTP/1.1"));
    assert_eq!((body.as_str(), raw_body.len(), header_map), ("bo!", 0, None));
    let text: Vec<_> = headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = ":authority=a.test :method=PUT :path=/p?q=1 :scheme=http authorization=me content-length=9 x-a=1,2 x-bytes=a! \
                    x-envoy-auth-partial-body=false x-envoy-downstream-service-cluster=shop";
    assert_eq!(text.join(" "), expected);
}

#[test]
fn a_service_of_grpc_may_get_bytes() {
    use serde_json::json;
    let config = json!({
        "encodeRawHeaders": true,
        "allowedHeaders": {"patterns": [{"exact": "x-a"}]},
        "withRequestBody": {"maxRequestBytes": 9, "packAsBytes": true},
    });
    let policy = compile(grpc(config)).expect("valid");
    let asking = policy.asking([].into_iter()).expect("somebody is asked");
    let body = Body { bytes: Bytes::from_static(b"bo\xff"), is_partial: true, size: 9 };
    let found = ask(Some(&body), |asked| policy.ask_grpc(&asking, asked)).attributes.and_then(|all| all.request?.http).expect("there");
    assert_eq!((found.body.as_str(), &found.raw_body[..], found.size, found.headers.len()), ("", &b"bo\xff"[..], 9, 0));
    let raw: Vec<_> =
        found.header_map.expect("there").headers.into_iter().map(|header| (header.key, header.value, header.raw_value)).collect();
    let expected = [("x-a", "1"), ("x-a", "2"), ("x-envoy-auth-partial-body", "true")];
    assert_eq!(raw, expected.map(|(key, value)| (key.to_owned(), String::new(), Bytes::from(value))));
}

/// What an answer of a service of HTTP means, as text.
fn heard_http(service: serde_json::Value, more: serde_json::Value, status: u16) -> String {
    let policy = compile(http(json_of_answer(service), more)).expect("valid");
    let Service::Http(service) = &policy.service else { panic!("a service of HTTP") };
    let headers = headers(&[
        ("x-a", "1"),
        ("x-a", "2"),
        ("x-b", "b"),
        ("location", "/l"),
        ("x-envoy-auth-headers-to-remove", "x-r, ,host"),
        ("x-envoy-auth-headers-to-remove", "x-s"),
    ]);
    let status = StatusCode::from_u16(status).expect("a status");
    described(&policy.heard_http(service, status, &headers, Bytes::from_static(b"why")))
}

fn json_of_answer(answer: serde_json::Value) -> serde_json::Value {
    serde_json::json!({ "authorizationResponse": answer })
}

fn mutations(mutations: &[mutation::Mutation]) -> String {
    let text =
        |mutation: &mutation::Mutation| format!("{:?}:{}={}", mutation.action, mutation.name, String::from_utf8_lossy(&mutation.value));
    mutations.iter().map(text).collect::<Vec<_>>().join(" ")
}

fn described(decision: &Decision) -> String {
    let denial = |denial: &answer::Denial| {
        let status = denial.status.map_or(0, |status| status.as_u16());
        format!("{status} [{}] {}", mutations(&denial.headers), String::from_utf8_lossy(&denial.body))
    };
    match decision {
        Decision::Allow(changes) => {
            let Changes { request, remove, query, answer } = &**changes;
            format!("allow [{}] -{} {:?} [{}]", mutations(request), remove.join(","), query.set, mutations(answer))
        }
        Decision::Deny(denied) => format!("deny {}", denial(denied)),
        Decision::Error(None) => "error".to_owned(),
        Decision::Error(Some(error)) => format!("error {}", denial(error)),
        Decision::Invalid => "invalid".to_owned(),
    }
}

#[test]
fn only_200_of_a_service_of_http_lets_a_request_pass() {
    use serde_json::json;
    let names = |name: &str| json!({"patterns": [{"exact": name}]});
    let cases = [
        (json!({}), json!({}), 200, "allow [] -x-r,host,x-s [] []"),
        (
            json!({"allowedUpstreamHeaders": names("x-a"), "allowedUpstreamHeadersToAppend": names("x-b"),
                "allowedClientHeadersOnSuccess": names("x-b")}),
            json!({}),
            200,
            "allow [Set:x-a=1 Set:x-a=2 Add:x-b=b] -x-r,host,x-s [] [Add:x-b=b]",
        ),
        (json!({}), json!({}), 201, "deny 201 [Add:x-a=1 Add:x-a=2 Add:x-b=b Add:location=/l] why"),
        (json!({"allowedClientHeaders": names("x-b")}), json!({}), 302, "deny 302 [Add:x-b=b Add:location=/l] why"),
        (
            json!({"allowedClientHeaders": names("x-b")}),
            json!({"maxDeniedResponseBodyBytes": 1}),
            403,
            "deny 403 [Add:x-b=b Add:location=/l] w",
        ),
        (json!({}), json!({}), 500, "error"),
        (json!({}), json!({}), 599, "error"),
    ];
    for (service, more, status, expected) in cases {
        assert_eq!(heard_http(service.clone(), more, status), expected, "{service} {status}");
    }
}

#[test]
fn what_may_be_removed_is_no_host() {
    let remove = ["X-A", "host", ":path", "no name"].map(str::to_owned).to_vec();
    let changes = Changes { remove, ..Changes::default() };
    assert_eq!(changes.removable().map(|name| name.to_string()).collect::<Vec<_>>(), ["x-a"]);
    assert!(changes.change_request() && !Changes::default().change_request());
}

fn option(key: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption { header: Some(XdsHeaderValue { key: key.into(), value: value.into(), ..Default::default() }), ..Default::default() }
}

fn denied(code: i32, header: &str) -> DeniedHttpResponse {
    DeniedHttpResponse { status: Some(HttpStatus { code }), headers: vec![option(header, "v")], body: "why".into() }
}

#[test]
fn a_service_of_grpc_says_what_becomes_of_a_request() {
    use serde_json::json;
    let answer = |code: Option<i32>, http_response| CheckResponse {
        status: code.map(|code| Status { code, ..Default::default() }),
        http_response,
        dynamic_metadata: None,
    };
    let ok = |name: &str, query: &str| {
        HttpResponse::OkResponse(OkHttpResponse {
            headers: vec![option(name, "1")],
            headers_to_remove: vec!["x-r".into()],
            response_headers_to_add: vec![option("X-C", "2")],
            query_parameters_to_set: vec![QueryParameter { key: "q".into(), value: query.into() }],
            ..Default::default()
        })
    };
    let fine = "allow [Set:x-a=1] -x-r [(\"q\", \"v\")] [Add:x-c=2]";
    let cases = [
        (answer(None, None), "allow [] - [] []", "allow [] - [] []"),
        (answer(Some(0), Some(ok("X-A", "v"))), fine, fine),
        (answer(Some(0), Some(ok("x a", "v"))), "allow [Set:x a=1] -x-r [(\"q\", \"v\")] [Add:x-c=2]", "invalid"),
        (answer(Some(0), Some(ok("x-a", "v w"))), "allow [Set:x-a=1] -x-r [(\"q\", \"v w\")] [Add:x-c=2]", "invalid"),
        (answer(Some(7), None), "deny 0 [] ", "deny 0 [] "),
        (answer(Some(7), Some(ok("x-a", "v"))), "deny 0 [] ", "deny 0 [] "),
        (answer(Some(7), Some(HttpResponse::DeniedResponse(denied(401, "X-D")))), "deny 401 [Add:x-d=v] why", "deny 401 [Add:x-d=v] why"),
        (answer(Some(7), Some(HttpResponse::DeniedResponse(denied(0, "x d")))), "deny 0 [Add:x d=v] why", "invalid"),
        (answer(Some(2), Some(HttpResponse::ErrorResponse(denied(503, "x-d")))), "error 503 [Add:x-d=v] why", "error 503 [Add:x-d=v] why"),
    ];
    for (answer, expected, validated) in cases {
        for (validates, expected) in [(false, expected), (true, validated)] {
            let policy = compile(grpc(json!({"validateMutations": validates}))).expect("valid");
            assert_eq!(described(&policy.heard_grpc(answer.clone())), expected, "{answer:?}");
        }
    }
}
