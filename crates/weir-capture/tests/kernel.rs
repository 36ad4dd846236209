//! The rules in the kernel, in network namespaces that are there for these tests alone. As root.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]
#![allow(clippy::print_stderr, reason = "what is not tested is told")]

use std::process::Command;
use std::{env, fs};

use weir_capture::namespace::Namespace;
use weir_capture::{Capture, Dns, Kernel, Mode, Settings, State, Tool};

/// None where the user may not make one; CI must.
fn namespace() -> Option<Namespace> {
    let made = Namespace::new();
    if let Err(error) = &made {
        eprintln!("NOT TESTED: {error}");
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must test capture");
    }
    made.ok()
}

/// Does something there: rules are never set where the tests run.
fn within<T: Send>(namespace: &Namespace, act: impl FnOnce() -> T + Send) -> T {
    let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
    let there = || {
        assert_ne!(fs::read_link("/proc/thread-self/ns/net").unwrap(), own);
        act()
    };
    namespace.within(there).unwrap()
}

#[test]
fn a_namespace_ends_with_who_holds_it() {
    let (Some(one), Some(other)) = (namespace(), namespace()) else { return };
    one.join("there", &other, "here").unwrap();
    one.address("there", "192.0.2.1/24").unwrap();
    assert!(one.run("ip", &["address"]).unwrap().contains("192.0.2.1/24"));
    let error = one.join("there", &other, "again").unwrap_err().to_string();
    assert!(error.starts_with("ip link add name there type veth peer name again netns ") && error.contains("File exists"), "{error}");
    let path = one.path();
    drop(one);
    assert!(!path.exists());
}

