use serde_json::{Value, json};

use super::*;

fn compile(mut fields: Value) -> Result<ClusterPolicy, String> {
    fields.as_object_mut().unwrap().entry("name").or_insert(json!("c"));
    let cluster: XdsCluster = weir_xds::json::from_value(fields).unwrap();
    ClusterPolicy::compile(&cluster).map_err(|error| error.to_string())
}

fn options(mut fields: Value) -> Value {
    fields["@type"] = format!("type.googleapis.com/{HTTP_OPTIONS}").into();
    json!({ HTTP_OPTIONS: fields })
}

#[test]
fn what_would_lead_requests_elsewhere_is_refused() {
    let subsets = json!({"lbSubsetConfig": {"subsetSelectors": [{"keys": ["version"]}]}});
    let http_filter = json!({"name": "envoy.filters.http.header_mutation"});
    let cases = [
        (json!({}), ""),
        (json!({"lbSubsetConfig": {"fallbackPolicy": "ANY_ENDPOINT"}}), ""),
        (subsets, "lb_subset_config: is not supported"),
        (json!({"filters": [{"name": "f"}]}), "filters: is not supported"),
        (json!({"upstreamConfig": {"name": "u"}}), "upstream_config: is not supported"),
        (json!({"connectTimeout": "0s"}), "connect_timeout: must be more than nothing"),
        (json!({"type": "STRICT_DNS", "commonLbConfig": {"consistentHashingLbConfig": {"useHostnameForHashing": true}}}), ""),
        (
            json!({"type": "LOGICAL_DNS", "commonLbConfig": {"consistentHashingLbConfig": {"useHostnameForHashing": true}}}),
            "common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing: needs a cluster of the type STRICT_DNS",
        ),
        (json!({"name": ""}), "name: is missing"),
        (
            json!({"upstreamBindConfig": {"sourceAddress": {"address": "127.0.0.1", "portValue": 7}}}),
            "upstream_bind_config.source_address: is not supported",
        ),
        (
            json!({"typedExtensionProtocolOptions": options(json!({}))}),
            "typed_extension_protocol_options.upstream_protocol_options: is missing",
        ),
        (
            json!({"typedExtensionProtocolOptions": options(json!({"explicitHttpConfig": {}, "httpFilters": [http_filter]}))}),
            "typed_extension_protocol_options.http_filters: is not supported",
        ),
    ];
    for (fields, wanted) in cases {
        assert_eq!(compile(fields.clone()).map_or_else(|error| error, |_| String::new()), wanted, "{fields}");
    }
}

#[test]
fn connections_come_from_addresses_of_both_families() {
    let from = |extra: Value| {
        let bind = json!({"sourceAddress": {"address": "127.0.0.6", "portValue": 0}, "extraSourceAddresses": extra});
        compile(json!({"upstreamBindConfig": bind}))
            .map(|policy| policy.source_addresses.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(from(json!([])).unwrap(), ["127.0.0.6"]);
    assert_eq!(from(json!([{"address": {"address": "::6", "portValue": 0}}])).unwrap(), ["127.0.0.6", "::6"]);
    let place = "upstream_bind_config.extra_source_addresses[0].address";
    assert_eq!(from(json!([{}])).unwrap_err(), format!("{place}: is missing"));
    assert_eq!(from(json!([{"address": {"address": "::6", "portValue": 7}}])).unwrap_err(), format!("{place}: is not supported"));
    assert_eq!(from(json!([{"address": {"address": "a.test", "portValue": 0}}])).unwrap_err(), format!("{place}: is no IP address"));
}

#[test]
fn protocols_need_the_transport_that_they_are_agreed_on_by() {
    let with = |protocol: Value, more: Value| {
        let mut cluster = json!({"typedExtensionProtocolOptions": options(protocol)});
        cluster.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        cluster
    };
    let tls = json!({"name": "tls", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "commonTlsContext": {}}});
    let plain = json!([{"name": "m", "transportSocket": {"name": "envoy.transport_sockets.raw_buffer"}}]);
    let auto = || json!({"autoConfig": {}});
    let plaintext = "transport_socket: must be TLS, also for each match: `auto_config` has nothing else to agree by";
    let http3 = "typed_extension_protocol_options.http3_protocol_options: is not supported";
    let cases = [
        (with(auto(), json!({"transportSocket": tls})), ""),
        (with(auto(), json!({})), plaintext),
        (with(auto(), json!({"transportSocket": tls, "transportSocketMatches": plain})), plaintext),
        (with(json!({"autoConfig": {"http3ProtocolOptions": {}}}), json!({"transportSocket": tls})), http3),
        (with(json!({"useDownstreamProtocolConfig": {"http3ProtocolOptions": {}}}), json!({})), http3),
        (with(json!({"explicitHttpConfig": {"http3ProtocolOptions": {}}}), json!({})), http3),
    ];
    for (fields, wanted) in cases {
        assert_eq!(compile(fields.clone()).map_or_else(|error| error, |_| String::new()), wanted, "{fields}");
    }
}

#[test]
fn what_older_control_planes_write_in_the_cluster_counts_where_there_are_no_options() {
    let legacy = json!({"maxRequestsPerConnection": 2, "commonHttpProtocolOptions": {"idleTimeout": "7s"}, "protocolSelection": 1});
    let compiled = compile(legacy.clone()).unwrap();
    let of = |compiled: &ClusterPolicy| {
        (compiled.max_requests_per_connection, compiled.idle_timeout.map(|idle| idle.as_secs()), compiled.protocol)
    };
    assert_eq!(of(&compiled), (Some(2), Some(7), UpstreamProtocol::Same));
    let common = json!({"maxRequestsPerConnection": 5});
    let with_options = options(json!({"explicitHttpConfig": {}, "commonHttpProtocolOptions": common}));
    let mut both = legacy;
    both["typedExtensionProtocolOptions"] = options(json!({"explicitHttpConfig": {"http2ProtocolOptions": {}}}));
    assert_eq!(of(&compile(both.clone()).unwrap()), (Some(2), Some(3600), UpstreamProtocol::Http2));
    both["typedExtensionProtocolOptions"] = with_options;
    assert!(compile(both.clone()).unwrap_err().starts_with("max_requests_per_connection: "));
    both.as_object_mut().unwrap().remove("maxRequestsPerConnection");
    assert_eq!(of(&compile(both).unwrap()), (Some(5), Some(3600), UpstreamProtocol::Http1));
}

#[test]
fn of_a_names_addresses_those_count_that_are_asked_for() {
    let both: Vec<IpAddr> = ["10.0.0.1", "::1", "10.0.0.2"].map(|ip| ip.parse().unwrap()).to_vec();
    let v4: Vec<IpAddr> = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap()).to_vec();
    let v6: Vec<IpAddr> = vec!["::1".parse().unwrap()];
    let cases = [
        (json!("AUTO"), &v6, &v4),
        (json!("V4_ONLY"), &v4, &v4),
        (json!("V6_ONLY"), &v6, &vec![]),
        (json!("V4_PREFERRED"), &v4, &v4),
        (json!("ALL"), &both, &v4),
    ];
    for (family, of_both, of_v4) in cases {
        let chosen = compile(json!({"dnsLookupFamily": family})).unwrap().dns_family;
        assert_eq!(chosen.choose(&both).collect::<Vec<_>>(), *of_both, "{family}");
        assert_eq!(chosen.choose(&v4).collect::<Vec<_>>(), *of_v4, "{family}");
    }
}
