//! Capture that changes no packet (TPROXY): what is sent to a workload comes to its sidecar with the destination that it was sent to, and
//! the sidecar calls its workload in the client's name, so that the workload sees who calls it.
//!
//! A connection to the workload is marked by its first packet, and all of it goes to the sidecar, or nowhere: without a sidecar nobody
//! is let past it. What the sidecar sends to its workload in another's name carries a mark as well, and so do the answers, which a route
//! brings to this machine, see [`crate::routes`]; from outside nothing gets into such a connection. What the workload sends is
//! redirected as ever, and so is what the sidecar sends to its own workload for a client beside it.
//!
//! Facts: SEMANTICS E6; Documentation/networking/tproxy.rst of Linux. Istio marks whatever is of a known connection, and takes what is only
//! forwarded: here what is for this machine's addresses is handed over, and no packet of a client is marked, which `src_valid_mark` would
//! make one from nowhere.

use crate::inbound::{included, not_inbound};
use crate::lists::Interface;
use crate::ruleset::Condition::{Begins, By, ConnectionMark, IsNew, Mark, Protocol, ToThisMachine};
use crate::ruleset::Protocol::Tcp;
use crate::ruleset::{MarkRoute, Rule, Verdict, rule};
use crate::settings::{Mode, Settings};

/// What the sidecar sends in its client's name, and the answers to that. The pilot tells proxies the same (`original_src`), as Istio's does.
pub(crate) const IN_ANOTHERS_NAME: u32 = 1337;
/// A connection to the workload.
const TO_THE_WORKLOAD: u32 = 1338;

/// Whether anything is captured in this way.
fn is_used(settings: &Settings) -> bool {
    settings.mode == Mode::Transparent && included(settings).is_some()
}

/// The route that is needed.
pub(crate) fn route(settings: &Settings) -> Option<MarkRoute> {
    is_used(settings).then_some(MarkRoute { mark: IN_ANOTHERS_NAME, table: settings.route_table })
}

/// What is sent to a workload.
pub(crate) fn inbound(settings: &Settings) -> Vec<Rule> {
    let Some(ports) = included(settings) else { return vec![] };
    let mut rules = vec![
        rule("the sidecar hands over in its client's name, and is answered", [Mark(IN_ANOTHERS_NAME)], Verdict::Leave),
        rule("what this machine sends to itself was looked at when it was sent", [By(Interface::loopback())], Verdict::Leave),
    ];
    rules.extend(settings.excluded_interfaces.iter().map(|interface| rule("excludeInterfaces", [By(interface.clone())], Verdict::Leave)));
    rules.extend(settings.virtual_interfaces.iter().map(|machine| rule("a virtual machine sends", [By(machine.clone())], Verdict::Leave)));
    rules.extend(not_inbound(settings));
    rules.push(rule("includeInboundPorts", [ports, Begins, IsNew, ToThisMachine], Verdict::MarkConnection(TO_THE_WORKLOAD)));
    let why = "to the sidecar";
    rules.push(rule(why, [Protocol(Tcp), ConnectionMark(TO_THE_WORKLOAD)], Verdict::HandOver(settings.inbound_port)));
    let why = "or nowhere, also what would get into the sidecar's own connections";
    rules.extend([TO_THE_WORKLOAD, IN_ANOTHERS_NAME].map(|mark| rule(why, [Protocol(Tcp), ConnectionMark(mark)], Verdict::Drop)));
    rules
}

/// Connections in another's name are known again by their answers.
pub(crate) fn noted(settings: &Settings) -> Option<Rule> {
    let why = "the sidecar calls in its client's name";
    is_used(settings).then(|| rule(why, [Protocol(Tcp), Mark(IN_ANOTHERS_NAME), IsNew], Verdict::MarkConnection(IN_ANOTHERS_NAME)))
}

/// What the workload answers to that goes to the sidecar, and not to the client.
pub(crate) fn answers(settings: &Settings) -> Vec<Rule> {
    let why = "the workload answers who the sidecar called it for";
    let of_ours = [Protocol(Tcp), ConnectionMark(IN_ANOTHERS_NAME)];
    is_used(settings).then(|| rule(why, of_ours, Verdict::Mark(IN_ANOTHERS_NAME))).into_iter().collect()
}

/// What the sidecar sends to its workload in another's name is not a workload's call to itself.
pub(crate) fn handed_over(settings: &Settings) -> Option<Rule> {
    is_used(settings).then(|| rule("the sidecar hands over in its client's name", [Mark(IN_ANOTHERS_NAME)], Verdict::Leave))
}
