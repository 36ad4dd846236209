//! Fields and kinds that Istio gives up.

use super::codes::DEPRECATED;
use super::finding::{Report, path};
use super::index::Index;
use super::tree::text;

/// Kinds that are gone: their group, and their names.
const GONE: (&str, [&str; 4]) = ("rbac.istio.io", ["ClusterRbacConfig", "RbacConfig", "ServiceRole", "ServiceRoleBinding"]);

/// Looks at VirtualServices, Sidecars and definitions of kinds.
pub(super) fn check(index: &Index<'_>, report: &mut Report) {
    for (document, service) in index.virtual_services() {
        for (number, rule) in service.http.iter().enumerate() {
            let delay = rule.fault.as_ref().and_then(|fault| fault.delay.as_ref());
            if delay.is_some_and(|delay| delay.percent > 0) {
                let at = path("spec.http").index(number).key("fault").key("delay").key("percent");
                report.say_help(DEPRECATED, document, at, "the field is deprecated", "use `percentage`".to_owned());
            }
        }
    }
    for (document, sidecar) in index.sidecars() {
        if sidecar.outbound_traffic_policy.as_ref().is_some_and(|policy| policy.egress_proxy.is_some()) {
            report.say(DEPRECATED, document, path("spec.outboundTrafficPolicy.egressProxy"), "the field is deprecated");
        }
    }
    for document in index.of("apiextensions.k8s.io", "CustomResourceDefinition") {
        let (group, kind) = (text(document.node(), "spec.group"), text(document.node(), "spec.names.kind"));
        if group == GONE.0 && GONE.1.contains(&kind) {
            let help = "use AuthorizationPolicy of security.istio.io".to_owned();
            report.say_help(DEPRECATED, document, path("spec.names.kind"), format!("Istio has no kind {kind} of {group} any more"), help);
        }
    }
}
