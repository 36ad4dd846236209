//! Fields of resources that are written, and that nobody carries out: each is said by its path, none is silently
//! passed over.
//!
//! That is what no translation exists for, whichever proxy asks; what one proxy cannot do with what is translated, it says
//! itself.

use std::sync::Arc;

use weir_api::resources::virtual_service::{HttpMatchRequest, VirtualService, jwt_claim};
use weir_api::{Diagnostic, FieldPath, Kind, Node, Object, Severity, Spec, Value};

use crate::patches;

/// A path that has no effect: names with dots between them, `*` for every item of a list; and what happens instead.
type Path = (Kind, &'static str, &'static str);

/// What is not translated.
const NOT_TRANSLATED: &[Path] = &[(Kind::Sidecar, "ingress.*.tls", "the listener takes plaintext")];

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
    if let Spec::VirtualService(service) = &object.spec {
        found.extend(claims(service).map(|(path, message)| object.diagnostic(Severity::Warning, path, message)));
    }
    found
}

/// Conditions on the claims of a token: no token is checked yet, so that there are none.
fn claims(service: &VirtualService) -> impl Iterator<Item = (FieldPath, &'static str)> {
    let blocks = service.http.iter().enumerate().flat_map(|(i, rule)| {
        let path = FieldPath::default().key("spec").key("http").index(i).key("match");
        rule.r#match.iter().enumerate().map(move |(j, block)| (path.index(j), block))
    });
    blocks.flat_map(|(path, block): (FieldPath, &HttpMatchRequest)| {
        let of = |key: &'static str, names: Vec<&String>, message: &'static str| {
            let claims = names.into_iter().filter(|name| jwt_claim(name).is_some());
            claims.map(|name| (path.key(key).key(name.clone()), message)).collect::<Vec<_>>()
        };
        let wanted = of("headers", block.headers.keys().collect(), "tokens are not checked yet: this rule matches no request");
        let unwanted = of(
            "withoutHeaders",
            block.without_headers.keys().collect(),
            "tokens are not checked yet: this condition keeps no request away",
        );
        wanted.into_iter().chain(unwanted)
    })
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
    fn conditions_on_claims_are_told_of() {
        let rule = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.test]
  gateways: [gw]
  http:
  - match:
    - headers: {x-a: {exact: a}}
    - headers: {'@request.auth.claims.group': {exact: admin}}
      withoutHeaders: {'@request.auth.claims[a][b]': {exact: c}}
    route: [{destination: {host: a}}]
";
        assert_eq!(
            said(rule),
            [
                "spec.http[0].match[1].headers[\"@request.auth.claims.group\"] 10",
                "spec.http[0].match[1].withoutHeaders[\"@request.auth.claims[a][b]\"] 11"
            ]
        );
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
