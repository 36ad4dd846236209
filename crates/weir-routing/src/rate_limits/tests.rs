use weir_http1::{HeaderName, HeaderValue, Headers};
use weir_xds::matcher::AddressMatcher;
use weir_xds::route::rate_limit::action::{DestinationCluster, RemoteAddress, SourceCluster};
use weir_xds::route::{HeaderMatcher, QueryParameterMatcher};

use weir_xds::prost_types::Value;
use weir_xds::values::{set_metadata, text};

use super::*;

fn limit(actions: Vec<ActionSpecifier>) -> XdsRateLimit {
    let action = |action| XdsAction { action_specifier: Some(action) };
    XdsRateLimit { actions: actions.into_iter().map(action).collect(), ..Default::default() }
}

fn key(key: &str, value: &str) -> ActionSpecifier {
    ActionSpecifier::GenericKey(GenericKey { descriptor_key: key.into(), descriptor_value: value.into(), ..Default::default() })
}

fn header(skip_if_absent: bool) -> ActionSpecifier {
    ActionSpecifier::RequestHeaders(RequestHeaders { header_name: "x-k".into(), descriptor_key: "k".into(), skip_if_absent })
}

fn parameter(skip_if_absent: bool) -> ActionSpecifier {
    ActionSpecifier::QueryParameters(QueryParameters { query_parameter_name: "q".into(), descriptor_key: "q".into(), skip_if_absent })
}

fn if_header(expect_match: Option<bool>) -> ActionSpecifier {
    let headers = vec![HeaderMatcher { name: "x-k".into(), ..Default::default() }];
    ActionSpecifier::HeaderValueMatch(HeaderValueMatch { descriptor_value: "v".into(), expect_match, headers, ..Default::default() })
}

fn if_parameter(expect_match: Option<bool>) -> ActionSpecifier {
    let query_parameters = vec![QueryParameterMatcher { name: "q".into(), ..Default::default() }];
    let action = QueryParameterValueMatch { descriptor_value: "v".into(), expect_match, query_parameters, ..Default::default() };
    ActionSpecifier::QueryParameterValueMatch(action)
}

fn masked(v4: Option<u32>, v6: Option<u32>) -> ActionSpecifier {
    ActionSpecifier::MaskedRemoteAddress(MaskedRemoteAddress { v4_prefix_mask_len: v4, v6_prefix_mask_len: v6 })
}

fn if_client(value: &str, range: &str, invert_match: bool) -> ActionSpecifier {
    let mut matcher = AddressMatcher { invert_match, ..Default::default() };
    matcher.ranges.push(Default::default());
    matcher.ranges[0].address_prefix = range.into();
    matcher.ranges[0].prefix_len = Some(8);
    let action = RemoteAddressMatch { descriptor_value: value.into(), address_matcher: Some(matcher), ..Default::default() };
    ActionSpecifier::RemoteAddressMatch(action)
}

fn of_metadata(source: meta_data::Source, path: &[&str], default: &str, skip_if_absent: bool) -> ActionSpecifier {
    let segment = |key: &&str| PathSegment { segment: Some(Segment::Key((*key).to_owned())) };
    ActionSpecifier::Metadata(MetaData {
        descriptor_key: "m".into(),
        metadata_key: Some(MetadataKey { key: "ns".into(), path: path.iter().map(segment).collect() }),
        default_value: default.into(),
        source: source.into(),
        skip_if_absent,
    })
}

/// What filters have left, and what a route says of itself.
fn metadata(rich: bool) -> (DynamicMetadata, FilterMetadata) {
    let mut known = DynamicMetadata::new();
    let mut written = weir_xds::core::Metadata::default();
    if rich {
        let inner = Struct { fields: [("user".to_owned(), text("ann")), ("empty".to_owned(), text(""))].into() };
        let fields = [("claims".to_owned(), Value { kind: Some(Kind::StructValue(inner)) })].into();
        known.insert("ns".to_owned(), Struct { fields });
        set_metadata(&mut written, "ns", "plan", text("gold"));
    }
    (known, FilterMetadata::compile(Some(&written)))
}

