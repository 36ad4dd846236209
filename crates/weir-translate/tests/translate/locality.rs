//! Which instances a proxy prefers by where they run. The facts are those of Istio's loadbalancer.go.

use weir_model::{MeshSnapshot, Proxy};
use weir_translate::translate;
use weir_xds::cluster::Cluster;
use weir_xds::cluster::cluster::common_lb_config::LocalityConfigSpecifier;
use weir_xds::endpoint::lb_endpoint::HostIdentifier;
use weir_xds::endpoint::{ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints};
use weir_xds::values::host_and_port;

use crate::support::{cluster, mesh_with, sidecar};

const SHOP: &str = "outbound|80||shop.test";

/// One instance in each of some localities; the third one's weight is 4, and its version v2.
const ENDPOINTS: &str = "
  - {address: 10.0.0.1, locality: eu/a/1, labels: {version: v1}}
  - {address: 10.0.0.2, locality: eu/a/2, labels: {version: v1}}
  - {address: 10.0.0.3, locality: eu/b/1, labels: {version: v2}, weight: 4}
  - {address: 10.0.0.4, locality: us/a/1, labels: {version: v1}}
  - {address: 10.0.0.5, locality: as/a/1, labels: {version: v2}, weight: 0}";

/// A mesh with the service `shop.test`, and a rule about it.
struct Setup<'s> {
    config: &'s str,
    /// More of the service's metadata.
    meta: &'s str,
    resolution: &'s str,
    endpoints: &'s str,
    /// The rule's fields besides the host; without any, there is no rule.
    rule: &'s str,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { config: "", meta: "", resolution: "STATIC", endpoints: ENDPOINTS, rule: "" }
    }
}

impl Setup<'_> {
    fn mesh(&self) -> MeshSnapshot {
        let entry = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: shop{}}}\nspec:\n  hosts: [shop.test]\n  \
             resolution: {}\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  endpoints: {}\n",
            self.meta, self.resolution, self.endpoints
        );
        let rule = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: shop}}\nspec: {{host: shop.test{}}}\n",
            self.rule
        );
        let files = [("entry.yaml", entry.as_str()), ("rule.yaml", rule.as_str())];
        mesh_with(self.config, if self.rule.is_empty() { &files[..1] } else { &files })
    }

    /// What a proxy at a locality gets: what the cluster says of localities, then for each group its priority, locality,
    /// weight and instances by the last part of their address.
    fn seen_from(&self, locality: &str) -> Vec<String> {
        self.seen_by(&Proxy { locality: locality.to_owned(), ..sidecar("10.0.9.9", &[("version", "v1")]) }, SHOP)
    }

    fn seen_by(&self, proxy: &Proxy, name: &str) -> Vec<String> {
        let made = translate(&self.mesh(), proxy);
        let cluster = cluster(&made, name);
        let apart = made.endpoints.iter().find(|assignment| assignment.cluster_name == name);
        let assignment = apart.or(cluster.load_assignment.as_ref()).unwrap();
        std::iter::once(of_cluster(cluster)).chain(groups(assignment)).collect()
    }
}

fn of_cluster(cluster: &Cluster) -> String {
    match cluster.common_lb_config.as_ref().and_then(|config| config.locality_config_specifier.as_ref()) {
        None => "-".to_owned(),
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => "weighted".to_owned(),
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(config)) => format!("zones {:?}", config.min_cluster_size),
    }
}

fn groups(assignment: &ClusterLoadAssignment) -> Vec<String> {
    let last = |endpoint: &LbEndpoint| {
        let Some(HostIdentifier::Endpoint(host)) = &endpoint.host_identifier else { panic!("{endpoint:?}") };
        let (address, _) = host_and_port(host.address.as_ref().unwrap()).unwrap();
        address.rsplit('.').next().unwrap().to_owned()
    };
    let group = |group: &LocalityLbEndpoints| {
        let locality = group.locality.as_ref().unwrap();
        let instances: Vec<String> = group.lb_endpoints.iter().map(last).collect();
        let weight = group.load_balancing_weight.unwrap();
        let place = [&locality.region, &locality.zone, &locality.sub_zone].map(String::as_str).join("/");
        format!("{} {place} w{weight}: {}", group.priority, instances.join(" "))
    };
    assignment.endpoints.iter().map(group).collect()
}

/// A rule with this setting of localities; it finds out unhealthy instances.
fn setting(text: &str) -> String {
    format!(", trafficPolicy: {{outlierDetection: {{}}, loadBalancer: {{localityLbSetting: {{{text}}}}}}}")
}

