//! What of what is sent to a workload is captured, in whichever way, and how it is where it is redirected.

use std::collections::BTreeSet;

use crate::lists::Selection;
use crate::ruleset::Condition::{self, ToPorts};
use crate::ruleset::Protocol::{self, Tcp};
use crate::ruleset::Verdict::{Leave, Redirect};
use crate::ruleset::{Rule, rule};
use crate::settings::Settings;

/// Redirects it.
pub(crate) fn redirected(settings: &Settings) -> Vec<Rule> {
    let to = settings.inbound_port;
    let Some(ports) = included(settings) else { return vec![] };
    not_inbound(settings).chain([rule("includeInboundPorts", [ports], Redirect(to))]).collect()
}

/// The ports of the workload that are captured; none if there are none.
pub(crate) fn included(settings: &Settings) -> Option<Condition> {
    match &settings.inbound_ports {
        Selection::All => Some(Condition::Protocol(Tcp)),
        Selection::Only(ports) if ports.is_empty() => None,
        Selection::Only(ports) => Some(ToPorts(Tcp, ports.clone())),
    }
}

/// The ports that are not.
pub(crate) fn not_inbound(settings: &Settings) -> impl Iterator<Item = Rule> {
    let tunnel = rule("tunnels are the sidecar's own", [ToPorts(Tcp, [settings.tunnel_port].into())], Leave);
    std::iter::once(tunnel).chain(excluded("excludeInboundPorts, and the sidecar's own", Tcp, &settings.excluded_inbound_ports))
}

/// Ports that are left alone.
pub(crate) fn excluded(why: &'static str, protocol: Protocol, ports: &BTreeSet<u16>) -> Option<Rule> {
    (!ports.is_empty()).then(|| rule(why, [ToPorts(protocol, ports.clone())], Leave))
}
