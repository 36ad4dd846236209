//! Rules of RequestAuthentication.

use super::checker::Checker;
use super::values;
use crate::keys::{SECRET, check_key_set, shortest_secret};
use crate::resources::RequestAuthentication;
use crate::resources::envoy_filter::PolicyTargetReference;
use crate::resources::request_authentication::{ClaimToHeader, JwtRule};

/// What it may be attached to: group and kind.
const TARGETS: &[(&str, &str)] = &[
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
];

/// Checks a RequestAuthentication.
pub(super) fn check(c: &mut Checker<'_>, policy: &RequestAuthentication) {
    // Nobody writes what stands for another.
    let RequestAuthentication { selector, target_ref, target_refs, jwt_rules, stands_in: _ } = policy;
    c.exclusive(&[("selector", selector.is_some()), ("targetRef", target_ref.is_some()), ("targetRefs", !target_refs.is_empty())]);
    c.some("selector", selector, |c, selector| values::check_selector(c, "matchLabels", &selector.match_labels));
    c.some("targetRef", target_ref, check_target);
    c.each("targetRefs", target_refs, check_target);
    if jwt_rules.is_empty() {
        c.warn_help("it checks no token", "add `jwtRules`");
    }
    c.each("jwtRules", jwt_rules, check_rule);
}

fn check_target(c: &mut Checker<'_>, target: &PolicyTargetReference) {
    if target.name.is_empty() {
        c.error_help("the name is missing", "add `name`");
    }
    if !target.namespace.is_empty() {
        c.field("namespace", |c| c.error_help("it can only be attached within its own namespace", "leave `namespace` away"));
    }
    if !TARGETS.contains(&(target.group.as_str(), target.kind.as_str())) {
        let help = "to Service (\"\"), ServiceEntry (\"networking.istio.io\"), Gateway or GatewayClass (\"gateway.networking.k8s.io\")";
        c.error_help(format!("it cannot be attached to {} ({:?})", target.kind, target.group), help);
    }
}

fn check_rule(c: &mut Checker<'_>, rule: &JwtRule) {
    let JwtRule {
        issuer,
        audiences,
        jwks_uri,
        jwks,
        from_headers,
        from_params,
        from_cookies,
        output_payload_to_header,
        // Whether it is said or not.
        forward_original_token: _,
        output_claim_to_headers,
        timeout,
        space_delimited_claims,
    } = rule;
    if issuer.is_empty() {
        c.error_help("the issuer is missing", "add `issuer`, as the tokens say it in `iss`");
    }
    c.exclusive(&[("jwks", !jwks.is_empty()), ("jwksUri", !jwks_uri.is_empty())]);
    if !jwks_uri.is_empty() {
        c.field("jwksUri", |c| check_address(c, jwks_uri));
    } else if jwks.is_empty() && !issuer.is_empty() && address(issuer).is_none() {
        c.warn_help(
            "nobody knows its keys: the issuer is no address that could be asked for them, and all of its tokens are refused",
            "add `jwks` or `jwksUri`",
        );
    }
    if !jwks.is_empty() {
        c.field("jwks", |c| {
            if let Err(wrong) = check_key_set(jwks) {
                c.error_help(wrong, "write a JSON Web Key Set: {\"keys\": [...]}");
            }
            if let Some(shortest) = shortest_secret(jwks) {
                let short =
                    if shortest < SECRET { format!(", and with {shortest} bytes one of them can be guessed") } else { String::new() };
                let message =
                    format!("it has secret keys (`oct`): whoever reads this object, or a proxy's configuration, can sign tokens{short}");
                c.warn_help(message, "let the issuer sign with a key pair (RSA, EC or Ed25519) and name the public half");
            }
        });
    }
    let texts = [
        ("audiences", audiences, "the audience is empty"),
        ("fromParams", from_params, "the name of the parameter is empty"),
        ("fromCookies", from_cookies, "the name of the cookie is empty"),
        ("spaceDelimitedClaims", space_delimited_claims, "the name of the claim is empty"),
    ];
    for (key, list, wrong) in texts {
        c.each(key, list, |c, text: &String| {
            if text.is_empty() {
                c.error_help(wrong, "remove the entry");
            }
        });
    }
    c.each("fromHeaders", from_headers, |c, header| c.field("name", |c| check_header(c, &header.name)));
    if !output_payload_to_header.is_empty() {
        c.field("outputPayloadToHeader", |c| check_own_header(c, output_payload_to_header));
    }
    c.each("outputClaimToHeaders", output_claim_to_headers, check_claim);
    c.some("timeout", timeout, |c, timeout| {
        if timeout.as_nanos() < 1_000_000 {
            c.error_help("the timeout is shorter than a millisecond", "write a longer one, such as 5s");
        }
    });
}

