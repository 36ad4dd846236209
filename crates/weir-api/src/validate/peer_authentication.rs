//! Rules of PeerAuthentication.

use super::checker::Checker;
use super::values;
use crate::resources::PeerAuthentication;

/// Checks a PeerAuthentication.
pub(super) fn check(c: &mut Checker<'_>, policy: &PeerAuthentication) {
    c.some("selector", &policy.selector, |c, selector| values::check_selector(c, "matchLabels", &selector.match_labels));
    if !policy.port_level_mtls.is_empty() && !policy.selects() {
        let message = "ports are those of certain workloads, and this policy is for all";
        c.field("portLevelMtls", |c| c.error_help(message, "add a `selector` with labels of the workloads"));
    }
    c.entries("portLevelMtls", &policy.port_level_mtls, |c, port, _| match port.parse::<u32>() {
        Ok(number) => values::check_port(c, number),
        Err(_) => c.error_help(format!("`{port}` is not the number of a port"), "1 to 65535"),
    });
}

#[cfg(test)]
mod tests {
    use crate::validate::testing::check_table;

    #[test]
    fn ports_are_numbers_and_need_a_selector() {
        check_table(
            "PeerAuthentication",
            &[
                ("mtls: {mode: STRICT}", &[]),
                ("mtls: {}", &[]),
                ("{}", &[]),
                ("mtls: {mode: MUTUAL}", &["error: mtls.mode"]),
                ("mode: STRICT", &["error: mode"]),
                ("portLevelMtls: {80: {mode: DISABLE}}", &["error: portLevelMtls"]),
                ("selector: {matchLabels: {app: a}}\nportLevelMtls: {80: {mode: DISABLE}, '443': {}}", &[]),
                (
                    "selector: {matchLabels: {app: a}}\nportLevelMtls: {0: {mode: DISABLE}, http: {}}",
                    &["error: portLevelMtls.0", "error: portLevelMtls.http"],
                ),
                ("selector: {matchLabels: {app: '*'}}", &["error: selector.matchLabels.app"]),
                ("selector: {}\nportLevelMtls: {80: {mode: DISABLE}}", &["warning: selector", "error: portLevelMtls"]),
            ],
        );
    }
}
