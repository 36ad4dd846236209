//! What is captured, and the rules that do it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use insta::{assert_snapshot, with_settings};
use proptest::prelude::*;
use weir_capture::{Capture, Dns, Family, Groups, Mode, Settings};

/// A kind of capture, and what it is called.
fn cases() -> Vec<(&'static str, Settings)> {
    let of = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        settings
    };
    vec![
        ("everything", Settings::default()),
        (
            "chosen_ports_and_ranges",
            of(&|settings| {
                settings.include_inbound_ports("8080,9090").unwrap();
                settings.exclude_inbound_ports("22").unwrap();
                settings.include_outbound_ports("3306").unwrap();
                settings.exclude_outbound_ports("5432,6379").unwrap();
                settings.include_outbound_ranges("10.0.0.0/8,fd00::/8").unwrap();
                settings.exclude_outbound_ranges("10.1.0.0/16,fd00:1::/32,10.2.0.1").unwrap();
            }),
        ),
        ("nothing_inbound", of(&|settings| settings.include_inbound_ports("").unwrap())),
        ("nothing_outbound", of(&|settings| settings.include_outbound_ranges("").unwrap())),
        ("loopback_too", of(&|settings| settings.include_outbound_ranges("127.0.0.0/8").unwrap())),
        ("all_dns", of(&|settings| settings.dns = Some(Dns::All))),
        (
            "dns_of_some_servers",
            of(&|settings| settings.dns = Some(Dns::Servers(["10.0.0.10".parse().unwrap(), "fd00::a".parse().unwrap()].into()))),
        ),
        (
            "several_owners",
            of(&|settings| {
                settings.set_proxy_users("1337,0").unwrap();
                settings.set_proxy_groups("").unwrap();
                settings.include_owner_groups("1000,1001").unwrap();
            }),
        ),
        ("groups_left_alone", of(&|settings| settings.owner_groups = Groups::Except([7, 8].into()))),
        (
            "interfaces",
            of(&|settings| {
                settings.exclude_interfaces("eth1,net+").unwrap();
                settings.reroute_virtual_interfaces("tap0").unwrap();
                settings.drop_invalid = true;
            }),
        ),
        (
            "transparent",
            of(&|settings| {
                settings.mode = Mode::Transparent;
                settings.exclude_interfaces("eth1").unwrap();
                settings.reroute_virtual_interfaces("tap0").unwrap();
                settings.drop_invalid = true;
            }),
        ),
        (
            "transparent_on_chosen_ports",
            of(&|settings| {
                settings.mode = Mode::Transparent;
                settings.include_inbound_ports("8080,9090").unwrap();
                settings.exclude_inbound_ports("22").unwrap();
            }),
        ),
        (
            "transparent_and_nothing_inbound",
            of(&|settings| {
                settings.mode = Mode::Transparent;
                settings.include_inbound_ports("").unwrap();
            }),
        ),
        (
            "virtual_machines_and_ranges",
            of(&|settings| {
                settings.include_outbound_ranges("10.0.0.0/8").unwrap();
                settings.reroute_virtual_interfaces("tap0").unwrap();
            }),
        ),
    ]
}

#[test]
fn the_rules_for_nft() {
    for (name, settings) in cases() {
        with_settings!({ snapshot_suffix => name }, { assert_snapshot!("nft", Capture::of(&settings).nft()) });
    }
}

#[test]
fn the_rules_for_iptables() {
    for (name, settings) in cases() {
        let capture = Capture::of(&settings);
        let text = format!("# IPv4\n{}\n# IPv6\n{}", capture.iptables(Family::V4, ""), capture.iptables(Family::V6, ""));
        with_settings!({ snapshot_suffix => name }, { assert_snapshot!("iptables", text) });
    }
}

#[test]
fn more_ports_than_one_rule_takes_are_several_rules() {
    let mut settings = Settings::default();
    let ports: Vec<String> = (1000..1017).map(|port| port.to_string()).collect();
    settings.include_inbound_ports(&ports.join(",")).unwrap();
    let text = Capture::of(&settings).iptables(Family::V4, "");
    let rules: Vec<&str> = text.lines().filter(|line| line.contains("--to-ports 15006") && line.contains("WEIR_INBOUND")).collect();
    let expected = [
        "-A WEIR_INBOUND -p tcp -m multiport --dports 1000,1001,1002,1003,1004,1005,1006,1007,1008,1009,1010,1011,1012,1013,1014 -j REDIRECT --to-ports 15006",
        "-A WEIR_INBOUND -p tcp -m multiport --dports 1015,1016 -j REDIRECT --to-ports 15006",
    ];
    assert_eq!(rules, expected);
}

#[test]
fn what_an_earlier_call_made_goes_first_and_rules_of_others_stay() {
    let saved = "*filter
:INPUT ACCEPT [0:0]
-A INPUT -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [1:60]
:OUTPUT ACCEPT [2:120]
:DOCKER - [0:0]
:WEIR_OLD - [0:0]
:WEIR_OUTPUT - [0:0]
-A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT -j WEIR_OUTPUT
-A WEIR_OUTPUT -p tcp -g WEIR_OLD
COMMIT
";
    let mut settings = Settings::default();
    settings.include_inbound_ports("").unwrap();
    let text = Capture::of(&settings).iptables(Family::V4, saved);
    let begin = "*nat\n-D OUTPUT -j WEIR_OUTPUT\n-F WEIR_OLD\n-F WEIR_OUTPUT\n-X WEIR_OLD\n-X WEIR_OUTPUT\n:WEIR_PROXY - [0:0]\n";
    assert!(text.starts_with(begin), "{text}");
    assert!(!text.contains("DOCKER") && !text.contains("filter"), "{text}");
}

/// Annotations that take a list.
const LISTS: [&str; 9] = [
    "traffic.sidecar.istio.io/includeInboundPorts",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/includeOutboundPorts",
    "traffic.sidecar.istio.io/excludeOutboundPorts",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
    "traffic.sidecar.istio.io/excludeOutboundIPRanges",
    "traffic.sidecar.istio.io/excludeInterfaces",
    "traffic.sidecar.istio.io/kubevirtInterfaces",
    "status.sidecar.istio.io/port",
];

proptest! {
    /// Whoever writes annotations writes no rules: what is taken of them is words, and each rule stays one line.
    #[test]
    fn no_text_of_a_list_becomes_a_rule_of_its_own(name in 0..LISTS.len(), value in "([0-9]{1,5}|[0-9.]{7,9}/[0-9]{1,2}|[a-z]{1,4}[0-9+]?|[\\PC\n;\"{}#-]{0,6}|,|\\*| ){0,6}") {
        let (plain, mut settings) = (Settings::default(), Settings::default());
        if settings.annotate(LISTS[name], &value).is_ok() {
            let text = Capture::of(&settings).nft();
            let allowed = |c: char| c.is_ascii_alphanumeric() || " \t\n{}#,;:.\"/*!=_-@'".contains(c);
            prop_assert!(text.chars().all(allowed), "{}", text);
            let chains = |text: &str| text.matches('{').count() - text.matches("{ ").count();
            prop_assert!(chains(&text) <= chains(&Capture::of(&plain).nft()) + 1);
            for line in text.lines() {
                prop_assert!(line.matches('"').count() % 2 == 0 && (!line.contains(';') || line.ends_with("policy accept;")), "{}", line);
            }
        }
    }
}
