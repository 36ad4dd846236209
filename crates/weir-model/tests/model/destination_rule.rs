//! DestinationRules: which one a proxy follows, how those of one host are merged, and what counts for a port and a subset.

use weir_model::{DestinationRule, EffectivePolicy, MeshSnapshot, Proxy};

use crate::support::{istio, made, mesh, mesh_with, router, sidecar};

/// A rule for a host; `more` are further fields.
fn dr(name: &str, host: &str, more: &str) -> String {
    istio("DestinationRule", name, &format!("{{host: '{host}'{more}}}"))
}

/// The rule that a proxy follows for a service: the rules that it was made of, as `shop/a+b`, `-` if there is none.
fn followed(mesh: &MeshSnapshot, proxy: &Proxy, host: &str, service_namespace: &str) -> String {
    let found = mesh.destination_rules.find(proxy, host, service_namespace);
    found.map_or("-".to_owned(), |rule| {
        let objects: Vec<&str> = rule.objects.iter().map(|object| object.meta.name.as_str()).collect();
        format!("{}/{}", rule.namespace, objects.join("+"))
    })
}

/// The same for `a.test`, a service of the namespace `shop`, and a sidecar without labels.
fn followed_from(mesh: &MeshSnapshot, namespace: &str) -> String {
    followed(mesh, &sidecar(namespace, ""), "a.test", "shop")
}

/// The rule for `a.test` that a sidecar of the namespace `shop` follows.
fn only(mesh: &MeshSnapshot) -> &DestinationRule {
    mesh.destination_rules.find(&sidecar("shop", ""), "a.test", "shop").unwrap()
}

/// The names of a rule's subsets.
fn subsets(rule: &DestinationRule) -> String {
    rule.subsets.iter().map(|(subset, _)| subset.name.as_str()).collect::<Vec<_>>().join(" ")
}