/// The descriptor, as text, of a request from `10.1.2.3` or `2001:db8::1` with or without a header and a parameter.
fn described(limit: &XdsRateLimit, rich: bool) -> Option<String> {
    let limits = compile(std::slice::from_ref(limit), Owner::Route).expect("valid");
    let mut headers = Headers::new();
    if rich {
        headers.append(HeaderName::from_static("x-k"), HeaderValue::from_static("v1"));
        headers.append(HeaderName::from_static("x-k"), HeaderValue::from_static("v2"));
    }
    let path = if rich { "/x?q=%41&q=b" } else { "/x" };
    let head = RequestHead { method: "GET", scheme: "http", authority: "a", path, headers: &headers, random: 0 };
    let client = if rich { "10.1.2.3" } else { "2001:db8::1" };
    let (known, route) = metadata(rich);
    let counted = Counted {
        head: &head,
        client: client.parse().expect("an address"),
        cluster: Some("to"),
        own_cluster: "own",
        known: &known,
        route: Some(&route),
    };
    let descriptor = limits.first()?.descriptor(&counted)?;
    let entry = |entry: &Entry| format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value));
    Some(descriptor.entries.iter().map(entry).collect::<Vec<_>>().join(","))
}

#[test]
fn each_action_makes_an_entry_or_forbids_the_descriptor() {
    use meta_data::Source::{Dynamic, RouteEntry};
    let cases = [
        (vec![key("", "b")], Some("generic_key=b"), Some("generic_key=b")),
        (vec![key("a", "%REQ(x-k)%")], Some("a=%REQ(x-k)%"), Some("a=%REQ(x-k)%")),
        (vec![ActionSpecifier::SourceCluster(SourceCluster {})], Some("source_cluster=own"), Some("source_cluster=own")),
        (vec![ActionSpecifier::DestinationCluster(DestinationCluster {})], Some("destination_cluster=to"), Some("destination_cluster=to")),
        (vec![ActionSpecifier::RemoteAddress(RemoteAddress {})], Some("remote_address=10.1.2.3"), Some("remote_address=2001:db8::1")),
        (vec![masked(Some(8), Some(32))], Some("masked_remote_address=10.0.0.0/8"), Some("masked_remote_address=2001:db8::/32")),
        (vec![masked(None, None)], Some("masked_remote_address=10.1.2.3/32"), Some("masked_remote_address=2001:db8::1/128")),
        (vec![header(false)], Some("k=v1"), None),
        (vec![key("a", "b"), header(true)], Some("a=b,k=v1"), Some("a=b")),
        (vec![parameter(false)], Some("q=A"), None),
        (vec![parameter(true)], Some("q=A"), Some("")),
        (vec![if_header(None)], Some("header_match=v"), None),
        (vec![if_header(Some(false))], None, Some("header_match=v")),
        (vec![if_parameter(None)], Some("query_match=v"), None),
        (vec![if_parameter(Some(false))], None, Some("query_match=v")),
        (vec![if_client("v", "10.0.0.0", false)], Some("remote_address_match=v"), None),
        (vec![if_client("v%%", "10.0.0.0", true)], None, Some("remote_address_match=v%")),
        (vec![of_metadata(Dynamic, &["claims", "user"], "", false)], Some("m=ann"), None),
        (vec![of_metadata(Dynamic, &["claims", "user"], "guest", false)], Some("m=ann"), Some("m=guest")),
        (vec![key("a", "b"), of_metadata(Dynamic, &["claims", "user"], "", true)], Some("a=b,m=ann"), Some("a=b")),
        (vec![of_metadata(Dynamic, &["claims"], "", false)], None, None),
        (vec![of_metadata(Dynamic, &["claims", "empty"], "none", false)], Some("m=none"), Some("m=none")),
        (vec![of_metadata(RouteEntry, &["plan"], "", false)], Some("m=gold"), None),
    ];
    for (actions, rich, poor) in cases {
        let limit = limit(actions);
        let found = (described(&limit, true), described(&limit, false));
        assert_eq!((found.0.as_deref(), found.1.as_deref()), (rich, poor), "{limit:?}");
    }
}