/// The same, but it does not find them out.
fn blind(text: &str) -> String {
    format!(", trafficPolicy: {{loadBalancer: {{localityLbSetting: {{{text}}}}}}}")
}

const FLAT: [&str; 6] = ["-", "0 as/a/1 w1: 5", "0 eu/a/1 w1: 1", "0 eu/a/2 w1: 2", "0 eu/b/1 w4: 3", "0 us/a/1 w1: 4"];
/// The order of localities for a proxy at eu/a/1.
const NEAR: [&str; 6] = ["-", "3 as/a/1 w1: 5", "0 eu/a/1 w1: 1", "1 eu/a/2 w1: 2", "2 eu/b/1 w4: 3", "3 us/a/1 w1: 4"];

#[test]
fn without_outlier_detection_all_localities_are_equal() {
    assert_eq!(Setup::default().seen_from("eu/a/1"), FLAT);
    assert_eq!(Setup { rule: &blind(""), ..Setup::default() }.seen_from("eu/a/1"), FLAT);
    assert_eq!(Setup { rule: &blind("failoverPriority: [version]"), ..Setup::default() }.seen_from("eu/a/1"), FLAT);
    assert_eq!(Setup { rule: &blind("failover: [{from: eu, to: us}]"), ..Setup::default() }.seen_from("eu/a/1"), FLAT);
}

#[test]
fn with_outlier_detection_the_nearest_locality_comes_first_and_priorities_have_no_gaps() {
    let rule = ", trafficPolicy: {outlierDetection: {}}";
    for (locality, expected) in [
        ("eu/a/1", NEAR),
        ("eu/a/3", ["-", "2 as/a/1 w1: 5", "0 eu/a/1 w1: 1", "0 eu/a/2 w1: 2", "1 eu/b/1 w4: 3", "2 us/a/1 w1: 4"]),
        ("eu/b/1", ["-", "2 as/a/1 w1: 5", "1 eu/a/1 w1: 1", "1 eu/a/2 w1: 2", "0 eu/b/1 w4: 3", "2 us/a/1 w1: 4"]),
        ("us/c", ["-", "1 as/a/1 w1: 5", "1 eu/a/1 w1: 1", "1 eu/a/2 w1: 2", "1 eu/b/1 w4: 3", "0 us/a/1 w1: 4"]),
        ("", FLAT),
        ("sa/a/1", FLAT),
    ] {
        assert_eq!(Setup { rule, ..Setup::default() }.seen_from(locality), expected, "{locality}");
    }
}

#[test]
fn a_region_that_takes_over_comes_before_the_others() {
    let expected = ["weighted", "4 as/a/1 w1: 5", "0 eu/a/1 w1: 1", "1 eu/a/2 w1: 2", "2 eu/b/1 w4: 3", "3 us/a/1 w1: 4"];
    let rule = setting("failover: [{from: us, to: as}, {from: eu, to: us}]");
    assert_eq!(Setup { rule: &rule, ..Setup::default() }.seen_from("eu/a/1"), expected);
    // Nobody takes over from a region that is not named.
    let rule = setting("failover: [{from: us, to: as}]");
    assert_eq!(Setup { rule: &rule, ..Setup::default() }.seen_from("eu/a/1")[1..], NEAR[1..]);
}

#[test]
fn labels_rank_instances_the_first_ones_most_and_divide_localities() {
    let endpoints = "
  - {address: 10.0.0.1, locality: eu/a/1, labels: {version: v1, track: x}}
  - {address: 10.0.0.2, locality: eu/a/1, labels: {version: v1, track: y}, weight: 3}
  - {address: 10.0.0.3, locality: eu/a/1, labels: {version: v2, track: x}, weight: 2}
  - {address: 10.0.0.4, locality: us/a/1, labels: {version: v1, track: x}}
  - {address: 10.0.0.5, locality: us/a/1, labels: {track: x}}";
    let near = |local: bool| if local { "eu/a/1" } else { "" };
    for (labels, is_local, expected) in [
        ("version", false, vec!["weighted", "0 eu/a/1 w4: 1 2", "1 eu/a/1 w2: 3", "0 us/a/1 w1: 4", "1 us/a/1 w1: 5"]),
        ("version=v2", false, vec!["weighted", "0 eu/a/1 w2: 3", "1 eu/a/1 w4: 1 2", "1 us/a/1 w2: 4 5"]),
        // A later label counts only where the earlier ones are equal.
        (
            "version, track=x",
            false,
            vec!["weighted", "0 eu/a/1 w1: 1", "1 eu/a/1 w3: 2", "2 eu/a/1 w2: 3", "0 us/a/1 w1: 4", "2 us/a/1 w1: 5"],
        ),
        // What neither has is equal.
        ("unknown", false, vec!["weighted", "0 eu/a/1 w6: 1 2 3", "0 us/a/1 w2: 4 5"]),
        ("unknown=x", false, vec!["weighted", "0 eu/a/1 w6: 1 2 3", "0 us/a/1 w2: 4 5"]),
        ("topology.kubernetes.io/region", true, vec!["weighted", "0 eu/a/1 w6: 1 2 3", "1 us/a/1 w2: 4 5"]),
        ("'topology.kubernetes.io/region=us'", true, vec!["weighted", "1 eu/a/1 w6: 1 2 3", "0 us/a/1 w2: 4 5"]),
        // Labels alone: where an instance runs does not count beside them.
        ("version=v1", true, vec!["weighted", "0 eu/a/1 w4: 1 2", "1 eu/a/1 w2: 3", "0 us/a/1 w1: 4", "1 us/a/1 w1: 5"]),
    ] {
        let rule = setting(&format!("failoverPriority: [{labels}]"));
        assert_eq!(Setup { rule: &rule, endpoints, ..Setup::default() }.seen_from(near(is_local)), expected, "{labels}");
    }
}

