//! Which rules carry out what is asked for: those of Istio's init container, in its order.
//!
//! In one point they are simpler. Istio tries each user and group of the proxy by itself, and leaves alone what goes over loopback and is not that
//! user's before it looks at the next: here the proxy is whoever is one of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::lists::{Interface, Selection};
use crate::ruleset::Condition::{self, By, From, FromPort, Group, Invalid, NotGroup, NotTo, NotToPorts, Through, To, ToPorts, User};
use crate::ruleset::Protocol::{self, Tcp, Udp};
use crate::ruleset::Verdict::{self, Drop, Goto, Jump, Leave, Redirect, Zone};
use crate::ruleset::{Capture, Chain, Hook, Rule};
use crate::settings::{Dns, Groups, Settings};

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
        Self { chains }
    }
}

/// The chains, in the order in which a reader meets them; some may be empty.
fn chains(settings: &Settings) -> Vec<Chain> {
    let at = |name, hook, rules| Chain { name, hook: Some(hook), rules };
    let below = |name, rules| Chain { name, hook: None, rules };
    vec![
        at("raw_prerouting", Hook::RawPrerouting, dns_answers(settings)),
        at("raw_output", Hook::RawOutput, dns_questions(settings)),
        at("mangle_prerouting", Hook::ManglePrerouting, invalid(settings)),
        below(INBOUND, inbound(settings)),
        below(PROXY, of_proxy(settings)),
        at("prerouting", Hook::NatPrerouting, prerouting(settings)),
        at("output", Hook::NatOutput, output(settings)),
    ]
}

fn rule(why: &'static str, conditions: impl Into<Vec<Condition>>, verdict: Verdict) -> Rule {
    Rule { why, conditions: conditions.into(), verdict }
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
    if settings.inbound_ports != Selection::default() {
        rules.push(rule("the workload is called", [Condition::Protocol(Tcp)], Jump(INBOUND)));
    }
    rules
}

fn inbound(settings: &Settings) -> Vec<Rule> {
    let to = settings.inbound_port;
    let captured = match &settings.inbound_ports {
        Selection::All => rule("includeInboundPorts", [Condition::Protocol(Tcp)], Redirect(to)),
        Selection::Only(ports) if ports.is_empty() => return vec![],
        Selection::Only(ports) => rule("includeInboundPorts", [ToPorts(Tcp, ports.clone())], Redirect(to)),
    };
    let mut rules = vec![rule("tunnels are the sidecar's own", [ToPorts(Tcp, [settings.tunnel_port].into())], Leave)];
    rules.extend(excluded("excludeInboundPorts, and the sidecar's own", Tcp, &settings.excluded_inbound_ports));
    rules.push(captured);
    rules
}

fn excluded(why: &'static str, protocol: Protocol, ports: &BTreeSet<u16>) -> Option<Rule> {
    (!ports.is_empty()).then(|| rule(why, [ToPorts(protocol, ports.clone())], Leave))
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