/// A policy as `lb=Random pool=1 outliers=2 tls=Simple`; what is not set does not stand there.
fn policy(policy: &EffectivePolicy) -> String {
    let pool = policy.connection_pool.as_ref().and_then(|pool| pool.tcp.as_ref()).map(|tcp| tcp.max_connections);
    let parts = [
        policy.load_balancer.as_ref().map(|lb| format!("lb={:?}", lb.simple.unwrap())),
        pool.map(|pool| format!("pool={pool}")),
        policy.outlier_detection.as_ref().map(|outliers| format!("outliers={}", outliers.max_ejection_percent)),
        policy.tls.as_ref().map(|tls| format!("tls={:?}", tls.mode)),
        policy.tunnel.as_ref().map(|tunnel| format!("tunnel={}", tunnel.target_host)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Checks what counts for some ports and subsets (`-` for none) of `a.test` by a rule with these fields.
fn check_policies(config: &str, rule: &str, table: &[(u16, &str, &str)]) {
    let mesh = mesh_with(config, &[istio("DestinationRule", "shop/a", &format!("host: a.test\n{rule}"))]);
    let rule = only(&mesh);
    for (port, subset, expected) in table {
        let effective = EffectivePolicy::new(Some(rule), rule.subset(subset), *port, &mesh.config);
        assert_eq!(policy(&effective), *expected, "port {port}, subset {subset}");
    }
}

#[test]
fn the_clients_namespace_goes_before_the_services_and_that_before_the_root_namespace() {
    let (client, service, root) = (dr("client/c", "a.test", ""), dr("shop/s", "a.test", ""), dr("istio-system/r", "a.test", ""));
    for (documents, expected) in [
        (vec![client.clone(), service.clone(), root.clone()], "client/c"),
        (vec![service.clone(), root.clone()], "shop/s"),
        (vec![root], "istio-system/r"),
        (vec![], "-"),
    ] {
        assert_eq!(followed_from(&mesh(&documents), "client"), expected);
    }
    let mesh = mesh(&[client, service]);
    assert_eq!((followed_from(&mesh, "other"), followed_from(&mesh, "shop")), ("shop/s".to_owned(), "shop/s".to_owned()));
}

#[test]
fn nothing_is_inherited_from_the_next_namespace() {
    let mesh = mesh(&[
        dr("client/c", "a.test", ", subsets: [{name: v1, labels: {version: v1}}]"),
        dr("shop/s", "a.test", ", trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v2}]"),
    ]);
    let rule = mesh.destination_rules.find(&sidecar("client", ""), "a.test", "shop").unwrap();
    assert_eq!((rule.policy.is_none(), subsets(rule).as_str()), (true, "v1"));
}

#[test]
fn a_rule_is_followed_where_it_is_exported_to() {
    for (export_to, shop, other, third) in [
        ("['*']", "shop/s", "shop/s", "shop/s"),
        ("['.']", "shop/s", "-", "-"),
        ("['.', other]", "shop/s", "shop/s", "-"),
        ("[shop]", "shop/s", "-", "-"),
    ] {
        let mesh = mesh(&[dr("shop/s", "a.test", &format!(", exportTo: {export_to}"))]);
        let found = ["shop", "other", "third"].map(|namespace| followed_from(&mesh, namespace));
        assert_eq!(found, [shop, other, third], "{export_to}");
    }
}

#[test]
fn a_rule_that_is_exported_to_others_alone_does_not_count_at_home() {
    let elsewhere = dr("shop/s", "a.test", ", exportTo: [other]");
    let found = |mesh: &MeshSnapshot| ["shop", "other", "third"].map(|namespace| followed_from(mesh, namespace));
    assert_eq!(found(&mesh(std::slice::from_ref(&elsewhere))), ["-", "shop/s", "-"]);
    // It hides no wildcard there either.
    assert_eq!(found(&mesh(&[elsewhere, dr("shop/w", "*.test", ", exportTo: ['.']")])), ["shop/w", "shop/s", "-"]);
}

#[test]
fn where_a_rule_does_not_say_where_it_is_followed_the_mesh_does() {
    let mesh = mesh_with("defaultDestinationRuleExportTo: ['.']", &[dr("shop/s", "a.test", "")]);
    assert_eq!((followed_from(&mesh, "shop"), followed_from(&mesh, "other")), ("shop/s".to_owned(), "-".to_owned()));
}

#[test]
fn a_third_namespaces_rule_is_not_followed() {
    assert_eq!(followed_from(&mesh(&[dr("third/t", "a.test", "")]), "client"), "-");
}

#[test]
fn a_private_rule_of_the_root_namespace_is_for_its_own_proxies() {
    let mesh = mesh(&[dr("istio-system/r", "a.test", ", exportTo: ['.']")]);
    assert_eq!((followed_from(&mesh, "client"), followed_from(&mesh, "istio-system")), ("-".to_owned(), "istio-system/r".to_owned()));
}

#[test]
fn for_proxies_of_the_root_namespace_its_public_rules_come_after_the_services() {
    let (root, service) = (dr("istio-system/r", "a.test", ""), dr("shop/s", "a.test", ""));
    let gateway = router("istio=ingressgateway", "10.0.0.1");
    assert_eq!(followed(&mesh(&[root.clone(), service]), &gateway, "a.test", "shop"), "shop/s");
    assert_eq!(followed(&mesh(&[root]), &gateway, "a.test", "shop"), "istio-system/r");
}

#[test]
fn of_hosts_that_cover_a_service_the_most_specific_counts() {
    let all = [dr("shop/all", "*", ""), dr("shop/test", "*.test", ""), dr("shop/b", "*.b.test", ""), dr("shop/exact", "x.b.test", "")];
    let mesh = mesh(&all);
    for (host, expected) in
        [("x.b.test", "shop/exact"), ("y.b.test", "shop/b"), ("*.b.test", "shop/b"), ("b.test", "shop/test"), ("x.example", "shop/all")]
    {
        assert_eq!(followed(&mesh, &sidecar("shop", ""), host, "shop"), expected, "{host}");
    }
}

#[test]
fn a_specific_rule_takes_nothing_from_a_wildcard() {
    let mesh = mesh(&[dr("shop/wild", "*.test", ", trafficPolicy: {loadBalancer: {simple: RANDOM}}"), dr("shop/exact", "a.test", "")]);
    assert_eq!(only(&mesh).policy, None);
}

#[test]
fn where_the_specific_rule_is_not_exported_the_next_namespace_is_asked_and_no_wildcard() {
    let shop = [dr("shop/exact", "a.test", ", exportTo: ['.', third]"), dr("shop/wild", "*.test", "")].concat();
    let mesh_without = mesh(std::slice::from_ref(&shop));
    assert_eq!((followed_from(&mesh_without, "client"), followed_from(&mesh_without, "third")), ("-".to_owned(), "shop/exact".to_owned()));
    let mesh_with_root = mesh(&[shop, dr("istio-system/r", "*.test", "")]);
    assert_eq!(followed_from(&mesh_with_root, "client"), "istio-system/r");
}

#[test]
fn short_hosts_are_of_the_rules_namespace() {
    let mesh = mesh(&[dr("shop/a", "a", ""), dr("shop/b", "b.shop", "")]);
    let from_shop = |host: &str| followed(&mesh, &sidecar("shop", ""), host, "shop");
    assert_eq!((from_shop("a.shop.svc.cluster.local"), from_shop("b.shop.svc.cluster.local")), ("shop/a".to_owned(), "-".to_owned()));
}

#[test]
fn rules_of_one_host_are_merged_the_oldest_first() {
    let mesh = mesh(&[
        dr(
            &made(2022, "shop/a"),
            "a.test",
            ", trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v2, labels: {young: 'yes'}}, {name: v3}]",
        ),
        dr(
            &made(2021, "shop/b"),
            "a.test",
            ", trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}, tls: {mode: SIMPLE}}, subsets: [{name: v1}, {name: v2}]",
        ),
    ]);
    let rule = only(&mesh);
    assert_eq!((followed_from(&mesh, "shop").as_str(), subsets(rule).as_str()), ("shop/b+a", "v1 v2 v3"));
    assert!(rule.subset("v2").unwrap().labels.is_empty());
    assert_eq!(policy(&EffectivePolicy::new(Some(rule), rule.subset("v3"), 80, &mesh.config)), "lb=RoundRobin tls=Simple");
    assert_eq!(followed_from(&mesh, "other"), "shop/b+a");
}

#[test]
fn the_first_policy_that_any_rule_of_a_host_has_counts_whole() {
    let mesh = mesh(&[
        dr("shop/a", "a.test", ", subsets: [{name: v1}]"),
        dr("shop/b", "a.test", ", trafficPolicy: {loadBalancer: {simple: RANDOM}}"),
        dr("shop/c", "a.test", ", trafficPolicy: {tls: {mode: SIMPLE}}"),
    ]);
    assert_eq!(policy(&EffectivePolicy::new(Some(only(&mesh)), None, 80, &mesh.config)), "lb=Random");
}

#[test]
fn a_subset_knows_where_it_is_written() {
    let mesh = mesh(&[dr("shop/a", "a.test", ", subsets: [{name: v1}]"), dr("shop/b", "a.test", ", subsets: [{name: v1}, {name: v2}]")]);
    let origins = only(&mesh).subsets.iter().map(|(_, origin)| format!("{} {}", origin.object.meta.name, origin.path));
    assert_eq!(origins.collect::<Vec<_>>(), ["a spec.subsets[0]", "b spec.subsets[1]"]);
}

#[test]
fn a_rule_is_not_merged_into_one_that_more_namespaces_see() {
    let mesh = mesh(&[
        dr(&made(2021, "shop/public"), "a.test", ", subsets: [{name: v1}]"),
        dr(&made(2022, "shop/private"), "a.test", ", exportTo: ['.'], subsets: [{name: v2}]"),
    ]);
    // Of rules for all workloads the last one counts.
    assert_eq!((followed_from(&mesh, "shop"), followed_from(&mesh, "other")), ("shop/private".to_owned(), "shop/public".to_owned()));
}

#[test]
fn rules_that_different_namespaces_see_are_not_merged() {
    let mesh = mesh(&[dr("shop/a", "a.test", ", exportTo: ['.', client]"), dr("shop/b", "a.test", ", exportTo: ['.', other]")]);
    assert_eq!(["client", "other", "shop"].map(|namespace| followed_from(&mesh, namespace)), ["shop/a", "shop/b", "shop/b"]);
}

#[test]
fn a_rule_that_more_namespaces_see_is_merged_and_kept_beside() {
    let mesh = mesh(&[
        dr(&made(2021, "shop/few"), "a.test", ", exportTo: ['.', client], subsets: [{name: v1}]"),
        dr(&made(2022, "shop/many"), "a.test", ", exportTo: ['.', client, other], subsets: [{name: v2}]"),
    ]);
    for namespace in ["shop", "client", "other"] {
        assert_eq!(followed_from(&mesh, namespace), "shop/many", "{namespace}");
    }
}

#[test]
fn rules_that_the_same_namespaces_see_are_merged_however_that_is_written() {
    let mesh = mesh(&[dr("shop/a", "a.test", ", exportTo: ['.']"), dr("shop/b", "a.test", ", exportTo: [shop]")]);
    assert_eq!(followed_from(&mesh, "shop"), "shop/a+b");
}

#[test]
fn a_rule_for_workloads_goes_before_older_ones_for_all() {
    let selector = |labels: &str| format!(", workloadSelector: {{matchLabels: {{{labels}}}}}");
    let mesh = mesh(&[
        dr(&made(2021, "shop/all"), "a.test", ""),
        dr(&made(2023, "shop/young"), "a.test", &selector("app: c")),
        dr(&made(2022, "shop/old"), "a.test", &selector("app: c, version: v1")),
    ]);
    for (namespace, labels, expected) in [
        ("shop", "app=c", "shop/young"),
        ("shop", "app=c,version=v1", "shop/old"),
        ("shop", "app=d", "shop/all"),
        ("other", "app=c", "shop/all"),
    ] {
        assert_eq!(followed(&mesh, &sidecar(namespace, labels), "a.test", "shop"), expected, "{namespace} {labels}");
    }
}

#[test]
fn a_rule_for_other_workloads_alone_leaves_its_namespace_without_one() {
    let mesh = mesh(&[dr("client/c", "a.test", ", workloadSelector: {matchLabels: {app: c}}"), dr("shop/s", "a.test", "")]);
    assert_eq!(followed_from(&mesh, "client"), "-");
}

#[test]
fn rules_for_the_same_workloads_are_merged_and_no_others() {
    let rule = |name: &str, labels: &str, subset: &str| {
        dr(name, "a.test", &format!(", workloadSelector: {{matchLabels: {{{labels}}}}}, subsets: [{{name: {subset}}}]"))
    };
    let mesh =
        mesh(&[rule("shop/a", "app: c", "v1"), rule("shop/b", "app: c", "v2"), rule("shop/c", "app: d", "v3"), dr("shop/d", "a.test", "")]);
    let found = ["app=c", "app=d", ""].map(|labels| followed(&mesh, &sidecar("shop", labels), "a.test", "shop"));
    assert_eq!(found, ["shop/a+b", "shop/c", "shop/d"]);
}

#[test]
fn settings_of_a_port_replace_all_blocks_of_their_level() {
    let rule = "trafficPolicy:
  loadBalancer: {simple: RANDOM}
  connectionPool: {tcp: {maxConnections: 1}}
  outlierDetection: {maxEjectionPercent: 2}
  tls: {mode: SIMPLE}
  tunnel: {targetHost: t.test, targetPort: 1}
  portLevelSettings:
  - {port: {number: 443}, loadBalancer: {simple: ROUND_ROBIN}}
  - {port: {number: 444}, tls: {mode: DISABLE}}";
    check_policies(
        "",
        rule,
        &[
            (80, "-", "lb=Random pool=1 outliers=2 tls=Simple tunnel=t.test"),
            (443, "-", "lb=RoundRobin tunnel=t.test"),
            (444, "-", "tls=Disable tunnel=t.test"),
        ],
    );
}

#[test]
fn the_blocks_of_a_subset_replace_those_of_the_rule_one_by_one() {
    let rule = "trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 1}}, tls: {mode: SIMPLE}}
subsets:
- {name: none}
- {name: lb, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}
- {name: pool, trafficPolicy: {connectionPool: {http: {maxRetries: 3}}, outlierDetection: {maxEjectionPercent: 2}}}";
    check_policies(
        "",
        rule,
        &[
            (80, "-", "lb=Random pool=1 tls=Simple"),
            (80, "unknown", "lb=Random pool=1 tls=Simple"),
            (80, "none", "lb=Random pool=1 tls=Simple"),
            (80, "lb", "lb=RoundRobin pool=1 tls=Simple"),
            // A block is replaced whole: the pool's limit of connections is gone.
            (80, "pool", "lb=Random outliers=2 tls=Simple"),
        ],
    );
}

#[test]
fn a_subsets_own_blocks_go_before_settings_of_the_rules_port() {
    let rule = "trafficPolicy:
  tls: {mode: SIMPLE}
  portLevelSettings: [{port: {number: 443}, loadBalancer: {simple: RANDOM}, tls: {mode: DISABLE}}]
subsets: [{name: v1, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}]";
    check_policies(
        "",
        rule,
        &[(443, "-", "lb=Random tls=Disable"), (443, "v1", "lb=Random tls=IstioMutual"), (80, "v1", "tls=IstioMutual")],
    );
}

#[test]
fn settings_of_a_subsets_port_replace_its_other_blocks() {
    let rule = "subsets:
- name: v1
  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    tls: {mode: SIMPLE}
    portLevelSettings: [{port: {number: 443}, loadBalancer: {simple: ROUND_ROBIN}}]";
    check_policies("", rule, &[(80, "v1", "lb=Random tls=Simple"), (443, "v1", "lb=RoundRobin"), (443, "-", "")]);
}

#[test]
fn the_meshs_default_policy_fills_the_blocks_that_are_open() {
    let config = "defaultTrafficPolicy: {connectionPool: {tcp: {maxConnections: 9}}, outlierDetection: {maxEjectionPercent: 8}}";
    let rule = "trafficPolicy: {outlierDetection: {maxEjectionPercent: 2}, portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE}}]}
subsets: [{name: v1, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}}]";
    let table = [
        (80, "-", "pool=9 outliers=2"),
        (80, "v1", "pool=1 outliers=2"),
        (443, "-", "pool=9 outliers=8 tls=Simple"),
        (443, "v1", "pool=1 outliers=8 tls=Simple"),
    ];
    check_policies(config, rule, &table);
    let mesh = mesh_with(config, &[]);
    assert_eq!(policy(&EffectivePolicy::new(None, None, 80, &mesh.config)), "pool=9 outliers=8");
    assert_eq!(policy(&EffectivePolicy::new(None, None, 80, &Default::default())), "");
}

#[test]
fn settings_of_a_subsets_port_replace_the_rules_blocks_too() {
    let rule = "trafficPolicy:
  connectionPool: {tcp: {maxConnections: 1}}
  tls: {mode: SIMPLE}
  tunnel: {targetHost: t.test, targetPort: 1}
  portLevelSettings: [{port: {number: 444}, outlierDetection: {maxEjectionPercent: 2}}]
subsets:
- name: v1
  trafficPolicy:
    portLevelSettings:
    - {port: {number: 443}, loadBalancer: {simple: RANDOM}}
    - {port: {number: 444}, loadBalancer: {simple: RANDOM}}";
    check_policies(
        "",
        rule,
        &[
            (80, "v1", "pool=1 tls=Simple tunnel=t.test"),
            (443, "v1", "lb=Random tunnel=t.test"),
            (444, "v1", "lb=Random tunnel=t.test"),
            (444, "-", "outliers=2 tunnel=t.test"),
        ],
    );
}

#[test]
fn the_meshs_policy_fills_what_the_settings_of_a_port_leave_out() {
    let config = "defaultTrafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}, outlierDetection: {maxEjectionPercent: 8}}";
    let rule = "trafficPolicy:
  outlierDetection: {maxEjectionPercent: 2}
  portLevelSettings: [{port: {number: 443}, loadBalancer: {simple: RANDOM}}]
subsets: [{name: v1, trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}}]";
    check_policies(
        config,
        rule,
        &[(80, "-", "pool=7 outliers=2"), (443, "-", "lb=Random pool=7 outliers=8"), (80, "v1", "pool=3 outliers=2")],
    );
}

#[test]
fn what_an_older_rule_for_the_same_host_says_already_is_told() {
    let policy = "trafficPolicy: {loadBalancer: {simple: RANDOM}}";
    let second = |more: &str| dr(&made(2022, "shop/b"), "a.test", &format!(", {policy}, subsets: [{{name: v1}}, {{name: v2}}]{more}"));
    let first = dr(&made(2021, "shop/a"), "a.test", &format!(", {policy}, subsets: [{{name: v1}}]"));
    let findings = |documents: &[String]| -> Vec<String> {
        mesh(documents).destination_rules.findings().map(|finding| format!("{} {}", finding.path, finding.message)).collect()
    };
    assert_eq!(
        findings(&[first.clone(), second("")]),
        [
            "spec.subsets[0] a, which is for the same host, defines the subset v1 already: this one has no effect",
            "spec.trafficPolicy a, which is for the same host, has a trafficPolicy already: this one has no effect",
        ]
    );
    for other in [second(", exportTo: ['.']"), second(", workloadSelector: {matchLabels: {app: a}}"), dr("shop/c", "*.test", "")] {
        assert_eq!(findings(&[first.clone(), other.clone()]), [""; 0], "{other}");
    }
}
