//! Rules for load balancing, in DestinationRule and MeshConfig.

use super::checker::Checker;
use super::values::{check_duration, check_duration_or_zero};
use crate::resources::load_balancer::{
    ConsistentHashLb, Distribute, Failover, LoadBalancerSettings, LocalityLoadBalancerSetting, SimpleLb, WarmupConfiguration,
    ZoneAwareLoadBalancerSetting,
};

/// Where an endpoint runs, as labels.
const TOPOLOGY: &[&str] = &["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];
/// Maglev's tables are smaller than this.
const MAX_TABLE: u64 = 5_000_011;

/// Checks load balancing; `outliers` tells whether unhealthy endpoints are found out.
pub(super) fn check(c: &mut Checker<'_>, settings: &LoadBalancerSettings, outliers: bool) {
    c.exclusive(&[("simple", settings.simple.is_some()), ("consistentHash", settings.consistent_hash.is_some())]);
    c.exclusive(&[
        ("localityLbSetting", settings.locality_lb_setting.is_some()),
        ("zoneAwareLbSetting", settings.zone_aware_lb_setting.is_some()),
    ]);
    if settings.simple == Some(SimpleLb::LeastConn) {
        c.field("simple", |c| c.warn_help("`LEAST_CONN` is deprecated", "write `LEAST_REQUEST`"));
    }
    c.some("consistentHash", &settings.consistent_hash, check_consistent_hash);
    c.some("localityLbSetting", &settings.locality_lb_setting, |c, locality| check_locality(c, locality, outliers));
    c.some("zoneAwareLbSetting", &settings.zone_aware_lb_setting, |c, zones| check_zones(c, zones, outliers));
    c.some("warmupDurationSecs", &settings.warmup_duration_secs, |c, duration| {
        check_duration(c, duration);
        c.warn_help("`warmupDurationSecs` is deprecated", format!("write `warmup: {{duration: {duration}}}`"));
    });
    c.some("warmup", &settings.warmup, |c, warmup| {
        check_warmup(c, warmup);
        if settings.consistent_hash.is_some() || matches!(settings.simple, Some(SimpleLb::Random | SimpleLb::Passthrough)) {
            c.warn_help("`warmup` has no effect with this algorithm", "use `ROUND_ROBIN` or `LEAST_REQUEST`");
        }
    });
}

fn check_consistent_hash(c: &mut Checker<'_>, hash: &ConsistentHashLb) {
    let keys = [
        ("httpHeaderName", hash.http_header_name.is_some()),
        ("httpCookie", hash.http_cookie.is_some()),
        ("useSourceIp", hash.use_source_ip.is_some()),
        ("httpQueryParameterName", hash.http_query_parameter_name.is_some()),
    ];
    c.exclusive(&keys);
    if !keys.iter().any(|(_, given)| *given) {
        c.warn_help(
            "there is nothing to hash, so requests go anywhere",
            "add `httpHeaderName`, `httpCookie`, `useSourceIp` or `httpQueryParameterName`",
        );
    }
    c.some("httpCookie", &hash.http_cookie, |c, cookie| {
        if cookie.name.is_empty() {
            c.error_help("the cookie has no name", "add `name`");
        }
        c.some("ttl", &cookie.ttl, check_duration_or_zero);
    });
    c.exclusive(&[("ringHash", hash.ring_hash.is_some()), ("maglev", hash.maglev.is_some())]);
    if hash.minimum_ring_size != 0 {
        let help = format!("write `ringHash: {{minimumRingSize: {}}}`", hash.minimum_ring_size);
        let chosen = hash.ring_hash.is_some() || hash.maglev.is_some();
        c.field("minimumRingSize", |c| {
            c.warn_help("`minimumRingSize` is deprecated", help);
            if chosen {
                c.error_help("`minimumRingSize` excludes `ringHash` and `maglev`", "keep one of them");
            }
        });
    }
    c.some("maglev", &hash.maglev, |c, maglev| check_table_size(c, maglev.table_size));
}

fn check_table_size(c: &mut Checker<'_>, size: u64) {
    let help = format!("a prime number below {MAX_TABLE}, such as 65537");
    c.field("tableSize", |c| {
        if size == 0 {
            c.error_help("the size of the table is missing", help);
        } else if size >= MAX_TABLE {
            c.error_help(format!("{size} is too large a table"), help);
        } else if !is_prime(size) {
            c.error_help(format!("{size} is not a prime number"), help);
        }
    });
}

fn is_prime(number: u64) -> bool {
    number > 1 && (2..).take_while(|factor| factor * factor <= number).all(|factor| !number.is_multiple_of(factor))
}

fn check_warmup(c: &mut Checker<'_>, warmup: &WarmupConfiguration) {
    match &warmup.duration {
        Some(duration) => c.field("duration", |c| check_duration(c, duration)),
        None => c.error_help("the duration is missing", "add `duration`"),
    }
    c.some("minimumPercent", &warmup.minimum_percent, |c, percent| {
        if !(0.0..=100.0).contains(percent) {
            c.error_help(format!("{percent} is not a share in percent"), "0 to 100");
        }
    });
    c.some("aggression", &warmup.aggression, |c, aggression| {
        if aggression.is_nan() || *aggression <= 0.0 {
            c.error_help(format!("{aggression} is not a pace"), "more than 0; 1 is linear");
        }
    });
}

/// Checks which localities are preferred.
pub(super) fn check_locality(c: &mut Checker<'_>, setting: &LocalityLoadBalancerSetting, outliers: bool) {
    let (distribute, failover) = (!setting.distribute.is_empty(), !setting.failover.is_empty());
    c.exclusive(&[("distribute", distribute), ("failover", failover)]);
    c.each("distribute", &setting.distribute, check_shares);
    let sources: Vec<&str> = setting.distribute.iter().map(|distribute| distribute.from.as_str()).collect();
    c.field("distribute", |c| check_localities(c, &sources));
    if failover {
        no_topology(c, &setting.failover_priority, "`failover` decides among regions already");
    }
    if (failover || !setting.failover_priority.is_empty()) && !outliers {
        c.warn_help("without `outlierDetection` no endpoint is found to be unhealthy, so nothing fails over", "add `outlierDetection`");
    }
    c.each("failover", &setting.failover, check_failover);
}

fn check_zones(c: &mut Checker<'_>, setting: &ZoneAwareLoadBalancerSetting, outliers: bool) {
    c.each("failover", &setting.failover, check_failover);
    no_topology(c, &setting.failover_priority, "regions and zones are kept apart already");
    if (!setting.failover.is_empty() || !setting.failover_priority.is_empty()) && !outliers {
        c.warn_help("without `outlierDetection` no endpoint is found to be unhealthy, so nothing fails over", "add `outlierDetection`");
    }
}

fn no_topology(c: &mut Checker<'_>, labels: &[String], why: &str) {
    c.each("failoverPriority", labels, |c, label| {
        if TOPOLOGY.contains(&label.as_str()) {
            c.error_help(format!("`{label}` cannot stand here: {why}"), "name other labels, or leave it away");
        }
    });
}

fn check_shares(c: &mut Checker<'_>, distribute: &Distribute) {
    c.entries("to", &distribute.to, |c, _, share| {
        if !(1..=100).contains(share) {
            c.error_help(format!("{share} is not a share of a locality"), "1 to 100");
        }
    });
    let sum: u64 = distribute.to.values().map(|share| u64::from(*share)).sum();
    if sum != 100 {
        c.field("to", |c| c.error_help(format!("the shares add up to {sum}"), "100 in all"));
    }
    let destinations: Vec<&str> = distribute.to.keys().map(String::as_str).collect();
    c.field("to", |c| check_localities(c, &destinations));
}

/// Localities of one list are well-formed, and none lies within another.
fn check_localities(c: &mut Checker<'_>, localities: &[&str]) {
    for (index, locality) in localities.iter().enumerate() {
        if locality.trim_end_matches('*').contains('*') || locality.ends_with("**") {
            c.error_help(format!("`{locality}` has a wildcard before its end"), "write `region/*` or `region/zone/*`");
        } else if locality.split('/').any(str::is_empty) {
            c.error_help(format!("`{locality}` has an empty part"), "write `region`, `region/zone` or `region/zone/subzone`");
        }
        if let Some(other) = localities[..index].iter().find(|other| localities_overlap(other, locality)) {
            c.error_help(format!("`{locality}` and `{other}` overlap"), "name each locality once");
        }
    }
}

/// Whether one of two localities is the other or holds it: `region` stands for all of its zones.
fn localities_overlap(a: &str, b: &str) -> bool {
    let parts = |text: &str| text.splitn(3, '/').map(str::to_owned).collect::<Vec<_>>();
    parts(a).iter().zip(&parts(b)).all(|(a, b)| a == b || a == "*" || b == "*")
}

fn check_failover(c: &mut Checker<'_>, failover: &Failover) {
    if failover.from == failover.to {
        c.error_help(format!("`{}` cannot take over from itself", failover.to), "name two regions");
    }
    for (key, region) in [("from", &failover.from), ("to", &failover.to)] {
        if region.contains(['/', '*']) {
            c.field(key, |c| c.error_help(format!("`{region}` is not a region"), "write the region alone, without zone or wildcard"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::testing::check_within;

    #[test]
    fn primes_are_known() {
        let primes: Vec<u64> = (0..30).filter(|number| is_prime(*number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65537) && !is_prime(65536));
    }

    #[test]
    fn localities_do_not_overlap() {
        for (localities, count) in [
            (vec!["a/b", "a/c"], 0),
            (vec!["a/*", "b/*"], 0),
            (vec!["a", "a/b"], 1),
            (vec!["*", "a"], 1),
            (vec!["a/*", "a/b/c"], 1),
            (vec!["a/b", "a/b"], 1),
            (vec!["a*/b"], 1),
            (vec!["a//c"], 1),
        ] {
            let mut checker = Checker::new("default");
            check_localities(&mut checker, &localities);
            assert_eq!(checker.finish().len(), count, "{localities:?}");
        }
    }

    #[test]
    fn settings_make_sense() {
        check(
            "…",
            "",
            &[
                ("simple: LEAST_REQUEST, warmup: {duration: 30s, minimumPercent: 10, aggression: 1}", &[]),
                ("simple: RANDOM, consistentHash: {useSourceIp: true}", &["error: "]),
                ("simple: LEAST_CONN", &["warning: .simple"]),
                ("localityLbSetting: {}, zoneAwareLbSetting: {}", &["error: "]),
                ("consistentHash: {}", &["warning: .consistentHash"]),
                ("consistentHash: {httpHeaderName: a, useSourceIp: true}", &["error: .consistentHash"]),
                ("consistentHash: {httpCookie: {name: a, ttl: 0s}}", &[]),
                ("consistentHash: {httpCookie: {ttl: 1s}}", &["error: .consistentHash.httpCookie"]),
                ("consistentHash: {httpHeaderName: a, minimumRingSize: 10}", &["warning: .consistentHash.minimumRingSize"]),
                ("consistentHash: {httpHeaderName: a, maglev: {tableSize: 65536}}", &["error: .consistentHash.maglev.tableSize"]),
                ("consistentHash: {httpHeaderName: a, maglev: {tableSize: 65537}}", &[]),
                ("consistentHash: {httpHeaderName: a, maglev: {tableSize: 3}, ringHash: {}}", &["error: .consistentHash"]),
                ("warmupDurationSecs: 10s", &["warning: .warmupDurationSecs"]),
                ("warmup: {minimumPercent: 101}", &["error: .warmup", "error: .warmup.minimumPercent"]),
                ("warmup: {duration: 1s, aggression: 0}", &["error: .warmup.aggression"]),
                ("simple: PASSTHROUGH, warmup: {duration: 1s}", &["warning: .warmup"]),
            ],
        );
    }

    #[test]
    fn localities_share_and_take_over() {
        check(
            "localityLbSetting: {…}",
            ".localityLbSetting",
            &[
                ("distribute: [{from: a/b, to: {a/b: 80, a/c: 20}}]", &[]),
                ("distribute: [{from: a/b, to: {a/b: 80, a/c: 30}}]", &["error: .distribute[0].to"]),
                ("distribute: [{from: a/b, to: {a/b: 100, a/c: 0}}]", &["error: .distribute[0].to[\"a/c\"]"]),
                ("distribute: [{from: a, to: {a: 100}}, {from: a/b, to: {a: 100}}]", &["error: .distribute"]),
                ("distribute: [{from: a, to: {a: 100}}], failover: [{from: a, to: b}]", &["error: "]),
                ("failover: [{from: a, to: b}]", &[]),
                ("failover: [{from: a, to: a}]", &["error: .failover[0]"]),
                ("failover: [{from: a/b, to: c}]", &["error: .failover[0].from"]),
                ("failoverPriority: ['topology.istio.io/network', 'topology.kubernetes.io/region']", &[]),
                ("failover: [{from: a, to: b}], failoverPriority: ['topology.kubernetes.io/region']", &["error: .failoverPriority[0]"]),
            ],
        );
        check(
            "zoneAwareLbSetting: {…}",
            ".zoneAwareLbSetting",
            &[("failover: [{from: a, to: b}], failoverPriority: ['topology.kubernetes.io/zone']", &["error: .failoverPriority[0]"])],
        );
        let blind = "host: a\ntrafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}";
        check_within("DestinationRule", blind, "trafficPolicy.loadBalancer", &[("", &["warning: .localityLbSetting"])]);
    }

    fn check(settings: &str, path: &str, table: &[(&str, &[&str])]) {
        let spec = format!("host: a\ntrafficPolicy: {{outlierDetection: {{}}, loadBalancer: {{{settings}}}}}");
        check_within("DestinationRule", &spec, &format!("trafficPolicy.loadBalancer{path}"), table);
    }
}
