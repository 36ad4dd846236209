//! Conditions in the status of objects by which a control plane says that something is not as asked.

use weir_api::{Document, FieldPath, Node};

use super::codes::NEGATIVE_CONDITION;
use super::finding::{Report, path};
use super::index::{GATEWAY_API, Index};
use super::tree::{items, text};

const NETWORKING: &str = "networking.istio.io";
const BOUND: &[&str] = &["istio.io/WaypointBound"];
const ACCEPTED: &[&str] = &["ZtunnelAccepted", "WaypointAccepted"];
const PROGRAMMED: &[&str] = &["Accepted", "Programmed", "ResolvedRefs"];

/// Group and kind, and the conditions that should not be false.
const KINDS: &[(&str, &str, &[&str])] = &[
    ("", "Service", BOUND),
    (NETWORKING, "ServiceEntry", BOUND),
    (NETWORKING, "WorkloadEntry", BOUND),
    ("security.istio.io", "AuthorizationPolicy", ACCEPTED),
    (GATEWAY_API, "Gateway", PROGRAMMED),
    (GATEWAY_API, "HTTPRoute", PROGRAMMED),
    (GATEWAY_API, "GRPCRoute", PROGRAMMED),
];

/// Looks at the status of objects of these kinds.
pub(super) fn check(index: &Index<'_>, report: &mut Report) {
    for (group, kind, types) in KINDS {
        for document in index.of(group, kind) {
            for (condition, place) in conditions(document) {
                check_one(document, types, condition, place, report);
            }
        }
    }
}

/// The conditions of an object, and those that its parents gave it.
fn conditions(document: &Document) -> Vec<(&Node, FieldPath)> {
    let node = document.node();
    let own = items(node, "status.conditions").map(|(number, condition)| (condition, path("status.conditions").index(number)));
    let of_parents = items(node, "status.parents").flat_map(|(parent, given)| {
        let at = path("status.parents").index(parent).key("conditions");
        items(given, "conditions").map(move |(number, condition)| (condition, at.index(number)))
    });
    own.chain(of_parents).collect()
}

fn check_one(document: &Document, types: &[&str], condition: &Node, place: FieldPath, report: &mut Report) {
    let (kind, status, reason) = (text(condition, "type"), text(condition, "status"), text(condition, "reason"));
    let is_false = types.contains(&kind) && status == "False";
    let is_partly = kind == "WaypointAccepted" && types.contains(&kind) && reason == "PartiallyInvalid";
    if is_false || is_partly {
        let message = format!("{kind} is {status}: {reason}: {}", text(condition, "message"));
        report.say(NEGATIVE_CONDITION, document, place, message);
    }
}
