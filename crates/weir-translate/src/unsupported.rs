//! Fields of resources that are written, and that nobody carries out: each is said by its path, none is silently
//! passed over.
//!
//! That is what no translation exists for, whichever proxy asks; what one proxy cannot do with what is translated, it says
//! itself.

use std::sync::Arc;

use weir_api::{Diagnostic, FieldPath, Kind, Node, Object, Severity, Value};

use crate::patches;

/// A path that has no effect: names with dots between them, `*` for every item of a list; and what happens instead.
type Path = (Kind, &'static str, &'static str);

/// What is not translated.
const NOT_TRANSLATED: &[Path] =
    &[(Kind::Sidecar, "ingress.*.tls", "the listener takes what PeerAuthentication says, and nothing where that is plaintext")];

/// A warning for each field of the objects that has no effect, and an error for each patch that is refused.
pub fn findings(objects: &[Arc<Object>]) -> Vec<Diagnostic> {
    objects.iter().flat_map(of_object).collect()
}

fn of_object(object: &Arc<Object>) -> Vec<Diagnostic> {
    let mut found = vec![];
    for (_, path, instead) in NOT_TRANSLATED.iter().filter(|(kind, ..)| *kind == object.kind) {
        let parts: Vec<&str> = std::iter::once("spec").chain(path.split('.')).collect();
        let message = format!("not carried out yet: {instead}");
        let mut warn = |path| found.push(object.diagnostic(Severity::Warning, path, message.clone()));
        visit(&object.node, &parts, &FieldPath::default(), &mut warn);
    }
    found.extend(patches::findings(object));
    found
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
kind: Sidecar
metadata: {name: a}
spec:
  ingress:
  - port: {number: 443, name: https, protocol: HTTPS}
    defaultEndpoint: 127.0.0.1:8080
    tls: {mode: SIMPLE, serverCertificate: /a, privateKey: /b}
";
        assert_eq!(said(rule), ["spec.ingress[0].tls 8"]);
    }
}