#[test]
fn networks_are_told_apart_by_label() {
    let endpoints = "
  - {address: 10.0.0.1, network: n1, labels: {app: x}}
  - {address: 10.0.0.2, network: n2}
  - {address: 10.0.0.3, labels: {topology.istio.io/network: n1}}";
    let rule = setting("failoverPriority: [topology.istio.io/network]");
    let proxy = sidecar("10.0.9.9", &[("topology.istio.io/network", "n1")]);
    let found = Setup { rule: &rule, endpoints, ..Setup::default() }.seen_by(&proxy, SHOP);
    assert_eq!(found, ["weighted", "0 // w2: 1 3", "1 // w1: 2"]);
}

#[test]
fn labels_and_regions_together_rank_by_label_first_and_by_locality_within() {
    let rule = setting("failoverPriority: [version], failover: [{from: eu, to: as}]");
    assert_eq!(
        Setup { rule: &rule, ..Setup::default() }.seen_from("eu/a/1"),
        ["weighted", "4 as/a/1 w1: 5", "0 eu/a/1 w1: 1", "1 eu/a/2 w1: 2", "3 eu/b/1 w4: 3", "2 us/a/1 w1: 4"]
    );
}

#[test]
fn shares_are_divided_by_weight_rounded_up_and_what_is_not_named_gets_nothing() {
    for (shares, expected) in [
        ("{from: eu/a/1, to: {eu/a/1: 80, eu/a/2: 20}}", vec!["weighted", "0 eu/a/1 w80: 1", "0 eu/a/2 w20: 2"]),
        // Weights 1, 1 and 4 of a share of 70: 11.7, 11.7 and 46.7.
        (
            "{from: 'eu/*', to: {'eu/*': 70, us: 30}}",
            vec!["weighted", "0 eu/a/1 w12: 1", "0 eu/a/2 w12: 2", "0 eu/b/1 w47: 3", "0 us/a/1 w30: 4"],
        ),
        ("{from: '*', to: {'eu/a/*': 100}}", vec!["weighted", "0 eu/a/1 w50: 1", "0 eu/a/2 w50: 2"]),
        // The first that covers the proxy's locality counts, and no other.
        ("{from: us, to: {us: 100}}, {from: eu/a, to: {as: 100}}", vec!["weighted", "0 as/a/1 w100: 5"]),
        ("{from: eu, to: {sa: 100}}", vec!["weighted"]),
        // None for this proxy: nothing changes.
        ("{from: us, to: {us: 100}}", [&["weighted"], &FLAT[1..]].concat()),
    ] {
        for rule in [setting(&format!("distribute: [{shares}]")), blind(&format!("distribute: [{shares}]"))] {
            assert_eq!(Setup { rule: &rule, ..Setup::default() }.seen_from("eu/a/1"), expected, "{rule}");
        }
    }
}

