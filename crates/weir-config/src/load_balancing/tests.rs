use serde_json::{Value, json};

use super::*;

fn compile(fields: Value) -> Result<Settings, String> {
    let cluster: XdsCluster = weir_xds::json::from_value(fields).unwrap();
    Settings::compile(&cluster).map_err(|error| error.to_string())
}

fn typed(name: &str, mut config: Value) -> Value {
    config["@type"] = format!("type.googleapis.com/envoy.extensions.load_balancing_policies.{name}").into();
    json!({"typedExtensionConfig": {"name": "any", "typedConfig": config}})
}

#[test]
fn sizes_are_those_that_envoy_takes() {
    let maglev = |size: u64| compile(json!({"lbPolicy": "MAGLEV", "maglevLbConfig": {"tableSize": size}})).map(|settings| settings.balance);
    assert_eq!([maglev(2), maglev(211), maglev(5_000_011)], [2, 211, 5_000_011].map(|size| Ok(Balance::Maglev(size))));
    for (size, wanted) in [
        (0, "maglev_lb_config.table_size: 0 is not a prime"),
        (1, "maglev_lb_config.table_size: 1 is not a prime"),
        (65_536, "maglev_lb_config.table_size: 65536 is not a prime"),
        (5_000_077, "maglev_lb_config.table_size: is more than 5000011"),
        (4_999_696, "maglev_lb_config.table_size: 4999696 is not a prime"),
    ] {
        assert_eq!(maglev(size), Err(wanted.to_owned()));
    }
    let ring = |config: Value| compile(json!({"lbPolicy": "RING_HASH", "ringHashLbConfig": config})).map(|settings| settings.balance);
    assert_eq!(ring(json!({"minimumRingSize": 8, "maximumRingSize": 8})), Ok(Balance::RingHash(8, 8)));
    for (config, wanted) in [
        (json!({"minimumRingSize": 9_000_000}), "ring_hash_lb_config.minimum_ring_size: is more than 8388608"),
        (json!({"maximumRingSize": 9_000_000}), "ring_hash_lb_config.maximum_ring_size: is more than 8388608"),
        (json!({"maximumRingSize": 1000}), "ring_hash_lb_config.minimum_ring_size: 1024 is more than maximum_ring_size, 1000"),
    ] {
        assert_eq!(ring(config), Err(wanted.to_owned()));
    }
}

#[test]
fn of_the_named_policies_the_first_known_one_counts() {
    let balance = |policies: Value| compile(json!({"loadBalancingPolicy": {"policies": policies}})).map(|settings| settings.balance);
    let cases = [
        (typed("round_robin.v3.RoundRobin", json!({})), Balance::RoundRobin),
        (typed("random.v3.Random", json!({})), Balance::Random),
        (typed("least_request.v3.LeastRequest", json!({"choiceCount": 5})), Balance::LeastRequest { choices: 5, bias: 1.0 }),
        (typed("ring_hash.v3.RingHash", json!({"maximumRingSize": 2048})), Balance::RingHash(1024, 2048)),
        (typed("maglev.v3.Maglev", json!({"tableSize": 211})), Balance::Maglev(211)),
    ];
    for (policy, wanted) in cases {
        // Envoy knows pick_first as little.
        let unknown = typed("pick_first.v3.PickFirst", json!({}));
        assert_eq!(balance(json!([unknown, policy, typed("random.v3.Random", json!({}))])), Ok(wanted));
    }
    assert!(balance(json!([typed("pick_first.v3.PickFirst", json!({}))])).unwrap_err().contains("PickFirst] is supported"));
    assert!(balance(json!([])).is_err() && balance(json!([typed("maglev.v3.Maglev", json!({"tableSize": 4}))])).is_err());
    assert_eq!(compile(json!({"lbPolicy": "LOAD_BALANCING_POLICY_CONFIG"})), Err("load_balancing_policy: is missing".to_owned()));
}

#[test]
fn what_stands_beside_a_policy_is_read_or_refused() {
    let policies = |policy: Value| json!({"policies": [policy]});
    let zone = |config: Value| json!({"localityLbConfig": {"zoneAwareLbConfig": config}});
    let refused = [
        json!({"lbSubsetConfig": {}}),
        json!({"commonLbConfig": {"localityWeightedLbConfig": {}}}),
        json!({"commonLbConfig": {"consistentHashingLbConfig": {}}}),
    ];
    for mut beside in refused {
        beside["loadBalancingPolicy"] = policies(typed("random.v3.Random", json!({})));
        assert!(compile(beside.clone()).is_err(), "{beside}");
    }
    let of = |policy: Value| {
        compile(json!({"loadBalancingPolicy": policies(policy), "commonLbConfig": {"healthyPanicThreshold": {"value": 7}}}))
    };
    assert!(of(typed("random.v3.Random", zone(json!({"forceLocalZone": {}})))).is_err());
    let common = of(typed("random.v3.Random", zone(json!({"failTrafficOnPanic": true})))).unwrap().common;
    assert_eq!((common.panic_percent, common.fail_traffic_on_panic, common.locality_weighted), (7, true, false));
    let hashing = json!({"consistentHashingLbConfig": {"useHostnameForHashing": true}, "localityWeightedLbConfig": {}});
    let common = of(typed("maglev.v3.Maglev", hashing)).unwrap().common;
    assert_eq!((common.hash_by_hostname, common.locality_weighted), (true, true));
    let warm = of(typed("round_robin.v3.RoundRobin", json!({"slowStartConfig": {"slowStartWindow": "5s"}}))).unwrap();
    assert!(warm.common.slow_start.is_some());
}

#[test]
fn a_destination_that_is_not_the_clients_is_refused() {
    let of =
        |config: Value| compile(json!({"lbPolicy": "CLUSTER_PROVIDED", "originalDstLbConfig": config})).map(|settings| settings.balance);
    assert_eq!(of(json!({})), Ok(Balance::RoundRobin));
    for config in [json!({"useHttpHeader": true}), json!({"upstreamPortOverride": 80})] {
        assert!(of(config.clone()).is_err(), "{config}");
    }
}
