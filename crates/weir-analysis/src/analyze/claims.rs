//! Rules that look at the claims of tokens take a RequestAuthentication for the gateway that carries them out: without one nobody has
//! verified the token.

use std::collections::HashMap;

use weir_api::resources::meta::Labels;
use weir_api::resources::virtual_service::{MESH_GATEWAY, VirtualService, jwt_claim};
use weir_api::{FieldPath, Kind, Spec};

use super::Input;
use super::codes::CLAIMS_WITHOUT_AUTHENTICATION;
use super::finding::{Report, path};
use super::index::Index;
use super::selection::selects;

/// Looks at all VirtualServices of gateways.
pub(super) fn check(index: &Index<'_>, input: &Input<'_>, report: &mut Report) {
    let mut selectors: HashMap<&str, Vec<Labels>> = HashMap::new();
    for (document, authentication) in index.request_authentications() {
        let selector = authentication.selector.as_ref().map(|selector| selector.match_labels.clone()).unwrap_or_default();
        selectors.entry(&document.meta.namespace).or_default().push(selector);
    }
    let root = input.mesh.root_namespace.as_str();
    let verifies = |namespace: &str, labels: &Labels| {
        let of = |namespace| selectors.get(namespace).into_iter().flatten();
        of(root).chain(of(namespace)).any(|selector| selects(selector, labels))
    };
    for (document, service) in index.virtual_services() {
        let Some((claim, at)) = first_claim(service) else { continue };
        for name in service.gateways.iter().filter(|name| *name != MESH_GATEWAY) {
            let (namespace, own) = name.split_once('/').unwrap_or((&document.meta.namespace, name));
            let gateway = index.find(Kind::Gateway.group(), "Gateway", namespace, own);
            let Some(Spec::Gateway(gateway)) = gateway.and_then(|gateway| gateway.spec()) else { continue };
            let pod = index.pods.selected(&gateway.selector, None).find(|pod| !verifies(&pod.document.meta.namespace, &pod.labels));
            if let Some(pod) = pod {
                let message = format!(
                    "it looks at {claim}, and no RequestAuthentication verifies tokens at the gateway {namespace}/{own} (pod {}): it never matches",
                    pod.document.meta.name
                );
                let help = "add a RequestAuthentication that selects the gateway's pods".to_owned();
                report.say_help(CLAIMS_WITHOUT_AUTHENTICATION, document, at.clone(), message, help);
            }
        }
    }
}

/// The first condition on a claim.
fn first_claim(service: &VirtualService) -> Option<(&str, FieldPath)> {
    let conditions = service.http.iter().enumerate().flat_map(|(i, rule)| {
        let at = path("spec.http").index(i).key("match");
        rule.r#match.iter().enumerate().map(move |(j, condition)| (condition, at.index(j)))
    });
    let headers = conditions.flat_map(|(condition, at)| {
        let with = condition.headers.keys().map({
            let at = at.key("headers");
            move |name| (name, at.clone())
        });
        with.chain(condition.without_headers.keys().map(move |name| (name, at.key("withoutHeaders"))))
    });
    let mut claims = headers.filter(|(name, _)| jwt_claim(name).is_some());
    claims.next().map(|(name, at)| (name.as_str(), at.key(name.clone())))
}
