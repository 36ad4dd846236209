//! The rules as `nft` reads them: one table for both families, `inet weir`.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Write as _};

use ipnet::IpNet;

use crate::lists::Interface;
use crate::ruleset::{Capture, Chain, Condition, Hook, Protocol, Rule, Table, Verdict};

/// How nft names it among others.
pub(crate) const TABLE: &str = "table inet weir";
/// What ends the table, whether it is there or not.
pub(crate) const REMOVE: &str = "table inet weir\ndelete table inet weir\n";
/// Shows it.
pub(crate) const LIST: [&str; 4] = ["list", "table", "inet", "weir"];

impl Capture {
    /// One transaction for `nft -f -`: after it, these are the rules, whatever they were before.
    pub fn nft(&self) -> String {
        let mut text = format!("{REMOVE}table inet weir {{\n");
        for chain in &self.chains {
            let _ = write!(text, "{chain}");
        }
        text + "}\n"
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(hook) = self.hook {
            writeln!(f, "\t\t{}; policy accept;", base(self.table, hook))?;
        }
        let mut why = "";
        for rule in &self.rules {
            if rule.why != why {
                why = rule.why;
                writeln!(f, "\t\t# {why}")?;
            }
            writeln!(f, "\t\t{rule}")?;
        }
        writeln!(f, "\t}}")
    }
}

/// The priorities are those that iptables' tables have.
fn base(table: Table, hook: Hook) -> &'static str {
    match (table, hook) {
        (Table::Raw, Hook::Prerouting) => "type filter hook prerouting priority -300",
        (Table::Raw, Hook::Output) => "type filter hook output priority -300",
        (Table::Mangle, Hook::Prerouting) => "type filter hook prerouting priority -150",
        (Table::Mangle, Hook::Output) => "type route hook output priority -150",
        (Table::Nat, Hook::Prerouting) => "type nat hook prerouting priority -100",
        (Table::Nat, Hook::Output) => "type nat hook output priority -100",
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.conditions {
            write!(f, "{condition} ")?;
        }
        match self.verdict {
            // What no rule takes is accepted, and `return` also leaves the chains that lead here.
            Verdict::Leave => f.write_str("return"),
            Verdict::Redirect(port) => write!(f, "redirect to :{port}"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
            Verdict::Zone(zone) => write!(f, "ct zone set {zone} return"),
            // Where nobody listens, the rule breaks off before it accepts.
            Verdict::HandOver(port) => write!(f, "tproxy to :{port} accept"),
            Verdict::Mark(mark) => write!(f, "meta mark set {mark}"),
            Verdict::MarkConnection(mark) => write!(f, "ct mark set {mark}"),
            Verdict::Drop => f.write_str("drop"),
        }
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(protocol) => write!(f, "meta l4proto {protocol}"),
            Self::ToPorts(protocol, ports) => write!(f, "{protocol} dport {}", set(ports)),
            Self::NotToPorts(protocol, ports) => write!(f, "{protocol} dport != {}", set(ports)),
            Self::FromPort(protocol, port) => write!(f, "{protocol} sport {port}"),
            Self::From(range) => write!(f, "{} saddr {}", family(range), address(range)),
            Self::To(range) => write!(f, "{} daddr {}", family(range), address(range)),
            Self::NotTo(range) => write!(f, "{} daddr != {}", family(range), address(range)),
            Self::User(user) => write!(f, "meta skuid {user}"),
            Self::Group(group) => write!(f, "meta skgid {group}"),
            Self::NotGroup(group) => write!(f, "meta skgid != {group}"),
            Self::By(interface) => write!(f, "iifname {}", quoted(interface)),
            Self::Through(interface) => write!(f, "oifname {}", quoted(interface)),
            Self::Invalid => f.write_str("ct state invalid"),
            Self::Begins => f.write_str("tcp flags & (fin | syn | rst | ack) == syn"),
            Self::Mark(mark) => write!(f, "meta mark {mark}"),
            Self::ConnectionMark(mark) => write!(f, "ct mark {mark}"),
            Self::IsNew => f.write_str("ct state new"),
            Self::ToThisMachine => f.write_str("fib daddr type local"),
        }
    }
}

impl Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

fn set(ports: &BTreeSet<u16>) -> String {
    let list: Vec<String> = ports.iter().map(u16::to_string).collect();
    match list.as_slice() {
        [only] => only.clone(),
        several => format!("{{ {} }}", several.join(", ")),
    }
}

fn family(range: &IpNet) -> &'static str {
    match range {
        IpNet::V4(_) => "ip",
        IpNet::V6(_) => "ip6",
    }
}

fn address(range: &IpNet) -> String {
    if range.prefix_len() == range.max_prefix_len() { range.addr().to_string() } else { range.to_string() }
}

fn quoted(interface: &Interface) -> String {
    match interface.prefix() {
        Some(prefix) => format!("\"{prefix}*\""),
        None => format!("\"{interface}\""),
    }
}
