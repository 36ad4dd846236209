//! Which rules carry out what is asked for: those of Istio's init container, in its order.
//!
//! In one point they are simpler. Istio tries each user and group of the proxy by itself, and leaves alone what goes over loopback and is not that
//! user's before it looks at the next: here the proxy is whoever is one of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::inbound::{excluded, redirected};
use crate::lists::{Interface, Selection};
use crate::ruleset::Condition::{self, By, From, FromPort, Group, Invalid, NotGroup, NotTo, NotToPorts, Through, To, ToPorts, User};
use crate::ruleset::Protocol::{Tcp, Udp};
use crate::ruleset::Verdict::{Drop, Goto, Jump, Leave, Redirect, Zone};
use crate::ruleset::{Capture, Chain, Hook, Rule, Table, rule};
use crate::settings::{Dns, Groups, Mode, Settings};
use crate::transparent;

const DNS: u16 = 53;
/// Connections of the proxy to DNS servers are kept apart from those of applications to the proxy: the two may have the same addresses
/// and ports, and answers would be lost.
const ZONE_OF_PROXY: u16 = 1;
const ZONE_OF_APPLICATIONS: u16 = 2;

const INBOUND: &str = "inbound";
const PROXY: &str = "proxy";

impl Capture {
    /// The rules that carry out what is asked for.
    pub fn of(settings: &Settings) -> Self {
        let chains = chains(settings).into_iter().filter(|chain| !chain.rules.is_empty()).collect();
        Self { chains, route: transparent::route(settings) }
    }
}

/// The chains, in the order in which a reader meets them; some may be empty.
fn chains(settings: &Settings) -> Vec<Chain> {
    let at = |name, table, hook, rules| Chain { name, table, hook: Some(hook), rules };
    let below = |name, table, rules| Chain { name, table, hook: None, rules };
    let (inbound_table, inbound) = match settings.mode {
        Mode::Redirect => (Table::Nat, redirected(settings)),
        Mode::Transparent => (Table::Mangle, transparent::inbound(settings)),
    };
    vec![
        at("raw_prerouting", Table::Raw, Hook::Prerouting, dns_answers(settings)),
        at("raw_output", Table::Raw, Hook::Output, dns_questions(settings)),
        below(INBOUND, inbound_table, inbound),
        at("mangle_prerouting", Table::Mangle, Hook::Prerouting, mangle_prerouting(settings)),
        at("mangle_output", Table::Mangle, Hook::Output, transparent::answers(settings)),
        below(PROXY, Table::Nat, of_proxy(settings)),
        at("prerouting", Table::Nat, Hook::Prerouting, prerouting(settings)),
        at("output", Table::Nat, Hook::Output, output(settings)),
    ]
}

/// One machine's own addresses by which it talks with itself.
fn loopbacks() -> [IpNet; 2] {
    [IpAddr::from(Ipv4Addr::LOCALHOST).into(), IpAddr::from(Ipv6Addr::LOCALHOST).into()]
}

/// Where the sidecar's connections to its own workload come from.
fn inbound_sources() -> [IpNet; 2] {
    [IpAddr::from(Ipv4Addr::new(127, 0, 0, 6)).into(), IpAddr::from(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)).into()]
}

/// The conditions by which the proxy is known, one of which holds.
fn proxy(settings: &Settings) -> impl Iterator<Item = Condition> {
    let users = settings.proxy_users.iter().copied().map(User);
    users.chain(settings.proxy_groups.iter().copied().map(Group))
}

/// What is sent to a workload.
fn prerouting(settings: &Settings) -> Vec<Rule> {
    let mut rules = vec![];
    for interface in &settings.virtual_interfaces {
        let why = "a virtual machine sends";
        let by = || By(interface.clone());
        match &settings.outbound_ranges {
            Selection::All => rules.push(rule(why, [by(), Condition::Protocol(Tcp)], Redirect(settings.outbound_port))),
            Selection::Only(ranges) => rules.extend(
                ranges.iter().map(|range| rule(why, [by(), To(*range), Condition::Protocol(Tcp)], Redirect(settings.outbound_port))),
            ),
        }
        rules.push(rule(why, [by()], Leave));
    }
    rules.extend(settings.excluded_interfaces.iter().map(|interface| rule("excludeInterfaces", [By(interface.clone())], Leave)));
    rules.extend(is_called(settings).filter(|_| settings.mode == Mode::Redirect));
    rules
}

/// What is sent to a workload, before it is decided where it goes.
fn mangle_prerouting(settings: &Settings) -> Vec<Rule> {
    let is_called = is_called(settings).filter(|_| settings.mode == Mode::Transparent);
    invalid(settings).into_iter().chain(transparent::noted(settings)).chain(is_called).collect()
}

fn is_called(settings: &Settings) -> Option<Rule> {
    let captures = settings.inbound_ports != Selection::default();
    captures.then(|| rule("the workload is called", [Condition::Protocol(Tcp)], Jump(INBOUND)))
}

