//! The rules as `iptables-restore` and `ip6tables-restore` read them: chains of our own, `WEIR_…`, and in the chains of the kernel's hooks
//! one rule each that leads to them.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::ruleset::{Capture, Chain, Condition, Hook, Rule, Table, Verdict};

/// So many ports one rule may name.
const MOST_PORTS: usize = 15;
/// What the names of our chains begin with.
const OURS: &str = "WEIR_";

/// A family of addresses, each of which has tables of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Capture {
    /// One transaction for each table of a family, for `iptables-restore --noflush`: after it, these are the rules, and what `saved` has of an
    /// earlier call is gone. `saved` is what `iptables-save` prints.
    pub fn iptables(&self, family: Family, saved: &str) -> String {
        TABLES.iter().map(|table| transaction(*table, &self.of_table(*table, family), saved)).collect()
    }

    /// The commands that make the chains of one table.
    fn of_table(&self, table: Table, family: Family) -> Vec<String> {
        let chains: Vec<&Chain> = self.chains.iter().filter(|chain| chain.table == table).collect();
        let declared = chains.iter().map(|chain| format!(":{} - [0:0]", ours(chain.name)));
        let rules = chains.iter().flat_map(|chain| rules(chain, family));
        let lead = chains.iter().filter_map(|chain| Some(format!("-A {} -j {}", hooked(chain.hook?), ours(chain.name))));
        declared.chain(rules).chain(lead).collect()
    }
}

/// Ends all that an earlier call has made.
pub(crate) fn remove(saved: &str) -> String {
    TABLES.iter().map(|table| transaction(*table, &[], saved)).collect()
}

/// What of `iptables-save`'s print is ours.
pub(crate) fn of_ours(saved: &str) -> String {
    saved.lines().filter(|line| is_ours(line)).map(|line| line.to_owned() + "\n").collect()
}

const TABLES: [Table; 3] = [Table::Raw, Table::Mangle, Table::Nat];

fn named(table: Table) -> &'static str {
    match table {
        Table::Raw => "raw",
        Table::Mangle => "mangle",
        Table::Nat => "nat",
    }
}

fn hooked(hook: Hook) -> &'static str {
    match hook {
        Hook::Prerouting => "PREROUTING",
        Hook::Output => "OUTPUT",
    }
}

fn ours(name: &str) -> String {
    format!("{OURS}{}", name.to_ascii_uppercase())
}

/// Whether a line declares a chain of ours, has a rule in one, or leads to one.
fn is_ours(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let named = |word: &str| word.starts_with(OURS);
    match words.as_slice() {
        [chain, ..] if chain.strip_prefix(':').is_some_and(named) => true,
        ["-A", chain, rest @ ..] => named(chain) || rest.windows(2).any(|pair| matches!(pair, ["-j" | "-g", to] if named(to))),
        _ => false,
    }
}

/// One table: what was there goes, then what is to be there comes; nothing if neither is anything.
fn transaction(table: Table, commands: &[String], saved: &str) -> String {
    let table = named(table);
    let of_table = saved.lines().skip_while(|line| *line != format!("*{table}")).take_while(|line| *line != "COMMIT");
    let known: Vec<&str> = of_table.filter(|line| is_ours(line)).collect();
    // A chain can only be deleted when no rule leads to it and it is empty.
    let unlead = known.iter().filter(|line| !line.starts_with(':') && !line.starts_with(&format!("-A {OURS}")));
    let unlead = unlead.filter_map(|line| Some(format!("-D {}", line.strip_prefix("-A ")?)));
    let names: Vec<&str> = known.iter().filter_map(|line| line.strip_prefix(':')?.split_whitespace().next()).collect();
    let flush = names.iter().map(|name| format!("-F {name}"));
    let delete = names.iter().map(|name| format!("-X {name}"));
    let lines: Vec<String> = unlead.chain(flush).chain(delete).chain(commands.iter().cloned()).collect();
    if lines.is_empty() { String::new() } else { format!("*{table}\n{}\nCOMMIT\n", lines.join("\n")) }
}