#[test]
fn one_that_could_be_switched_off_is_known() {
    for (disable_key, has_key) in [("", false), ("any", true)] {
        let limit = XdsRateLimit { disable_key: disable_key.into(), ..limit(vec![key("", "b")]) };
        let limits = compile(&[limit], Owner::Route).expect("valid");
        assert_eq!(limits.iter().map(|limit| limit.has_key).collect::<Vec<_>>(), [has_key]);
    }
}

#[test]
fn what_is_not_valid_or_not_carried_out_is_refused() {
    let base = || limit(vec![key("", "b")]);
    let hits = |number, format: &str, is_negative_hits| Some(HitsAddend { number, format: format.into(), is_negative_hits });
    // For a route, and for a filter.
    let cases = [
        (base(), None, None),
        (XdsRateLimit { stage: Some(1), ..base() }, None, Some("stage")),
        (XdsRateLimit { stage: Some(11), ..base() }, Some("stage"), Some("stage")),
        (XdsRateLimit { disable_key: "k".into(), ..base() }, None, Some("disable_key")),
        (XdsRateLimit { limit: Some(Default::default()), ..base() }, None, Some("limit")),
        (XdsRateLimit { apply_on_stream_done: true, ..base() }, Some("apply_on_stream_done"), Some("apply_on_stream_done")),
        (XdsRateLimit { hits_addend: hits(Some(3), "", false), ..base() }, None, None),
        (XdsRateLimit { hits_addend: hits(None, "", false), ..base() }, None, Some("hits_addend.number")),
        (
            XdsRateLimit { hits_addend: hits(None, "%BYTES_RECEIVED%", false), ..base() },
            Some("hits_addend.format"),
            Some("hits_addend.format"),
        ),
        (
            XdsRateLimit { hits_addend: hits(Some(1), "", true), ..base() },
            Some("hits_addend.is_negative_hits"),
            Some("hits_addend.is_negative_hits"),
        ),
        (limit(vec![]), Some("actions"), Some("actions")),
        (limit(vec![key("", "")]), Some("actions[0].descriptor_value"), Some("actions[0].descriptor_value")),
        (
            limit(vec![ActionSpecifier::Metadata(Default::default())]),
            Some("actions[0].metadata.metadata_key"),
            Some("actions[0].metadata.metadata_key"),
        ),
        (
            limit(vec![of_metadata(meta_data::Source::ClusterEntry, &["a"], "", false)]),
            Some("actions[0].metadata.source"),
            Some("actions[0].metadata.source"),
        ),
        (
            limit(vec![of_metadata(meta_data::Source::Dynamic, &[], "", false)]),
            Some("actions[0].metadata.metadata_key.path"),
            Some("actions[0].metadata.metadata_key.path"),
        ),
        (
            limit(vec![if_client("%REQ(a)%", "10.0.0.0", false)]),
            Some("actions[0].remote_address_match.descriptor_value"),
            Some("actions[0].remote_address_match.descriptor_value"),
        ),
        (
            limit(vec![if_client("v", "ten", false)]),
            Some("actions[0].remote_address_match.address_matcher.ranges[0]"),
            Some("actions[0].remote_address_match.address_matcher.ranges[0]"),
        ),
        (
            limit(vec![masked(Some(33), None)]),
            Some("actions[0].masked_remote_address.v4_prefix_mask_len"),
            Some("actions[0].masked_remote_address.v4_prefix_mask_len"),
        ),
    ];
    for (limit, route, filter) in cases {
        for (owner, field) in [(Owner::Route, route), (Owner::Filter, filter)] {
            let refused = compile(std::slice::from_ref(&limit), owner).err().map(|error| error.path);
            assert_eq!(refused.as_deref().map(|path| path.trim_start_matches("rate_limits[0].").trim_end_matches('.')), field, "{limit:?}");
        }
    }
}
