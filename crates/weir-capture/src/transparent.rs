//! Capture that changes no packet (TPROXY): what is sent to a workload comes to its sidecar with the destination that it was sent to, and
//! the sidecar calls its workload in the client's name, so that the workload sees who calls it.
//!
//! A mark says what belongs to this machine although its addresses do not: what is handed to the sidecar, what the sidecar sends to its
//! workload in another's name, and the answers to that. A route sends it to this machine, see [`crate::routes`]. What the workload sends is
//! redirected as ever, and so is what the sidecar sends to its own workload for a client beside it.
//!
//! Facts: SEMANTICS E6; Documentation/networking/tproxy.rst of Linux, whose way of finding what is under way is taken (the socket that it is for)
//! rather than Istio's (any connection that is known), so that a machine that also forwards goes on doing so.

use crate::lists::Interface;
use crate::rules::{included, not_inbound, rule};
use crate::ruleset::Condition::{Begins, By, ConnectionMark, Mark, Protocol, Transparent};
use crate::ruleset::Protocol::Tcp;
use crate::ruleset::{MarkRoute, Rule, Verdict};
use crate::settings::{Mode, Settings};

/// Whether anything is captured in this way.
fn is_used(settings: &Settings) -> bool {
    settings.mode == Mode::Transparent && included(settings).is_some()
}

/// The route that is needed.
pub(crate) fn route(settings: &Settings) -> Option<MarkRoute> {
    is_used(settings).then_some(MarkRoute { mark: settings.mark, table: settings.route_table })
}

/// What is sent to a workload.
pub(crate) fn inbound(settings: &Settings) -> Vec<Rule> {
    let Some(ports) = included(settings) else { return vec![] };
    let mut rules = vec![
        rule("the sidecar hands over in its client's name, and is answered", [Mark(settings.mark)], Verdict::Leave),
        rule("what this machine sends to itself was looked at when it was sent", [By(Interface::loopback())], Verdict::Leave),
    ];
    rules.extend(settings.excluded_interfaces.iter().map(|interface| rule("excludeInterfaces", [By(interface.clone())], Verdict::Leave)));
    rules.extend(settings.virtual_interfaces.iter().map(|machine| rule("a virtual machine sends", [By(machine.clone())], Verdict::Leave)));
    rules.extend(not_inbound(settings));
    rules.push(rule("the sidecar has it already", [Protocol(Tcp), Transparent], Verdict::Mark(settings.mark)));
    rules.push(rule("includeInboundPorts", [ports, Begins], Verdict::HandOver(settings.inbound_port, settings.mark)));
    rules
}

/// Connections in another's name are known again by their answers. Others get no such mark: this comes before what marks them.
pub(crate) fn noted(settings: &Settings) -> Option<Rule> {
    let why = "the sidecar calls in its client's name";
    is_used(settings).then(|| rule(why, [Protocol(Tcp), Mark(settings.mark)], Verdict::SaveMark))
}

/// What the workload answers to that goes to the sidecar, and not to the client.
pub(crate) fn answers(settings: &Settings) -> Vec<Rule> {
    let why = "the workload answers who the sidecar called it for";
    is_used(settings).then(|| rule(why, [Protocol(Tcp), ConnectionMark(settings.mark)], Verdict::RestoreMark)).into_iter().collect()
}

/// What the sidecar sends to its workload in another's name is not a workload's call to itself.
pub(crate) fn handed_over(settings: &Settings) -> Option<Rule> {
    is_used(settings).then(|| rule("the sidecar hands over in its client's name", [Mark(settings.mark)], Verdict::Leave))
}