#[test]
fn a_namespace_may_have_files_of_its_own() {
    if namespace().is_none() {
        return;
    }
    let (own, nowhere) = (env::current_exe().unwrap().with_extension("hosts"), "/etc/weir-test-that-is-nowhere");
    fs::write(&own, "127.0.0.1 nobody-else.test\n").unwrap();
    let namespace = Namespace::with_files(&[(&own, "/etc/hosts"), (&own, nowhere)]).unwrap();
    assert_eq!(namespace.run("cat", &["/etc/hosts"]).unwrap(), "127.0.0.1 nobody-else.test\n");
    assert_ne!(fs::read_to_string("/etc/hosts").unwrap(), "127.0.0.1 nobody-else.test\n");
    assert!(!std::path::Path::new(nowhere).exists());
    fs::remove_file(&own).unwrap();
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Tools that are here; CI must have both.
fn kernels() -> Vec<(Tool, Kernel)> {
    let here: Vec<_> = [Tool::Nft, Tool::Iptables].into_iter().filter_map(|tool| Some((tool, Kernel::by(Some(tool)).ok()?))).collect();
    assert!(here.len() == 2 || env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must have nft and iptables: {here:?}");
    here
}

/// Everything that can be asked for at once.
fn much() -> Settings {
    let mut settings = Settings { dns: Some(Dns::All), drop_invalid: true, ..Settings::default() };
    settings.exclude_inbound_ports("22,2222").unwrap();
    settings.include_outbound_ports("3306").unwrap();
    settings.exclude_outbound_ports("5432").unwrap();
    settings.include_outbound_ranges("10.0.0.0/8,fd00::/8").unwrap();
    settings.exclude_outbound_ranges("10.1.0.0/16,fd00:1::/32").unwrap();
    settings.exclude_interfaces("eth1,net+").unwrap();
    settings.reroute_virtual_interfaces("tap0").unwrap();
    settings.include_owner_groups("1000,1001").unwrap();
    settings
}

#[test]
fn what_is_installed_is_there_as_often_as_it_is_installed_and_leaves_no_rule_behind() {
    for (tool, kernel) in kernels() {
        let transparent = Settings { mode: Mode::Transparent, ..much() };
        for settings in [Settings::default(), much(), transparent] {
            let Some(namespace) = namespace() else { return };
            within(&namespace, move || {
                let (all, fewer) =
                    (Capture::of(&settings), Capture::of(&Settings { excluded_inbound_ports: [22].into(), ..Settings::default() }));
                assert_eq!(kernel.compare(&all).unwrap(), State::Absent, "{tool:?}");
                for _ in 0..2 {
                    kernel.install(&all).unwrap();
                    assert_eq!(kernel.compare(&all).unwrap(), State::Same, "{tool:?}");
                }
                kernel.install(&fewer).unwrap();
                assert_eq!(kernel.compare(&fewer).unwrap(), State::Same, "{tool:?}");
                assert!(matches!(kernel.compare(&all).unwrap(), State::Other { .. }), "{tool:?}");
                assert!(weir_capture::remove().unwrap());
                assert!(!weir_capture::remove().unwrap());
                assert_eq!(kernel.compare(&all).unwrap(), State::Absent, "{tool:?}");
                let rules = match tool {
                    Tool::Nft => said("nft", &["list", "ruleset"]),
                    Tool::Iptables => said("iptables-save", &[]) + &said("ip6tables-save", &[]),
                };
                assert!(!rules.to_ascii_lowercase().contains("weir") && !rules.contains("-A "), "{tool:?}: {rules}");
                for family in ["-4", "-6"] {
                    assert!(
                        !said("ip", &[family, "rule"]).contains("fwmark")
                            && !said("ip", &[family, "route", "show", "table", "all"]).contains("133")
                    );
                }
            });
        }
    }
}

#[test]
fn rules_that_somebody_changed_are_not_the_same() {
    let Some(namespace) = namespace() else { return };
    let Ok(kernel) = Kernel::by(Some(Tool::Nft)) else { return };
    within(&namespace, move || {
        let capture = Capture::of(&Settings::default());
        kernel.install(&capture).unwrap();
        said("nft", &["insert rule inet weir output tcp dport 25 return"]);
        let other = State::Other { missing: vec![], unwanted: vec!["tcp dport 25 return".to_owned()] };
        assert_eq!(kernel.compare(&capture).unwrap(), other);
    });
}

/// A workload that was captured by one tool, before the other came onto the machine, is not captured twice.
#[test]
fn rules_of_the_other_tool_are_seen_and_go() {
    let Some(namespace) = namespace() else { return };
    let all = kernels();
    let [(_, one), (_, other)] = all.as_slice() else { return };
    let (one, other) = (*one, *other);
    within(&namespace, move || {
        let capture = Capture::of(&Settings::default());
        for (first, then) in [(one, other), (other, one)] {
            first.install(&capture).unwrap();
            assert!(matches!(then.compare(&capture).unwrap(), State::Other { unwanted, .. } if !unwanted.is_empty()));
            then.install(&capture).unwrap();
            assert_eq!(then.compare(&capture).unwrap(), State::Same);
            assert!(weir_capture::remove().unwrap());
        }
    });
}

fn transparent() -> Capture {
    Capture::of(&Settings { mode: Mode::Transparent, ..Settings::default() })
}

#[test]
fn a_rule_of_somebody_elses_at_our_priority_stays() {
    let Some(namespace) = namespace() else { return };
    let Some((_, kernel)) = kernels().into_iter().next() else { return };
    within(&namespace, move || {
        let theirs = [["from", "10.1.0.0/16", "lookup", "201"], ["fwmark", "0x7/0xff", "lookup", "200"]];
        for rule in theirs {
            said("ip", &[&["rule", "add", "priority", "13337"], &rule[..]].concat());
        }
        kernel.install(&transparent()).unwrap();
        assert_eq!(kernel.compare(&transparent()).unwrap(), State::Same);
        assert!(weir_capture::remove().unwrap());
        let rules = said("ip", &["rule"]);
        assert!(rules.contains("from 10.1.0.0/16 lookup 201") && rules.contains("fwmark 0x7/0xff lookup 200"), "{rules}");
        assert!(!rules.contains("0x539"), "{rules}");
    });
}

#[test]
fn a_machine_whose_ipv6_is_switched_off_is_captured() {
    let Some(namespace) = namespace() else { return };
    let Some((_, kernel)) = kernels().into_iter().next() else { return };
    within(&namespace, move || {
        said("ip", &["link", "set", "lo", "up"]);
        said("sh", &["-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"]);
        kernel.install(&transparent()).unwrap();
        assert_eq!(kernel.compare(&transparent()).unwrap(), State::Same);
        assert!(weir_capture::remove().unwrap());
        assert!(!said("ip", &["rule"]).contains("0x539"));
    });
}