#[test]
fn localities_do_not_count_where_that_is_said() {
    let outliers = ", trafficPolicy: {outlierDetection: {}}";
    let off = "localityLbSetting: {enabled: false}";
    let shares = "localityLbSetting: {distribute: [{from: eu, to: {us: 100}}]}";
    let named = setting("failover: [{from: eu, to: us}]");
    let shared = ["weighted", "0 us/a/1 w100: 4"];
    let over = ["weighted", "4 as/a/1 w1: 5", "0 eu/a/1 w1: 1", "1 eu/a/2 w1: 2", "2 eu/b/1 w4: 3", "3 us/a/1 w1: 4"];
    for (config, rule, expected) in [
        ("", setting("enabled: false"), &FLAT[..]),
        ("", setting("enabled: false, failover: [{from: eu, to: us}]"), &FLAT[..]),
        ("", blind("enabled: false, distribute: [{from: eu, to: {us: 100}}]"), &FLAT[..]),
        (off, outliers.to_owned(), &FLAT[..]),
        // The rule's own setting is in force whatever the mesh says.
        (off, named.clone(), &over[..]),
        (off, setting(""), &NEAR[..]),
        (shares, outliers.to_owned(), &shared[..]),
        (shares, String::new(), &shared[..]),
        (shares, setting("enabled: false"), &FLAT[..]),
        (shares, named, &over[..]),
        ("localityLbSetting: {failover: [{from: eu, to: us}]}", outliers.to_owned(), &over[..]),
        ("localityLbSetting: null", outliers.to_owned(), &NEAR[..]),
    ] {
        assert_eq!(Setup { config, rule: &rule, ..Setup::default() }.seen_from("eu/a/1"), expected, "{config} {rule}");
    }
}

#[test]
fn the_meshs_outlier_detection_lets_localities_fail_over() {
    let config = "defaultTrafficPolicy: {outlierDetection: {consecutive5xxErrors: 3}}";
    assert_eq!(Setup { config, ..Setup::default() }.seen_from("eu/a/1"), NEAR);
}

#[test]
fn a_subset_and_a_port_have_settings_of_their_own() {
    let rule = ", trafficPolicy: {outlierDetection: {}}, subsets: [
        {name: same, labels: {version: v1}},
        {name: flat, labels: {version: v1}, trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: false}}}},
        {name: port, labels: {version: v1}, trafficPolicy: {portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}},
        {name: region, labels: {topology.kubernetes.io/region: us}}]";
    let setup = Setup { rule, ..Setup::default() };
    let proxy = Proxy { locality: "eu/a/1".to_owned(), ..sidecar("10.0.9.9", &[]) };
    let flat = ["-", "0 eu/a/1 w1: 1", "0 eu/a/2 w1: 2", "0 us/a/1 w1: 4"];
    for (subset, expected) in [
        ("same", &["-", "0 eu/a/1 w1: 1", "1 eu/a/2 w1: 2", "2 us/a/1 w1: 4"][..]),
        ("flat", &flat[..]),
        // The port's settings take the outlier detection away.
        ("port", &flat[..]),
        ("region", &["-", "0 us/a/1 w1: 4"][..]),
    ] {
        assert_eq!(setup.seen_by(&proxy, &format!("outbound|80|{subset}|shop.test")), expected, "{subset}");
    }
}

#[test]
fn traffic_distribution_prefers_the_near_ones_without_outlier_detection() {
    let meta = |word: &str| format!(", annotations: {{networking.istio.io/traffic-distribution: {word}}}");
    let same_zone = ["weighted", "2 as/a/1 w1: 5", "0 eu/a/1 w1: 1", "0 eu/a/2 w1: 2", "1 eu/b/1 w4: 3", "2 us/a/1 w1: 4"];
    let same_node = ["weighted", "3 as/a/1 w1: 5", "0 eu/a/1 w1: 1", "1 eu/a/2 w1: 2", "2 eu/b/1 w4: 3", "3 us/a/1 w1: 4"];
    let off = "localityLbSetting: {enabled: false}";
    for (config, word, rule, expected) in [
        ("", "PreferClose", String::new(), &same_zone[..]),
        ("", "PreferSameZone", String::new(), &same_zone[..]),
        ("", "PreferSameNode", String::new(), &same_node[..]),
        // It goes before the mesh's setting, and a rule's before it.
        (off, "PreferClose", String::new(), &same_zone[..]),
        ("", "PreferClose", blind("enabled: false"), &FLAT[..]),
        ("", "PreferClose", blind(""), &FLAT[..]),
        ("", "PreferClose", ", trafficPolicy: {loadBalancer: {simple: RANDOM}}".to_owned(), &same_zone[..]),
        ("", "Any", String::new(), &FLAT[..]),
    ] {
        let setup = Setup { config, meta: &meta(word), rule: &rule, ..Setup::default() };
        assert_eq!(setup.seen_from("eu/a/1"), expected, "{config} {word} {rule}");
    }
}