/// The rules of a chain that are for a family, and why they are there.
fn rules(chain: &Chain, family: Family) -> Vec<String> {
    let mut lines = vec![];
    let mut why = "";
    for rule in chain.rules.iter().filter(|rule| is_for(rule, family)) {
        if rule.why != why {
            why = rule.why;
            lines.push(format!("# {why}"));
        }
        lines.extend(divided(rule).iter().map(|rule| written(chain, rule)));
    }
    lines
}

fn is_for(rule: &Rule, family: Family) -> bool {
    rule.conditions.iter().all(|condition| match condition {
        Condition::From(range) | Condition::To(range) | Condition::NotTo(range) => match range {
            IpNet::V4(_) => family == Family::V4,
            IpNet::V6(_) => family == Family::V6,
        },
        _ => true,
    })
}

/// The same rule for a few ports each, where it names more than one can.
fn divided(rule: &Rule) -> Vec<Rule> {
    let too_many = rule.conditions.iter().enumerate().find_map(|(place, condition)| match condition {
        Condition::ToPorts(protocol, ports) if ports.len() > MOST_PORTS => Some((place, *protocol, ports)),
        _ => None,
    });
    let Some((place, protocol, ports)) = too_many else { return vec![rule.clone()] };
    let ports: Vec<u16> = ports.iter().copied().collect();
    let part = |ports: &[u16]| {
        let mut part = rule.clone();
        part.conditions.splice(place..=place, [Condition::ToPorts(protocol, ports.iter().copied().collect())]);
        part
    };
    ports.chunks(MOST_PORTS).map(part).collect()
}

fn written(chain: &Chain, rule: &Rule) -> String {
    let conditions: String = rule.conditions.iter().map(|condition| condition_of(condition) + " ").collect();
    let verdict = match rule.verdict {
        Verdict::Leave => "-j RETURN".to_owned(),
        Verdict::Redirect(port) => format!("-j REDIRECT --to-ports {port}"),
        Verdict::Jump(chain) => format!("-j {}", ours(chain)),
        Verdict::Goto(chain) => format!("-g {}", ours(chain)),
        // The first zone that a packet gets is the one that it keeps.
        Verdict::Zone(zone) => format!("-j CT --zone {zone}"),
        Verdict::HandOver(port) => format!("-j TPROXY --on-port {port}"),
        Verdict::Mark(mark) => format!("-j MARK --set-mark {mark}"),
        Verdict::MarkConnection(mark) => format!("-j CONNMARK --set-mark {mark}"),
        Verdict::Drop => "-j DROP".to_owned(),
    };
    format!("-A {} {conditions}{verdict}", ours(chain.name))
}

fn condition_of(condition: &Condition) -> String {
    match condition {
        Condition::Protocol(protocol) => format!("-p {protocol}"),
        Condition::ToPorts(protocol, ports) => format!("-p {protocol} -m multiport --dports {}", list(ports)),
        Condition::NotToPorts(protocol, ports) => format!("-p {protocol} -m multiport ! --dports {}", list(ports)),
        Condition::FromPort(protocol, port) => format!("-p {protocol} -m {protocol} --sport {port}"),
        Condition::From(range) => format!("-s {range}"),
        Condition::To(range) => format!("-d {range}"),
        Condition::NotTo(range) => format!("! -d {range}"),
        Condition::User(user) => format!("-m owner --uid-owner {user}"),
        Condition::Group(group) => format!("-m owner --gid-owner {group}"),
        Condition::NotGroup(group) => format!("-m owner ! --gid-owner {group}"),
        Condition::By(interface) => format!("-i {interface}"),
        Condition::Through(interface) => format!("-o {interface}"),
        Condition::Invalid => "-m conntrack --ctstate INVALID".to_owned(),
        Condition::Begins => "-m tcp --syn".to_owned(),
        Condition::Mark(mark) => format!("-m mark --mark {mark}"),
        Condition::ConnectionMark(mark) => format!("-m connmark --mark {mark}"),
        Condition::IsNew => "-m conntrack --ctstate NEW".to_owned(),
        Condition::ToThisMachine => "-m addrtype --dst-type LOCAL".to_owned(),
    }
}

fn list(ports: &BTreeSet<u16>) -> String {
    let list: Vec<String> = ports.iter().map(u16::to_string).collect();
    list.join(",")
}