/// What the sidecar sends: it goes where it is sent, but for calls of a workload to itself by the address of its service.
fn of_proxy(settings: &Settings) -> Vec<Rule> {
    let mut unless = BTreeSet::from([settings.tunnel_port]);
    if settings.dns.is_some() {
        // The question of an application to a server on this machine.
        unless.insert(DNS);
    }
    let why = "a workload calls itself: application, sidecar out, sidecar in, application";
    let to_itself = |loopback: IpNet| {
        let conditions = [Through(Interface::loopback()), NotTo(loopback), NotToPorts(Tcp, unless.clone())];
        rule(why, conditions, Redirect(settings.inbound_port))
    };
    loopbacks().into_iter().map(to_itself).collect()
}

/// What is sent by this machine.
fn output(settings: &Settings) -> Vec<Rule> {
    let lo = || Through(Interface::loopback());
    let mut rules: Vec<Rule> = vec![];
    rules.extend(settings.excluded_interfaces.iter().map(|interface| rule("excludeInterfaces", [Through(interface.clone())], Leave)));
    rules.extend(
        [Tcp, Udp].into_iter().filter_map(|protocol| excluded("excludeOutboundPorts", protocol, &settings.excluded_outbound_ports)),
    );
    rules.extend(transparent::handed_over(settings));
    rules.extend(inbound_sources().map(|source| rule("the sidecar hands over to its workload", [lo(), From(source)], Leave)));
    rules.extend(proxy(settings).map(|condition| rule("the sidecar itself sends", [condition], Goto(PROXY))));
    rules.extend(owners(&settings.owner_groups));
    rules.extend(dns(settings));
    if !includes_loopback(&settings.outbound_ranges) {
        rules.push(rule("applications of one workload talk with each other", [lo()], Leave));
    }
    rules.extend(loopbacks().map(|loopback| rule("what is sent to localhost means it", [To(loopback)], Leave)));
    rules.extend(settings.excluded_outbound_ranges.iter().map(|range| rule("excludeOutboundIPRanges", [To(*range)], Leave)));
    rules.extend(captured(settings));
    rules
}

fn captured(settings: &Settings) -> Vec<Rule> {
    let to = Redirect(settings.outbound_port);
    let mut rules = vec![];
    if !settings.outbound_ports.is_empty() {
        rules.push(rule("includeOutboundPorts", [ToPorts(Tcp, settings.outbound_ports.clone())], to));
    }
    let why = "includeOutboundIPRanges";
    match &settings.outbound_ranges {
        Selection::All => rules.push(rule(why, [Condition::Protocol(Tcp)], to)),
        Selection::Only(ranges) => {
            rules.extend(ranges.iter().map(|range| rule(why, [To(*range), Condition::Protocol(Tcp)], to)));
        }
    }
    rules
}

fn includes_loopback(ranges: &Selection<IpNet>) -> bool {
    matches!(ranges, Selection::Only(ranges) if ranges.iter().any(|range| range.network().is_loopback()))
}

fn owners(groups: &Groups) -> Vec<Rule> {
    match groups {
        Groups::Except(groups) => groups.iter().map(|group| rule("groups that are left alone", [Group(*group)], Leave)).collect(),
        Groups::Only(groups) => {
            vec![rule("only some groups are captured", groups.iter().copied().map(NotGroup).collect::<Vec<_>>(), Leave)]
        }
    }
}

/// Where questions of DNS go to, or answers come from, that are captured; nothing stands for any server.
fn servers(settings: &Settings) -> Vec<Option<IpNet>> {
    match &settings.dns {
        None => vec![],
        Some(Dns::All) => vec![None],
        Some(Dns::Servers(servers)) => servers.iter().map(|server| Some((*server).into())).collect(),
    }
}

fn dns(settings: &Settings) -> Vec<Rule> {
    let of = |server: Option<IpNet>| {
        [Udp, Tcp].map(|protocol| {
            let conditions: Vec<Condition> = server.map(To).into_iter().chain([ToPorts(protocol, [DNS].into())]).collect();
            rule("the sidecar answers DNS", conditions, Redirect(settings.dns_port))
        })
    };
    servers(settings).into_iter().flat_map(of).collect()
}

fn dns_questions(settings: &Settings) -> Vec<Rule> {
    if settings.dns.is_none() {
        return vec![];
    }
    let mut rules = vec![];
    for condition in proxy(settings) {
        let asks = [ToPorts(Udp, [DNS].into()), condition.clone()];
        rules.push(rule("the sidecar asks a server", asks, Zone(ZONE_OF_PROXY)));
        let answers = [FromPort(Udp, settings.dns_port), condition];
        rules.push(rule("the sidecar answers an application", answers, Zone(ZONE_OF_APPLICATIONS)));
    }
    rules.extend(servers(settings).into_iter().map(|server| {
        let conditions: Vec<Condition> = server.map(To).into_iter().chain([ToPorts(Udp, [DNS].into())]).collect();
        rule("an application asks", conditions, Zone(ZONE_OF_APPLICATIONS))
    }));
    rules
}

fn dns_answers(settings: &Settings) -> Vec<Rule> {
    let of = |server: Option<IpNet>| {
        let conditions: Vec<Condition> = server.map(From).into_iter().chain([FromPort(Udp, DNS)]).collect();
        rule("a server answers the sidecar", conditions, Zone(ZONE_OF_PROXY))
    };
    servers(settings).into_iter().map(of).collect()
}

fn invalid(settings: &Settings) -> Vec<Rule> {
    settings.drop_invalid.then(|| rule("a packet of no connection would reset one", [Invalid], Drop)).into_iter().collect()
}
