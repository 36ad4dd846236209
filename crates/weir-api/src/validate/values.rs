//! Values that many resources have: ports, durations, shares, labels, addresses, and who may see a resource.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::checker::Checker;
use super::hosts::{self, is_label};
use super::re2;
use crate::resources::http_policy::Percent;
use crate::resources::protocol::Protocol;
use crate::resources::virtual_service::Destination;
use crate::resources::{Duration, StringMatch};

/// How sockets in the file system are written.
pub(super) const UNIX: &str = "unix://";

/// Checks a port's number.
pub(super) fn check_port(c: &mut Checker<'_>, number: u32) {
    if !(1..=65535).contains(&number) {
        c.error_help(format!("{number} is not the number of a port"), "1 to 65535");
    }
}

/// Checks a port's protocol; an empty one is found out at run time.
pub(super) fn check_protocol(c: &mut Checker<'_>, name: &str) {
    if !name.is_empty() && Protocol::parse(name).is_none() {
        unknown_protocol(c, name);
    }
}

/// Says that a protocol is unknown.
pub(super) fn unknown_protocol(c: &mut Checker<'_>, name: &str) {
    let names: Vec<&str> = Protocol::names().collect();
    c.error_help(format!("unknown protocol `{name}`"), format!("known are {}", names.join(", ")));
}

/// Checks a duration that must be a millisecond at least.
pub(super) fn check_duration(c: &mut Checker<'_>, duration: &Duration) {
    const MILLISECOND: i64 = 1_000_000;
    if duration.as_nanos() < MILLISECOND {
        c.error_help(format!("{duration} is too short"), "1ms at least");
    } else if duration.as_nanos() % MILLISECOND != 0 {
        c.error_help(format!("{duration} is too fine"), "whole milliseconds only");
    }
}

/// Checks a duration whose zero means something.
pub(super) fn check_duration_or_zero(c: &mut Checker<'_>, duration: &Duration) {
    if !duration.is_zero() {
        check_duration(c, duration);
    }
}

/// Checks a number that must not be negative.
pub(super) fn check_not_negative(c: &mut Checker<'_>, key: &'static str, number: i32) {
    if number < 0 {
        c.field(key, |c| c.error_help(format!("{number} is negative"), "0 or more"));
    }
}

/// Checks a share in whole percent.
pub(super) fn check_percent(c: &mut Checker<'_>, key: &'static str, percent: i32) {
    if !(0..=100).contains(&percent) {
        c.field(key, |c| c.error_help(format!("{percent} is not a share in percent"), "0 to 100"));
    }
}

/// Checks a share in percent.
pub(super) fn check_percentage(c: &mut Checker<'_>, percent: &Percent) {
    let value = percent.value;
    if !(0.0..=100.0).contains(&value) {
        c.field("value", |c| c.error_help(format!("{value} is not a share in percent"), "0 to 100"));
    } else if value > 0.0 && value < 0.0001 {
        c.field("value", |c| c.error_help(format!("{value} percent is too small a share"), "0, or 0.0001 at least"));
    }
}

/// Checks a text's condition. `Present` is always right; where an empty prefix would match all, it may be refused.
pub(super) fn check_string_match(c: &mut Checker<'_>, text: &StringMatch, empty_prefix: bool) {
    match text {
        StringMatch::Prefix(prefix) if prefix.is_empty() && !empty_prefix => {
            c.field("prefix", |c| c.error_help("the prefix is empty", "`{}` asks only that there is a value"));
        }
        StringMatch::Regex(regex) => c.field("regex", |c| check_regex(c, regex)),
        _ => {}
    }
}

/// Checks a regular expression.
pub(super) fn check_regex(c: &mut Checker<'_>, regex: &str) {
    if let Err(wrong) = re2::compile(regex) {
        match regex {
            "*" => c.error_help(wrong, "`.*` matches anything"),
            _ => c.error_help(wrong, re2::SYNTAX),
        }
    }
}