fn check_claim(c: &mut Checker<'_>, claim: &ClaimToHeader) {
    let ClaimToHeader { header, claim } = claim;
    c.field("header", |c| check_own_header(c, header));
    if claim.is_empty() {
        c.field("claim", |c| c.error_help("the name of the claim is empty", "write the claim that the header tells"));
    }
}

fn check_header(c: &mut Checker<'_>, name: &str) {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_of_token) {
        c.error_help(format!("`{name}` is no name of a header"), "write a name such as x-user");
    }
}

/// Headers that say how a message is framed, where it goes, or who the client's proxy is: each request would lose its own, and what
/// an issuer writes into a token would take its place.
const OF_MESSAGES: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-client-cert",
];

/// A header by which workloads are told of tokens: nobody else may set it.
fn check_own_header(c: &mut Checker<'_>, name: &str) {
    check_header(c, name);
    let lower = name.to_ascii_lowercase();
    if OF_MESSAGES.contains(&lower.as_str()) || lower.starts_with("x-envoy-") {
        c.error_help(format!("`{name}` means something else already"), "write a name such as x-user");
    }
}

/// The address of something that can be fetched, without its scheme.
fn address(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"@\\\"<>".contains(&byte));
    (is_host && rest.bytes().all(|byte| byte.is_ascii_graphic())).then_some(rest)
}

