//! Fields of resources that are written, and that nobody carries out: each is said by its path, none is silently
//! passed over.
//!
//! What no translation exists for has no effect under any data plane. What is translated works with Envoy, and
//! is said only where our own proxy follows.

use std::sync::Arc;

use weir_api::{Diagnostic, FieldPath, Kind, Node, Object, Severity, Value};

/// Who follows the pilot, as far as is known beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataPlane {
    /// Proxies of any kind, such as Envoy.
    Any,
    /// Our own proxies.
    Weir,
}

/// A kind, and the paths that have no effect: names with dots between them, `*` for every item of a list.
type Paths = (Kind, &'static [&'static str]);

/// What is not translated.
const NOT_TRANSLATED: &[Paths] = &[
    (Kind::EnvoyFilter, &["configPatches"]),
    (
        Kind::DestinationRule,
        &[
            "{policy}.loadBalancer.localityLbSetting.distribute",
            "{policy}.loadBalancer.localityLbSetting.failover",
            "{policy}.loadBalancer.localityLbSetting.failoverPriority",
            "{policy}.tunnel",
            "{policy}.proxyProtocol",
        ],
    ),
    (Kind::WorkloadGroup, &["probe"]),
    (Kind::Sidecar, &["ingress.*.tls"]),
];

/// What our own proxy passes over.
const NOT_PROXIED: &[Paths] = &[(
    Kind::DestinationRule,
    &[
        "{policy}.outlierDetection",
        "{policy}.loadBalancer.consistentHash",
        "{policy}.loadBalancer.warmup",
        "{policy}.loadBalancer.warmupDurationSecs",
    ],
)];

/// Where a DestinationRule may hold a policy.
const POLICIES: &[&str] =
    &["trafficPolicy", "trafficPolicy.portLevelSettings.*", "subsets.*.trafficPolicy", "subsets.*.trafficPolicy.portLevelSettings.*"];

/// A warning for each field of the objects that has no effect.
pub fn findings(objects: &[Arc<Object>], plane: DataPlane) -> Vec<Diagnostic> {
    objects.iter().flat_map(|object| of_object(object, plane)).collect()
}

fn of_object(object: &Object, plane: DataPlane) -> Vec<Diagnostic> {
    let ours = NOT_PROXIED.iter().filter(|_| plane == DataPlane::Weir).map(|paths| (paths, "Weir's proxy does not carry this out yet"));
    let tables = NOT_TRANSLATED.iter().map(|paths| (paths, "not carried out yet")).chain(ours);
    let mut found = vec![];
    for ((_, paths), message) in tables.filter(|((kind, _), _)| *kind == object.kind) {
        for path in paths.iter().flat_map(|path| expand(path)) {
            let parts: Vec<&str> = std::iter::once("spec").chain(path.split('.')).collect();
            let mut warn = |path| found.push(object.diagnostic(Severity::Warning, path, message));
            visit(&object.node, &parts, &FieldPath::default(), &mut warn);
        }
    }
    found
}

/// A path for each place that may hold a policy.
fn expand(path: &str) -> Vec<String> {
    match path.strip_prefix("{policy}") {
        Some(rest) => POLICIES.iter().map(|policy| format!("{policy}{rest}")).collect(),
        None => vec![path.to_owned()],
    }
}

/// Calls `found` for each field at the path that is set.
fn visit(node: &Node, parts: &[&str], at: &FieldPath, found: &mut dyn FnMut(FieldPath)) {
    match parts {
        [] if node.value == Value::Null => {}
        [] => found(at.clone()),
        ["*", rest @ ..] => {
            for (index, item) in node.items().iter().enumerate() {
                visit(item, rest, &at.index(index), found);
            }
        }
        [key, rest @ ..] => {
            if let Some(child) = node.get(key) {
                visit(child, rest, &at.key((*key).to_owned()), found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_api::{Source, parse};

    use super::*;

    fn said(plane: DataPlane, text: &str) -> Vec<String> {
        let parsed = parse(&Source::new("x.yaml", text));
        assert!(parsed.diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error), "{:?}", parsed.diagnostics);
        let findings = findings(&parsed.objects, plane);
        findings.iter().map(|finding| format!("{} {}", finding.path, finding.place.as_ref().map_or(0, |place| place.span.line))).collect()
    }

    const RULE: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3}
  subsets:
  - name: v1
    trafficPolicy:
      loadBalancer:
        consistentHash: {httpHeaderName: x}
";

    #[test]
    fn what_our_proxy_passes_over_is_named_with_its_place() {
        assert_eq!(
            said(DataPlane::Weir, RULE),
            ["spec.trafficPolicy.outlierDetection 7", "spec.subsets[0].trafficPolicy.loadBalancer.consistentHash 12"]
        );
    }

    #[test]
    fn what_is_translated_is_not_said_to_those_who_follow_with_envoy() {
        assert_eq!(said(DataPlane::Any, RULE), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_translated_is_said_to_all() {
        let rule = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a
  subsets:
  - name: v1
    trafficPolicy:
      proxyProtocol: {version: V2}
";
        for plane in [DataPlane::Any, DataPlane::Weir] {
            assert_eq!(said(plane, rule), ["spec.subsets[0].trafficPolicy.proxyProtocol 9"]);
        }
    }
}
