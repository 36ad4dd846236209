//! Fields of resources that are written, and that nobody carries out: each is said by its path, none is silently
//! passed over.
//!
//! That is what no translation exists for; a proxy that passes over what is translated says so itself.

use std::sync::Arc;

use weir_api::{Diagnostic, FieldPath, Kind, Node, Object, Severity, Value};

/// A kind, and the paths that have no effect: names with dots between them, `*` for every item of a list.
type Paths = (Kind, &'static [&'static str]);

/// What is not translated.
const NOT_TRANSLATED: &[Paths] = &[
    (Kind::EnvoyFilter, &["configPatches"]),
    (Kind::DestinationRule, &["{policy}.tunnel", "{policy}.proxyProtocol"]),
    (Kind::Sidecar, &["ingress.*.tls"]),
];

/// Where a DestinationRule may hold a policy.
const POLICIES: &[&str] =
    &["trafficPolicy", "trafficPolicy.portLevelSettings.*", "subsets.*.trafficPolicy", "subsets.*.trafficPolicy.portLevelSettings.*"];

/// A warning for each field of the objects that has no effect.
pub fn findings(objects: &[Arc<Object>]) -> Vec<Diagnostic> {
    objects.iter().flat_map(|object| of_object(object)).collect()
}

fn of_object(object: &Object) -> Vec<Diagnostic> {
    let mut found = vec![];
    for (_, paths) in NOT_TRANSLATED.iter().filter(|(kind, _)| *kind == object.kind) {
        for path in paths.iter().flat_map(|path| expand(path)) {
            let parts: Vec<&str> = std::iter::once("spec").chain(path.split('.')).collect();
            let mut warn = |path| found.push(object.diagnostic(Severity::Warning, path, "not carried out yet"));
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

    fn said(text: &str) -> Vec<String> {
        let parsed = parse(&Source::new("x.yaml", text));
        assert!(parsed.diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error), "{:?}", parsed.diagnostics);
        let findings = findings(&parsed.objects);
        findings.iter().map(|finding| format!("{} {}", finding.path, finding.place.as_ref().map_or(0, |place| place.span.line))).collect()
    }

    #[test]
    fn what_is_not_translated_is_named_with_its_place() {
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
        assert_eq!(said(rule), ["spec.subsets[0].trafficPolicy.proxyProtocol 9"]);
    }
}
