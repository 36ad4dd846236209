use serde_json::{Value, json};

use weir_xds::listener::Filter;
use weir_xds::listener::filter::ConfigType;

use super::filters::OriginalSource;
use super::*;

const TCP: &str = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

fn tcp() -> Value {
    json!({"name": "tcp", "typedConfig": {"@type": TCP, "statPrefix": "p", "cluster": "a"}})
}

fn listener(more: &Value) -> XdsListener {
    let mut listener = json!({
        "name": "l",
        "address": {"socketAddress": {"address": "127.0.0.1", "portValue": 80}},
        "filterChains": [{"filters": [tcp()]}],
    });
    listener.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    weir_xds::json::from_value(listener).unwrap()
}

fn refusal(more: &Value) -> String {
    Listener::compile(&listener(more), None).map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn what_would_choose_other_chains_or_take_other_traffic_is_refused() {
    let cases = [
        (json!({}), ""),
        (json!({"filterChains": []}), "filter_chains: is missing"),
        (json!({"apiListener": {}}), "api_listener: is not supported"),
        (json!({"udpListenerConfig": {}}), "udp_listener_config: is not supported"),
        (json!({"internalListener": {}}), "internal_listener: is not supported"),
        (json!({"filterChainMatcher": {}}), "filter_chain_matcher: is not supported"),
        (json!({"address": {"pipe": {"path": ""}}}), "address.pipe.path: is none"),
        (json!({"address": {"pipe": {"path": "/a", "mode": 512}}}), "address.pipe.mode: is none"),
        (
            json!({"address": {"envoyInternalAddress": {"serverListenerName": "a"}}}),
            "address: is neither an IP address and a port nor a Unix socket",
        ),
        (json!({"filterChains": [{"filters": [tcp()], "useProxyProto": true}]}), "filter_chains[0].use_proxy_proto: is not supported"),
        (
            json!({"listenerFilters": [{"name": "envoy.filters.listener.proxy_protocol"}]}),
            "listener_filters[0]: the listener filter `envoy.filters.listener.proxy_protocol` is not supported",
        ),
    ];
    for (more, wanted) in cases {
        assert_eq!(refusal(&more), wanted, "{more}");
    }
}

#[test]
fn just_the_last_network_filter_takes_the_connection() {
    let filter = |kind: &str| Filter {
        // The name says nothing.
        name: "envoy.filters.network.mongo_proxy".to_owned(),
        config_type: Some(ConfigType::TypedConfig(weir_xds::Any { type_url: format!("type.googleapis.com/{kind}"), ..Default::default() })),
    };
    let watching = filter("envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy");
    let mut chains = listener(&json!({"filterChains": [{"filters": [tcp()]}]})).filter_chains;
    let tcp = chains.remove(0).filters.remove(0);
    let compile = |filters: Vec<Filter>| {
        let filter_chains = vec![weir_xds::listener::FilterChain { filters, ..Default::default() }];
        Listener::compile(&XdsListener { filter_chains, ..listener(&json!({})) }, None)
    };
    let compiled = compile(vec![watching.clone(), tcp.clone()]).unwrap();
    assert!(matches!(compiled.all_chains().next().unwrap().filters[..], [NetworkFilter::Watch]));
    let cases = [
        (vec![tcp.clone(), tcp.clone()], "filter_chains[0].filters[1]: comes after a filter that takes the connection"),
        (vec![tcp.clone(), watching.clone()], "filter_chains[0].filters[1]: comes after a filter that takes the connection"),
        (vec![watching], "filter_chains[0].filters: have none at their end that takes the connection"),
        (vec![], "filter_chains[0].filters: have none at their end that takes the connection"),
        // What decides who is let in is not passed over, whatever its name.
        (
            vec![filter("envoy.extensions.filters.network.ratelimit.v3.RateLimit"), tcp.clone()],
            "filter_chains[0].filters[0]: the network filter `envoy.extensions.filters.network.ratelimit.v3.RateLimit` is not supported",
        ),
        (
            vec![filter("envoy.extensions.filters.network.ext_authz.v3.ExtAuthz"), tcp.clone()],
            "filter_chains[0].filters[0].stat_prefix: is missing",
        ),
        (vec![filter("envoy.extensions.filters.network.rbac.v3.RBAC"), tcp], "filter_chains[0].filters[0].stat_prefix: is missing"),
    ];
    for (filters, wanted) in cases {
        assert_eq!(compile(filters).unwrap_err().to_string(), wanted);
    }
}

#[test]
fn additional_addresses_are_one_socket_or_none() {
    let compile = |address: &str, additional: &[&str], binds: bool| {
        let at = |address: &&str| json!({"address": {"socketAddress": {"address": address, "portValue": 80}}});
        let additional: Vec<Value> = additional.iter().map(at).collect();
        let given = json!({"address": at(&address)["address"], "additionalAddresses": additional, "bindToPort": binds});
        let compiled = Listener::compile(&listener(&given), None).map_err(|error| error.to_string())?;
        Ok::<_, String>(
            std::iter::once(compiled.address).chain(compiled.further_addresses).map(|place| place.to_string()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(compile("0.0.0.0", &["::"], true).unwrap(), ["[::]:80"]);
    assert_eq!(compile("0.0.0.0", &["::"], false).unwrap(), ["[::]:80"]);
    assert_eq!(compile("10.0.0.1", &["fd00::1", "10.0.0.2"], false).unwrap(), ["10.0.0.1:80", "[fd00::1]:80", "10.0.0.2:80"]);
    let refused = "additional_addresses[0].address: is not supported: a socket is opened at one address, or at `::` beside `0.0.0.0`";
    assert_eq!(compile("10.0.0.1", &["fd00::1"], true).unwrap_err(), refused);
    assert_eq!(compile("10.0.0.1", &["a.test"], false).unwrap_err(), "additional_addresses[0].address: is no IP address and port");
}

#[test]
fn listener_filters_are_told_by_their_types_and_left_out_at_ports() {
    let inspector = |kind: &str, disabled: Value| {
        let kind = format!("type.googleapis.com/envoy.extensions.filters.listener.{kind}");
        json!({"name": "any", "filterDisabled": disabled, "typedConfig": {"@type": kind}})
    };
    let range = |start: u32, end: u32| json!({"destinationPortRange": {"start": start, "end": end}});
    let filters = json!({"listenerFilters": [
        inspector("tls_inspector.v3.TlsInspector", range(80, 90)),
        inspector("http_inspector.v3.HttpInspector", json!({"orMatch": {"rules": [range(1, 2), {"notMatch": range(0, 85)}]}})),
    ]});
    let compiled = Listener::compile(&listener(&filters), None).unwrap();
    let looks = |port| {
        let inspect = compiled.filters.inspect(port);
        (inspect.tls, inspect.http)
    };
    assert_eq!(
        [looks(1), looks(79), looks(80), looks(89), looks(90)],
        [(true, false), (true, true), (false, true), (false, false), (true, false)]
    );
    assert_eq!(compiled.original_destination, OriginalDestination::Ignore);
    let restoring = json!({"listenerFilters": [{"name": "envoy.filters.listener.original_dst"}]});
    assert_eq!(Listener::compile(&listener(&restoring), None).unwrap().original_destination, OriginalDestination::Restore);
}

#[test]
fn a_listener_may_take_what_is_for_others_and_call_in_its_clients_name() {
    let source = |port: bool| {
        let config = json!({"@type": "type.googleapis.com/envoy.extensions.filters.listener.original_src.v3.OriginalSrc", "mark": 7, "bindPort": port});
        json!({"name": "any", "typedConfig": config, "filterDisabled": {"destinationPortRange": {"start": 80, "end": 81}}})
    };
    for with_port in [false, true] {
        let more = json!({"transparent": true, "listenerFilters": [source(with_port)]});
        let compiled = Listener::compile(&listener(&more), None).unwrap();
        assert!(compiled.transparent);
        assert_eq!(compiled.filters.original_source(81), Some(OriginalSource { mark: 7, with_port }));
        assert_eq!(compiled.filters.original_source(80), None);
    }
    let plain = Listener::compile(&listener(&json!({})), None).unwrap();
    assert!(!plain.transparent && plain.filters.original_source(81).is_none());
}

#[test]
fn chains_that_did_not_change_are_the_same_wherever_they_stand() {
    let chain = |port: u16| json!({"filterChainMatch": {"destinationPort": port}, "filters": [tcp()]});
    let of = |ports: std::ops::Range<u16>| listener(&json!({"filterChains": ports.map(chain).collect::<Vec<_>>()}));
    let before = Listener::compile(&of(1..2000), None).unwrap();
    let after = Listener::compile(&of(2..2001), Some(&before)).unwrap();
    let known: std::collections::HashSet<*const Chain> = before.all_chains().map(Arc::as_ptr).collect();
    assert_eq!(after.all_chains().filter(|chain| known.contains(&Arc::as_ptr(chain))).count(), 1998);
}

#[test]
fn no_handshake_and_no_inspection_is_without_a_deadline() {
    let seconds = std::time::Duration::from_secs;
    let inspectors =
        |kinds: &[&str]| kinds.iter().map(|kind| json!({"name": format!("envoy.filters.listener.{kind}")})).collect::<Vec<_>>();
    let (both, only_tls) = (inspectors(&["tls_inspector", "http_inspector"]), inspectors(&["tls_inspector"]));
    // Filters, their timeout, whether to go on; how long it takes, from the first byte on, whether it goes on.
    let cases = [
        (&both, json!(null), false, (15, None, false)),
        (&both, json!("0.1s"), true, (0, None, true)),
        (&both, json!("20s"), false, (20, None, false)),
        (&both, json!("0s"), true, (3600, Some(15), false)),
        (&both, json!("0s"), false, (3600, Some(15), false)),
        (&only_tls, json!("0s"), true, (3600, Some(15), false)),
        (&only_tls, json!("0s"), false, (15, Some(15), false)),
    ];
    for (filters, timeout, go_on, expected) in cases {
        let mut more = json!({"listenerFilters": filters, "continueOnListenerFiltersTimeout": go_on});
        if !timeout.is_null() {
            more["listenerFiltersTimeout"] = timeout.clone();
        }
        let Inspect { timeout: limit, once_begun, go_on, .. } = Listener::compile(&listener(&more), None).unwrap().filters.inspect(80);
        assert_eq!((limit.as_secs(), once_begun.map(|limit| limit.as_secs()), go_on), expected, "{timeout} {more}");
    }
    for (timeout, expected) in
        [(json!({}), 15), (json!({"transportSocketConnectTimeout": "0s"}), 15), (json!({"transportSocketConnectTimeout": "3s"}), 3)]
    {
        let mut chain = json!({"filters": [tcp()]});
        chain.as_object_mut().unwrap().extend(timeout.as_object().unwrap().clone());
        let compiled = Listener::compile(&listener(&json!({"filterChains": [chain]})), None).unwrap();
        assert_eq!(compiled.all_chains().next().unwrap().handshake_timeout, seconds(expected), "{timeout}");
    }
}

#[test]
fn a_chain_has_so_many_connections_as_its_filter_lets_in() {
    let limit = |more: &Value| {
        let mut config = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
            "statPrefix": "few",
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let filters = json!([{"name": "limit", "typedConfig": config}, tcp()]);
        let compiled = Listener::compile(&listener(&json!({"filterChains": [{"filters": filters}]})), None)?;
        Ok::<_, CompileError>(compiled.all_chains().next().unwrap().filters[0].clone())
    };
    let NetworkFilter::ConnectionLimit(few) = limit(&json!({"maxConnections": 1, "delay": "2s"})).unwrap() else { panic!("a limit") };
    let first = few.admit();
    assert!(first.is_some() && few.admit().is_none());
    assert_eq!((few.active(), few.limited(), few.delay), (1, 1, Some(std::time::Duration::from_secs(2))));
    drop(first);
    assert!(few.admit().is_some());
    let off = json!({"maxConnections": 1, "runtimeEnabled": {"defaultValue": false, "runtimeKey": "k"}});
    assert!(matches!(limit(&off), Ok(NetworkFilter::Watch)));
    let place = "filter_chains[0].filters[0].max_connections";
    for (more, expected) in [(json!({}), "is missing"), (json!({"maxConnections": 0}), "must be 1 or more")] {
        assert_eq!(limit(&more).unwrap_err().to_string(), format!("{place}: {expected}"));
    }
}
