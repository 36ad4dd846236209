//! What of a Service has no effect on a mesh's proxies. The API server has checked all else.

use super::checker::Checker;
use crate::resources::kubernetes::ServiceSpec;

/// What is known of where instances are preferred.
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameZone", "PreferSameNode"];

/// Checks a Service. Who keeps to its policy for clients outside are the nodes, before any proxy.
pub(super) fn check(c: &mut Checker<'_>, spec: &ServiceSpec) {
    if spec.session_affinity == "ClientIP" {
        c.field("sessionAffinity", |c| {
            let help = "give a DestinationRule `loadBalancer.consistentHash.useSourceIp: true`";
            c.warn_help("requests of one client that pass a proxy go to any instance", help);
        });
    }
    if !spec.traffic_distribution.is_empty() && !DISTRIBUTIONS.contains(&spec.traffic_distribution.as_str()) {
        c.field("trafficDistribution", |c| {
            c.warn_help("no instances are preferred by where they run", format!("the words are {}", DISTRIBUTIONS.join(", ")));
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::validate::testing::check_table;

    #[test]
    fn fields_without_effect_are_told_of() {
        check_table(
            "Service",
            &[
                ("{sessionAffinity: None, internalTrafficPolicy: Cluster, externalTrafficPolicy: Local}", &[]),
                ("{sessionAffinity: ClientIP}", &["warning: sessionAffinity"]),
                ("{internalTrafficPolicy: Local, trafficDistribution: PreferSameNode}", &[]),
                ("{trafficDistribution: PreferFar}", &["warning: trafficDistribution"]),
            ],
        );
    }
}
