//! Gateways of the Gateway API: policies bind to them by reference, not by labels; and their definitions are of a version that Istio reads.

use weir_api::Document;

use super::codes::{GATEWAY_API_VERSION, INEFFECTIVE_SELECTOR};
use super::finding::{Report, path};
use super::index::Index;
use super::selection::Selectable;
use super::selection::Selected;
use super::tree::{at, labels};

/// The label of the pods of such a gateway; its value is the gateway's name.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// The annotation of a definition that says of which version of the Gateway API it is.
const BUNDLE_VERSION: &str = "gateway.networking.k8s.io/bundle-version";
/// The kinds of policies that may select pods.
const POLICIES: &[(&str, &str)] = &[
    ("security.istio.io", "AuthorizationPolicy"),
    ("security.istio.io", "RequestAuthentication"),
    ("telemetry.istio.io", "Telemetry"),
    ("extensions.istio.io", "WasmPlugin"),
];
/// The lowest versions that Istio reads (pkg/config/schema/gatewayapi).
const MINIMUM: &[(&str, [u64; 3])] = &[
    ("grpcroutes.gateway.networking.k8s.io", [1, 1, 0]),
    ("backendtlspolicies.gateway.networking.k8s.io", [1, 4, 0]),
    ("tlsroutes.gateway.networking.k8s.io", [1, 5, 0]),
    ("tcproutes.gateway.networking.k8s.io", [1, 6, 0]),
];

/// Looks at policies, and at definitions of kinds.
pub(super) fn check(index: &Index<'_>, report: &mut Report) {
    let mut gateways = Selectable::default();
    for (document, _) in index.pods().filter(|(document, _)| document.meta.labels.contains_key(GATEWAY_NAME)) {
        gateways.add(Selected::of(document));
    }
    for document in POLICIES.iter().flat_map(|(group, kind)| index.of(group, kind)) {
        check_selector(document, &gateways, report);
    }
    for document in index.of("apiextensions.k8s.io", "CustomResourceDefinition") {
        check_version(document, report);
    }
}

fn check_selector(document: &Document, gateways: &Selectable<'_>, report: &mut Report) {
    let node = document.node();
    if at(node, "spec.targetRef").is_some() || at(node, "spec.selector").is_none() {
        return;
    }
    let selector = labels(node, "spec.selector.matchLabels");
    let mut names: Vec<&str> = gateways
        .selected(&selector, Some(&document.meta.namespace))
        .filter_map(|pod| pod.labels.get(GATEWAY_NAME).map(String::as_str))
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let message = format!("it selects pods of the Gateway {name} of the Gateway API, to which it does not apply so");
        let help = format!("name it: `targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: {name}}}]`");
        report.say_help(INEFFECTIVE_SELECTOR, document, path("spec.selector"), message, help);
    }
}

fn check_version(document: &Document, report: &mut Report) {
    let Some((name, minimum)) = MINIMUM.iter().find(|(name, _)| *name == document.meta.name) else { return };
    let Some(written) = document.meta.annotations.get(BUNDLE_VERSION) else { return };
    if version(written).is_some_and(|version| version < *minimum) {
        let [major, minor, patch] = minimum;
        let message =
            format!("{name} is of version {written}, and Istio reads it from {major}.{minor}.{patch} on: such objects are passed over");
        let at = path("metadata.annotations").key(BUNDLE_VERSION);
        report.say_help(GATEWAY_API_VERSION, document, at, message, "install a newer release of the Gateway API".to_owned());
    }
}

/// A version such as `v1.4.0-rc.1`, whose candidates count as the release.
fn version(written: &str) -> Option<[u64; 3]> {
    let numbers = written.trim_start_matches('v').split(['-', '+']).next()?;
    let mut parts = numbers.split('.').map(str::parse);
    let mut part = || parts.next().and_then(Result::ok);
    Some([part()?, part()?, part()?])
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_compared_without_what_follows_them() {
        assert_eq!(version("v1.4.0"), Some([1, 4, 0]));
        assert_eq!(version("1.4.0-rc.1+x"), Some([1, 4, 0]));
        assert_eq!(version("1.4"), None);
        assert!(version("v1.10.0") > version("v1.9.9"));
    }
}