/// Checks labels, given as a field of that name.
pub(super) fn check_labels(c: &mut Checker<'_>, key: &'static str, labels: &BTreeMap<String, String>) {
    c.entries(key, labels, |c, name, value| {
        if !is_label_key(name) {
            c.error_help(
                format!("`{name}` is not the name of a label"),
                "letters, digits, `-`, `_` and `.`, at most 63, after a `domain/` if any",
            );
        }
        if !value.is_empty() && !is_qualified(value) {
            c.error_help(format!("`{value}` is not the value of a label"), "letters, digits, `-`, `_` and `.`, at most 63");
        }
    });
}

fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((domain, name)) => domain.len() <= 253 && domain.split('.').all(is_label) && is_qualified(name),
        None => is_qualified(key),
    }
}

fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    bytes.len() <= 63 && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(inner)
}

/// Checks the labels that workloads are selected by, given as a field of that name.
pub(super) fn check_selector(c: &mut Checker<'_>, key: &'static str, labels: &BTreeMap<String, String>) {
    if labels.is_empty() {
        c.warn_help(
            "it selects by no label, which means every workload of the namespace",
            format!("add labels to `{key}`, or leave it away"),
        );
    }
    c.entries(key, labels, |c, name, value| {
        if name.is_empty() {
            c.error("the name of the label is empty");
        }
        if name.contains('*') || value.contains('*') {
            c.error_help("labels are compared as they are, without wildcards", "write the whole value");
        }
    });
}

/// Checks a destination.
pub(super) fn check_destination(c: &mut Checker<'_>, destination: &Destination) {
    c.field("host", |c| match destination.host.as_str() {
        "*" => c.error_help("`*` is not a destination", "write the name of a service"),
        host => hosts::check_wildcard_domain(c, host),
    });
    if !destination.subset.is_empty() {
        c.field("subset", |c| hosts::check_label(c, &destination.subset, "the name of a subset"));
    }
    c.some("port", &destination.port, |c, port| c.field("number", |c| check_port(c, port.number)));
}

/// Checks an IP address.
pub(super) fn check_ip(c: &mut Checker<'_>, address: &str) {
    if !hosts::is_ip(address) {
        c.error(format!("`{address}` is not an IP address"));
    }
}

/// Checks an IP address or network.
pub(super) fn check_subnet(c: &mut Checker<'_>, subnet: &str) {
    if subnet.contains('/') && subnet.parse::<IpNet>().is_err() {
        c.error_help(format!("`{subnet}` is not a network"), "write it as 10.1.0.0/16 or 2001:db8::/32");
    } else if !subnet.contains('/') {
        check_ip(c, subnet);
    }
}

/// Checks what follows `unix://`.
pub(super) fn check_socket(c: &mut Checker<'_>, path: &str) {
    let is_abstract = path.starts_with('@');
    if path.is_empty() {
        c.error_help("the socket has no path", "write `unix:///PATH`, or `unix://@NAME`");
    } else if !is_abstract && (!path.starts_with('/') || path.ends_with('/')) {
        c.error_help(format!("`{path}` is not the whole path of a socket"), "write `unix:///PATH`, or `unix://@NAME`");
    }
}

/// Who may see a resource, by its kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Export {
    /// As it likes.
    Any,
    /// As it likes, even nobody.
    OrNobody,
    /// Only its own namespace.
    OwnNamespace,
}