#[test]
fn zone_awareness_keeps_regions_apart_and_leaves_zones_to_the_proxy() {
    let zones = |text: &str| format!(", trafficPolicy: {{loadBalancer: {{zoneAwareLbSetting: {{{text}}}}}}}");
    let regions = ["1 as/a/1 w1: 5", "0 eu/a/1 w1: 1", "0 eu/a/2 w1: 2", "0 eu/b/1 w4: 3", "1 us/a/1 w1: 4"];
    let over = ["2 as/a/1 w1: 5", "0 eu/a/1 w1: 1", "0 eu/a/2 w1: 2", "0 eu/b/1 w4: 3", "1 us/a/1 w1: 4"];
    let by_label = ["3 as/a/1 w1: 5", "0 eu/a/1 w1: 1", "0 eu/a/2 w1: 2", "2 eu/b/1 w4: 3", "1 us/a/1 w1: 4"];
    let mesh = "zoneAwareLbSetting: {enabled: true, minClusterSize: 9}";
    for (config, rule, of_cluster, expected) in [
        ("", zones("enabled: true"), "zones None", &regions),
        ("", zones("enabled: true, minClusterSize: 2"), "zones Some(2)", &regions),
        ("", zones("enabled: true, failover: [{from: eu, to: us}]"), "zones None", &over),
        ("", zones("enabled: true, failoverPriority: [version]"), "zones None", &by_label),
        (mesh, String::new(), "zones Some(9)", &regions),
        (mesh, zones("enabled: true"), "zones None", &regions),
    ] {
        let found = Setup { config, rule: &rule, ..Setup::default() }.seen_from("eu/a/1");
        assert_eq!((found[0].as_str(), &found[1..]), (of_cluster, &expected.map(str::to_owned)[..]), "{config} {rule}");
    }
    // Turned off, or where localities have a setting, it does not count.
    for (config, rule, expected) in [
        ("", zones("enabled: false"), FLAT),
        (mesh, blind(""), FLAT),
        (mesh, setting(""), NEAR),
        ("zoneAwareLbSetting: {enabled: false}", String::new(), FLAT),
    ] {
        assert_eq!(Setup { config, rule: &rule, ..Setup::default() }.seen_from("eu/a/1"), expected, "{config} {rule}");
    }
}

#[test]
fn instances_that_are_found_by_name_are_ranked_as_well() {
    let endpoints = "
  - {address: a.eu, locality: eu/a/1, labels: {version: v1}}
  - {address: a.us, locality: us/a/1, labels: {version: v2}, weight: 0}";
    for (rule, expected) in [
        (", trafficPolicy: {outlierDetection: {}}".to_owned(), ["-", "0 eu/a/1 w1: eu", "1 us/a/1 w1: us"]),
        (setting("failoverPriority: [version=v2]"), ["weighted", "1 eu/a/1 w1: eu", "0 us/a/1 w1: us"]),
        (blind("distribute: [{from: eu, to: {us: 60, eu: 40}}]"), ["weighted", "0 eu/a/1 w40: eu", "0 us/a/1 w60: us"]),
    ] {
        let setup = Setup { rule: &rule, endpoints, resolution: "DNS", ..Setup::default() };
        assert_eq!(setup.seen_from("eu/a/1"), expected, "{rule}");
    }
}

#[test]
fn a_workloads_locality_is_its_sidecars_once_a_service_selects_it() {
    let workload = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w}\n\
                    spec: {address: 10.0.9.9, locality: us/a/1, labels: {app: client}}\n";
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: client}\nspec:\n  hosts: [client.test]\n  \
                 resolution: STATIC\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  workloadSelector: {labels: {app: client}}\n";
    let shop = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: shop}}\nspec:\n  hosts: [shop.test]\n  resolution: STATIC\n  \
         ports: [{{number: 80, name: http, protocol: HTTP}}]\n  endpoints: {ENDPOINTS}\n---\napiVersion: networking.istio.io/v1\n\
         kind: DestinationRule\nmetadata: {{name: shop}}\nspec: {{host: shop.test, trafficPolicy: {{outlierDetection: {{}}}}}}\n"
    );
    for (files, expected) in [
        (vec![("shop.yaml", shop.as_str()), ("w.yaml", workload)], &FLAT),
        (
            vec![("shop.yaml", &shop), ("w.yaml", workload), ("client.yaml", entry)],
            &["-", "1 as/a/1 w1: 5", "1 eu/a/1 w1: 1", "1 eu/a/2 w1: 2", "1 eu/b/1 w4: 3", "0 us/a/1 w1: 4"],
        ),
    ] {
        let made = translate(&mesh_with("", &files), &sidecar("10.0.9.9", &[]));
        let assignment = made.endpoints.iter().find(|assignment| assignment.cluster_name == SHOP).unwrap();
        assert_eq!(groups(assignment), expected[1..]);
    }
}