fn check_address(c: &mut Checker<'_>, text: &str) {
    if address(text).is_none() {
        c.error_help(format!("`{text}` is no address that keys can be fetched from"), "it begins with https:// or http://, and a host");
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;
    use crate::source::Source;

    fn said(spec: &str) -> Vec<String> {
        let text = format!("apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: case}}\nspec: {{{spec}}}\n");
        let parsed = parse::parse(&Source::new("case.yaml", text));
        let line = |diagnostic: crate::Diagnostic| {
            let path = diagnostic.path.to_string();
            format!("{}: {}", diagnostic.severity.as_str(), path.strip_prefix("spec.").unwrap_or(&path))
        };
        // What is in force instead of a refused one is told at its kind.
        parsed.diagnostics.into_iter().map(line).filter(|line| line != "warning: kind").collect()
    }

    #[test]
    fn rules_are_checked() {
        let keys = r#"jwks: '{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}'"#;
        let cases: &[(&str, &[&str])] = &[
            ("issuer: a, KEYS", &[]),
            ("issuer: 'https://a.test'", &[]),
            ("issuer: a", &["warning: jwtRules[0]"]),
            ("KEYS", &["error: jwtRules[0]"]),
            ("issuer: a, KEYS, jwksUri: 'https://a.test/keys'", &["error: jwtRules[0]"]),
            ("issuer: a, jwksUri: 'https://a.test:8443/keys?a=b'", &[]),
            ("issuer: a, jwksUri: 'ftp://a.test/keys'", &["error: jwtRules[0].jwksUri"]),
            ("issuer: a, jwksUri: 'http://'", &["error: jwtRules[0].jwksUri"]),
            ("issuer: a, jwksUri: 'http://a@b/'", &["error: jwtRules[0].jwksUri"]),
            ("issuer: a, jwks: '{'", &["error: jwtRules[0].jwks"]),
            ("issuer: a, jwks: '{}'", &["error: jwtRules[0].jwks"]),
            (r#"issuer: a, jwks: '{"keys": []}'"#, &["error: jwtRules[0].jwks"]),
            (r#"issuer: a, jwks: '{"keys": [{"kty": "what"}]}'"#, &["error: jwtRules[0].jwks"]),
            (r#"issuer: a, jwks: '{"id": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"}'"#, &[]),
            ("issuer: a, KEYS, audiences: [a, '']", &["error: jwtRules[0].audiences[1]"]),
            ("issuer: a, KEYS, fromParams: ['']", &["error: jwtRules[0].fromParams[0]"]),
            ("issuer: a, KEYS, fromCookies: ['']", &["error: jwtRules[0].fromCookies[0]"]),
            ("issuer: a, KEYS, spaceDelimitedClaims: ['']", &["error: jwtRules[0].spaceDelimitedClaims[0]"]),
            ("issuer: a, KEYS, fromHeaders: [{prefix: 'T '}]", &["error: jwtRules[0].fromHeaders[0].name"]),
            ("issuer: a, KEYS, outputPayloadToHeader: 'x y'", &["error: jwtRules[0].outputPayloadToHeader"]),
            (
                "issuer: a, KEYS, outputClaimToHeaders: [{header: 'x:y', claim: sub}]",
                &["error: jwtRules[0].outputClaimToHeaders[0].header"],
            ),
            ("issuer: a, KEYS, outputClaimToHeaders: [{header: x-y}]", &["error: jwtRules[0].outputClaimToHeaders[0].claim"]),
            ("issuer: a, KEYS, outputPayloadToHeader: Host", &["error: jwtRules[0].outputPayloadToHeader"]),
            (
                "issuer: a, KEYS, outputClaimToHeaders: [{header: Transfer-Encoding, claim: te}]",
                &["error: jwtRules[0].outputClaimToHeaders[0].header"],
            ),
            (
                "issuer: a, KEYS, outputClaimToHeaders: [{header: x-envoy-retry-on, claim: r}, {header: x-forwarded-client-cert, claim: c}]",
                &["error: jwtRules[0].outputClaimToHeaders[0].header", "error: jwtRules[0].outputClaimToHeaders[1].header"],
            ),
            (r#"issuer: a, jwks: '{"keys": [{"kty": "oct", "k": "AQAB"}]}'"#, &["warning: jwtRules[0].jwks"]),
            (r#"issuer: a, jwks: '{"keys": [{"kty": "EC", "crv": "secp256k1", "x": "AQAB", "y": "AQAB"}]}'"#, &["error: jwtRules[0].jwks"]),
            ("issuer: a, KEYS, timeout: 0s", &["error: jwtRules[0].timeout"]),
            ("issuer: a, KEYS, what: 1", &["error: jwtRules[0].what"]),
        ];
        for (rule, expected) in cases {
            assert_eq!(said(&format!("jwtRules: [{{{}}}]", rule.replace("KEYS", keys))), *expected, "{rule}");
        }
    }

    #[test]
    fn it_is_for_workloads_or_for_what_it_is_attached_to() {
        let gateway = "{group: gateway.networking.k8s.io, kind: Gateway, name: g}";
        let cases: &[(String, &[&str])] = &[
            (String::new(), &["warning: spec"]),
            ("selector: {matchLabels: {app: a}}".into(), &["warning: spec"]),
            ("selector: {matchLabels: {app: 'a*'}}".into(), &["error: selector.matchLabels.app", "warning: spec"]),
            (format!("targetRefs: [{gateway}]"), &["warning: spec"]),
            (format!("targetRef: {gateway}"), &["warning: spec"]),
            (format!("targetRefs: [{gateway}], selector: {{matchLabels: {{app: a}}}}"), &["error: spec", "warning: spec"]),
            ("targetRefs: [{kind: Pod, name: a}]".into(), &["error: targetRefs[0]", "warning: spec"]),
            ("targetRefs: [{kind: Service, name: a, namespace: b}]".into(), &["error: targetRefs[0].namespace", "warning: spec"]),
            ("targetRefs: [{kind: Service}]".into(), &["error: targetRefs[0]", "warning: spec"]),
        ];
        for (spec, expected) in cases {
            assert_eq!(said(spec), *expected, "{spec}");
        }
    }
}