/// Checks `exportTo`.
pub(super) fn check_export_to(c: &mut Checker<'_>, export_to: &[String], export: Export) {
    let own = c.namespace.to_owned();
    let full = |entry: &str| if entry == "." { own.clone() } else { entry.to_owned() };
    let entries: Vec<String> = export_to.iter().map(|entry| full(entry)).collect();
    c.field("exportTo", |c| {
        for (index, entry) in entries.iter().enumerate() {
            let written = &export_to[index];
            c.item(index, |c| {
                if entries[..index].contains(entry) {
                    c.error(format!("`{written}` stands twice in `exportTo`"));
                } else if entry == "~" && export != Export::OrNobody {
                    c.error_help("only a ServiceEntry can be exported to nobody (`~`)", "`.` exports to the own namespace");
                } else if !matches!(entry.as_str(), "*" | "~") && !is_label(entry) {
                    c.error_help(format!("`{written}` is not a namespace"), "`*`, `.`, or the names of namespaces");
                }
            });
        }
        for (all, whom) in [("*", "to everybody"), ("~", "to nobody")] {
            if entries.len() > 1 && entries.iter().any(|entry| entry == all) {
                c.error_help(format!("`{all}` exports {whom}, so nothing can stand beside it"), "keep the one or the others");
            }
        }
        if export == Export::OwnNamespace && entries.iter().any(|entry| *entry != own) {
            c.error_help("a rule with a `workloadSelector` holds in its own namespace only", "write `.`, or leave `exportTo` away");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(check: impl FnOnce(&mut Checker<'_>)) -> Vec<String> {
        let mut checker = Checker::new("own");
        check(&mut checker);
        checker.finish().iter().map(|diagnostic| diagnostic.message.clone()).collect()
    }

    #[test]
    fn durations_are_whole_milliseconds() {
        for (text, fine) in [("1ms", true), ("1.5s", true), ("0s", false), ("-1s", false), ("1us", false), ("1500us", false)] {
            let duration = Duration::parse(text).expect(text);
            assert_eq!(said(|c| check_duration(c, &duration)).is_empty(), fine, "{text}");
        }
    }

    #[test]
    fn shares_are_percent() {
        for (value, fine) in
            [(0.0, true), (0.0001, true), (100.0, true), (0.00001, false), (-1.0, false), (100.1, false), (f64::NAN, false)]
        {
            assert_eq!(said(|c| check_percentage(c, &Percent { value })).is_empty(), fine, "{value}");
        }
    }

    #[test]
    fn labels_are_kubernetes_labels() {
        for (key, value, fine) in [
            ("app", "reviews", true),
            ("topology.istio.io/network", "", true),
            ("a_b.c", "v1.2-3", true),
            ("", "x", false),
            ("a/b/c", "x", false),
            ("a", "b c", false),
            ("a", "-b", false),
            ("^", "x", false),
        ] {
            let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            assert_eq!(said(|c| check_labels(c, "labels", &labels)).is_empty(), fine, "{key}={value}");
        }
    }

    #[test]
    fn addresses_are_addresses() {
        for (text, fine) in
            [("1.2.3.4", true), ("1.2.3.4/16", true), ("2001:db8::/32", true), ("1.2.3.4/33", false), ("a", false), ("1.2.3", false)]
        {
            assert_eq!(said(|c| check_subnet(c, text)).is_empty(), fine, "{text}");
        }
        for (path, fine) in [("/a/b", true), ("@a", true), ("", false), ("a", false), ("/a/", false), ("./a", false)] {
            assert_eq!(said(|c| check_socket(c, path)).is_empty(), fine, "{path}");
        }
    }

    #[test]
    fn exports_make_sense() {
        for (entries, export, count) in [
            (vec![], Export::Any, 0),
            (vec!["*"], Export::Any, 0),
            (vec![".", "other"], Export::Any, 0),
            (vec![".", "own"], Export::Any, 1),
            (vec!["a", "a"], Export::Any, 1),
            (vec!["*", "a"], Export::Any, 1),
            (vec!["~"], Export::Any, 1),
            (vec!["~"], Export::OrNobody, 0),
            (vec!["~", "a"], Export::OrNobody, 1),
            (vec!["a_b"], Export::Any, 1),
            (vec!["."], Export::OwnNamespace, 0),
            (vec!["own"], Export::OwnNamespace, 0),
            (vec!["*"], Export::OwnNamespace, 1),
            (vec![".", "a"], Export::OwnNamespace, 1),
        ] {
            let entries: Vec<String> = entries.into_iter().map(str::to_owned).collect();
            assert_eq!(said(|c| check_export_to(c, &entries, export)).len(), count, "{entries:?}");
        }
    }
}
