//! Which hosts are given addresses, and what becomes of them where objects change.

use weir_api::ObjectChange;
use weir_model::MeshSnapshot;

use crate::support::{entry, istio, mesh, service};

/// The addresses that a host of a mesh is given, as they are told.
fn given(mesh: &MeshSnapshot, host: &str) -> Vec<String> {
    let all = service(mesh, host).automatic.map(|automatic| automatic.all());
    all.into_iter().flatten().map(|address| address.to_string()).collect()
}

#[test]
fn a_host_without_an_address_is_given_two_if_clients_may_use_them() {
    for (host, more, expected) in [
        ("a.test", ", resolution: DNS", true),
        ("a.test", ", resolution: DNS_ROUND_ROBIN", true),
        ("a.test", ", resolution: STATIC, endpoints: [{address: 10.0.0.1}]", true),
        ("a.test", ", resolution: STATIC, workloadSelector: {labels: {a: b}}", true),
        ("'*.a.test'", ", resolution: DYNAMIC_DNS", true),
        ("'*.a.test'", ", resolution: STATIC, endpoints: [{address: 10.0.0.1}]", false),
        ("a.test", ", resolution: NONE", false),
        ("a.test", ", resolution: DNS, addresses: [10.1.0.1]", false),
        ("a.test", ", resolution: STATIC, addresses: [10.0.0.0/8], endpoints: [{address: 10.0.0.1}]", false),
    ] {
        let mesh = mesh(&[entry("shop/a", host, &[80], more)]);
        let given = given(&mesh, host.trim_matches('\''));
        assert_eq!(!given.is_empty(), expected, "{host} {more}");
        assert!(given.is_empty() || given[0].starts_with("240.240.") && given[1].starts_with("2001:2::f0f0:"), "{given:?}");
    }
    for (label, expected) in [("true", true), ("FALSE", false)] {
        let name = format!("shop/a, labels: {{networking.istio.io/enable-autoallocate-ip: '{label}'}}");
        let mesh = mesh(&[entry(&name, "a.test", &[80], ", resolution: DNS")]);
        assert_eq!(!given(&mesh, "a.test").is_empty(), expected, "{label}");
    }
}

#[test]
fn a_host_has_the_same_addresses_whoever_else_comes_unless_somebody_wrote_them() {
    let before = mesh(&[entry("shop/a", "a.test", &[80], ", resolution: DNS")]);
    let own = given(&before, "a.test");
    assert_eq!(own[0], "240.240.159.133");
    let others =
        istio("ServiceEntry", "shop/b", "{hosts: [b.test, c.test], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}");
    let other = entry("other/a", "a.test", &[80], ", resolution: DNS");
    let with_others = mesh(&[entry("shop/a", "a.test", &[80], ", resolution: DNS"), others, other]);
    assert_eq!(given(&with_others, "b.test").len(), 2);
    assert_ne!(given(&with_others, "b.test"), given(&with_others, "c.test"));
    let by_namespace = with_others.services.of_host("a.test").unwrap();
    let [other, shop] = ["other", "shop"].map(|namespace| by_namespace[namespace].automatic.unwrap().ipv4.to_string());
    assert!(shop == own[0] && other != own[0], "{shop} {other}");

    // An older object that takes it away, and gives it back.
    let written = entry("shop/z", "0.test", &[80], &format!(", resolution: STATIC, addresses: [{}]", own[0]));
    let object = mesh(std::slice::from_ref(&written)).services.all().next().unwrap().object.clone();
    let taken = before.update(&[ObjectChange { old: None, new: Some(object.clone()) }], None, &[]);
    assert_ne!(given(&taken, "a.test"), own);
    assert!(taken.changes.services.contains(&service(&taken, "a.test").key()), "it is told");
    let back = taken.update(&[ObjectChange { old: Some(object), new: None }], None, &[]);
    assert_eq!(given(&back, "a.test"), own);
}

#[test]
fn who_writes_the_address_that_an_older_host_was_given_does_not_drive_that_away() {
    let old = ", creationTimestamp: '2024-01-01T00:00:00Z'";
    let victim = || entry(&format!("shop/a{old}"), "a.test", &[80], ", resolution: DNS");
    let own = given(&mesh(&[victim()]), "a.test");
    let thief = |name: &str| entry(name, "0.test", &[80], &format!(", resolution: STATIC, addresses: [{}]", own[0]));
    for (name, drives_away) in [
        ("evil/z, creationTimestamp: '2024-01-02T00:00:00Z'", false),
        // Of one age, the first by name is older.
        ("evil/z, creationTimestamp: '2024-01-01T00:00:00Z'", true),
        ("shop/z, creationTimestamp: '2023-12-31T00:00:00Z'", true),
    ] {
        for both in [[victim(), thief(name)], [thief(name), victim()]] {
            assert_eq!(given(&mesh(&both), "a.test") != own, drives_away, "{name}");
        }
        let object = mesh(&[thief(name)]).services.all().next().unwrap().object.clone();
        let before = mesh(&[victim()]);
        let after = before.update(&[ObjectChange { old: None, new: Some(object) }], None, &[]);
        assert_eq!(given(&after, "a.test") != own, drives_away, "{name}");
    }
}
